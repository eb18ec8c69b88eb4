//! Roots as sessions see them.

use super::directory::Found;
use super::key::{Root, RootId, Tag};
use super::registry::{Registry, foreign_address, value_of, visitor};
use super::types::TypeTable;
use crate::error::RootError;
use crate::heap::placement::HeapScope;
use crate::heap::{HeapInner, Read, Write};
use crate::persist::{BlockVisitor, Persist};
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;
use std::ptr::NonNull;

/// What a heap says of one root.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootInfo {
    /// Its number.
    pub id: RootId,
    /// Its name or class.
    pub tag: Tag,
    /// The name of its type in the program that stored it; empty if that cannot be read.
    pub type_name: String,
    /// Bytes of the value, without the blocks it owns.
    pub len: u64,
}

fn list(heap: &HeapInner) -> Result<Vec<RootInfo>, RootError> {
    let state = Registry::of(heap)?;
    let types = TypeTable::of(heap);
    let (roots, damaged) = state.all();
    if let Some(error) = damaged.first() {
        return Err(error.clone());
    }
    Ok(roots
        .map(|found| RootInfo {
            id: RootId(found.entry.sequence),
            tag: found.tag.clone(),
            type_name: types
                .description(found.entry.type_record)
                .map_or(String::new(), |description| description.type_name().to_owned()),
            len: found.entry.value_len,
        })
        .collect())
}

fn share<'s, T: Persist>(heap: &'s HeapInner, session: u64, key: &Root<T>) -> Result<&'s T, RootError> {
    let mut state = Registry::of(heap)?;
    let found = state.get(&key.tag)?;
    state.compare::<T>(heap, &found)?;
    state.share(&found, session)?;
    // SAFETY: a `T` (D2), which nobody changes while this session has its share (D1); the share ends with the session,
    // which the reference borrows.
    Ok(unsafe { &*value_of::<T>(heap, &found) })
}

impl Read<'_> {
    /// The value of a root.
    ///
    /// # Errors
    /// [`RootError::NotFound`]; [`RootError::OtherType`], which names the field that differs;
    /// [`RootError::RootBusy`] while another session changes it.
    pub fn root<T: Persist>(&self, key: Root<T>) -> Result<&T, RootError> {
        share(self.heap_inner(), self.number(), &key)
    }

    /// All roots, in the order in which they were made.
    ///
    /// # Errors
    /// [`RootError::Damaged`] when an entry makes no sense.
    pub fn roots(&self) -> Result<Vec<RootInfo>, RootError> {
        list(self.heap_inner())
    }
}

#[expect(clippy::mut_from_ref, reason = "each root is lent out once a session, which the borrows see to (D1)")]
impl Write<'_> {
    /// The value of a root, to read.
    ///
    /// # Errors
    /// As for [`Read::root`]; also when this session has it mutably.
    pub fn root<T: Persist>(&self, key: Root<T>) -> Result<&T, RootError> {
        share(self.heap_inner(), self.number(), &key)
    }

    /// The value of a root, to change. A session gives each root out once; [`Write::release_roots`] ends its borrows.
    ///
    /// # Errors
    /// [`RootError::NotFound`]; [`RootError::OtherType`], which names the field that differs;
    /// [`RootError::RootBusy`] while any session, this one included, has it.
    pub fn root_mut<T: Persist>(&self, key: Root<T>) -> Result<&mut T, RootError> {
        let found = self.take(&key)?;
        // SAFETY: a `T` (D2), which this session alone has and gives out once (D1); the borrow ends with the session.
        Ok(unsafe { &mut *value_of::<T>(self.heap_inner(), &found) })
    }

    /// The value of a root, to change; made by `T::default()` if there is none.
    ///
    /// # Errors
    /// As for [`Write::root_mut`] and [`Write::add_root`].
    pub fn root_or_default<T: Persist + Default>(&self, key: Root<T>) -> Result<&mut T, RootError> {
        self.root_or_insert_with(key, T::default)
    }

    /// The value of a root, to change; made by `make` if there is none. What `make` builds from
    /// [`sal::collections`](crate::collections) takes its blocks from this heap.
    ///
    /// # Errors
    /// As for [`Write::root_mut`] and [`Write::add_root`].
    pub fn root_or_insert_with<T: Persist>(&self, key: Root<T>, make: impl FnOnce() -> T) -> Result<&mut T, RootError> {
        let found = Registry::of(self.heap_inner())?.get(&key.tag);
        match found {
            Err(RootError::NotFound { .. }) => {
                let value = {
                    let _scope = HeapScope::enter(self.alloc());
                    make()
                };
                self.check_blocks(&key.tag, &value)?;
                // Somebody else may have been quicker; then their value stays.
                self.insert(&key.tag, value, true)?;
            }
            other => drop(other?),
        }
        self.root_mut(key)
    }

    /// Gives a root a value, and makes it if there is none; returns the old value.
    ///
    /// # Errors
    /// [`RootError::ForeignBlock`] when the value holds a block or a handle of another heap;
    /// [`RootError::OtherType`] when the root has another type; [`RootError::RootBusy`] while any session has it;
    /// [`RootError::OutOfMemory`]. The new value is dropped then.
    pub fn set_root<T: Persist>(&self, key: Root<T>, value: T) -> Result<Option<T>, RootError> {
        self.check_blocks(&key.tag, &value)?;
        let mut value = value;
        loop {
            match self.take(&key) {
                Ok(found) => {
                    let place = value_of::<T>(self.heap_inner(), &found);
                    // SAFETY: a `T` (D2) that this session alone has (D1), and no reference to it is out.
                    let old = unsafe { place.replace(value) };
                    Registry::of(self.heap_inner())?.borrows.give_back(found.slot);
                    return Ok(Some(old));
                }
                Err(RootError::NotFound { .. }) => match self.insert(&key.tag, value, true)? {
                    Inserted::New(_) => return Ok(None),
                    // Another session was quicker.
                    Inserted::Exists(back) => value = back,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a further root with the same tag; returns its number, by which [`Root::id`] finds it.
    ///
    /// # Errors
    /// [`RootError::ForeignBlock`], [`RootError::OutOfMemory`], [`RootError::DirectoryFull`]. The value is dropped then.
    pub fn add_root<T: Persist>(&self, key: Root<T>, value: T) -> Result<RootId, RootError> {
        self.check_blocks(&key.tag, &value)?;
        match self.insert(&key.tag, value, false)? {
            Inserted::New(id) => Ok(id),
            Inserted::Exists(_) => Err(RootError::NotFound { root: key.to_string() }),
        }
    }

    /// Removes a root and returns its value.
    ///
    /// # Errors
    /// As for [`Write::root_mut`].
    pub fn take_root<T: Persist>(&self, key: Root<T>) -> Result<T, RootError> {
        let heap = self.heap_inner();
        let found = self.take(&key)?;
        let place = value_of::<T>(heap, &found);
        let mut state = Registry::of(heap)?;
        // SAFETY: a `T` (D2) that this session alone has, and no reference to it is out (D1). It is read once: the entry
        // goes, and the block is freed.
        let value = unsafe { place.read() };
        state.remove(heap, &found);
        state.borrows.give_back(found.slot);
        drop(state);
        free_value(heap, place);
        Ok(value)
    }

    /// Removes a root without looking at its value, whatever its type. The value's memory stays allocated.
    ///
    /// # Errors
    /// [`RootError::NotFound`]; [`RootError::RootBusy`] while any session has it.
    pub fn forget_root(&self, tag: Tag) -> Result<(), RootError> {
        let heap = self.heap_inner();
        let mut state = Registry::of(heap)?;
        let found = state.get(&tag)?;
        state.take(&found, self.number())?;
        state.remove(heap, &found);
        state.borrows.give_back(found.slot);
        Ok(())
    }

    /// All roots, in the order in which they were made.
    ///
    /// # Errors
    /// [`RootError::Damaged`] when an entry makes no sense.
    pub fn roots(&self) -> Result<Vec<RootInfo>, RootError> {
        list(self.heap_inner())
    }

    /// Ends all borrows of this session, of which no reference can be left: other sessions, and this one again, may then
    /// have the roots.
    pub fn release_roots(&mut self) -> Result<(), RootError> {
        let number = self.number();
        Registry::of(self.heap_inner())?.borrows.end(number);
        Ok(())
    }

    /// Runs `work` with a root's value, and gives the root back.
    pub(super) fn with_taken<T: Persist, R>(
        &self,
        key: &Root<T>,
        work: impl FnOnce(&mut T) -> R,
    ) -> Result<R, RootError> {
        let found = self.take(key)?;
        // SAFETY: a `T` (D2) that this session alone has (D1); the reference ends before the root is given back.
        let done = work(unsafe { &mut *value_of::<T>(self.heap_inner(), &found) });
        Registry::of(self.heap_inner())?.borrows.give_back(found.slot);
        Ok(done)
    }

    /// Runs `work` with a root's value, which others may read meanwhile.
    pub(super) fn with_shared<T: Persist, R>(&self, key: &Root<T>, work: impl FnOnce(&T) -> R) -> Result<R, RootError> {
        let heap = self.heap_inner();
        let (found, share) = {
            let mut state = Registry::of(heap)?;
            let found = state.get(&key.tag)?;
            state.compare::<T>(heap, &found)?;
            // Of its own: the session's other threads may come to have the root meanwhile.
            let share = state.share_for_a_moment(&found, self.number())?;
            (found, share)
        };
        // SAFETY: as for `Read::root`; the reference ends before the share is given back.
        let done = work(unsafe { &*value_of::<T>(heap, &found) });
        Registry::of(heap)?.borrows.end_share(found.slot, share);
        Ok(done)
    }

    fn take<T: Persist>(&self, key: &Root<T>) -> Result<Found, RootError> {
        let mut state = Registry::of(self.heap_inner())?;
        let found = state.get(&key.tag)?;
        state.compare::<T>(self.heap_inner(), &found)?;
        state.take(&found, self.number())?;
        Ok(found)
    }

    fn check_blocks<T: Persist>(&self, tag: &Tag, value: &T) -> Result<(), RootError> {
        self.check_with(visitor(self.heap_inner()), tag, value)
    }

    /// Looks at no block that others share, but at where it lies.
    pub(super) fn check_own_blocks<T: Persist>(&self, tag: &Tag, value: &T) -> Result<(), RootError> {
        self.check_with(visitor(self.heap_inner()).shallow(), tag, value)
    }

    fn check_with<T: Persist>(&self, mut visitor: BlockVisitor<'_>, tag: &Tag, value: &T) -> Result<(), RootError> {
        value.visit_blocks(&mut visitor);
        match foreign_address(visitor) {
            Some(address) => Err(RootError::ForeignBlock { root: tag.to_string(), address }),
            None => Ok(()),
        }
    }

    /// Makes a root for a value whose blocks have been checked, and drops the value when that fails; with
    /// `unless_exists`, gives it back when a root with that tag came meanwhile.
    pub(super) fn insert<T: Persist>(
        &self,
        tag: &Tag,
        value: T,
        unless_exists: bool,
    ) -> Result<Inserted<T>, RootError> {
        let heap = self.heap_inner();
        let layout = Layout::new::<T>();
        let out_of_memory = || RootError::OutOfMemory { root: tag.to_string() };
        let place: NonNull<T> = match layout.size() {
            0 => NonNull::dangling(),
            _ => heap.alloc().allocate(layout).map_err(|_| out_of_memory())?.cast(),
        };
        // SAFETY: a new block of the right layout.
        unsafe { place.write(value) };
        let added = Registry::of(heap).and_then(|mut state| match state.find(tag) {
            Some(_) if unless_exists => Ok(None),
            _ => state.add(heap, tag, place.as_ptr()).map(Some),
        });
        if let Ok(Some(found)) = added {
            return Ok(Inserted::New(RootId(found.entry.sequence)));
        }
        // SAFETY: no entry refers to the value, which is read once; its block is freed.
        let value = unsafe { place.read() };
        free_value(heap, place.as_ptr());
        added.map(|_| Inserted::Exists(value))
    }
}

/// What became of a value for a new root.
pub(super) enum Inserted<T> {
    New(RootId),
    /// There is a root with that tag.
    Exists(T),
}

fn free_value<T>(heap: &HeapInner, place: *mut T) {
    let layout = Layout::new::<T>();
    if let (Some(block), true) = (NonNull::new(place.cast::<u8>()), layout.size() > 0) {
        let _withholding = heap.withhold();
        // SAFETY: allocated by `insert` with this layout, and no entry refers to it.
        unsafe { heap.alloc().deallocate(block, layout) };
    }
}
