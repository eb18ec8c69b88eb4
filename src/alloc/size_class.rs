//! Size classes: which block sizes there are, and how slabs of them are cut.
//!
//! Sixteen-byte steps up to 128 bytes, then eight steps to each doubling, so a block is at most 12.5 % larger than what
//! was asked for (above 128 bytes), up to 256 KiB. Anything larger is a large object.
//!
//! # Invariants
//! - **C1** `class_size(class_of(n)) >= n` and `class_size(class_of(n) - 1) < n`.
//! - **C2** A size rounded up to a power-of-two alignment has a class whose size is a multiple of that alignment:
//!   classes between two powers of two are all the multiples of an eighth of the lower one, so either the step is a
//!   multiple of the alignment, or the rounded size is itself a class. Slabs are aligned to their own size, so blocks
//!   at multiples of the class size are aligned too.
//! - **C3** `index_in_slab(class, offset)` is `offset / class_size(class)` for every offset in a slab.

pub(crate) use crate::format::soft::CLASSES;
use crate::format::{PAGE, UNIT};

/// Largest block that lies in a slab, in bytes; what is larger is a large object.
pub(crate) const MAX_SMALL: usize = 256 << 10;

/// What all blocks are aligned to.
pub(crate) const LEAST_ALIGN: usize = 16;

/// The class of blocks for `size` bytes, at most [`MAX_SMALL`]; none shares the class of one.
#[cfg(test)]
pub(crate) const fn class_of(size: usize) -> usize {
    class_of_last(size.saturating_sub(1))
}

/// Sizes up to this one find their class in a table.
pub(crate) const LOOKED_UP: usize = 16 * CLASS_OF_SIXTEENTH.len();

/// The class of blocks whose last wanted byte is at `last`, which is below [`MAX_SMALL`].
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

const CLASS_OF_SIXTEENTH: [u8; 64] = {
    let mut table = [0; 64];
    let mut sixteenth = 0;
    while sixteenth < table.len() {
        table[sixteenth] = computed_class(sixteenth * 16) as u8;
        sixteenth += 1;
    }
    table
};

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
    } else {
        let doubling = class / 8 - 1;
        (9 + class % 8) << (doubling + 4)
    }
}

const CLASS: [Class; CLASSES] = {
    let mut table = [Class { size: 0, blocks: 0, slab_units: 0, magazine: 0, reciprocal: 0 }; CLASSES];
    let mut class = 0;
    while class < CLASSES {
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
pub(crate) const MAGAZINE_START: [u32; CLASSES + 1] = {
    let mut starts = [0; CLASSES + 1];
    let mut class = 0;
    while class < CLASSES {
        starts[class + 1] = starts[class] + CLASS[class].magazine;
        class += 1;
    }
    starts
};

const _: () = assert!(class_of_last(MAX_SMALL - 1) == CLASSES - 1 && size_of_class(CLASSES - 1) == MAX_SMALL);
const _: () = assert!(CLASS[0].blocks as usize * 16 == 2 * UNIT && MAX_SMALL % PAGE == 0);

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for size in 1..=MAX_SMALL {
            let class = class_of(size);
            assert!(class_size(class) >= size && (class == 0 || class_size(class - 1) < size), "{size}");
        }
        assert_eq!(class_of_last(0), 0);
    }

    #[test]
    fn waste_is_at_most_an_eighth_above_128_bytes_and_small_on_average() {
        let mut waste = 0.0;
        for size in 129..=MAX_SMALL {
            let block = class_size(class_of(size));
            assert!((block - size) * 8 <= block, "{size} in {block}");
            waste += (block - size) as f64 / block as f64;
        }
        assert!(waste / ((MAX_SMALL - 128) as f64) < 0.05);
    }

    #[test]
    fn sizes_rounded_to_an_alignment_give_aligned_blocks() {
        for align in (0..=18).map(|power| 1_usize << power) {
            for size in (1..=MAX_SMALL).step_by(7).chain([align, align + 1]) {
                let rounded = size.next_multiple_of(align);
                if rounded <= MAX_SMALL {
                    let class = class_of(rounded);
                    assert_eq!(class_size(class) % align, 0);
                    assert!(slab_units(class) * UNIT >= align);
                }
            }
        }
    }

    #[test]
    fn the_reciprocal_divides_exactly() {
        for class in 0..CLASSES {
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
        for class in 0..CLASSES {
            let bytes = slab_units(class) * UNIT;
            let used = slab_blocks(class) as usize * class_size(class);
            assert!(used <= bytes && slab_blocks(class) >= 4 && bytes - used <= bytes / 10, "{class}");
            assert!(slab_units(class).is_power_of_two() && slab_units(class) <= 64);
        }
    }
}
