//! Which reads are counted: one of many, chosen by lot.
//!
//! A thread counts down to its next sample and then draws how far the next one is, from one to twice the interval; so a loop whose length
//! is a multiple of the interval is seen whole, as any other. While nobody wants samples a read costs a load and a
//! test more; otherwise also a decrement in memory of its thread.

use crate::alloc::{heat, tracts};
use crate::sync::{AtomicU32, Ordering};
use core::cell::Cell;

/// Reads from one sample to the next, on average; zero if nobody wants samples.
static INTERVAL: AtomicU32 = AtomicU32::new(0);

/// The longest interval.
pub(crate) const LONGEST: u32 = 1 << 20;

std::thread_local! {
    /// Reads until the next sample.
    static LEFT: Cell<u32> = const { Cell::new(1) };
    /// What the next number is made of.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// From now on one read of so many is counted; none if it is zero.
pub(crate) fn set_interval(interval: u32) {
    // Relaxed: a setting.
    INTERVAL.store(interval.min(LONGEST), Ordering::Relaxed);
}

/// Called with each read: whether it is to be [noted](note).
#[inline(always)]
#[must_use]
pub(crate) fn is_due() -> bool {
    // Relaxed: a setting.
    if INTERVAL.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let left = LEFT.get().wrapping_sub(1);
    LEFT.set(left);
    left == 0
}

/// A read of the value at `location`, to which the entry at `entry` leads, is counted; the caller has a pin.
#[cold]
#[inline(never)]
pub(crate) fn note(entry: usize, location: usize) {
    LEFT.set(next());
    if let Some(table) = heat::table_at(entry) {
        table.note(entry, tracts::is_hot_at(location));
    }
}

/// How many reads the next sample is away.
fn next() -> u32 {
    let interval = INTERVAL.load(Ordering::Relaxed);
    // SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014), each thread from a start of its own.
    let state = match STATE.get() {
        0 => LEFT.with(|left| core::ptr::from_ref(left).addr() as u64),
        state => state,
    }
    .wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(state);
    let mut mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    let range = (2 * u64::from(interval)).saturating_sub(1).max(1);
    1 + (((mixed >> 32) * range) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_at_random_distances_that_are_the_interval_on_average() {
        // No other test of this process sets it.
        for interval in [1, 2, 64, 1000] {
            set_interval(interval);
            let drawn: Vec<u32> = (0..20_000).map(|_| next()).collect();
            set_interval(0);
            assert!(drawn.iter().all(|&number| (1..2 * interval).contains(&number)), "{interval}");
            let mean = drawn.iter().map(|&number| f64::from(number)).sum::<f64>() / drawn.len() as f64;
            assert!((mean / f64::from(interval) - 1.0).abs() < 0.03, "{interval}: {mean}");
        }
        assert!(!is_due());
    }
}
