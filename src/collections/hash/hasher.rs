//! The hasher itself; its output is specified in the [module above](super).

use core::hash::{BuildHasher, Hasher};
use std::hash::RandomState;

/// The first three words of the fraction of pi: numbers nobody chose.
const P0: u64 = 0x243f_6a88_85a3_08d3;
const P1: u64 = 0x1319_8a2e_0370_7344;
/// Odd, so that multiplying by it loses nothing.
const P2: u64 = 0xa409_3822_299f_31d1;

/// The halves of the 128-bit product of `a` and `b`, xored.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// The eight bytes of `bytes` from `at` on.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a range of eight"))
}

/// The four bytes of `bytes` from `at` on.
#[inline(always)]
fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a range of four")))
}

/// A fast hasher of specified output.
///
/// Inputs of more than 64 bytes go through four lanes while more than 64 bytes are left: lane `i` starts as
/// `state + i * P0` and takes the pair at offset `16 * i` of each block of 64; then `state` is lane 0, and
/// lanes 1 to 3 are fed to it as integers. What is left, 1 to 64 bytes, follows by the rules for its size (without
/// its length being added again).
///
/// ```
/// use core::hash::{BuildHasher, Hasher};
/// use sal::collections::hash::SalHashBuilder;
///
/// let mut hasher = SalHashBuilder::with_seed(7).build_hasher();
/// hasher.write(b"the same on every machine");
/// assert_eq!(hasher.finish(), 0x80ef_9076_e88f_269f);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SalHasher {
    state: u64,
    key: u64,
}

impl SalHasher {
    /// A hasher that has seen nothing.
    #[inline]
    pub const fn with_seed(seed: u64) -> Self {
        Self { state: seed ^ P0, key: (seed.rotate_left(32) ^ P1) | 1 }
    }

    #[inline(always)]
    fn integer(&mut self, x: u64) {
        self.state = fold(self.state ^ x, self.key);
    }

    #[inline(always)]
    fn pair(&mut self, a: u64, b: u64) {
        self.state = fold(self.state ^ a, self.key ^ b);
    }

    /// Takes 0 to 16 bytes.
    #[inline(always)]
    fn short(&mut self, bytes: &[u8]) {
        let n = bytes.len();
        if n >= 8 {
            self.pair(word(bytes, 0), word(bytes, n - 8));
        } else if n >= 4 {
            self.pair(half(bytes, 0), half(bytes, n - 4));
        } else if n > 0 {
            self.pair(u64::from(bytes[0]) | u64::from(bytes[n / 2]) << 8, u64::from(bytes[n - 1]));
        } else {
            self.pair(0, 0);
        }
    }

    /// Takes 17 to 64 bytes.
    #[inline(always)]
    fn medium(&mut self, bytes: &[u8]) {
        let last = bytes.len() - 16;
        let mut at = 0;
        while at < last {
            self.pair(word(bytes, at), word(bytes, at + 8));
            at += 16;
        }
        self.pair(word(bytes, last), word(bytes, last + 8));
    }

    /// Takes 65 bytes or more.
    #[inline(never)]
    fn long(&mut self, mut bytes: &[u8]) {
        let mut lanes = [0, 1, 2, 3].map(|i: u64| self.state.wrapping_add(i.wrapping_mul(P0)));
        while bytes.len() > 64 {
            let (block, rest) = bytes.split_at(64);
            for (i, lane) in lanes.iter_mut().enumerate() {
                *lane = fold(*lane ^ word(block, 16 * i), self.key ^ word(block, 16 * i + 8));
            }
            bytes = rest;
        }
        self.state = lanes[0];
        for lane in &lanes[1..] {
            self.integer(*lane);
        }
        if bytes.len() > 16 { self.medium(bytes) } else { self.short(bytes) }
    }
}

impl Hasher for SalHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.state = self.state.wrapping_add((bytes.len() as u64).wrapping_mul(P2));
        if bytes.len() <= 16 {
            self.short(bytes);
        } else if bytes.len() <= 64 {
            self.medium(bytes);
        } else {
            self.long(bytes);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        fold(self.state, P2)
    }

    #[inline]
    fn write_u8(&mut self, x: u8) {
        self.integer(u64::from(x));
    }
    #[inline]
    fn write_u16(&mut self, x: u16) {
        self.integer(u64::from(x));
    }
    #[inline]
    fn write_u32(&mut self, x: u32) {
        self.integer(u64::from(x));
    }
    #[inline]
    fn write_u64(&mut self, x: u64) {
        self.integer(x);
    }
    #[inline]
    fn write_u128(&mut self, x: u128) {
        self.pair(x as u64, (x >> 64) as u64);
    }
    #[inline]
    fn write_usize(&mut self, x: usize) {
        self.integer(x as u64);
    }
    // The signed twins of the trait cast to the unsigned method of the same width, which is what is specified.
}

/// Makes [`SalHasher`]s from one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct SalHashBuilder {
    seed: u64,
}

impl SalHashBuilder {
    /// A builder whose hashers give the same output in every process.
    #[inline]
    pub const fn with_seed(seed: u64) -> Self {
        Self { seed }
    }

    /// A builder with a seed from the randomness the standard library gives its own maps.
    pub fn random() -> Self {
        Self { seed: RandomState::new().build_hasher().finish() }
    }

    /// The seed, to build equal hashers later.
    #[inline]
    pub const fn seed(&self) -> u64 {
        self.seed
    }
}

impl Default for SalHashBuilder {
    /// As [`random`](Self::random).
    fn default() -> Self {
        Self::random()
    }
}

impl BuildHasher for SalHashBuilder {
    type Hasher = SalHasher;

    #[inline]
    fn build_hasher(&self) -> SalHasher {
        SalHasher::with_seed(self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
        let mut hasher = SalHasher::with_seed(seed);
        hasher.write(bytes);
        hasher.finish()
    }

    fn hash_u64(seed: u64, x: u64) -> u64 {
        let mut hasher = SalHasher::with_seed(seed);
        hasher.write_u64(x);
        hasher.finish()
    }

    /// Computed by a second implementation of the specification, in another language.
    #[test]
    fn output_is_the_specified_one() {
        const GOLDEN: &[(u64, usize, u64)] = &[
            (0, 0, 0x480f_e496_6428_8f5d),
            (0, 5, 0xc0d1_457c_63bd_d622),
            (0, 12, 0x12b1_6fee_8bc2_409f),
            (0, 40, 0x80f9_2bd7_307e_2942),
            (0, 100, 0xa82e_cd64_ccb0_803e),
            (7, 0, 0x3a0a_2496_81c1_4d59),
            (7, 1, 0xf6e9_66be_9689_d56e),
            (7, 2, 0x232b_5c62_f71f_46a1),
            (7, 3, 0xbad7_4215_d8b0_3fb3),
            (7, 4, 0x7e79_f2f7_5b86_1fc5),
            (7, 7, 0xece1_fea2_8192_709d),
            (7, 8, 0xb698_6598_4654_45ff),
            (7, 15, 0xf831_65e0_b6f2_5801),
            (7, 16, 0xdfc2_7b66_1766_031c),
            (7, 17, 0xeb45_ee5e_bf73_1816),
            (7, 31, 0xe50d_35d5_f6f8_54fe),
            (7, 32, 0x3cd2_7cb0_0ba3_3f2d),
            (7, 33, 0x2444_9563_07dc_cf8f),
            (7, 48, 0x24e1_db50_cbc1_13ff),
            (7, 63, 0xfb24_0378_9ef4_0adf),
            (7, 64, 0x3a72_c85d_2f1b_36d0),
            (7, 65, 0x0c91_d264_b3cd_a78b),
            (7, 80, 0xb345_ed33_c3ac_5913),
            (7, 81, 0xb4b0_3f39_b0d8_af09),
            (7, 128, 0x8089_8851_6390_c916),
            (7, 129, 0x1ea9_9f67_748e_8020),
            (7, 200, 0x47b3_663f_3fc6_f990),
            (7, 300, 0x6c5b_06d7_c6cd_780e),
            (0x123456789abcdef, 0, 0x1f8b_17fc_2a7d_45c8),
            (0x123456789abcdef, 5, 0x3c1d_39de_b879_567d),
            (0x123456789abcdef, 12, 0x81ba_b4bd_842b_5839),
            (0x123456789abcdef, 40, 0x9d80_08b6_fca6_888f),
            (0x123456789abcdef, 100, 0xa555_f0d4_8552_b562),
        ];
        let bytes: Vec<u8> = (0..300u32).map(|i| (i * 7 + 3) as u8).collect();
        for &(seed, len, expected) in GOLDEN {
            assert_eq!(hash_bytes(seed, &bytes[..len]), expected, "seed {seed:#x}, {len} bytes");
        }
        assert_eq!(hash_u64(0, 0), 0x480f_e496_6428_8f5d);
        assert_eq!(hash_u64(7, 1 << 63), 0x525f_5f61_7e45_aebb);
        let mut hasher = SalHasher::with_seed(7);
        hasher.write_u8(200);
        hasher.write_i16(-2);
        hasher.write_u32(70_000);
        hasher.write_i64(-1);
        hasher.write_u128(1 << 64 | 5);
        hasher.write_usize(9);
        assert_eq!(hasher.finish(), 0xfc24_080c_f2a5_a614);
    }

    #[test]
    fn every_length_gives_another_hash() {
        let zeros = [0u8; 400];
        let hashes: HashSet<u64> = (0..=400).map(|n| hash_bytes(99, &zeros[..n])).collect();
        assert_eq!(hashes.len(), 401);
    }

    #[test]
    fn every_byte_matters_at_every_length() {
        for n in 0..200 {
            let mut bytes = vec![0x55u8; n];
            let plain = hash_bytes(3, &bytes);
            for i in 0..n {
                bytes[i] ^= 1;
                assert_ne!(hash_bytes(3, &bytes), plain, "byte {i} of {n}");
                bytes[i] ^= 1;
            }
        }
    }

    /// For 2^14 keys over 2^14 buckets a random function leaves 36.8 % of the buckets empty.
    #[test]
    fn regular_keys_spread_over_low_and_high_bits() {
        const N: u64 = 1 << 14;
        for seed in [0, 1, 0xdead_beef, u64::MAX] {
            for shift in [0, 1, 3, 8, 12, 20, 32, 40, 50] {
                let hashes: Vec<u64> = (0..N).map(|i| hash_u64(seed, i << shift)).collect();
                let low: HashSet<u64> = hashes.iter().map(|h| h % N).collect();
                let high: HashSet<u64> = hashes.iter().map(|h| h >> 50).collect();
                for (name, used) in [("low", low.len()), ("high", high.len())] {
                    let empty = 1.0 - used as f64 / N as f64;
                    assert!(empty < 0.40, "{name} bits, seed {seed:#x}, shift {shift}: {empty:.3} empty");
                }
            }
        }
    }

    #[test]
    fn random_builders_differ() {
        assert_ne!(SalHashBuilder::random(), SalHashBuilder::random());
    }
}
