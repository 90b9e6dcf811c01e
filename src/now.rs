//! Time, as the core is told it.

use std::time::Duration;

/// How long the difference between the two clocks is believed: so late is a wall clock noticed that was set to another time.
const WALL_CLOCK_TRUST: Duration = Duration::from_secs(1);

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

/// Two clocks of which the second is seldom read: each reading is a hostcall.
#[derive(Debug, Default)]
pub struct Clocks {
    /// The wall clock's time when the monotonic one stood at zero, epoch microseconds, and when the monotonic one said that this is
    /// to be looked at again. Finer than what is told: two readings cut to milliseconds can be a whole one apart.
    wall_at_zero: Option<(i64, Duration)>,
}

impl Clocks {
    /// This moment: `monotonic` has just been read, and `wall`, the time since the epoch, is read if it must be.
    pub fn now(&mut self, monotonic: Duration, wall: impl FnOnce() -> Duration) -> Now {
        let elapsed = micros(monotonic);
        let known = self.wall_at_zero.filter(|(_, until)| monotonic < *until).map(|(at_zero, _)| at_zero);
        let at_zero = known.unwrap_or_else(|| {
            let at_zero = micros(wall()).saturating_sub(elapsed);
            self.wall_at_zero = Some((at_zero, monotonic.saturating_add(WALL_CLOCK_TRUST)));
            at_zero
        });
        Now {
            monotonic_ms: u64::try_from(monotonic.as_millis()).unwrap_or(u64::MAX),
            wall_ms: at_zero.saturating_add(elapsed).div_euclid(1_000),
        }
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clocks, Now};

    fn at(clocks: &mut Clocks, monotonic_us: u64, wall_us: u64) -> Now {
        clocks.now(Duration::from_micros(monotonic_us), || Duration::from_micros(wall_us))
    }

    #[test]
    fn a_wall_clock_that_was_not_read_again_is_no_millisecond_late() {
        let mut clocks = Clocks::default();
        assert_eq!(at(&mut clocks, 5_000, 1_000_900), Now { monotonic_ms: 5, wall_ms: 1_000 });
        assert_eq!(at(&mut clocks, 10_200, 0), Now { monotonic_ms: 10, wall_ms: 1_006 });
        assert_eq!(at(&mut clocks, 1_004_999, 0), Now { monotonic_ms: 1_004, wall_ms: 2_000 });
    }

    #[test]
    fn a_wall_clock_that_was_set_is_noticed_after_a_second() {
        let mut clocks = Clocks::default();
        at(&mut clocks, 5_000, 1_000_900);
        assert_eq!(at(&mut clocks, 1_005_000, 77_000), Now { monotonic_ms: 1_005, wall_ms: 77 });
        assert_eq!(at(&mut clocks, 1_006_000, 0), Now { monotonic_ms: 1_006, wall_ms: 78 });
    }
}
