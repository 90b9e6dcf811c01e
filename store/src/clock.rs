//! The one place that reads the time. Below it time is an argument.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// While the store's clock is ahead of the machine's, it takes so many milliseconds for one.
const SLOWNESS: i64 = 2;

/// The store's clock: epoch milliseconds, UTC. All that is compared is compared on it.
///
/// It follows the machine's clock forward and is never set back: where the machine's clock is set back, this one runs at half speed
/// until the machine's has caught up. Clones are one clock.
#[derive(Clone)]
pub struct Clock {
    machine: Arc<dyn Machine>,
    state: Arc<Mutex<State>>,
}

/// What a machine says of the time.
trait Machine: Send + Sync {
    /// The wall clock, epoch milliseconds. It may be set back and forward.
    fn wall_ms(&self) -> i64;
    /// How long some fixed moment lies back. Nobody sets it.
    fn elapsed(&self) -> Duration;
}

/// What was read last.
struct State {
    now_ms: i64,
    /// The machine's [`Machine::elapsed`] then, milliseconds, less what is too short to have moved `now_ms`.
    counted_ms: i64,
}

/// The store's clock beside the machine's, both epoch milliseconds, read at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The store's.
    pub now_ms: i64,
    /// The machine's.
    pub wall_ms: i64,
}

impl Reading {
    /// How far the store's clock is ahead of the machine's, milliseconds.
    pub fn ahead_ms(self) -> i64 {
        self.now_ms.saturating_sub(self.wall_ms)
    }
}

impl Clock {
    /// Over the clocks of this machine.
    pub fn system() -> Self {
        struct System(Instant);
        impl Machine for System {
            fn wall_ms(&self) -> i64 {
                milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
            }
            fn elapsed(&self) -> Duration {
                self.0.elapsed()
            }
        }
        Self::over(System(Instant::now()))
    }

    /// Over clocks of one's own. `wall_ms`: what the wall clock shows, epoch milliseconds, set back and forward at will. `elapsed`: how
    /// long some fixed moment lies back.
    pub fn new(
        wall_ms: impl Fn() -> i64 + Send + Sync + 'static,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        struct Given<W, E>(W, E);
        impl<W: Fn() -> i64 + Send + Sync, E: Fn() -> Duration + Send + Sync> Machine for Given<W, E> {
            fn wall_ms(&self) -> i64 {
                (self.0)()
            }
            fn elapsed(&self) -> Duration {
                (self.1)()
            }
        }
        Self::over(Given(wall_ms, elapsed))
    }

    fn over(machine: impl Machine + 'static) -> Self {
        let state = State { now_ms: machine.wall_ms(), counted_ms: milliseconds(machine.elapsed()) };
        Self { machine: Arc::new(machine), state: Arc::new(Mutex::new(state)) }
    }

    /// The time now, epoch milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.read().now_ms
    }

    /// The time now, which is `recorded_ms` or later from here on: what a clock before this one has recorded. Epoch milliseconds.
    pub fn now_after(&self, recorded_ms: i64) -> i64 {
        self.read_after(recorded_ms).now_ms
    }

    /// The time now, beside the machine's.
    pub fn read(&self) -> Reading {
        self.read_after(i64::MIN)
    }

    fn read_after(&self, recorded_ms: i64) -> Reading {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wall_ms = self.machine.wall_ms();
        let elapsed_ms = milliseconds(self.machine.elapsed());
        let steps = elapsed_ms.saturating_sub(state.counted_ms).max(0) / SLOWNESS;
        let slow_ms = state.now_ms.saturating_add(steps).max(recorded_ms);
        if wall_ms >= slow_ms {
            *state = State { now_ms: wall_ms, counted_ms: elapsed_ms };
        } else {
            state.now_ms = slow_ms;
            state.counted_ms = state.counted_ms.saturating_add(steps.saturating_mul(SLOWNESS));
        }
        Reading { now_ms: state.now_ms, wall_ms }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
    use std::time::Duration;

    use super::Clock;

    /// A machine whose wall clock can be set.
    struct Machine {
        wall_ms: Arc<AtomicI64>,
        elapsed_ms: Arc<AtomicI64>,
        clock: Clock,
    }

    impl Machine {
        fn at(wall_ms: i64) -> Self {
            let (wall_ms, elapsed_ms) = (Arc::new(AtomicI64::new(wall_ms)), Arc::new(AtomicI64::new(0)));
            let (wall, elapsed) = (Arc::clone(&wall_ms), Arc::clone(&elapsed_ms));
            let clock = Clock::new(
                move || wall.load(SeqCst),
                move || Duration::from_millis(elapsed.load(SeqCst).unsigned_abs()),
            );
            Self { wall_ms, elapsed_ms, clock }
        }

        fn pass(&self, milliseconds: i64) {
            self.wall_ms.fetch_add(milliseconds, SeqCst);
            self.elapsed_ms.fetch_add(milliseconds, SeqCst);
        }

        fn set(&self, by_ms: i64) {
            self.wall_ms.fetch_add(by_ms, SeqCst);
        }
    }

    #[test]
    fn it_follows_the_wall_clock_and_its_steps_forward() {
        let machine = Machine::at(1000);
        machine.pass(7);
        assert_eq!(machine.clock.now_ms(), 1007);
        machine.set(3_600_000);
        assert_eq!(machine.clock.read().ahead_ms(), 0);
        assert_eq!(machine.clock.now_ms(), 3_601_007);
    }

    #[test]
    fn set_back_it_runs_at_half_speed_until_the_wall_clock_has_caught_up() {
        let machine = Machine::at(10_000);
        machine.set(-1000);
        assert_eq!(machine.clock.now_ms(), 10_000);
        // However often it is read: no part of the time is lost.
        for _ in 0..1000 {
            machine.pass(1);
            machine.clock.now_ms();
        }
        assert_eq!((machine.clock.now_ms(), machine.clock.read().ahead_ms()), (10_500, 500));
        machine.pass(1000);
        assert_eq!((machine.clock.now_ms(), machine.clock.read().ahead_ms()), (11_000, 0));
        machine.pass(1);
        assert_eq!(machine.clock.now_ms(), 11_001);
    }

    #[test]
    fn a_wall_clock_that_jumps_to_and_fro_carries_it_no_further_than_its_furthest() {
        let machine = Machine::at(10_000);
        let mut last = 0;
        for _ in 0..100 {
            machine.set(5000);
            last = machine.clock.now_ms().max(last);
            machine.set(-5000);
            machine.pass(2);
            assert!(machine.clock.now_ms() >= last);
        }
        assert!(machine.clock.now_ms() <= 15_200, "{}", machine.clock.now_ms());
    }

    #[test]
    fn what_was_recorded_before_it_is_never_before_it() {
        let machine = Machine::at(10_000);
        assert_eq!(machine.clock.now_after(70_000), 70_000);
        machine.pass(10);
        assert_eq!(machine.clock.clone().now_ms(), 70_005);
        assert_eq!(machine.clock.now_after(5), 70_005);
        // Nothing at the end of time overflows.
        assert_eq!(machine.clock.now_after(i64::MAX), i64::MAX);
        machine.pass(10);
        assert_eq!(machine.clock.now_ms(), i64::MAX);
    }
}
