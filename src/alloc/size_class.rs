//! Size classes: which block sizes there are, and how slabs of them are cut.
//!
//! Sixteen-byte steps up to 128 bytes, then eight steps to each doubling, so a block is at most 12.5 % larger than what
//! was asked for (above 128 bytes), up to 256 KiB. Anything larger is a large object.
//!
//! A heap with the fine ladder has a class more in the middle of each step from 256 bytes on: sixteen steps to each
//! doubling, and blocks less than 6.25 % larger than what was asked for. The class in the lower half of the step that leads
//! to class `c` is `c + FINER_CLASSES`, so that of two classes the one with the higher number need not be the larger one.
//!
//! # Invariants
//! - **C1** A ladder's class for `n` bytes is the smallest of its classes whose size is at least `n`.
//! - **C2** A size rounded up to a power-of-two alignment has a class whose size is a multiple of that alignment:
//!   classes between two powers of two are all the multiples of an eighth of the lower one, or of a sixteenth, so either the
//!   step is a multiple of the alignment, or the rounded size is itself a class. Slabs are aligned to their own size, so
//!   blocks at multiples of the class size are aligned too.
//! - **C3** `index_in_slab(class, offset)` is `offset / class_size(class)` for every offset in a slab.
//! - **C4** Sizes that share a class in the fine ladder share one in the usual ladder.

pub(crate) use crate::format::ladder::{ALL_CLASSES, CLASSES, FINER_CLASSES, Ladder};
use crate::format::{PAGE, UNIT};

/// Largest block that lies in a slab, in bytes; what is larger is a large object.
pub(crate) const MAX_SMALL: usize = 256 << 10;

/// What all blocks are aligned to.
pub(crate) const LEAST_ALIGN: usize = 16;

/// The usual class of blocks for `size` bytes, at most [`MAX_SMALL`]; none shares the class of one.
#[cfg(test)]
pub(crate) const fn class_of(size: usize) -> usize {
    class_of_last(size.saturating_sub(1))
}

/// Sizes up to this one find their class in a table.
pub(crate) const LOOKED_UP: usize = 16 * CLASS_OF_SIXTEENTH.len();

/// The usual class of blocks whose last wanted byte is at `last`, which is below [`MAX_SMALL`].
///
/// A look-up below 1 KiB, where most allocations are; arithmetic above.
#[inline(always)]
pub(crate) const fn class_of_last(last: usize) -> usize {
    if last < LOOKED_UP { CLASS_OF_SIXTEENTH[last / 16] as usize } else { computed_class(last) }
}

/// As [`class_of_last`], where most sizes are larger.
#[inline(always)]
pub(crate) const fn computed_class(last: usize) -> usize {
    let log2 = 63 - (last as u64 | 128).leading_zeros() as usize;
    ((log2 - 7) << 3) + (last >> (log2 - 3))
}

/// As [`class_of_last`], in the fine ladder.
#[inline(always)]
pub(crate) const fn fine_class_of_last(last: usize) -> usize {
    if last < LOOKED_UP { FINE_CLASS_OF_SIXTEENTH[last / 16] as usize } else { computed_fine_class(last) }
}

/// As [`computed_class`], in the fine ladder.
#[inline(always)]
pub(crate) const fn computed_fine_class(last: usize) -> usize {
    let class = computed_class(last);
    let log2 = 63 - (last as u64 | 128).leading_zeros() as usize;
    // The bit below the three that count steps: in which half of its step the byte lies.
    if last < FINER_ABOVE || last >> (log2 - 4) & 1 != 0 { class } else { class + FINER_CLASSES }
}

/// Up to this size the ladders are the same.
const FINER_ABOVE: usize = 256;

const CLASS_OF_SIXTEENTH: [u8; 64] = {
    let mut table = [0; 64];
    let mut sixteenth = 0;
    while sixteenth < table.len() {
        table[sixteenth] = computed_class(sixteenth * 16) as u8;
        sixteenth += 1;
    }
    table
};

const FINE_CLASS_OF_SIXTEENTH: [u8; 64] = {
    let mut table = [0; 64];
    let mut sixteenth = 0;
    while sixteenth < table.len() {
        table[sixteenth] = computed_fine_class(sixteenth * 16) as u8;
        sixteenth += 1;
    }
    table
};

impl Ladder {
    /// As [`computed_class`] or [`computed_fine_class`].
    #[inline(always)]
    pub(crate) const fn class_of_last(self, last: usize) -> usize {
        match self {
            Self::Usual => computed_class(last),
            Self::Fine => computed_fine_class(last),
        }
    }

    /// The class with so many smaller ones in the ladder.
    pub(crate) const fn class_at(self, rank: usize) -> usize {
        const SAME: usize = FINER_ABOVE / 16;
        match self {
            Self::Fine if rank >= SAME => {
                let class = SAME + (rank - SAME) / 2;
                if rank % 2 == 0 { class + FINER_CLASSES } else { class }
            }
            _ => rank,
        }
    }
}

/// Bytes of a block.
#[inline(always)]
pub(crate) const fn class_size(class: usize) -> usize {
    CLASS[class].size as usize
}

/// The largest alignment that leads to the class (C2), which a block of it that lies in no slab must have too.
pub(crate) const fn class_align(class: usize) -> usize {
    1 << class_size(class).trailing_zeros()
}

/// What is known of a class.
#[derive(Clone, Copy)]
struct Class {
    size: u32,
    /// Blocks of a slab.
    blocks: u32,
    /// Units of a slab, a power of two.
    slab_units: u32,
    /// Blocks that a thread keeps at hand.
    magazine: u32,
    /// 2^40 divided by the size, rounded up.
    reciprocal: u64,
}

const RECIPROCAL_SHIFT: u32 = 40;

const fn size_of_class(class: usize) -> usize {
    if class < 8 {
        (class + 1) * 16
    } else if class >= CLASSES {
        // Half a step less than the class that the step leads to.
        let above = class - FINER_CLASSES;
        size_of_class(above) - (8 << (above / 8 - 1))
    } else {
        let doubling = class / 8 - 1;
        (9 + class % 8) << (doubling + 4)
    }
}

const CLASS: [Class; ALL_CLASSES] = {
    let mut table = [Class { size: 0, blocks: 0, slab_units: 0, magazine: 0, reciprocal: 0 }; ALL_CLASSES];
    let mut class = 0;
    while class < ALL_CLASSES {
        let size = size_of_class(class);
        // 64 KiB to 2 MiB; as small as gives 16 blocks, or 4 of the large ones, and leaves little over.
        let (least, over) = if size <= 16 << 10 { (16, 32) } else { (4, 16) };
        let mut slab_units = 2;
        while slab_units < 64 {
            let bytes = slab_units * UNIT;
            if bytes / size >= least && bytes % size <= bytes / over {
                break;
            }
            slab_units *= 2;
        }
        let budget = MAX_SMALL / size;
        table[class] = Class {
            size: size as u32,
            blocks: (slab_units * UNIT / size) as u32,
            slab_units: slab_units as u32,
            magazine: if budget > 128 {
                128
            } else if budget < 2 {
                2
            } else {
                budget as u32
            },
            reciprocal: (1_u64 << RECIPROCAL_SHIFT).div_ceil(size as u64),
        };
        class += 1;
    }
    table
};

/// Blocks in a slab of the class.
#[inline(always)]
pub(crate) const fn slab_blocks(class: usize) -> u32 {
    CLASS[class].blocks
}

/// Units of a slab of the class, a power of two; slabs are aligned to their size.
#[inline(always)]
pub(crate) const fn slab_units(class: usize) -> usize {
    CLASS[class].slab_units as usize
}

/// Which block of its slab an offset (in bytes from the slab's start) falls into (C3).
#[inline(always)]
pub(crate) const fn index_in_slab(class: usize, offset: usize) -> u32 {
    ((offset as u64 * CLASS[class].reciprocal) >> RECIPROCAL_SHIFT) as u32
}

/// Where each class's magazine begins in a thread heap's slots, and in the last place their number.
pub(crate) const MAGAZINE_START: [u32; ALL_CLASSES + 1] = {
    let mut starts = [0; ALL_CLASSES + 1];
    let mut class = 0;
    while class < ALL_CLASSES {
        starts[class + 1] = starts[class] + CLASS[class].magazine;
        class += 1;
    }
    starts
};

const _: () = assert!(class_of_last(MAX_SMALL - 1) == CLASSES - 1 && size_of_class(CLASSES - 1) == MAX_SMALL);
const _: () = assert!(computed_fine_class(FINER_ABOVE) == CLASSES && size_of_class(CLASSES) == FINER_ABOVE + 16);
const _: () = assert!(size_of_class(ALL_CLASSES - 1) == MAX_SMALL - (8 << 10));
const _: () = assert!(CLASS[0].blocks as usize * 16 == 2 * UNIT && MAX_SMALL % PAGE == 0);

#[cfg(test)]
mod tests {
    use super::*;

    const LADDERS: [Ladder; 2] = [Ladder::Usual, Ladder::Fine];

    fn sizes(ladder: Ladder) -> Vec<usize> {
        (0..ladder.classes()).map(|rank| class_size(ladder.class_at(rank))).collect()
    }

    #[test]
    fn the_ladder_is_the_published_one() {
        let ladder: Vec<usize> = (0..CLASSES).map(class_size).collect();
        assert_eq!(
            ladder[..32],
            [
                16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448,
                480, 512, 576, 640, 704, 768, 832, 896, 960, 1024
            ]
        );
        assert_eq!(ladder[88..], [147_456, 163_840, 180_224, 196_608, 212_992, 229_376, 245_760, 262_144]);
        assert_eq!(sizes(Ladder::Usual), ladder);
    }

    #[test]
    fn the_fine_ladder_is_the_published_one() {
        let ladder = sizes(Ladder::Fine);
        let expected = (1..=16).map(|step| step * 16).chain((4..14).flat_map(|log2| (17..=32).map(move |n| n << log2)));
        assert_eq!(ladder, expected.collect::<Vec<usize>>());
        assert_eq!(
            ladder[14..50],
            [
                240, 256, 272, 288, 304, 320, 336, 352, 368, 384, 400, 416, 432, 448, 464, 480, 496, 512, 544, 576,
                608, 640, 672, 704, 736, 768, 800, 832, 864, 896, 928, 960, 992, 1024, 1088, 1152
            ]
        );
        assert_eq!(ladder[172..], [237_568, 245_760, 253_952, 262_144]);
        // Their numbers are in files.
        let finer = [96, 97, 103, 104, 111, 112, 168, 175].map(class_size);
        assert_eq!(finer, [272, 304, 496, 544, 992, 1088, 139_264, 253_952]);
        assert!((CLASSES..ALL_CLASSES).all(|class| class_size(class) < class_size(class - FINER_CLASSES)));
    }

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for ladder in LADDERS {
            let mut rank = 0;
            for size in 1..=MAX_SMALL {
                if class_size(ladder.class_at(rank)) < size {
                    rank += 1;
                }
                let class = ladder.class_of_last(size - 1);
                assert_eq!(class, ladder.class_at(rank), "{size}");
                assert!(class_size(class) >= size && class < ladder.classes());
            }
            assert_eq!(rank, ladder.classes() - 1);
        }
        for last in 0..MAX_SMALL {
            assert_eq!(class_of_last(last), Ladder::Usual.class_of_last(last));
            assert_eq!(fine_class_of_last(last), Ladder::Fine.class_of_last(last));
        }
        assert_eq!((class_of(0), class_of_last(0), fine_class_of_last(0)), (0, 0, 0));
    }

    #[test]
    fn sizes_that_share_a_fine_class_share_a_usual_one() {
        for last in 1..MAX_SMALL {
            assert!(
                computed_fine_class(last - 1) != computed_fine_class(last)
                    || computed_class(last - 1) == computed_class(last)
            );
        }
    }

    /// Share of all bytes of blocks that was asked for, when each size above `from` is asked for as often as any other.
    fn utilisation(ladder: Ladder, from: usize) -> f64 {
        let used = |size: usize| size as f64 / class_size(ladder.class_of_last(size - 1)) as f64;
        (from + 1..=MAX_SMALL).map(used).sum::<f64>() / (MAX_SMALL - from) as f64
    }

    #[test]
    fn waste_is_at_most_an_eighth_above_128_bytes_and_small_on_average() {
        for size in 129..=MAX_SMALL {
            let block = class_size(class_of(size));
            assert!((block - size) * 8 <= block, "{size} in {block}");
        }
        assert!(utilisation(Ladder::Usual, 128) > 0.95);
    }

    #[test]
    fn waste_of_the_fine_ladder_is_below_a_sixteenth_above_256_bytes_and_its_utilisation_above_95_percent() {
        for size in 257..=MAX_SMALL {
            let block = class_size(computed_fine_class(size - 1));
            assert!((block - size) * 16 < block, "{size} in {block}");
        }
        assert!(utilisation(Ladder::Fine, 0) > 0.975);
        // Small sizes are not hidden by the many large ones: each doubling by itself.
        for log2 in 7..18 {
            let sizes = (1_usize << log2) + 1..=2 << log2;
            let used = |size: usize| size as f64 / class_size(computed_fine_class(size - 1)) as f64;
            let mean = sizes.clone().map(used).sum::<f64>() / sizes.count() as f64;
            assert!(mean > 0.95, "{mean} above {}", 1 << log2);
        }
    }

    #[test]
    fn sizes_rounded_to_an_alignment_give_aligned_blocks() {
        for ladder in LADDERS {
            for align in (0..=18).map(|power| 1_usize << power) {
                for size in (1..=MAX_SMALL).step_by(7).chain([align, align + 1]) {
                    let rounded = size.next_multiple_of(align);
                    if rounded <= MAX_SMALL {
                        let class = ladder.class_of_last(rounded - 1);
                        assert_eq!(class_size(class) % align, 0);
                        assert!(slab_units(class) * UNIT >= align && class_align(class) >= align);
                    }
                }
            }
        }
    }

    #[test]
    fn the_reciprocal_divides_exactly() {
        for class in 0..ALL_CLASSES {
            let size = class_size(class);
            for index in 0..slab_blocks(class) {
                let start = index as usize * size;
                assert_eq!(index_in_slab(class, start), index);
                assert_eq!(index_in_slab(class, start + size - 1), index);
            }
        }
    }

    #[test]
    fn slabs_leave_little_over() {
        for class in 0..ALL_CLASSES {
            let bytes = slab_units(class) * UNIT;
            let used = slab_blocks(class) as usize * class_size(class);
            assert!(used <= bytes && slab_blocks(class) >= 4 && bytes - used <= bytes / 10, "{class}");
            assert!(slab_units(class).is_power_of_two() && slab_units(class) <= 64);
        }
    }
}
