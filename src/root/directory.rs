//! The root directory in the file: a table of entries, the first of which counts the others.
//!
//! Nothing read from it is believed before it has been checked: a name must lie in an allocated block and be UTF-8, a
//! value in an allocated block of its size.

use super::key::{RootId, Tag};
use crate::alloc::heap_core::{Core, Run};
use crate::alloc::size_class::class_size;
use crate::error::RootError;
use crate::format::PAGE;
use crate::format::root_entry::{BY_CLASS, BY_NAME, FREE, RootEntry};
use crate::heap::HeapInner;
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;
use std::borrow::Cow;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

/// Longest name, in bytes.
const LONGEST_NAME: usize = 64 << 10;

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
    /// The directory; its first page is made usable.
    pub(super) fn of(heap: &'h HeapInner) -> Result<Self, RootError> {
        let area = heap.core().layout.roots;
        if !heap.is_read_only() && !heap.reserve_area(area.offset, PAGE as u64) {
            return Err(RootError::DirectoryFull);
        }
        Ok(Self { heap })
    }

    fn core(&self) -> &'h Core {
        self.heap.core()
    }

    /// Entries that the area has room for.
    fn room(&self) -> u32 {
        (self.core().layout.roots.len / size_of::<RootEntry>() as u64) as u32
    }

    fn entry(&self, slot: u32) -> *mut RootEntry {
        let area = self.core().layout.roots.offset as usize;
        ptr::with_exposed_provenance_mut(self.core().base + area + slot as usize * size_of::<RootEntry>())
    }

    /// The counting entry: `tag` is the number of slots that were ever used, `sequence` the last number given out.
    fn counts(&self) -> *mut RootEntry {
        self.entry(0)
    }

    /// Slots behind the last that was ever used; they are numbered from 1.
    fn end(&self) -> u32 {
        // SAFETY: the area is mapped, its first page usable; entries are only touched under the registry's lock.
        let used = unsafe { (*self.counts()).tag };
        u32::try_from(used).unwrap_or(u32::MAX).min(self.room() - 1) + 1
    }

    /// All entries in use, in the order of their slots; those that make no sense as errors.
    pub(super) fn entries(self) -> impl Iterator<Item = Result<Found, RootError>> + 'h {
        (1..self.end()).filter_map(move |slot| {
            // SAFETY: as in `end`; slots up to there are within reserved pages or holes of the file, which read as zeros.
            let entry = unsafe { self.entry(slot).read() };
            (entry.state != FREE).then(|| self.check(slot, entry))
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

    /// Whether a block of that layout can lie at an offset.
    fn is_block(&self, offset: u64, layout: Layout) -> bool {
        let core = self.core();
        if offset >= core.layout.end() {
            return false;
        }
        let address = core.base + offset as usize;
        let room = match core.run_of(address) {
            Some(Run::Slab { head, class }) => {
                class_size(class) - (address - core.address_of(head)) % class_size(class)
            }
            Some(Run::Large { head, len_pages }) => {
                (len_pages as usize * PAGE).saturating_sub(address - core.address_of(head))
            }
            None => 0,
        };
        layout.size() <= room && address % layout.align() == 0
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
        type_record: u64,
        slot: Option<u32>,
    ) -> Result<Found, RootError> {
        let out_of_memory = || RootError::OutOfMemory { root: tag.to_string() };
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
        let (state, tag_word, name_len) = match tag {
            Tag::Class(class) => (BY_CLASS, *class, 0),
            Tag::Name(name) => (BY_NAME, self.store_name(name).ok_or_else(out_of_memory)?, name.len() as u32),
            Tag::Id(_) => return Err(RootError::NotFound { root: tag.to_string() }),
        };
        // SAFETY: under the registry's lock; the slot's page has been reserved.
        unsafe {
            let counts = &mut *self.counts();
            counts.sequence += 1;
            counts.tag = counts.tag.max(u64::from(slot));
            let entry = RootEntry {
                state: FREE,
                name_len,
                tag: tag_word,
                sequence: counts.sequence,
                value: if layout.size() == 0 { 0 } else { (value.addr() - self.core().base) as u64 },
                value_len: layout.size() as u64,
                value_align_log2: layout.align().trailing_zeros(),
                unused: 0,
                type_record,
                reserved: 0,
            };
            self.entry(slot).write(entry);
            self.state(slot).store(state, Ordering::Release);
            Ok(Found { slot, tag: tag.clone(), entry: RootEntry { state, ..entry } })
        }
    }

    /// The state word, which says by one store whether the entry is there.
    fn state(&self, slot: u32) -> &AtomicU32 {
        // SAFETY: the entry is mapped and usable, and its state is a u32 at its start.
        unsafe { AtomicU32::from_ptr((&raw mut (*self.entry(slot)).state).cast()) }
    }

    fn store_name(&self, name: &str) -> Option<u64> {
        let layout = Layout::array::<u8>(name.len()).ok().filter(|layout| layout.size() <= LONGEST_NAME)?;
        if layout.size() == 0 {
            return Some(0);
        }
        let block = self.heap.alloc().allocate(layout).ok()?.cast::<u8>();
        // SAFETY: the block is new and large enough.
        unsafe { block.as_ptr().copy_from_nonoverlapping(name.as_ptr(), name.len()) };
        Some((block.addr().get() - self.core().base) as u64)
    }

    /// Removes an entry and frees its name; the value stays.
    pub(super) fn remove(self, found: &Found) {
        self.state(found.slot).store(FREE, Ordering::Release);
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
