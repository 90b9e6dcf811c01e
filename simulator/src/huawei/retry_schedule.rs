//! When Huawei pushes again.

use std::time::Duration;

/// Minutes after the first attempt at which Huawei repeats a push that was not answered 200 (CDR and status pages of its
/// reference). Whether it counts from the first attempt or from the one before is not documented; from the first gives the
/// shorter span, five hours, and so the harder case.
const MINUTES: [u32; 6] = [1, 4, 9, 106, 203, 300];

/// Huawei's retry schedule, possibly sped up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySchedule {
    time_scale: f64,
}

impl RetrySchedule {
    /// The schedule as it is.
    pub const REAL: Self = Self { time_scale: 1.0 };

    /// The schedule `time_scale` times as fast: with 600 a minute lasts a tenth of a second.
    ///
    /// `None` when `time_scale` is not a number above 0.
    pub fn faster(time_scale: f64) -> Option<Self> {
        (time_scale.is_finite() && time_scale > 0.0).then_some(Self { time_scale })
    }

    /// How long after the first attempt each of the six repetitions is due.
    pub fn offsets(self) -> impl Iterator<Item = Duration> {
        // A scale near 0 makes spans that no clock holds; they never come.
        MINUTES.into_iter().map(move |minutes| {
            Duration::try_from_secs_f64(f64::from(minutes) * 60.0 / self.time_scale).unwrap_or(Duration::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RetrySchedule;

    #[test]
    fn the_schedule_is_huaweis_and_can_be_sped_up() {
        let minutes: Vec<u64> = RetrySchedule::REAL.offsets().map(|offset| offset.as_secs() / 60).collect();
        assert_eq!(minutes, [1, 4, 9, 106, 203, 300]);
        let fast: Vec<Duration> = RetrySchedule::faster(600.0).unwrap().offsets().collect();
        assert_eq!(fast.first(), Some(&Duration::from_millis(100)));
        assert_eq!(fast.last(), Some(&Duration::from_secs(30)));
    }

    #[test]
    fn a_scale_that_makes_no_sense_is_refused() {
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(RetrySchedule::faster(scale), None);
        }
        assert_eq!(RetrySchedule::faster(f64::MIN_POSITIVE).unwrap().offsets().last(), Some(Duration::MAX));
    }
}
