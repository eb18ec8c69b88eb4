//! The nodes of the tree: how they lie in memory, and what may be read of them.
//!
//! | offset | what |
//! |---|---|
//! | 0 | how many pairs a leaf has, or children a branch, 16 bits |
//! | 2 | height: the levels below, 0 for a leaf; 16 bits |
//! | 4 | zeros |
//! | 8, or the alignment of what follows | keys: those of the pairs, or one less than there are children |
//! | after the keys there is room for, aligned | values of a leaf, or children of a branch |
//!
//! What follows the header has 504 bytes, or, if that is more, room for [`LEAST_PAIRS`] pairs and [`LEAST_CHILDREN`]
//! children with the keys between them. There is room for as many pairs, or children, as fit in.
//!
//! # Invariants
//! - **N1** Of a leaf the first `len` keys and values are initialised and owned, and `len` is at most
//!   [`Node::LEAF_CAPACITY`].
//! - **N2** Of a branch the first `len` children and `len - 1` keys are initialised and owned, `len` is at most
//!   [`Node::BRANCH_CAPACITY`], and each child has one height less.
//! - **N3** Slots that are not in use hold zeros.
#![allow(unsafe_code)]

use crate::SalRc;
use crate::gc::trace::layouts::{Shape, cow_map};
use core::mem::{ManuallyDrop, MaybeUninit, offset_of};
use core::ptr;
use core::slice;

/// A pointer to a node, which other versions may share.
pub(super) type Link<K, V> = SalRc<Node<K, V>>;

/// Bytes behind the header, in words of 8, if elements are not too large for that.
const WORDS: usize = 63;
/// The pairs for which each leaf has room.
const LEAST_PAIRS: usize = 4;
/// The children for which each branch has room.
const LEAST_CHILDREN: usize = 8;

/// A leaf or a branch.
#[repr(C)]
pub(super) struct Node<K: 'static, V: 'static> {
    pub(super) len: u16,
    height: u16,
    zeros: u32,
    data: MaybeUninit<Data<K, V>>,
}

/// What is behind the header. It is used as bytes; the fields say how large and how aligned it is.
#[repr(C)]
union Data<K: 'static, V: 'static> {
    words: [MaybeUninit<u64>; WORDS],
    leaf: ManuallyDrop<LeastLeaf<K, V>>,
    branch: ManuallyDrop<LeastBranch<K, V>>,
}

#[repr(C)]
struct LeastLeaf<K: 'static, V: 'static> {
    keys: [MaybeUninit<K>; LEAST_PAIRS],
    values: [MaybeUninit<V>; LEAST_PAIRS],
}

#[repr(C)]
struct LeastBranch<K: 'static, V: 'static> {
    keys: [MaybeUninit<K>; LEAST_CHILDREN - 1],
    children: [MaybeUninit<Link<K, V>>; LEAST_CHILDREN],
}

const _: () = {
    type Any = Node<u64, u64>;
    assert!(size_of::<Any>() == 512 && offset_of!(Any, height) == 2 && offset_of!(Any, data) == 8);
    assert!(Any::LEAF_CAPACITY == 31 && Any::VALUES == 248 && Any::BRANCH_CAPACITY == 32 && Any::CHILDREN == 248);
    assert!(
        Node::<[u8; 300], u8>::BRANCH_CAPACITY == LEAST_CHILDREN && Node::<u8, [u64; 40]>::LEAF_CAPACITY == LEAST_PAIRS
    );
};

/// Whether what follows types has the same byte map.
const fn is_traced<K: 'static, V: 'static>() -> bool {
    type Any<K, V> = Node<K, V>;
    let node = cow_map::node(Shape::of::<K>(), Shape::of::<V>());
    let data = offset_of!(Any<K, V>, data);
    node.len == offset_of!(Any<K, V>, len)
        && node.height == offset_of!(Any<K, V>, height)
        && node.keys == data
        && node.values == data + Any::<K, V>::VALUES
        && node.children == data + Any::<K, V>::CHILDREN
        && node.leaf_capacity == Any::<K, V>::LEAF_CAPACITY
        && node.branch_capacity == Any::<K, V>::BRANCH_CAPACITY
        && node.whole.size == size_of::<Any<K, V>>()
}

const _: () = assert!(is_traced::<u64, u64>() && is_traced::<[u8; 300], u8>() && is_traced::<u8, [u64; 40]>());
const _: () =
    assert!(is_traced::<u128, u8>() && is_traced::<u8, u128>() && is_traced::<(), ()>() && is_traced::<u16, ()>());

/// Where, behind so many keys, the second array begins.
const fn second_at(keys: usize, key: usize, align: usize) -> usize {
    (keys * key).next_multiple_of(align)
}

/// The largest number of items of a size that fit into `bytes` with a key for each but `unpaired` of them.
const fn capacity(bytes: usize, key: usize, item: usize, align: usize, unpaired: usize) -> usize {
    if key + item == 0 {
        return WORDS;
    }
    let mut len = bytes / (key + item) + unpaired;
    while second_at(len - unpaired, key, align) + len * item > bytes {
        len -= 1;
    }
    len
}

impl<K: 'static, V: 'static> Node<K, V> {
    const BYTES: usize = size_of::<Data<K, V>>();
    /// Most pairs of a leaf.
    pub(super) const LEAF_CAPACITY: usize = capacity(Self::BYTES, size_of::<K>(), size_of::<V>(), align_of::<V>(), 0);
    /// Most children of a branch.
    pub(super) const BRANCH_CAPACITY: usize =
        capacity(Self::BYTES, size_of::<K>(), size_of::<Link<K, V>>(), align_of::<Link<K, V>>(), 1);
    /// Where the values of a leaf begin in the data.
    const VALUES: usize = second_at(Self::LEAF_CAPACITY, size_of::<K>(), align_of::<V>());
    /// Where the children of a branch begin in the data.
    const CHILDREN: usize = second_at(Self::BRANCH_CAPACITY - 1, size_of::<K>(), align_of::<Link<K, V>>());

    /// Room for `LEAST_PAIRS` and `LEAST_CHILDREN` there is by the fields of `Data`, and `len` counts to them.
    const FITS: () = {
        assert!(Self::LEAF_CAPACITY >= LEAST_PAIRS && Self::BRANCH_CAPACITY >= LEAST_CHILDREN);
        assert!(Self::LEAF_CAPACITY <= u16::MAX as usize && Self::BRANCH_CAPACITY <= u16::MAX as usize);
        assert!(Self::VALUES + Self::LEAF_CAPACITY * size_of::<V>() <= Self::BYTES);
        assert!(Self::CHILDREN + Self::BRANCH_CAPACITY * size_of::<Link<K, V>>() <= Self::BYTES);
    };

    /// A node with nothing in it.
    #[inline(always)]
    pub(super) fn empty(height: u16) -> Self {
        const { Self::FITS };
        Self { len: 0, height, zeros: 0, data: MaybeUninit::zeroed() }
    }

    /// The levels below.
    #[inline(always)]
    pub(super) fn height(&self) -> u16 {
        self.height
    }

    /// How many pairs a leaf has, or children a branch.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline(always)]
    pub(super) fn is_leaf(&self) -> bool {
        self.height == 0
    }

    /// Most pairs, or children, there may be.
    #[inline(always)]
    pub(super) fn capacity(&self) -> usize {
        if self.is_leaf() { Self::LEAF_CAPACITY } else { Self::BRANCH_CAPACITY }
    }

    /// Fewest pairs, or children, that a node other than the root has.
    #[inline(always)]
    pub(super) fn least(&self) -> usize {
        if self.is_leaf() { const { Self::LEAF_CAPACITY / 4 } } else { const { larger(3, Self::BRANCH_CAPACITY / 4) } }
    }

    /// How many keys there are.
    #[inline(always)]
    fn keys_len(&self) -> usize {
        if self.is_leaf() { self.len() } else { self.len().saturating_sub(1) }
    }

    #[inline(always)]
    pub(super) fn key_slots(&mut self) -> *mut K {
        (&raw mut self.data).cast()
    }

    #[inline(always)]
    pub(super) fn value_slots(&mut self) -> *mut V {
        // SAFETY: within the data (`FITS`).
        unsafe { (&raw mut self.data).byte_add(Self::VALUES).cast() }
    }

    #[inline(always)]
    pub(super) fn child_slots(&mut self) -> *mut Link<K, V> {
        // SAFETY: within the data (`FITS`).
        unsafe { (&raw mut self.data).byte_add(Self::CHILDREN).cast() }
    }

    /// The keys: of a branch, the bounds between its children.
    #[inline(always)]
    pub(super) fn keys(&self) -> &[K] {
        // SAFETY: N1, N2.
        unsafe { slice::from_raw_parts((&raw const self.data).cast(), self.keys_len()) }
    }

    /// The values; a branch has none.
    #[inline(always)]
    pub(super) fn values(&self) -> &[V] {
        let len = if self.is_leaf() { self.len() } else { 0 };
        // SAFETY: N1, and `FITS`.
        unsafe { slice::from_raw_parts((&raw const self.data).byte_add(Self::VALUES).cast(), len) }
    }

    /// The children; a leaf has none.
    #[inline(always)]
    pub(super) fn children(&self) -> &[Link<K, V>] {
        let len = if self.is_leaf() { 0 } else { self.len() };
        // SAFETY: N2, and `FITS`.
        unsafe { slice::from_raw_parts((&raw const self.data).byte_add(Self::CHILDREN).cast(), len) }
    }

    /// The keys, to be replaced.
    #[inline(always)]
    pub(super) fn keys_mut(&mut self) -> &mut [K] {
        let len = self.keys_len();
        // SAFETY: as in `keys`; the node is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.key_slots(), len) }
    }

    /// The values, to be changed.
    #[inline(always)]
    pub(super) fn values_mut(&mut self) -> &mut [V] {
        let len = if self.is_leaf() { self.len() } else { 0 };
        // SAFETY: as in `values`; the node is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.value_slots(), len) }
    }

    /// The children, to be made own. It is for the caller to keep their heights (N2).
    #[inline(always)]
    pub(super) fn children_mut(&mut self) -> &mut [Link<K, V>] {
        let len = if self.is_leaf() { 0 } else { self.len() };
        // SAFETY: as in `children`; the node is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.child_slots(), len) }
    }

    /// Whether the slots that are not in use hold zeros (N3).
    pub(super) fn is_clean(&self) -> bool {
        let (keys, len) = (self.keys_len() * size_of::<K>(), self.len());
        let (second, item) =
            if self.is_leaf() { (Self::VALUES, size_of::<V>()) } else { (Self::CHILDREN, size_of::<Link<K, V>>()) };
        let keys_room = (if self.is_leaf() { Self::LEAF_CAPACITY } else { Self::BRANCH_CAPACITY - 1 }) * size_of::<K>();
        let start = (&raw const self.data).cast::<u8>();
        let mut unused = (keys..keys_room).chain(second + len * item..second + self.capacity() * item);
        // SAFETY: within the data; slots not in use were written with zeros (N3).
        unused.all(|at| unsafe { start.add(at).read() } == 0)
    }
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

impl<K: 'static, V: 'static> Drop for Node<K, V> {
    fn drop(&mut self) {
        // SAFETY: N1, N2; nothing is used again. If an element panics, some of the others leak.
        unsafe {
            ptr::drop_in_place(self.keys_mut());
            ptr::drop_in_place(self.values_mut());
            ptr::drop_in_place(self.children_mut());
        }
    }
}
