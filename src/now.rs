//! Time, as the core is told it.

/// The moment an event happened. The core has no clock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back: for pauses and durations.
    pub monotonic_ms: u64,
    /// Epoch milliseconds, UTC: for what others read. May jump.
    pub wall_ms: i64,
}

impl Now {
    /// Milliseconds since `earlier`, a monotonic moment.
    pub fn since(&self, earlier: u64) -> u64 {
        self.monotonic_ms.saturating_sub(earlier)
    }
}
