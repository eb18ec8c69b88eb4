//! What the process knows of a heap's roots: an index of the directory, the borrows, which types have been compared.

use super::borrows::{Borrows, Busy};
use super::copy_on_write::root_flags;
use super::directory::{Directory, Found};
use super::key::{RootId, Tag};
use super::types::TypeTable;
use crate::error::{RootError, SessionError, SyncError};
use crate::heap::{Attachment, HeapInner};
use crate::persist::{BlockVisitor, Foreign, Persist, TypeDescription};
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Kept for each open heap.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
}

/// Looks at all blocks that the value at an address owns.
pub(super) type Visit = unsafe fn(*const u8, &mut BlockVisitor<'_>);

#[derive(Default)]
pub(super) struct State {
    is_loaded: bool,
    /// By number, so in the order of creation.
    entries: BTreeMap<RootId, Found>,
    by_tag: HashMap<Tag, Vec<RootId>>,
    free_slots: Vec<u32>,
    damaged: Vec<RootError>,
    pub(super) borrows: Borrows,
    /// Types that were compared with a record and found equal.
    compared: HashSet<(TypeId, u64)>,
    /// For roots whose type this process knows.
    visits: HashMap<RootId, Visit>,
}

impl Registry {
    /// The heap's registry, locked, with the directory read.
    pub(super) fn of(heap: &HeapInner) -> Result<MutexGuard<'_, State>, RootError> {
        if heap.is_forked() {
            // Another thread of the parent may have had the lock.
            return Err(SessionError::Forked.into());
        }
        let registry = heap.attachment(Self::default);
        let Some(registry) = registry else { return Err(RootError::DirectoryFull) };
        let mut state = registry.lock();
        if !state.is_loaded {
            state.load(heap)?;
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attachment for Registry {
    fn session_ended(&self, session: u64) {
        self.lock().borrows.end(session);
    }

    fn before_sync(&self, heap: &HeapInner) -> Result<(), SyncError> {
        // Heaps on simulated disks are opened by safe code, which rests on this.
        if !(cfg!(debug_assertions) || cfg!(feature = "checked") || cfg!(feature = "testing")) {
            return Ok(());
        }
        let mut state = self.lock();
        let directory = Directory::of(heap);
        let visits: Vec<_> = state.visits.iter().map(|(&id, &visit)| (id, visit)).collect();
        for (id, visit) in visits {
            let Some(found) = state.entries.get(&id).cloned() else { continue };
            // A root that somebody has is looked at by a later sync.
            if state.borrows.share(found.slot, u64::MAX).is_err() {
                continue;
            }
            let mut visitor = visitor(heap);
            // SAFETY: the value is of the visited type (D2), and nobody changes it while it is shared (D1).
            unsafe { visit(directory.value(&found.entry), &mut visitor) };
            state.borrows.end(u64::MAX);
            if let Some(address) = foreign_address(visitor) {
                return Err(SyncError::ForeignBlock { root: found.tag.to_string(), address });
            }
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A visitor for the blocks of a heap.
pub(super) fn visitor(heap: &HeapInner) -> BlockVisitor<'static> {
    let core = heap.core();
    BlockVisitor::new(core.segments..core.base + core.layout.end() as usize, heap.alloc())
}

/// Where the first foreign block lies that a visitor found; 0 for a foreign handle.
pub(super) fn foreign_address(visitor: BlockVisitor<'_>) -> Option<usize> {
    match visitor.finish().err()?.found() {
        Foreign::Block { address, .. } => Some(address),
        Foreign::Handle { .. } => Some(0),
    }
}

impl State {
    fn load(&mut self, heap: &HeapInner) -> Result<(), RootError> {
        let (directory, mut used) = (Directory::of(heap), 0);
        directory.prepare()?;
        TypeTable::of(heap).prepare()?;
        if !directory.has_counts() {
            self.damaged.push(RootError::Damaged { root: "directory".into(), part: "count" });
        }
        for entry in directory.entries() {
            match entry {
                Ok(found) => {
                    self.free_slots.extend(used + 1..found.slot);
                    used = found.slot;
                    self.insert(found);
                }
                Err(error) => self.damaged.push(error),
            }
        }
        self.free_slots.extend(used + 1..directory.end());
        if !self.damaged.is_empty() {
            // Slots of damaged entries are left alone.
            self.free_slots.clear();
        }
        self.is_loaded = true;
        Ok(())
    }

    fn insert(&mut self, found: Found) {
        let id = RootId(found.entry.sequence);
        let ids = self.by_tag.entry(found.tag.clone()).or_default();
        ids.push(id);
        ids.sort_unstable();
        self.entries.insert(id, found);
    }

    /// The root with a number.
    pub(super) fn entry(&self, id: RootId) -> Option<&Found> {
        self.entries.get(&id)
    }

    /// What looks at the blocks of a root's value, if this process knows its type.
    pub(super) fn visit(&self, id: RootId) -> Option<Visit> {
        self.visits.get(&id).copied()
    }

    /// The oldest root with a tag.
    pub(super) fn find(&self, tag: &Tag) -> Option<&Found> {
        let id = match tag {
            Tag::Id(id) => id,
            tag => self.by_tag.get(tag)?.first()?,
        };
        self.entries.get(id)
    }

    /// The oldest root with a tag, or why there is none: it may be one of those that made no sense.
    pub(super) fn get(&self, tag: &Tag) -> Result<Found, RootError> {
        match (self.find(tag), self.damaged.first()) {
            (Some(found), _) => Ok(found.clone()),
            (None, Some(damage)) => Err(damage.clone()),
            (None, None) => Err(RootError::NotFound { root: tag.to_string() }),
        }
    }

    /// All roots in the order of creation, and the entries that made no sense.
    pub(super) fn all(&self) -> (impl Iterator<Item = &Found>, &[RootError]) {
        (self.entries.values(), &self.damaged)
    }

    /// Compares the layout that is stored for a root with `T`'s (D2); of a heap that was moved, only if the root was.
    pub(super) fn compare<T: Persist>(&mut self, heap: &HeapInner, found: &Found) -> Result<(), RootError> {
        heap.check_moved(&found.entry).map_err(|reason| RootError::NotMoved { root: found.tag.to_string(), reason })?;
        let record = found.entry.type_record;
        let key = (TypeId::of::<T>(), record);
        if !self.compared.contains(&key) {
            let root = found.tag.to_string();
            let damaged = |part| RootError::Damaged { root: root.clone(), part };
            let stored = TypeTable::of(heap).description(record).ok_or_else(|| damaged("type"))?;
            if let Some(difference) = stored.difference(&TypeDescription::of::<T>()) {
                return Err(RootError::OtherType {
                    root,
                    field: difference.path().to_owned(),
                    stored: difference.stored().to_owned(),
                    asked: difference.asked().to_owned(),
                });
            }
            if found.entry.value_len != size_of::<T>() as u64
                || found.entry.value_align_log2 != align_of::<T>().trailing_zeros()
            {
                return Err(damaged("size of the value"));
            }
            self.compared.insert(key);
        }
        self.visits.entry(RootId(found.entry.sequence)).or_insert(visit::<T>);
        Ok(())
    }

    /// Adds a root for a value that lies at `value`.
    pub(super) fn add<T: Persist>(&mut self, heap: &HeapInner, tag: &Tag, value: *mut T) -> Result<Found, RootError> {
        let description = TypeDescription::of::<T>();
        let record = TypeTable::of(heap).record_of(&description.encode())?;
        let flags = root_flags::<T>(&description);
        let layout = std::alloc::Layout::new::<T>();
        let slot = self.free_slots.last().copied();
        let found = Directory::of(heap).add(tag, value.cast(), layout, (record, flags), slot)?;
        if slot.is_some() {
            self.free_slots.pop();
        }
        self.compared.insert((TypeId::of::<T>(), record));
        self.visits.insert(RootId(found.entry.sequence), visit::<T>);
        self.insert(found.clone());
        Ok(found)
    }

    /// Removes a root; its value stays where it is.
    pub(super) fn remove(&mut self, heap: &HeapInner, found: &Found) {
        Directory::of(heap).remove(found);
        let id = RootId(found.entry.sequence);
        self.entries.remove(&id);
        self.visits.remove(&id);
        if let Some(ids) = self.by_tag.get_mut(&found.tag) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_tag.remove(&found.tag);
            }
        }
        self.free_slots.push(found.slot);
    }

    pub(super) fn take(&mut self, found: &Found, session: u64) -> Result<(), RootError> {
        self.borrows.take(found.slot, session).map_err(|busy| busy_error(found, &busy))
    }

    pub(super) fn share(&mut self, found: &Found, session: u64) -> Result<(), RootError> {
        self.borrows.share(found.slot, session).map_err(|busy| busy_error(found, &busy))
    }

    pub(super) fn share_for_a_moment(&mut self, found: &Found, session: u64) -> Result<u64, RootError> {
        self.borrows.share_for_a_moment(found.slot, session).map_err(|busy| busy_error(found, &busy))
    }
}

fn busy_error(found: &Found, busy: &Busy) -> RootError {
    RootError::RootBusy { root: found.tag.to_string(), by_this_session: busy.by_this_session }
}

/// # Safety
/// A `T` lies at `value`, and nobody changes it meanwhile.
unsafe fn visit<T: Persist>(value: *const u8, visitor: &mut BlockVisitor<'_>) {
    // SAFETY: the caller's promise.
    unsafe { (*value.cast::<T>()).visit_blocks(visitor) }
}

/// Where the value of a root lies.
pub(super) fn value_of<T>(heap: &HeapInner, found: &Found) -> *mut T {
    let value = Directory::of(heap).value(&found.entry);
    debug_assert!(!value.is_null() && value.cast::<T>().is_aligned());
    if value.is_null() { ptr::dangling_mut() } else { value.cast() }
}
