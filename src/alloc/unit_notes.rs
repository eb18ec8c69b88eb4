//! Notes of units, which any number of threads make while one takes them.
//!
//! A note is a bit in a word of 64 units; a second level has a bit for each such word. What is noted was made ready before; whoever
//! takes a note sees it ready.
//!
//! # Invariants
//! - **J1** Who takes the notes finds every unit whose note was complete before, unless somebody has found it since it was made ready.
//!
//! # Volatile
//! All of it.

use crate::sync::{AtomicU64, Ordering};

/// Makes a note.
#[inline]
pub(super) fn note_unit(summaries: &[AtomicU64], words: &[AtomicU64], unit: usize) {
    let (Some(word), Some(summary)) = (words.get(unit / 64), summaries.get(unit / 4096)) else { return };
    // Release pairs with the Acquire in `take_units`, where the words are taken the other way round. Also if the bits are set:
    // who set them may have done so for somebody who has taken them since.
    word.fetch_or(1 << (unit % 64), Ordering::Release);
    summary.fetch_or(1 << (unit / 64 % 64), Ordering::Release);
}

/// Takes the notes, and calls `found` for each unit.
pub(super) fn take_units(summaries: &[AtomicU64], words: &[AtomicU64], mut found: impl FnMut(usize)) {
    for (at, summary) in summaries.iter().enumerate() {
        // Relaxed: what is not there yet, is there for who takes the notes next. Nobody who waits for this one has made it
        // just now.
        if summary.load(Ordering::Relaxed) == 0 {
            continue;
        }
        for word in bits(summary.swap(0, Ordering::Acquire)).map(|bit| at * 64 + bit) {
            let noted = words.get(word).map_or(0, |word| word.swap(0, Ordering::Acquire));
            bits(noted).for_each(|bit| found(word * 64 + bit));
        }
    }
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Makes two blocks in one unit, by two threads, while a third takes the notes; when all are done the notes are taken again.
    #[test]
    fn loom_no_block_is_missed_by_those_who_take_the_notes() {
        loom::model(|| {
            let shared = Arc::new(([AtomicU64::new(0)], [AtomicU64::new(0)], [AtomicU64::new(0), AtomicU64::new(0)]));
            let make = |block: usize| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.2[block].store(1, Ordering::Release);
                    note_unit(&shared.0, &shared.1, 5);
                })
            };
            let take = |shared: &([AtomicU64; 1], [AtomicU64; 1], [AtomicU64; 2])| {
                take_units(&shared.0, &shared.1, |unit| {
                    assert_eq!(unit, 5);
                    for block in &shared.2 {
                        let _ = block.compare_exchange(1, 2, Ordering::AcqRel, Ordering::Acquire);
                    }
                });
            };
            let (first, second) = (make(0), make(1));
            take(&shared);
            first.join().unwrap();
            // Its note is complete: whatever the other one is at, it is sealed now.
            take(&shared);
            assert_eq!(shared.2[0].load(Ordering::Acquire), 2);
            second.join().unwrap();
            take(&shared);
            assert_eq!(shared.2[1].load(Ordering::Acquire), 2);
        });
    }
}
