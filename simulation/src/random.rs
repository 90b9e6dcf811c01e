//! The one source of chance in a run.

/// A pseudo-random generator whose numbers are fixed for ever: xoshiro256++ (Blackman, Vigna), seeded by SplitMix64.
///
/// A library's generator may change with its version, and with it every seed that was ever written down.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of one seed.
    pub fn new(seed: u64) -> Self {
        let mut counter = seed;
        let state = std::array::from_fn(|_| {
            counter = counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = counter;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        });
        Self { state }
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number from `low` to `high`, both included; `low` where `high` is less.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        match high.checked_sub(low).and_then(|span| span.checked_add(1)) {
            // The bias of a remainder over 64 bits is far below what a simulation could show.
            Some(span) => low + self.next() % span,
            None => low,
        }
    }

    /// An index below `length`; 0 where `length` is 0.
    pub fn index(&mut self, length: usize) -> usize {
        let last = length.saturating_sub(1) as u64;
        usize::try_from(self.between(0, last)).unwrap_or_default()
    }

    /// True in `per_mille` of a thousand cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.next() % 1_000 < per_mille
    }

    /// One of `choices`.
    pub fn pick<T: Copy + Default, const N: usize>(&mut self, choices: [T; N]) -> T {
        const { assert!(N > 0, "nothing to pick from") };
        let index = self.index(N);
        choices.get(index).copied().unwrap_or_default()
    }

    /// Puts `items` into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// 128 random bits.
    pub fn bytes(&mut self) -> [u8; 16] {
        ((u128::from(self.next()) << 64) | u128::from(self.next())).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_draws_the_same_numbers_for_ever() {
        let mut random = Random::new(0);
        // The first number of the published xoshiro256++ after SplitMix64 seeding with 0.
        assert_eq!(random.next(), 0x53175D61490B23DF);
        assert_ne!(Random::new(1).next(), Random::new(2).next());
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut random = Random::new(7);
        let draws: Vec<_> = (0..1_000).map(|_| random.between(3, 6)).collect();
        assert!(draws.iter().all(|draw| (3..=6).contains(draw)));
        assert!((3..=6).all(|value| draws.contains(&value)));
        assert_eq!(random.between(9, 3), 9);
        assert_eq!(random.index(0), 0);
    }
}
