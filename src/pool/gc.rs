//! [`Gc`]: where an object of a pool is.
#![allow(unsafe_code)]

use crate::gc::trace::layouts::id;
use crate::persist::{BlockVisitor, Describer, Node, OPTION_ID, Persist};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ptr::NonNull;

/// Where an object of a [`Pool`](super::Pool) is: eight bytes, `Copy`, and never null, so `Option<Gc<T>>` is as small.
///
/// It owns nothing. Objects may hold those of others, in cycles and in any collection. The object is reached through its pool:
/// [`Pool::get`](super::Pool::get), [`Pool::get_mut`](super::Pool::get_mut), or an index. What makes an object stay, a
/// [`Collector`](super::Collector) says; a `Gc` that is kept where no collector looks may outlive its object. The pool
/// then has no object there, or another one of the same type that was made since, as an index of a `Vec` may mean another
/// element. A [`GcWeak`](super::GcWeak) tells the two apart.
#[repr(transparent)]
pub struct Gc<T> {
    object: NonNull<T>,
}

const _: () = assert!(size_of::<Gc<u8>>() == 8 && size_of::<Option<Gc<u64>>>() == 8);

// SAFETY: by itself it gives nobody access to the object: that takes a pool, or a promise of the caller's.
unsafe impl<T> Send for Gc<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Gc<T> {}

impl<T> Gc<T> {
    pub(super) fn new(object: NonNull<T>) -> Self {
        Self { object }
    }

    /// The address of the object.
    #[inline]
    pub fn address(self) -> usize {
        self.object.addr().get()
    }

    /// The object, without asking its pool.
    ///
    /// # Safety
    /// The object has not been collected nor freed, and for as long as the reference is used it is not, nor is it changed, nor is
    /// its heap closed and unmapped.
    #[inline]
    pub unsafe fn as_ref<'a>(self) -> &'a T {
        // SAFETY: the caller's promise; an object is aligned and initialised (C2).
        unsafe { self.object.as_ref() }
    }
}

impl<T> Clone for Gc<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Gc<T> {}

impl<T> PartialEq for Gc<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl<T> Eq for Gc<T> {}

impl<T> PartialOrd for Gc<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Gc<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.object.cmp(&other.object)
    }
}

impl<T> Hash for Gc<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.object.hash(state);
    }
}

impl<T> fmt::Debug for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gc({:#x})", self.address())
    }
}

// SAFETY: one aligned word, the address of a slot of a chunk of the heap, which a pool owns and this does not. It is described with
// the type that it leads to.
unsafe impl<T: Persist> Persist for Gc<T> {
    // So that containers visit it.
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let of = describer.node_of::<T>();
        Node::container::<Self>(id::GC, "Gc", 1, vec![of])
    }

    #[inline]
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        visitor.pointer(self.address(), size_of::<T>());
    }
}

// SAFETY: transparent down to `NonNull`, so the option is the word, and `None` is zero.
unsafe impl<T: Persist> Persist for Option<Gc<T>> {
    const OWNS_BLOCKS: bool = true;

    fn describe(describer: &mut Describer) -> Node {
        let parameters = vec![describer.node_of::<Gc<T>>()];
        Node::container::<Self>(OPTION_ID, "Option", 1, parameters)
    }

    #[inline]
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>) {
        if let Some(gc) = self {
            gc.visit_blocks(visitor);
        }
    }
}
