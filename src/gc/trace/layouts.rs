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

/// Shared slices and texts: where the elements begin in the block, behind their number.
pub(crate) const fn slice_elements(element: Shape) -> usize {
    larger(8, element.align)
}
