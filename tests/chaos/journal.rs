//! What was done to the processes, and when.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use privatenumber_sim::clock;

/// A gateway that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Which, from 0.
    pub gateway: usize,
    /// When it was certainly dead, epoch milliseconds.
    pub dead_at: i64,
    /// How many calls it said were pending right before; `None` where it did not say.
    pub pending_calls: Option<u64>,
}

/// The account of all faults.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    faults: BTreeMap<&'static str, u64>,
    kills: Vec<Kill>,
    broken: Vec<String>,
}

impl Journal {
    /// A fault of this kind is made.
    pub fn fault(&self, kind: &'static str) {
        *self.entries().faults.entry(kind).or_default() += 1;
    }

    /// A gateway that had said that this many calls were pending is dead by our doing.
    pub fn killed(&self, gateway: usize, pending_calls: Option<u64>) {
        self.entries().kills.push(Kill { gateway, dead_at: clock::epoch_millis(), pending_calls });
    }

    /// A promise was seen broken while the run went on.
    pub fn broken(&self, what: String) {
        self.entries().broken.push(what);
    }

    /// How many faults there were.
    pub fn total(&self) -> u64 {
        self.entries().faults.values().sum()
    }

    /// How many of each kind.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.entries().faults.clone()
    }

    /// All gateways that were killed.
    pub fn kills(&self) -> Vec<Kill> {
        self.entries().kills.clone()
    }

    /// All that was seen broken.
    pub fn broken_promises(&self) -> Vec<String> {
        self.entries().broken.clone()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
