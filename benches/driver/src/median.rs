//! Medians and percentiles.

use std::time::Duration;

/// The median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(value), 1) => *value,
        (Some(upper), _) => (sorted.get(middle.saturating_sub(1)).unwrap_or(upper) + upper) / 2.0,
        (None, _) => 0.0,
    }
}

/// The value below which `share` of `sorted` lie, milliseconds; 0 of nothing.
pub fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let value = sorted.get(rank.clamp(1, sorted.len().max(1)) - 1);
    value.map_or(0.0, |value| value.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{median, percentile};

    #[test]
    fn a_median_is_the_value_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let times: Vec<_> = (1..=1000).map(Duration::from_millis).collect();
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(|share| percentile(&times, share)), [500.0, 990.0, 999.0, 1000.0]);
        assert_eq!(percentile(&times[..1], 0.999), 1.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
