//! How long to wait before asking the store again.

use privatenumber_contract::PushId;

/// The pause after the `attempt`-th failure (from 1), milliseconds: doubles from `initial` up to `longest`, then up to a
/// quarter off, so that gateways that failed together do not come back together. `seed` decides how much is taken off.
pub fn pause(initial: u64, longest: u64, attempt: u32, seed: u64) -> u64 {
    let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).and_then(|factor| initial.checked_mul(factor));
    let pause = doubled.map_or(longest, |pause| pause.min(longest));
    // A well-mixed eighth of the seed per attempt: neighbours differ, and so do one push's own attempts.
    let mixed = seed.wrapping_add(u64::from(attempt)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    pause - (pause / 4).saturating_mul(mixed & 0xFFFF) / 0x1_0000
}

/// A seed for [`pause`] that belongs to this push id.
pub fn seed(push_id: PushId) -> u64 {
    let [.., a, b, c, d] = *push_id.as_bytes();
    u64::from(u32::from_be_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::pause;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_leave_their_range() {
        for seed in 0..1_000 {
            for (attempt, full) in [(1, 100), (2, 200), (3, 400), (8, 10_000), (64, 10_000), (u32::MAX, 10_000)] {
                let pause = pause(100, 10_000, attempt, seed);
                assert!((full * 3 / 4..=full).contains(&pause), "attempt {attempt}, seed {seed}: {pause}");
            }
        }
    }
}
