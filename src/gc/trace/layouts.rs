//! The byte maps of the containers, as far as following pointers needs them.
//!
//! Each container says the same in its own documentation, and asserts that its fields lie where these constants say. A container
//! whose layout changes gets another layout version; only the versions that are written here are known. That what is
//! written here finds exactly the blocks that [`Persist::visit_blocks`](crate::Persist::visit_blocks) names is what
//! `tests/traced_containers.rs` is about.
//!
//! | container | words |
//! |---|---|
//! | `SalVec`, `SalString` | address of the block or 0, length, capacity |
//! | `SalHashMap`, `SalHashSet` | address of the block or 0, slots, and others |
//! | `SalBTreeMap`, `SalBTreeSet` | address of the root or 0, height, length |
//! | `SalRc`, `SalBox` | address of the block, plus 1; the same for slices and text, whose block begins with the length |
//! | `Handle` | address of the entry, plus 1; the entry begins with the address of the value, which lies behind the word of its object |
//! | `CowVec` | pointer to the root or 0, pointer to the tail or 0, and others |
//! | `CowMap`, `CowSet` | pointer to the root or 0, length |
//! | `CowHashMap`, `CowHashSet` | pointer to the root or 0, kind of the root, and others |
//! | `Pool` | address of its control block, or 0 |
//! | `Gc`, `GcWeak` | a word that owns nothing |
//! | `Vec`, `Box` of allocator_api2 | as measured, which is in their descriptions |

/// A size and an alignment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) size: usize,
    pub(crate) align: usize,
}

impl Shape {
    pub(crate) const WORD: Self = Self { size: 8, align: 8 };
    pub(crate) const NOTHING: Self = Self { size: 0, align: 1 };

    /// Of a type.
    pub(crate) const fn of<T>() -> Self {
        Self { size: size_of::<T>(), align: align_of::<T>() }
    }

    /// So many side by side.
    pub(crate) const fn times(self, count: usize) -> Self {
        Self { size: self.size * count, align: self.align }
    }

    /// Where `next` lies behind this one in a `repr(C)` struct, and the struct of both.
    pub(crate) const fn then(self, next: Self) -> (usize, Self) {
        let at = self.size.next_multiple_of(next.align);
        let align = larger(self.align, next.align);
        (at, Self { size: (at + next.size).next_multiple_of(align), align })
    }

    /// The `repr(C)` union of both.
    pub(crate) const fn or(self, other: Self) -> Self {
        let align = larger(self.align, other.align);
        Self { size: larger(self.size, other.size).next_multiple_of(align), align }
    }
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Containers by the numbers that they were given, in `Node::Container`.
pub(crate) mod id {
    pub(crate) const OPTION: u64 = 0x01;
    pub(crate) const PHANTOM: u64 = 0x02;
    pub(crate) const VEC: u64 = 0x11;
    pub(crate) const BOX: u64 = 0x12;
    pub(crate) const SAL_VEC: u64 = 0x21;
    pub(crate) const SAL_STRING: u64 = 0x22;
    pub(crate) const COW_VEC: u64 = 0x25;
    pub(crate) const SAL_HASH_MAP: u64 = 0x31;
    pub(crate) const SAL_HASH_SET: u64 = 0x32;
    pub(crate) const SAL_BTREE_MAP: u64 = 0x33;
    pub(crate) const SAL_BTREE_SET: u64 = 0x34;
    pub(crate) const OFFSET: u64 = 0x41;
    pub(crate) const SAL_RC: u64 = 0x42;
    pub(crate) const SAL_BOX: u64 = 0x43;
    pub(crate) const SAL_RC_SLICE: u64 = 0x44;
    pub(crate) const SAL_RC_STR: u64 = 0x45;
    pub(crate) const SAL_BOX_SLICE: u64 = 0x46;
    pub(crate) const SAL_BOX_STR: u64 = 0x47;
    pub(crate) const HANDLE: u64 = 0x48;
    pub(crate) const HANDLE_SLICE: u64 = 0x49;
    pub(crate) const HANDLE_STR: u64 = 0x4A;
    pub(crate) const COW_HASH_MAP: u64 = 0x63;
    pub(crate) const COW_HASH_SET: u64 = 0x64;
    pub(crate) const COW_MAP: u64 = 0x71;
    pub(crate) const COW_SET: u64 = 0x73;
    pub(crate) const POOL: u64 = 0x91;
    pub(crate) const GC: u64 = 0x92;
    pub(crate) const GC_WEAK: u64 = 0x93;
}

/// The leaf that is a heap's name, four bytes long: see [`name_of`](crate::alloc::windows::name_of).
pub(crate) const HANDLE: u64 = 0x51;
pub(crate) const HANDLE_SIZE: usize = 4;

/// Whether a leaf with that number is one of this crate's, none of which leads anywhere: numbers, `bool`, `char`, floats, the
/// handle of a heap.
pub(crate) const fn is_plain_leaf(id: u64) -> bool {
    matches!(id, 0x01..=0x06 | 0x11..=0x16 | 0x21..=0x26 | 0x31..=0x36 | 0x41..=0x44 | HANDLE)
}

/// The entry that a handle leads to.
pub(crate) mod handle {
    pub(crate) const ENTRY: usize = 16;
    pub(crate) const LOCATION: usize = 0;
    pub(crate) const FORMER: usize = 8;
}

/// `SalVec`, and with bytes as elements `SalString`.
pub(crate) mod sal_vec {
    pub(crate) const SIZE: usize = 24;
    pub(crate) const BLOCK: usize = 0;
    pub(crate) const LEN: usize = 8;
    pub(crate) const CAPACITY: usize = 16;
}

/// `SalHashMap`: its block begins with a control byte for each slot, sixteen at least; then come the pairs.
pub(crate) mod sal_hash_map {
    use super::Shape;

    pub(crate) const SIZE: usize = 48;
    pub(crate) const BLOCK: usize = 0;
    pub(crate) const SLOTS: usize = 8;
    /// Fewest control bytes.
    pub(crate) const GROUP: usize = 16;

    /// Whether there may be so many slots.
    pub(crate) const fn is_possible(slots: u64) -> bool {
        slots.is_power_of_two() && slots >= 4 && slots < 1 << 48
    }

    /// Whether the slot of a control byte has a value.
    pub(crate) const fn is_full(control: u8) -> bool {
        control & 0x80 == 0
    }

    /// Where the pairs begin in the block.
    pub(crate) const fn pairs(slots: usize, align: usize) -> usize {
        let controls = if slots < GROUP { GROUP } else { slots };
        controls.next_multiple_of(if align < GROUP { GROUP } else { align })
    }

    pub(crate) const fn pair(key: Shape, value: Shape) -> (usize, Shape) {
        key.then(value)
    }
}

/// `SalBTreeMap` and its nodes, whose height nobody knows but who comes from above.
pub(crate) mod sal_btree_map {
    use super::Shape;

    pub(crate) const SIZE: usize = 24;
    pub(crate) const ROOT: usize = 0;
    pub(crate) const HEIGHT: usize = 8;
    /// More levels than any tree that fits into memory has.
    pub(crate) const MOST_LEVELS: u64 = 64;
    /// Most pairs of a node; it has one child more.
    pub(crate) const CAPACITY: usize = 15;

    /// Where the parts of a node lie.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Node {
        pub(crate) len: usize,
        pub(crate) keys: usize,
        pub(crate) values: usize,
        pub(crate) children: usize,
        pub(crate) leaf: Shape,
        pub(crate) internal: Shape,
    }

    pub(crate) const fn node(key: Shape, value: Shape) -> Node {
        // Between fields nothing is rounded up but for the next one.
        let (keys, _) = Shape::WORD.then(key);
        let values = (keys + key.size * CAPACITY).next_multiple_of(value.align);
        let align = Shape::WORD.or(key).or(value).align;
        let leaf = Shape { size: (values + value.size * CAPACITY).next_multiple_of(align), align };
        let (children, internal) = leaf.then(Shape::WORD.times(CAPACITY + 1));
        Node { len: 0, keys, values, children, leaf, internal }
    }
}

/// `CowMap` and its nodes, which say themselves how high they are.
pub(crate) mod cow_map {
    use super::Shape;

    pub(crate) const SIZE: usize = 16;
    pub(crate) const ROOT: usize = 0;
    /// Bytes behind the header of a node, unless elements are large.
    const BYTES: usize = 504;
    const LEAST_PAIRS: usize = 4;
    const LEAST_CHILDREN: usize = 8;

    /// Where the parts of a node lie. Length and height are of 16 bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Node {
        pub(crate) len: usize,
        pub(crate) height: usize,
        pub(crate) keys: usize,
        pub(crate) values: usize,
        pub(crate) children: usize,
        pub(crate) leaf_capacity: usize,
        pub(crate) branch_capacity: usize,
        pub(crate) whole: Shape,
    }

    const fn capacity(bytes: usize, key: usize, item: Shape, unpaired: usize) -> usize {
        if key + item.size == 0 {
            return BYTES / 8;
        }
        let mut len = bytes / (key + item.size) + unpaired;
        while ((len - unpaired) * key).next_multiple_of(item.align) + len * item.size > bytes {
            len -= 1;
        }
        len
    }

    pub(crate) const fn node(key: Shape, value: Shape) -> Node {
        let (_, leaf) = key.times(LEAST_PAIRS).then(value.times(LEAST_PAIRS));
        let (_, branch) = key.times(LEAST_CHILDREN - 1).then(Shape::WORD.times(LEAST_CHILDREN));
        let data = Shape { size: BYTES, align: 8 }.or(leaf).or(branch);
        let (keys, whole) = Shape { size: 8, align: 4 }.then(data);
        let leaf_capacity = capacity(data.size, key.size, value, 0);
        let branch_capacity = capacity(data.size, key.size, Shape::WORD, 1);
        Node {
            len: 0,
            height: 2,
            keys,
            values: keys + (leaf_capacity * key.size).next_multiple_of(value.align),
            children: keys + ((branch_capacity - 1) * key.size).next_multiple_of(8),
            leaf_capacity,
            branch_capacity,
            whole,
        }
    }
}

/// `CowVec`, its branches, its leaves, which are nothing but elements, and its tail.
pub(crate) mod cow_vec {
    use super::Shape;

    pub(crate) const SIZE: usize = 40;
    pub(crate) const ROOT: usize = 0;
    pub(crate) const TAIL: usize = 8;
    const LEAF_BYTES: usize = 256;
    const FEWEST: usize = 4;

    /// A branch: its level, which is 1 above leaves, and its length, of 32 bits each; then the children.
    pub(crate) mod branch {
        pub(crate) const LEVEL: usize = 0;
        pub(crate) const LEN: usize = 4;
        pub(crate) const CHILDREN: usize = 8;
        pub(crate) const FAN: usize = 16;
        pub(crate) const SIZE: usize = CHILDREN + 8 * FAN;
    }

    /// How many elements a leaf has, which have a size.
    pub(crate) const fn width(element: Shape) -> usize {
        if element.size > LEAF_BYTES / FEWEST { FEWEST } else { LEAF_BYTES / element.size }
    }

    pub(crate) const fn leaf(element: Shape) -> Shape {
        Shape { size: LEAF_BYTES, align: 1 }.or(element.times(FEWEST))
    }

    /// Where the elements of a tail begin, behind their number, and the tail.
    pub(crate) const fn tail(element: Shape) -> (usize, Shape) {
        Shape::WORD.then(leaf(element))
    }
}

/// `CowHashMap`, its branches and its leaves.
pub(crate) mod cow_hash_map {
    use super::Shape;

    pub(crate) const SIZE: usize = 40;
    pub(crate) const ROOT: usize = 0;
    pub(crate) const KIND: usize = 8;

    /// What a pointer leads to.
    pub(crate) mod kind {
        pub(crate) const LEAF: u8 = 0;
        pub(crate) const BRANCH: u8 = 0x20;
        pub(crate) const NONE: u8 = 0x40;
        pub(crate) const SAME: u8 = 0x80;
        /// The bits of a branch's byte that are a kind.
        pub(crate) const MASK: u8 = 0xF8;
    }

    /// A branch: a byte for each slot with the kind of its link, then the links.
    pub(crate) mod branch {
        pub(crate) const LINKS: usize = 8;
        pub(crate) const WIDTH: usize = 8;
        pub(crate) const SIZE: usize = LINKS + 8 * WIDTH;
    }

    /// Most entries of a leaf.
    pub(crate) const fn leaf_capacity(pair: Shape) -> usize {
        match pair.size {
            0..=48 => 15,
            49..=112 => 7,
            _ => 3,
        }
    }

    /// Where the entries of a leaf begin, behind sixteen tags, and the leaf.
    pub(crate) const fn leaf(pair: Shape) -> (usize, Shape) {
        Shape { size: 16, align: 16 }.then(pair.times(leaf_capacity(pair)))
    }
}

/// `Pool`, its control block and its chunks, which are runs of slots for values of one type.
pub(crate) mod pool {
    use super::Shape;

    pub(crate) const SIZE: usize = 8;

    /// The control block: vectors laid out as `SalVec`, and numbers.
    pub(crate) mod control {
        /// A hash table of the chunks' addresses, with entries of two words; the first is an address or 0.
        pub(crate) const CHUNKS: usize = 0;
        /// Vectors of elements that lead nowhere, and how large one is.
        pub(crate) const PLAIN: [(usize, usize); 5] = [(32, 24), (56, 16), (88, 16), (120, 16), (152, 16)];
        pub(crate) const SIZE: usize = 232;
    }

    /// Bytes of an entry of the chunks' table.
    pub(crate) const ENTRY: usize = 16;
    /// What a chunk begins with.
    pub(crate) const MAGIC: u64 = 0x4B4E_5548_434C_4153;
    /// Bytes in front of a chunk's bits: a bit for each slot that is taken, then one for each that is old.
    pub(crate) const HEAD: usize = 64;
    /// The smallest chunk, and the largest, to whose size chunks are aligned.
    pub(crate) const LEAST_CHUNK: usize = 1 << 18;
    pub(crate) const MOST_CHUNK: usize = 1 << 22;
    const LEAST_SLOT: usize = 16;
    /// A chunk is made this many times as large as a slot, unless that is too much.
    const WORTH: usize = 8;
    /// Positions within a chunk are divided by slots' sizes by way of this power of two.
    const RECIPROCAL_SHIFT: u32 = 44;

    /// Where the parts of a chunk lie.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Geometry {
        /// Bytes of a chunk, a power of two.
        pub(crate) chunk: usize,
        pub(crate) slot: usize,
        pub(crate) slots: usize,
        /// Words of one set of bits.
        pub(crate) words: usize,
        /// Where the first slot begins.
        pub(crate) first: usize,
        reciprocal: u64,
    }

    /// The chunks for values of a shape; none if they are too large for any.
    pub(crate) const fn geometry(value: Shape) -> Option<Geometry> {
        let least = if value.size < LEAST_SLOT { LEAST_SLOT } else { value.size };
        if value.align > MOST_CHUNK / 4 || least > MOST_CHUNK / 2 {
            return None;
        }
        let slot = least.next_multiple_of(value.align);
        let mut chunk = LEAST_CHUNK;
        while chunk < slot * WORTH && chunk < MOST_CHUNK {
            chunk *= 2;
        }
        let mut slots = (chunk - HEAD) / slot;
        while slots > 0 {
            let words = slots.div_ceil(64);
            let first = (HEAD + 16 * words).next_multiple_of(super::larger(value.align, LEAST_SLOT));
            if first + slots * slot <= chunk {
                let reciprocal = (1 << RECIPROCAL_SHIFT) / slot as u64 + 1;
                return Some(Geometry { chunk, slot, slots, words, first, reciprocal });
            }
            slots -= 1;
        }
        None
    }

    impl Geometry {
        /// Which slot a position within a chunk falls into, if it falls into one, and whether it is its start.
        #[inline(always)]
        pub(crate) const fn slot_of(&self, position: usize) -> Option<(usize, bool)> {
            let inside = position.wrapping_sub(self.first);
            if inside >= self.slots * self.slot {
                return None;
            }
            // Right for all positions below 2^22: what is rounded up comes to less than a slot's share.
            let slot = ((inside as u64 * self.reciprocal) >> RECIPROCAL_SHIFT) as usize;
            Some((slot, slot * self.slot == inside))
        }

        /// Where a slot begins in its chunk.
        #[inline(always)]
        pub(crate) const fn position(&self, slot: usize) -> usize {
            self.first + slot * self.slot
        }

        /// The bits of a word of the bits that stand for slots.
        #[inline(always)]
        pub(crate) const fn mask(&self, word: usize) -> u64 {
            let left = self.slots - word * 64;
            if left >= 64 { u64::MAX } else { (1 << left) - 1 }
        }
    }

    const _: () = assert!(MOST_CHUNK <= 1 << 22 && LEAST_SLOT.is_power_of_two());

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn slots_of_sixteen_bytes_cost_less_than_two_hundredths_more() {
            let geometry = geometry(Shape { size: 16, align: 8 }).unwrap();
            assert_eq!((geometry.chunk, geometry.slots, geometry.first), (1 << 18, 16_128, 4096));
            assert!(geometry.chunk * 100 <= geometry.slots * 16 * 102);
        }

        #[test]
        fn every_position_falls_into_the_slot_that_a_division_says() {
            for size in (1..300_usize).chain([4096, 5000, 65_536, 100_001, 1 << 20, 1 << 21]) {
                for align in [1, 8, 64] {
                    let shape = Shape { size: size.next_multiple_of(align), align };
                    let geometry = geometry(shape).unwrap();
                    assert!(geometry.slots > 0 && geometry.first % align == 0 && geometry.slot % align == 0);
                    assert!(geometry.position(geometry.slots) <= geometry.chunk);
                    let step = if size < 40 { 1 } else { geometry.slot / 3 };
                    for inside in (0..geometry.slots * geometry.slot).step_by(step) {
                        let expected = (inside / geometry.slot, inside % geometry.slot == 0);
                        assert_eq!(geometry.slot_of(geometry.first + inside), Some(expected), "{size} {inside}");
                    }
                    for outside in [0, geometry.first - 1, geometry.position(geometry.slots), usize::MAX] {
                        assert_eq!(geometry.slot_of(outside), None);
                    }
                }
            }
        }

        #[test]
        fn what_is_too_large_has_no_chunk() {
            assert_eq!(geometry(Shape { size: (1 << 21) + 8, align: 8 }), None);
            assert_eq!(geometry(Shape { size: 1 << 30, align: 1 << 29 }), None);
        }
    }
}

/// Shared slices and texts: where the elements begin in the block, behind their number.
pub(crate) const fn slice_elements(element: Shape) -> usize {
    larger(8, element.align)
}
