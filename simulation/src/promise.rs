//! The promises that are checked, and how one is broken.

use std::fmt;

/// A promise of the gateway, by the number it has in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// A business receives at most one callback request per call, and none before the call is claimed.
    P1Once,
    /// A 200 to Huawei means that every CDR of the push is in the store, recorded or parked.
    P2Kept,
    /// Every call has one outcome, which agrees with what happened at the business and never changes.
    P3Accounted,
    /// Neither a bad CDR nor a slow or dead business harms the others.
    P4Apart,
    /// No more is held than the configuration allows.
    P6Standing,
    /// What was committed gets its callback and its outcome; nothing stays behind.
    P8Finished,
}

impl fmt::Display for Promise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::P1Once => "P1 once",
            Self::P2Kept => "P2 kept",
            Self::P3Accounted => "P3 accounted",
            Self::P4Apart => "P4 apart",
            Self::P6Standing => "P6 standing",
            Self::P8Finished => "P8 finished",
        })
    }
}

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub promise: Promise,
    /// After how many steps of the run.
    pub step: u64,
    /// Milliseconds of virtual time.
    pub at_ms: u64,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, step, at_ms, what } = self;
        write!(formatter, "{promise} is broken at step {step}, {}.{:03} s: {what}", at_ms / 1_000, at_ms % 1_000)
    }
}

/// Why a run ends before its end.
#[derive(Debug)]
pub enum Stop {
    /// A promise is broken.
    Broken(Promise, String),
    /// The simulation itself cannot go on.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// What every step comes to.
pub type Step = Result<(), Stop>;

/// Ends the run where `holds` is false.
///
/// # Errors
/// The promise is broken.
pub fn check(promise: Promise, holds: bool, what: impl FnOnce() -> String) -> Step {
    if holds { Ok(()) } else { Err(Stop::Broken(promise, what())) }
}
