//! Which runs of a slab table are whole.
//!
//! A table that was captured while threads went on is a mixture of several moments, by pages. Runs that something in
//! the commit refers to were there all the time, with all their entries; so of others nothing is lost when they are
//! dropped. Of overlapping runs the one with the highest head stays, if it is whole.

use super::size_class::{Ladder, slab_units};
use crate::format::slab_entry::{SlabEntry, large_tail_units, units_of_pages};

/// The words of a table, in a heap or in a copy.
pub(crate) trait SlabTable {
    fn word(&self, unit: usize) -> u64;
    /// Makes a unit's entry free.
    fn clear(&mut self, unit: usize);
}

impl SlabTable for &mut [u64] {
    fn word(&self, unit: usize) -> u64 {
        self.get(unit).copied().unwrap_or(0)
    }

    fn clear(&mut self, unit: usize) {
        if let Some(word) = self.get_mut(unit) {
            *word = 0;
        }
    }
}

/// What is wrong with a word of a table of `units` units of a heap with that ladder, looked at by itself: nothing that was ever
/// stored.
pub(crate) fn head_flaw(word: u64, unit: usize, units: usize, ladder: Ladder) -> Option<&'static str> {
    let room = units.saturating_sub(unit);
    match SlabEntry::decode(word) {
        None => Some("unknown entry"),
        Some(SlabEntry::SlabHead { class }) => match class as usize {
            class if class >= ladder.classes() => Some("no such size class"),
            class if unit % slab_units(class) != 0 => Some("a slab that is not aligned"),
            class if slab_units(class) > room => Some("a slab that reaches past the end"),
            _ => None,
        },
        Some(SlabEntry::LargeHead { len_pages: 0 }) => Some("a large object without pages"),
        Some(SlabEntry::LargeHead { len_pages }) if units_of_pages(len_pages) > room => {
            Some("a large object that reaches past the end")
        }
        Some(_) => None,
    }
}

/// Makes the heads free whose runs are not whole, from the last to the first: so the nearest head behind each is known.
/// Returns how many.
///
/// `ladder` is the heap's. `damaged` is told of words that make no sense; unless it fails, they count as free.
pub(crate) fn drop_broken_runs<E>(
    table: &mut impl SlabTable,
    units: usize,
    ladder: Ladder,
    mut damaged: impl FnMut(usize, &'static str) -> Result<(), E>,
) -> Result<u64, E> {
    let mut next_head = units;
    let mut dropped = 0;
    for unit in (0..units).rev() {
        let word = table.word(unit);
        if let Some(what) = head_flaw(word, unit, units, ladder) {
            damaged(unit, what)?;
            table.clear(unit);
            continue;
        }
        let is_tail = |tail: usize, expected: SlabEntry| table.word(tail) == expected.encode();
        let is_whole = match SlabEntry::decode(word) {
            Some(SlabEntry::SlabHead { class }) => {
                let len = slab_units(class as usize);
                unit + len <= next_head
                    && (1..len).all(|back| is_tail(unit + back, SlabEntry::SlabTail { back: back as u64 }))
            }
            Some(SlabEntry::LargeHead { len_pages }) => {
                let len = units_of_pages(len_pages);
                unit + len <= next_head
                    && large_tail_units(unit, len)
                        .all(|tail| is_tail(tail, SlabEntry::LargeTail { back: (tail - unit) as u64 }))
            }
            _ => continue,
        };
        next_head = unit;
        if !is_whole {
            table.clear(unit);
            dropped += 1;
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(words: &mut [u64]) -> (u64, Vec<usize>) {
        whole_in(Ladder::Usual, words)
    }

    fn whole_in(ladder: Ladder, words: &mut [u64]) -> (u64, Vec<usize>) {
        let mut flaws = Vec::new();
        let units = words.len();
        let dropped = drop_broken_runs(&mut { words }, units, ladder, |unit, _| {
            flaws.push(unit);
            Ok::<(), ()>(())
        });
        (dropped.unwrap(), flaws)
    }

    #[test]
    fn whole_runs_stay_and_broken_and_damaged_ones_go() {
        let slab = [SlabEntry::SlabHead { class: 0 }, SlabEntry::SlabTail { back: 1 }].map(SlabEntry::encode);
        let large = [SlabEntry::LargeHead { len_pages: 9 }, SlabEntry::LargeTail { back: 1 }].map(SlabEntry::encode);
        let table = [slab, large, [slab[0], 0], [99, slab[1]]].concat();
        let mut words = table.clone();
        assert_eq!(whole(&mut words), (1, vec![6]));
        assert_eq!(words, [slab, large, [0, 0], [0, slab[1]]].concat());
        // An object that would reach over a head behind it.
        let long = SlabEntry::LargeHead { len_pages: 17 }.encode();
        let mut words = [[long, large[1]], slab].concat();
        assert_eq!(whole(&mut words), (1, vec![]));
        assert_eq!(words, [[0, large[1]], slab].concat());
        let mut words = vec![0, slab[0], slab[1], SlabEntry::LargeHead { len_pages: 99 }.encode()];
        assert_eq!(whole(&mut words), (0, vec![3, 1]));
    }

    #[test]
    fn a_class_between_the_usual_ones_is_damage_unless_the_ladder_is_the_fine_one() {
        for (class, usual, fine) in
            [(95, vec![], vec![]), (96, vec![0], vec![]), (175, vec![0], vec![]), (176, vec![0], vec![0])]
        {
            let words = || {
                let units = slab_units(usize::from(class).min(175)) as u64;
                let mut words: Vec<_> = (0..units).map(|back| SlabEntry::SlabTail { back }.encode()).collect();
                words[0] = SlabEntry::SlabHead { class }.encode();
                words
            };
            assert_eq!(whole_in(Ladder::Usual, &mut words()), (0, usual), "{class}");
            assert_eq!(whole_in(Ladder::Fine, &mut words()), (0, fine), "{class}");
        }
    }

    #[test]
    fn words_of_any_kind_are_no_panic() {
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            let mut words: Vec<u64> = (0..20)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    match state % 7 {
                        0 => state,
                        1 => u64::MAX << (state >> 58),
                        kind => (kind - 2) | (state >> 40 & 0xFF) << 8 | (state >> 50 & 31) << 16,
                    }
                })
                .collect();
            let ladder = if state >> 33 & 1 == 0 { Ladder::Usual } else { Ladder::Fine };
            whole_in(ladder, &mut words);
            let again = words.clone();
            assert_eq!(whole_in(ladder, &mut words), (0, vec![]));
            assert_eq!(words, again);
        }
    }
}
