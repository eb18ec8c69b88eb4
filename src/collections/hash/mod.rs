//! A hash function whose output is specified, so that a table in a file can be read by another build.
//!
//! [`SalHasher`] keeps two words, `state` and `key`, both made from a 64-bit seed. All arithmetic wraps at
//! 64 bits; `fold(a, b)` is the upper half of the 128-bit product `a * b`, xor its lower half; `word(i)` and
//! `half(i)` are the 8 and the 4 bytes at offset `i`, read as little-endian numbers on every CPU.
//!
//! | step | effect |
//! |---|---|
//! | start | `state = seed ^ P0`, `key = (rotate_left(seed, 32) ^ P1) | 1` |
//! | integer of up to 64 bits, zero-extended (signed: its two's complement) | `state = fold(state ^ x, key)` |
//! | pair `(a, b)` | `state = fold(state ^ a, key ^ b)` |
//! | integer of 128 bits | the pair (lower half, upper half) |
//! | `n` bytes | `state += n * P2`, then the rows below |
//! | `n` = 0; 1 to 3 | the pair `(0, 0)`; the pair (byte 0 + 256 * byte `n / 2`, byte `n - 1`) |
//! | `n` = 4 to 7; 8 to 16 | the pair (`half(0)`, `half(n - 4)`); the pair (`word(0)`, `word(n - 8)`) |
//! | `n` > 16 | the pairs (`word(i)`, `word(i + 8)`) for `i` = 0, 16, 32.. below `n - 16`, then the pair at `i = n - 16` |
//! | `n` > 64 | before that row, [lanes](SalHasher) of 16 bytes take as many blocks of 64 bytes as leave a byte |
//! | end | the result is `fold(state, P2)` |
//!
//! `P0`, `P1`, `P2` are `0x243f_6a88_85a3_08d3`, `0x1319_8a2e_0370_7344` and `0xa409_3822_299f_31d1`, the first words
//! of the fraction of pi, the last made odd. One product is not enough: for some seeds it sends a thousand evenly
//! spaced keys to ten positions; after the second no seed and no spacing tried is worse than chance. So a table may
//! take its tag from the top and its position from the bottom. The function is meant against accidents; the secret
//! seed makes collisions hard to prepare, but it is no cryptographic promise.
//!
//! What `Hash` of a type of the standard library feeds into a hasher is *not* specified and may change with
//! the compiler; `fingerprint.rs` notices that.

mod fingerprint;
mod hasher;

#[cfg(test)]
pub(crate) use fingerprint::override_fingerprint;
pub(crate) use fingerprint::{UNKNOWN_FINGERPRINT, fingerprint};
pub use hasher::{SalHashBuilder, SalHasher};
