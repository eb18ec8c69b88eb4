//! Random numbers that are the same in every run and cost a few instructions.

/// The generator xorshift64* (Marsaglia 2003, Vigna 2016); far from secret, and cheap beside an allocation.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that yields the sequence numbered `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from 0 up to, but without, `end`, which is at most 2^32.
    #[inline]
    pub fn below(&mut self, end: usize) -> usize {
        (((self.bits() >> 32) * end as u64) >> 32) as usize
    }

    /// A number from `first` to `last`, both included.
    #[inline]
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_both() {
        let mut random = Random::new(7);
        let mut seen = [false; 8];
        for _ in 0..1_000 {
            seen[random.between(3, 10) - 3] = true;
        }
        assert_eq!(seen, [true; 8], "seed 7");
    }

    #[test]
    fn equal_seeds_give_equal_sequences() {
        let (mut a, mut b) = (Random::new(42), Random::new(42));
        assert!((0..100).all(|_| a.bits() == b.bits()), "seed 42");
    }
}
