//! Envoy's clocks and random bits, as few hostcalls as may be.

use std::cell::RefCell;
use std::time::{Instant, SystemTime};

use crate::now::{Clocks, Now};

/// Random bytes taken from the host at a time: for 64 push ids.
const RANDOM_BYTES: usize = 1_024;

/// Reads the host's clocks: one hostcall each time, two once a second.
pub struct Clock {
    start: Instant,
    clocks: RefCell<Clocks>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now(), clocks: RefCell::default() }
    }
}

impl Clock {
    /// This moment.
    pub fn now(&self) -> Now {
        let wall = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.clocks.borrow_mut().now(self.start.elapsed(), wall)
    }
}

/// Random bits from the host, some in stock: a hostcall is dearer than its bytes.
pub struct Random {
    bytes: [u8; RANDOM_BYTES],
    used: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { bytes: [0; RANDOM_BYTES], used: RANDOM_BYTES }
    }
}

impl Random {
    /// 128 bits that were given to nobody else; `None` if the host has none to give.
    pub fn draw(&mut self) -> Option<[u8; 16]> {
        if self.used >= RANDOM_BYTES {
            getrandom::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let drawn = self.bytes.get(self.used..)?.first_chunk().copied()?;
        self.used += drawn.len();
        Some(drawn)
    }
}
