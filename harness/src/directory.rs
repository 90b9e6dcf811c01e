//! A directory for one run: configuration, data and logs, left there to be read afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::products;

/// A fresh, empty directory under cargo's target directory.
///
/// It is kept after the run, for its logs, and replaced by the next run of the same name.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// An empty `end-to-end/<name>` under the target directory.
    ///
    /// # Errors
    ///
    /// When it cannot be emptied or made.
    pub fn fresh(name: &str) -> Result<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let parent = products::target_directory()?.join("end-to-end");
        // Two runs of one name in one process, or a second process that runs the same test, keep apart.
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        forget_earlier(&parent, name);
        let path = parent.join(format!("{name}.{}.{run}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// The path itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

/// Removes what earlier runs of this name left, unless their process still lives. What cannot be removed stays.
fn forget_earlier(parent: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some((run_name, rest)) = file_name.to_str().and_then(|text| text.split_once('.')) else { continue };
        let Some((pid, _)) = rest.split_once('.') else { continue };
        let alive = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
        let alive = alive.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok());
        if run_name == name && !alive {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
