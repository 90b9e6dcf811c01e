//! Who runs on which core, and what it costs.
//!
//! Arms have a core of their own; load generator and sinks have the other one and may spin on it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::memory::Resident;
use rustix::thread::{CpuSet, sched_setaffinity};

const ARMS: usize = 0;
const DRIVER: usize = 1;

fn pin(to: &[usize]) -> Result<()> {
    let mut cores = CpuSet::new();
    to.iter().for_each(|core| cores.set(*core));
    sched_setaffinity(None, &cores).with_context(|| format!("cannot run on cores {to:?}: two cores are needed"))
}

/// Puts this program where load generator and sinks belong.
///
/// # Errors
///
/// When there is no second core.
pub fn take_ours() -> Result<()> {
    pin(&[DRIVER])
}

/// While it lives, processes that are started run on the arms' core, or on both.
#[derive(Debug)]
pub struct Pinned(());

impl Pinned {
    /// Pins what is started from now on.
    ///
    /// # Errors
    ///
    /// When the core is not there.
    pub fn to_the_arms() -> Result<Self> {
        pin(&[ARMS]).map(|()| Self(()))
    }

    /// Lets what is started from now on run on both cores.
    ///
    /// # Errors
    ///
    /// When there is no second core.
    pub fn to_both() -> Result<Self> {
        pin(&[ARMS, DRIVER]).map(|()| Self(()))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = pin(&[DRIVER]);
    }
}

/// What processes have used since they began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// Time on a core, all threads.
    pub cpu: Duration,
    /// Resident memory now, bytes.
    pub resident: u64,
}

impl Used {
    /// By these processes and their children, together.
    ///
    /// # Errors
    ///
    /// When one of them has ended.
    pub fn by(pids: &[u32]) -> Result<Self> {
        let mut used = Self::default();
        for &pid in pids {
            used.add(pid).with_context(|| format!("process {pid} has ended"))?;
        }
        Ok(used)
    }

    fn add(&mut self, pid: u32) -> Result<()> {
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let path = task.path();
            // A thread may end while it is looked at.
            let Ok(statistics) = fs::read_to_string(path.join("schedstat")) else { continue };
            let nanoseconds = statistics.split_ascii_whitespace().next().and_then(|text| text.parse().ok());
            self.cpu += Duration::from_nanos(nanoseconds.context("/proc has no scheduler statistics")?);
            let children = fs::read_to_string(path.join("children")).unwrap_or_default();
            for child in children.split_ascii_whitespace().filter_map(|text| text.parse().ok()) {
                self.add(child)?;
            }
        }
        self.resident += Resident::of(pid)?.now;
        Ok(())
    }
}
