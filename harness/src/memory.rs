//! What a process holds in memory, as `/proc` says.

use std::fmt::Display;
use std::fs;

use anyhow::{Context, Result};

/// Resident memory of one process, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub now: u64,
    /// The most it ever was, or was since [`forget_peak`](Self::forget_peak).
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

    /// Lets the peak of the process with this number begin again at what it holds now.
    ///
    /// # Errors
    ///
    /// When it has ended, belongs to somebody else, or there is no `/proc`.
    pub fn forget_peak(pid: impl Display) -> Result<()> {
        let path = format!("/proc/{pid}/clear_refs");
        fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Resident;

    #[test]
    fn a_process_that_runs_holds_something_and_one_that_does_not_is_an_error() {
        let own = Resident::of(std::process::id()).unwrap();
        assert!(own.now > 0 && own.peak >= own.now, "{own:?}");
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        let peak = Resident::of(std::process::id()).unwrap().peak;
        Resident::forget_peak(std::process::id()).unwrap();
        assert!(Resident::of(std::process::id()).unwrap().peak < peak);
        assert!(Resident::of(u32::MAX).is_err());
    }
}
