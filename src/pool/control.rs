//! What a pool has in its heap: one control block, which knows the chunks.
//!
//! Nothing here depends on the type of the objects, but for what a [`PoolKind`] says. The chunks with free slots are in a list;
//! the first one is where objects are made, in the order of the addresses, from the word on that `cursor` names.
//!
//! # Invariants
//! - **C1** The table has the addresses of the pool's chunks, and each is one (K1).
//! - **C2** In a slot that is taken (K2) an initialised object lies, which the pool owns.
//! - **C3** Chunks with free slots are in the list, each once; others are not, but for the first one, which may be full. In the first one
//!   no slot is free in the words below `cursor`.
//! - **C4** `len` is the number of objects.
//! - **C5** Whenever foreign code runs, all of this holds: an object that is about to be dropped or moved out is none any more.
//!
//! # What survives a crash
//! Everything, as the last commit found it.
#![allow(unsafe_code)]

use super::address_table::AddressTable;
use super::chunk::{self, Chunk};
use super::error::NotAnObject;
use super::finalize::Finalizable;
use super::weak::WeakTable;
use crate::collections::{SalVec, TryReserveError, raw_block};
use crate::gc::trace::layouts::pool::{Geometry, control};
use crate::persist::BlockVisitor;
use core::alloc::Layout;
use core::mem::offset_of;
use core::ptr::NonNull;

/// See the module.
#[repr(C)]
#[derive(Default)]
pub(super) struct Control {
    chunks: AddressTable,
    pub(super) weak: WeakTable,
    /// Numbers of the finalizers of objects, by address.
    pub(super) armed: AddressTable,
    /// Objects that were found dead and wait for their finalizers.
    pub(super) ready: SalVec<Finalizable>,
    pub(super) len: u64,
    /// The first chunk with free slots, or 0.
    first: usize,
    cursor: u64,
    /// The last complete collection, of this pool and others, if its upper half is not zero; otherwise the one that has begun, or 0.
    pub(super) group: u64,
    pub(super) sweep_every: u32,
    pub(super) since_sweep: u32,
    spare: [u64; 2],
}

const _: () = {
    assert!(size_of::<Control>() == control::SIZE && offset_of!(Control, chunks) == control::CHUNKS);
    assert!(offset_of!(Control, weak) == control::PLAIN[0].0 && offset_of!(Control, armed) == control::PLAIN[3].0);
    assert!(offset_of!(Control, ready) == control::PLAIN[4].0);
};

impl Control {
    /// Whether a chunk at that address is one of the pool's.
    #[inline(always)]
    pub(super) fn chunk(&self, address: usize) -> Option<Chunk> {
        // SAFETY: C1.
        self.chunks.get(address).map(|_| unsafe { Chunk::at(address) })
    }

    /// All chunks, in no order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        // SAFETY: C1.
        self.chunks.iter().map(|(address, _)| unsafe { Chunk::at(address) })
    }

    pub(super) fn chunks_len(&self) -> usize {
        self.chunks.len()
    }

    /// The object that an address is of.
    #[inline(always)]
    pub(super) fn find(&self, geometry: &Geometry, address: usize) -> Result<(Chunk, usize), NotAnObject> {
        let start = address & !(geometry.chunk - 1);
        let chunk = self.chunk(start).ok_or(NotAnObject::Foreign)?;
        let (slot, is_start) = geometry.slot_of(address - start).ok_or(NotAnObject::Foreign)?;
        // SAFETY: K1, and a slot of the geometry.
        if !unsafe { chunk.is_taken(slot) } {
            return Err(NotAnObject::Free);
        }
        if is_start { Ok((chunk, slot)) } else { Err(NotAnObject::Interior) }
    }

    /// Takes a free slot, in which the caller puts an object before anything else happens; none if there is no chunk with one.
    #[inline(always)]
    pub(super) fn take_slot(&mut self, geometry: &Geometry) -> Option<NonNull<u8>> {
        while self.first != 0 {
            // SAFETY: C3, C1; the words and slots are of the geometry, and the pool is the caller's alone.
            unsafe {
                let chunk = Chunk::at(self.first);
                for word in self.cursor as usize..geometry.words {
                    let taken = chunk.taken(word);
                    let free = !*taken & geometry.mask(word);
                    if free != 0 {
                        let bit = free.trailing_zeros() as usize;
                        *taken |= 1 << bit;
                        (*chunk.head()).used += 1;
                        self.cursor = word as u64;
                        self.len += 1;
                        return Some(chunk.slot(geometry, word * 64 + bit));
                    }
                }
                self.unlist(chunk);
            }
        }
        None
    }

    /// Adds a chunk, for the pool at `place`.
    ///
    /// # Errors
    /// If the heap cannot serve it.
    #[cold]
    #[inline(never)]
    pub(super) fn add_chunk(&mut self, place: usize, geometry: &Geometry) -> Result<(), TryReserveError> {
        let layout = chunk::layout(geometry);
        let block = raw_block::allocate_beside(place, NonNull::from(&mut *self).cast(), layout)?.cast();
        if let Err(error) = self.chunks.insert(block.addr().get(), 0) {
            // SAFETY: just allocated with this layout, and nobody knows it.
            unsafe { raw_block::deallocate(block, layout) };
            return Err(error);
        }
        // SAFETY: a new block of the layout; the table has it, so it is a chunk from here on.
        unsafe {
            let chunk = Chunk::make(block, geometry);
            self.list(chunk);
        }
        Ok(())
    }

    /// Puts a chunk in front of those with free slots, unless it is among them.
    ///
    /// # Safety
    /// It is one of the pool's.
    pub(super) unsafe fn list(&mut self, chunk: Chunk) {
        // SAFETY: C1, C3; the pool is the caller's alone.
        unsafe {
            let head = chunk.head();
            if (*head).is_listed != 0 {
                return;
            }
            ((*head).is_listed, (*head).previous, (*head).next) = (1, 0, self.first);
            if self.first != 0 {
                (*Chunk::at(self.first).head()).previous = chunk.address();
            }
        }
        (self.first, self.cursor) = (chunk.address(), 0);
    }

    /// Takes a chunk out of the list.
    ///
    /// # Safety
    /// As for [`Control::list`].
    unsafe fn unlist(&mut self, chunk: Chunk) {
        // SAFETY: as for `list`.
        unsafe {
            let head = chunk.head();
            if (*head).is_listed == 0 {
                return;
            }
            let (next, previous) = ((*head).next, (*head).previous);
            ((*head).is_listed, (*head).previous, (*head).next) = (0, 0, 0);
            match previous {
                0 => (self.first, self.cursor) = (next, 0),
                before => (*Chunk::at(before).head()).next = next,
            }
            if next != 0 {
                (*Chunk::at(next).head()).previous = previous;
            }
        }
    }

    /// Notes that slots of a chunk have become free from a word on.
    ///
    /// # Safety
    /// As for [`Control::list`].
    #[inline(always)]
    pub(super) unsafe fn freed_in(&mut self, chunk: Chunk, word: usize) {
        if self.first == chunk.address() {
            self.cursor = self.cursor.min(word as u64);
        } else {
            // SAFETY: the caller's promise; its head is readable (K1).
            unsafe {
                if (*chunk.head()).is_listed == 0 {
                    self.list_behind(chunk);
                }
            }
        }
    }

    /// Puts a chunk that is not in the list behind the first one, so that this one goes on to be used.
    ///
    /// # Safety
    /// As for [`Control::list`].
    #[cold]
    #[inline(never)]
    unsafe fn list_behind(&mut self, chunk: Chunk) {
        // SAFETY: the caller's promise, C3.
        unsafe {
            let head = chunk.head();
            if self.first == 0 {
                return self.list(chunk);
            }
            let first = Chunk::at(self.first).head();
            ((*head).is_listed, (*head).previous, (*head).next) = (1, self.first, (*first).next);
            if (*first).next != 0 {
                (*Chunk::at((*first).next).head()).previous = chunk.address();
            }
            (*first).next = chunk.address();
        }
    }

    /// Makes the object in a slot none; the caller moves it out or drops it then.
    ///
    /// # Safety
    /// The slot is taken.
    #[inline]
    pub(super) unsafe fn vacate(&mut self, geometry: &Geometry, chunk: Chunk, slot: usize) {
        // SAFETY: the caller's promise; the pool is the caller's alone.
        unsafe {
            let address = chunk.slot(geometry, slot).addr().get();
            chunk.vacate(geometry, slot);
            (*chunk.head()).freed += 1;
            self.len -= 1;
            self.freed_in(chunk, slot / 64);
            self.forget(address);
        }
    }

    /// Forgets what is known of an object that is none any more.
    #[inline(always)]
    pub(super) fn forget(&mut self, address: usize) {
        if self.knows_any() {
            self.forget_slow(address);
        }
    }

    /// Whether any object has weak pointers or a finalizer.
    #[inline(always)]
    pub(super) fn knows_any(&self) -> bool {
        !self.weak.is_empty() || self.armed.len() > 0 || !self.ready.is_empty()
    }

    #[cold]
    #[inline(never)]
    fn forget_slow(&mut self, address: usize) {
        self.weak.died(address);
        self.armed.remove(address);
        if !self.ready.is_empty() {
            self.ready.retain(|waiting| waiting.object != address);
        }
    }

    /// Gives a chunk without objects back to the heap, unless objects are made there and it is wanted.
    ///
    /// # Safety
    /// It is one of the pool's.
    #[inline(always)]
    pub(super) unsafe fn release_if_empty(&mut self, geometry: &Geometry, chunk: Chunk, keeps_first: bool) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            if (*chunk.head()).used != 0 || keeps_first && self.first == chunk.address() {
                return false;
            }
            self.release(geometry, chunk);
        }
        true
    }

    /// # Safety
    /// As for [`Control::release_if_empty`], of a chunk that is empty.
    #[cold]
    #[inline(never)]
    unsafe fn release(&mut self, geometry: &Geometry, chunk: Chunk) {
        // SAFETY: the caller's promise.
        unsafe {
            self.unlist(chunk);
            self.chunks.remove(chunk.address());
            raw_block::deallocate(chunk.block(), chunk::layout(geometry));
        }
    }

    /// Names the blocks of the tables.
    pub(super) fn visit_tables(&self, visitor: &mut BlockVisitor<'_>) {
        self.chunks.visit_blocks(visitor);
        self.weak.visit_blocks(visitor);
        self.armed.visit_blocks(visitor);
        visit_plain(&self.ready, visitor);
    }

    /// Panics if C1 to C4 do not hold.
    pub(super) fn check(&self, geometry: &Geometry) {
        let mut len = 0;
        let mut listed = 0;
        for chunk in self.chunks() {
            assert_eq!(chunk.address() % geometry.chunk, 0, "C1: a chunk that is not aligned");
            // SAFETY: C1, and the pool is borrowed.
            unsafe {
                chunk.check(geometry);
                let head = *chunk.head();
                len += head.used;
                listed += head.is_listed;
                let has_room = head.used < geometry.slots as u64;
                assert!(!has_room || head.is_listed != 0, "C3: free slots that nobody finds");
                assert!(
                    has_room || head.is_listed == 0 || self.first == chunk.address(),
                    "C3: a full chunk in the list"
                );
            }
        }
        assert_eq!(len, self.len, "C4: the number of objects");
        let (mut at, mut previous) = (self.first, 0);
        while at != 0 {
            let chunk = self.chunk(at).expect("C3: a chunk in the list that is not the pool's");
            // SAFETY: C1.
            let head = unsafe { *chunk.head() };
            assert!(head.is_listed == 1 && head.previous == previous, "C3: a list that is torn");
            assert!(listed > 0, "C3: a chunk that is listed twice");
            listed -= 1;
            (previous, at) = (at, head.next);
        }
        assert_eq!(listed, 0, "C3: a chunk that is said to be listed and is not");
        if let Some(chunk) = self.chunk(self.first) {
            for word in 0..self.cursor as usize {
                // SAFETY: C1.
                assert_eq!(unsafe { !*chunk.taken(word) } & geometry.mask(word), 0, "C3: a free slot below the cursor");
            }
        }
        self.weak.check();
    }
}

/// Names the block of a vector whose elements own nothing.
pub(super) fn visit_plain<T>(vec: &SalVec<T>, visitor: &mut BlockVisitor<'_>) {
    if vec.capacity() > 0 {
        if let (Some(start), Ok(layout)) = (NonNull::new(vec.as_ptr().cast_mut()), Layout::array::<T>(vec.capacity())) {
            visitor.block(start.cast(), layout);
        }
    }
}
