//! What the processes hold in memory while the run goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harness::memory;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::processes;

/// How often the processes are looked at.
const BEAT: Duration = Duration::from_secs(1);
/// The parts of the run that are compared: around a quarter of it, and its end.
const EARLY: (f64, f64) = (0.15, 0.35);
const LATE: (f64, f64) = (0.8, 1.0);
/// How much more than early the late median may be: a quarter, and 16 MiB for what an allocator keeps.
const TOLERATED_SHARE: f64 = 0.25;
const TOLERATED_BYTES: f64 = 16.0 * 1024.0 * 1024.0;

/// One process's resident memory, medians over the parts that are compared. A process that was killed and restarted counts
/// on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Resident {
    /// Around a quarter of the run, MiB.
    pub early_mib: f64,
    /// In the last fifth, MiB.
    pub late_mib: f64,
    /// The largest ever seen, MiB.
    pub most_mib: f64,
}

impl Resident {
    /// Whether it stayed flat, within the tolerance.
    pub fn is_flat(&self) -> bool {
        self.late_mib <= self.early_mib * (1.0 + TOLERATED_SHARE) + TOLERATED_BYTES / MIB
    }
}

const MIB: f64 = 1024.0 * 1024.0;

type Samples = Arc<Mutex<BTreeMap<&'static str, Vec<(Duration, u64)>>>>;

/// Looks at the processes until it is stopped.
pub struct Memory {
    samples: Samples,
    duration: Duration,
    task: JoinHandle<()>,
}

impl Memory {
    /// Watches the children of this process on whose command line each `mark` stands, for a run of `duration`.
    pub fn watch(marks: Vec<(&'static str, String)>, duration: Duration) -> Self {
        let samples = Samples::default();
        let kept = Arc::clone(&samples);
        let began = Instant::now();
        let task = tokio::spawn(async move {
            let mut beat = tokio::time::interval(BEAT);
            loop {
                beat.tick().await;
                for (name, mark) in &marks {
                    let children = processes::children(mark).into_iter();
                    let resident: u64 =
                        children.filter_map(|pid| memory::Resident::of(pid).ok()).map(|one| one.now).sum();
                    if resident > 0 {
                        let mut samples = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        samples.entry(name).or_default().push((began.elapsed(), resident));
                    }
                }
            }
        });
        Self { samples, duration, task }
    }

    /// Stops watching; what was seen, by name.
    pub fn stop(self) -> BTreeMap<&'static str, Resident> {
        self.task.abort();
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().map(|(name, samples)| (*name, compare(samples, self.duration))).collect()
    }
}

fn compare(samples: &[(Duration, u64)], duration: Duration) -> Resident {
    let within = |(from, to): (f64, f64)| {
        let part = duration.mul_f64(from)..duration.mul_f64(to);
        median(samples.iter().filter(|(at, _)| part.contains(at)).map(|(_, bytes)| *bytes).collect()) / MIB
    };
    let most = samples.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default();
    Resident { early_mib: within(EARLY), late_mib: within(LATE), most_mib: most as f64 / MIB }
}

fn median(mut values: Vec<u64>) -> f64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default() as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::compare;

    fn seen(bytes: impl Fn(u64) -> u64) -> super::Resident {
        let samples: Vec<_> = (0..100).map(|second| (Duration::from_secs(second), bytes(second) << 20)).collect();
        compare(&samples, Duration::from_secs(100))
    }

    #[test]
    fn memory_that_grows_is_seen_and_memory_that_swings_is_not() {
        assert!(seen(|_| 100).is_flat());
        assert!(seen(|second| 100 + second % 7 * 10).is_flat());
        assert!(!seen(|second| 100 + 2 * second).is_flat());
        assert_eq!((seen(|second| second).early_mib, seen(|second| second).most_mib), (25.0, 99.0));
    }
}
