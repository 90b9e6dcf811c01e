//! Many seeds, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;

use crate::figures::Figures;
use crate::store::Store;
use crate::world::{Options, Run, run};

/// How many seeds share a store before it is thrown away: opening one takes as long as some runs, and a large one is slow.
const SEEDS_PER_STORE: u64 = 100;

/// What all runs came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// The sums over those that were made.
    pub figures: Figures,
    /// The lowest seed that broke a promise, of those that were run, with its run.
    pub broken: Option<(u64, Run)>,
}

/// Runs the seeds from `first`, `count` of them, on `threads` threads; stops early once one has broken a promise.
///
/// `progress` is called now and then with the number of seeds that are done.
///
/// # Errors
/// The simulation itself cannot go on.
pub fn run_seeds(
    first: u64,
    count: u64,
    threads: usize,
    options: Options,
    progress: impl Fn(u64) + Sync,
) -> Result<Sum> {
    let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let sum = Mutex::new(Sum::default());
    let work = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let begin = next.fetch_add(SEEDS_PER_STORE, Ordering::Relaxed);
            if begin >= count {
                break;
            }
            let mut store = Store::open()?;
            for offset in begin..count.min(begin.saturating_add(SEEDS_PER_STORE)) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let seed = first.wrapping_add(offset);
                let run = run(seed, &store, options)?;
                if run.violation.is_some() {
                    // What waits there still would be handed to the workers of the next seed.
                    store = Store::open()?;
                }
                let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                sum.figures.add(&run.figures);
                if run.violation.is_some() {
                    stop.store(true, Ordering::Relaxed);
                    if sum.broken.as_ref().is_none_or(|(known, _)| seed < *known) {
                        sum.broken = Some((seed, run));
                    }
                }
                progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        handles.into_iter().try_for_each(|handle| match handle.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}
