//! The root directory in the file: a table of entries, the first of which counts the others.
//!
//! Nothing read from it is believed before it has been checked: each entry has a checksum, a name must lie in an
//! allocated block and be UTF-8, a value in an allocated block of its size.

use super::key::{RootId, Tag};
use crate::alloc::heap_core::Core;
use crate::error::RootError;
use crate::format::PAGE;
use crate::format::root_entry::{BY_CLASS, BY_NAME, COUNTS, FREE, LONGEST_NAME, RootEntry};
use crate::heap::HeapInner;
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;
use std::borrow::Cow;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

/// The entries of one heap's directory, as they lie in the mapping.
#[derive(Clone, Copy)]
pub(super) struct Directory<'h> {
    heap: &'h HeapInner,
}

/// An entry that made sense.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) slot: u32,
    pub(super) tag: Tag,
    pub(super) entry: RootEntry,
}

impl<'h> Directory<'h> {
    pub(super) fn of(heap: &'h HeapInner) -> Self {
        Self { heap }
    }

    /// Makes the first page usable; before anything else is asked.
    pub(super) fn prepare(self) -> Result<(), RootError> {
        let area = self.core().layout.roots;
        let is_usable = self.heap.is_read_only() || self.heap.reserve_area(area.offset, PAGE as u64);
        is_usable.then_some(()).ok_or(RootError::DirectoryFull)
    }

    fn core(&self) -> &'h Core {
        self.heap.core()
    }

    /// Entries that the area has room for.
    fn room(&self) -> u32 {
        (self.core().layout.roots.len / size_of::<RootEntry>() as u64) as u32
    }

    /// Where an entry lies in the file.
    pub(super) fn offset_of(&self, slot: u32) -> u64 {
        self.core().layout.roots.offset + u64::from(slot) * size_of::<RootEntry>() as u64
    }

    fn entry(&self, slot: u32) -> *mut RootEntry {
        let area = self.core().layout.roots.offset as usize;
        ptr::with_exposed_provenance_mut(self.core().base + area + slot as usize * size_of::<RootEntry>())
    }

    /// The counting entry, if it makes sense: of a directory without roots it is all zeros.
    fn counts(&self) -> Option<RootEntry> {
        // SAFETY: the area is mapped, its first page usable; entries are only touched under the registry's lock.
        let counts = unsafe { self.entry(0).read() };
        let is_good = counts == RootEntry::default()
            || counts.state == COUNTS
                && counts.tag < u64::from(self.room())
                && counts.checksum == counts.expected_checksum(&[]);
        is_good.then_some(counts)
    }

    /// Whether the counting entry makes sense; without it all slots are looked at, and none can be added.
    pub(super) fn has_counts(&self) -> bool {
        self.counts().is_some()
    }

    /// The slot behind the last that was ever used; they are numbered from 1.
    pub(super) fn end(&self) -> u32 {
        self.counts().map_or(self.room(), |counts| counts.tag as u32 + 1)
    }

    /// All entries in use, in the order of their slots; those that make no sense as errors.
    pub(super) fn entries(self) -> impl Iterator<Item = Result<Found, RootError>> + 'h {
        self.checked_entries().map(|(_, entry)| entry)
    }

    /// As [`Directory::entries`], with the slots.
    pub(super) fn checked_entries(self) -> impl Iterator<Item = (u32, Result<Found, RootError>)> + 'h {
        (1..self.end()).filter_map(move |slot| {
            // SAFETY: as in `counts`; slots up to there are within reserved pages or holes of the file, which read as zeros.
            let entry = unsafe { self.entry(slot).read() };
            (entry.state != FREE).then(|| (slot, self.check(slot, entry)))
        })
    }

    fn check(&self, slot: u32, entry: RootEntry) -> Result<Found, RootError> {
        let id = RootId(entry.sequence);
        let damaged = |part| RootError::Damaged { root: id.to_string(), part };
        let tag = match entry.state {
            BY_CLASS => Tag::Class(entry.tag),
            BY_NAME => Tag::Name(Cow::Owned(self.name(&entry).ok_or_else(|| damaged("name"))?)),
            _ => return Err(damaged("kind of tag")),
        };
        let name: &[u8] = if let Tag::Name(name) = &tag { name.as_bytes() } else { &[] };
        if entry.checksum != entry.expected_checksum(name) {
            return Err(damaged("checksum"));
        }
        let layout = self.value_layout(&entry).ok_or_else(|| damaged("size of the value"))?;
        if layout.size() > 0 && !self.is_block(entry.value, layout) {
            return Err(damaged("place of the value"));
        }
        Ok(Found { slot, tag, entry })
    }

    fn value_layout(&self, entry: &RootEntry) -> Option<Layout> {
        let align = 1_usize.checked_shl(entry.value_align_log2)?;
        Layout::from_size_align(usize::try_from(entry.value_len).ok()?, align).ok()
    }

    /// Whether a block of that layout, which has a size, can lie at an offset.
    fn is_block(&self, offset: u64, layout: Layout) -> bool {
        let core = self.core();
        let Some(last) = offset.checked_add(layout.size() as u64 - 1).filter(|&last| last < core.layout.end()) else {
            return false;
        };
        let address = core.base + offset as usize;
        let run = core.run_of(address);
        run.is_some() && run == core.run_of(core.base + last as usize) && address % layout.align() == 0
    }

    fn name(&self, entry: &RootEntry) -> Option<String> {
        let layout =
            Layout::array::<u8>(entry.name_len as usize).ok().filter(|layout| layout.size() <= LONGEST_NAME)?;
        if layout.size() == 0 {
            return Some(String::new());
        }
        if !self.is_block(entry.tag, layout) {
            return None;
        }
        let start: *const u8 = ptr::with_exposed_provenance(self.core().base + entry.tag as usize);
        // SAFETY: within an allocated block; nobody changes a name while its entry is in use.
        let bytes = unsafe { std::slice::from_raw_parts(start, layout.size()) };
        String::from_utf8(bytes.to_vec()).ok()
    }

    /// Where an entry's value lies.
    pub(super) fn value(&self, entry: &RootEntry) -> *mut u8 {
        if entry.value_len == 0 {
            return ptr::without_provenance_mut(1 << entry.value_align_log2);
        }
        ptr::with_exposed_provenance_mut(self.core().base + entry.value as usize)
    }

    /// Adds an entry for a value that lies at `value` in this heap.
    pub(super) fn add(
        self,
        tag: &Tag,
        value: *mut u8,
        layout: Layout,
        (type_record, flags): (u64, u64),
        slot: Option<u32>,
    ) -> Result<Found, RootError> {
        let out_of_memory = || RootError::OutOfMemory { root: tag.to_string() };
        let Some(counts) = self.counts() else {
            return Err(RootError::Damaged { root: tag.to_string(), part: "count of the directory" });
        };
        let slot = match slot {
            Some(slot) => slot,
            None if self.end() < self.room() => self.end(),
            None => return Err(RootError::DirectoryFull),
        };
        let area = self.core().layout.roots.offset;
        if !self
            .heap
            .reserve_area(area + u64::from(slot) * size_of::<RootEntry>() as u64, size_of::<RootEntry>() as u64)
        {
            return Err(out_of_memory());
        }
        let (state, tag_word, name) = match tag {
            Tag::Class(class) => (BY_CLASS, *class, ""),
            Tag::Name(name) if name.len() > LONGEST_NAME => {
                return Err(RootError::NameTooLong { len: name.len(), longest: LONGEST_NAME });
            }
            Tag::Name(name) => (BY_NAME, self.store_name(name).ok_or_else(out_of_memory)?, name.as_ref()),
            Tag::Id(_) => return Err(RootError::NotFound { root: tag.to_string() }),
        };
        let sequence = counts.sequence + 1;
        let mut counts =
            RootEntry { state: COUNTS, tag: counts.tag.max(u64::from(slot)), sequence, ..RootEntry::default() };
        counts.checksum = counts.expected_checksum(&[]);
        let mut entry = RootEntry {
            state,
            name_len: name.len() as u32,
            tag: tag_word,
            sequence,
            value: if layout.size() == 0 { 0 } else { (value.addr() - self.core().base) as u64 },
            value_len: layout.size() as u64,
            value_align_log2: layout.align().trailing_zeros(),
            type_record,
            flags,
            ..RootEntry::default()
        };
        entry.checksum = entry.expected_checksum(name.as_bytes());
        // SAFETY: under the registry's lock; the slot's page has been reserved, and the first page too.
        unsafe {
            self.entry(0).write(counts);
            self.entry(slot).write(RootEntry { state: FREE, ..entry });
        }
        self.state(slot).store(state, Ordering::Release);
        Ok(Found { slot, tag: tag.clone(), entry })
    }

    /// The state word, which says by one store whether the entry is there.
    fn state(&self, slot: u32) -> &AtomicU32 {
        // SAFETY: the entry is mapped and usable, and its state is a u32 at its start.
        unsafe { AtomicU32::from_ptr((&raw mut (*self.entry(slot)).state).cast()) }
    }

    fn store_name(&self, name: &str) -> Option<u64> {
        let layout = Layout::array::<u8>(name.len()).ok().filter(|layout| layout.size() > 0);
        let Some(layout) = layout else { return Some(0) };
        let block = self.heap.alloc().allocate(layout).ok()?.cast::<u8>();
        // SAFETY: the block is new and large enough.
        unsafe { block.as_ptr().copy_from_nonoverlapping(name.as_ptr(), name.len()) };
        Some((block.addr().get() - self.core().base) as u64)
    }

    /// Removes an entry and frees its name; the value stays.
    pub(super) fn remove(self, found: &Found) {
        self.state(found.slot).store(FREE, Ordering::Release);
        let _withholding = self.heap.withhold();
        if found.entry.state == BY_NAME && found.entry.name_len > 0 {
            let start = ptr::with_exposed_provenance_mut(self.core().base + found.entry.tag as usize);
            if let (Some(block), Ok(layout)) = (NonNull::new(start), Layout::array::<u8>(found.entry.name_len as usize))
            {
                // SAFETY: `add` allocated the name with this layout, and its entry is gone.
                unsafe { self.heap.alloc().deallocate(block, layout) };
            }
        }
    }
}
