//! What a process holds in memory, as `/proc` says.

use std::fmt::Display;
use std::fs;

use anyhow::{Context, Result};

/// Resident memory of one process, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub now: u64,
    /// The most it ever was.
    pub peak: u64,
}

impl Resident {
    /// Of the process with this number.
    ///
    /// # Errors
    ///
    /// When it has ended, or there is no `/proc`.
    pub fn of(pid: impl Display) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024).with_context(|| format!("{path} has no {name}"))
        };
        Ok(Self { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::Resident;

    #[test]
    fn a_process_that_runs_holds_something_and_one_that_does_not_is_an_error() {
        let own = Resident::of(std::process::id()).unwrap();
        assert!(own.now > 0 && own.peak >= own.now, "{own:?}");
        assert!(Resident::of(u32::MAX).is_err());
    }
}
