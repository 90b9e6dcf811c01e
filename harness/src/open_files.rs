//! Open files: thousands of connections need more than the 1024 that most systems allow until they are asked.

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this program, and what it starts from now on, have at least this many files open.
///
/// # Errors
///
/// When the system allows less.
pub fn allow(needed: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = maximum.filter(|maximum| *maximum < needed) {
        bail!("{needed} open files are needed and {maximum} allowed: raise the hard limit (ulimit -Hn)");
    }
    let raised = Rlimit { current: Some(needed), maximum };
    setrlimit(Resource::Nofile, raised).with_context(|| format!("{needed} open files are needed"))
}
