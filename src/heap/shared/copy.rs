//! The copy of a shared heap's roots: how it is written, and how a heap goes back to it.
#![allow(unsafe_code)]

use super::super::allocate;
use super::super::former::Led;
use super::super::gate;
use super::super::owner::HeapInner;
use super::commit::{Block, Kept, NO_ROOM};
use crate::error::OpenError;
use crate::format::header::{DURABLE, Header, RootsCopyAt, UNCHANGED};
use crate::format::layout::Layout as Areas;
use crate::format::root_entry::{COPY_ON_WRITE, COUNTS, FREE, LONGEST_NAME, RootEntry};
use crate::format::roots_copy::{CopiedLed, CopiedRoot, CopyHeader, LedAt, led, name_len, roots, value_len};
use crate::format::type_record::{TypeRecord, record_stride};
use crate::format::{UNIT, WINDOW};
use crate::gc::trace::layouts::handle;
use crate::os::copy::copy_out;
use crate::os::file::File;
use crate::os::{CallError, errno};
use std::alloc::Layout;
use std::collections::BTreeSet;
use std::ptr::{self, NonNull};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const ENTRY: usize = size_of::<RootEntry>();

/// Bytes of a mapped heap that no session changes at the moment.
struct Bytes {
    base: usize,
    len: u64,
}

impl Bytes {
    /// The bytes at an offset; none if they do not lie in the heap.
    fn read(&self, offset: u64, into: &mut [u8]) -> Option<()> {
        if into.is_empty() {
            return Some(());
        }
        offset.checked_add(into.len() as u64).filter(|&end| end <= self.len)?;
        // SAFETY: within what is mapped, and of the file, which is as long as its units are used; who calls keeps writers out.
        unsafe { copy_out(self.base + offset as usize, into) };
        Some(())
    }

    fn entry(&self, areas: &Areas, slot: u64) -> Option<RootEntry> {
        let mut entry = RootEntry::new_zeroed();
        self.read(areas.roots.offset + slot * ENTRY as u64, entry.as_mut_bytes())?;
        Some(entry)
    }

    /// Bytes of the type table that are in use.
    fn types_len(&self, areas: &Areas) -> u64 {
        let mut at = 0;
        while at + size_of::<TypeRecord>() as u64 <= areas.types.len {
            let mut record = [0; size_of::<TypeRecord>()];
            if self.read(areas.types.offset + at, &mut record).is_none() || record == [0; size_of::<TypeRecord>()] {
                break;
            }
            let [a, b, c, d, ..] = record;
            at += record_stride(u32::from_le_bytes([a, b, c, d]));
        }
        at.min(areas.types.len)
    }
}

/// Copies the roots to a block, and where entries lead to another; the gate is closed. Where the copy is, and its blocks as far as it needs some.
///
/// # Errors
/// If the heap has no room for one of them, or the directory makes no sense.
pub(super) fn write(
    heap: &HeapInner,
    (run, led): (u32, &Led),
    spare: &mut Option<Block>,
) -> Result<(RootsCopyAt, Kept), CallError> {
    let core = heap.core();
    // What lies behind is not used, and may lie behind the end of the file.
    let bytes = Bytes { base: core.base, len: core.layout.segments.offset + (core.committed_units() * UNIT) as u64 };
    let mut copy = copy_of(&bytes, &core.layout).ok_or(CallError { call: "roots", errno: errno::IO })?;
    if let Some((CopyHeader { roots: 0, sequence, .. }, _)) = roots(&copy) {
        // All that there is to know has room in the header.
        return Ok((RootsCopyAt { offset: sequence, kind: DURABLE, ..RootsCopyAt::default() }, Kept::default()));
    }
    let (led_at, led) = write_led(heap, run, led)?;
    copy.extend_from_slice(led_at.as_bytes());
    let (len, checksum) = (copy.len() as u64, crc32c::crc32c(&copy));
    let fits = |block: &mut Block| block.1.size() >= copy.len();
    let Block(block, layout) = match spare.take_if(fits) {
        Some(block) => block,
        None => {
            let block = allocate(heap, copy.len()).inspect_err(|_| led.into_iter().for_each(|led| free(heap, led)))?;
            // The next one may find no room.
            if spare.is_none() {
                *spare = allocate(heap, copy.len()).ok();
            }
            block
        }
    };
    // SAFETY: a block of this size that nobody else knows of.
    unsafe { block.as_ptr().copy_from_nonoverlapping(copy.as_ptr(), copy.len()) };
    let offset = (block.addr().get() - core.base) as u64;
    let kept = Kept { roots: Some(Block(block, layout)), led };
    Ok((RootsCopyAt { offset, len, checksum, kind: DURABLE, ..RootsCopyAt::default() }, kept))
}

/// Writes the list of entries to a block; none, if it is empty.
fn write_led(heap: &HeapInner, run: u32, led: &Led) -> Result<(LedAt, Option<Block>), CallError> {
    let at = LedAt { run: u64::from(run), ..LedAt::default() };
    if led.is_empty() {
        return Ok((at, None));
    }
    let base = heap.core().base;
    let Block(block, layout) = allocate(heap, led.len() * size_of::<CopiedLed>())?;
    let mut checksum = 0;
    for (number, &(entry, location)) in led.iter().enumerate() {
        let copied = CopiedLed { entry: (entry - base) as u64, location: location as u64 };
        checksum = crc32c::crc32c_append(checksum, copied.as_bytes());
        // SAFETY: a block for so many that nobody else knows of.
        unsafe { block.cast::<CopiedLed>().add(number).write(copied) };
    }
    let at = LedAt {
        number: led.len() as u64,
        offset: (block.addr().get() - base) as u64,
        checksum: u64::from(checksum),
        ..at
    };
    Ok((at, Some(Block(block, layout))))
}

fn allocate(heap: &HeapInner, len: usize) -> Result<Block, CallError> {
    let layout = Layout::from_size_align(len, 8).map_err(|_| NO_ROOM)?;
    // Whoever is told that the heap fills up must not wait for a sync, of which this is a part.
    let block = gate::without_syncs(|| allocate::allocate(heap.alloc(), layout));
    Ok(Block(NonNull::new(block).ok_or(NO_ROOM)?, layout))
}

fn copy_of(bytes: &Bytes, areas: &Areas) -> Option<Vec<u8>> {
    let counts = bytes.entry(areas, 0)?;
    let last_slot = if counts.state == COUNTS { counts.tag } else { 0 };
    let mut header = CopyHeader { roots: 0, last_slot, sequence: counts.sequence, types_len: bytes.types_len(areas) };
    let mut copy = header.as_bytes().to_vec();
    for slot in 1..=last_slot {
        let entry = bytes.entry(areas, slot)?;
        if entry.state == FREE {
            continue;
        }
        header.roots += 1;
        let start = copy.len();
        if push_root(bytes, &mut copy, slot, entry).is_none() {
            // It makes no sense: it is not gone back to, but not forgotten either.
            copy.truncate(start);
            let entry = RootEntry { state: u32::MAX, flags: 0, ..entry };
            copy.extend_from_slice(CopiedRoot { slot, entry }.as_bytes());
        }
    }
    copy[..size_of::<CopyHeader>()].copy_from_slice(header.as_bytes());
    Some(copy)
}

fn push_root(bytes: &Bytes, copy: &mut Vec<u8>, slot: u64, entry: RootEntry) -> Option<()> {
    copy.extend_from_slice(CopiedRoot { slot, entry }.as_bytes());
    let mut push = |offset: u64, len: u64| {
        let start = copy.len();
        offset.checked_add(len).filter(|&end| len == 0 || end <= bytes.len)?;
        copy.resize(start + (len as usize).next_multiple_of(8), 0);
        bytes.read(offset, &mut copy[start..start + len as usize])?;
        Some(start..start + len as usize)
    };
    let name = push(entry.tag, name_len(&entry) as u64)?;
    push(entry.value, value_len(&entry))?;
    (entry.checksum == entry.expected_checksum(&copy[name])).then_some(())
}

/// Frees a copy's block.
pub(super) fn free(heap: &HeapInner, Block(block, layout): Block) {
    // SAFETY: allocated by `write`, and no header names it any more.
    unsafe { allocate::free(heap.alloc(), block.as_ptr(), layout) };
}

/// Makes the roots of a heap that was not closed what they were at the sync that its header names. The heap is mapped, and nobody uses
/// it. Roots that are not copy-on-write are left out, if that is wanted. Returns the run of the heap in which entries were led elsewhere
/// since, whose former places count.
///
/// # Errors
/// [`OpenError::PlainRoots`] if there are such roots and they are wanted; [`OpenError::Inconsistent`] where the copy makes no sense.
pub(super) fn go_back(header: &Header, file: &File, drop_plain: bool) -> Result<u32, OpenError> {
    if header.copy.kind == UNCHANGED {
        return Ok(header.copy.offset as u32);
    }
    let nonsense = || OpenError::Inconsistent { field: "copy of the roots" };
    let areas = &header.layout;
    let base = header.window as usize * WINDOW;
    let mapped = Bytes { base, len: file.metadata()?.len.min(areas.end()) };
    let copy = if header.copy.len == 0 {
        CopyHeader { sequence: header.copy.offset, ..CopyHeader::default() }.as_bytes().to_vec()
    } else {
        let mut copy = vec![0; usize::try_from(header.copy.len.min(mapped.len)).unwrap_or(0)];
        let place = OpenError::Inconsistent { field: "place of the roots' copy" };
        mapped.read(header.copy.offset, &mut copy).ok_or(place)?;
        if copy.len() as u64 != header.copy.len || crc32c::crc32c(&copy) != header.copy.checksum {
            return Err(nonsense());
        }
        copy
    };
    let (start, found) = roots(&copy).ok_or_else(nonsense)?;
    let led = if header.copy.len == 0 { LedAt::default() } else { led(&copy).ok_or_else(nonsense)? };
    let entries = read_led(&mapped, led).ok_or(OpenError::Inconsistent { field: "list of entries" })?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|field| OpenError::Inconsistent { field })?;
    let room = areas.roots.len / ENTRY as u64;
    if start.last_slot >= room || start.types_len > areas.types.len {
        return Err(nonsense());
    }
    if !drop_plain {
        let copied = found.iter().filter(|root| root.value.is_none()).map(|root| tag_of(&root.entry, root.name));
        // Also those that were made since: whoever wants them has to say so.
        let roots: BTreeSet<String> = copied.chain(plain_roots(&mapped, areas)).collect();
        if !roots.is_empty() {
            return Err(OpenError::PlainRoots { roots: roots.into_iter().collect() });
        }
    }
    file.clear(areas.types.offset + start.types_len, areas.types.len - start.types_len)?;
    // What is left of the directory says that there was something.
    file.clear(areas.roots.offset, areas.roots.len)?;
    let reserved = (start.last_slot + 1) * ENTRY as u64;
    file.reserve(areas.roots.offset, reserved)?;
    file.reserve(areas.types.offset, start.types_len.max(1))?;
    let mut counts =
        RootEntry { state: COUNTS, tag: start.last_slot, sequence: start.sequence, ..RootEntry::default() };
    counts.checksum = counts.expected_checksum(&[]);
    let write = |offset: u64, bytes: &[u8]| {
        let end = offset.checked_add(bytes.len() as u64).filter(|&end| end <= mapped.len);
        end.map(|_| {
            let place: *mut u8 = ptr::with_exposed_provenance_mut(base + offset as usize);
            // SAFETY: within what is mapped and of the file, and nobody uses the heap.
            unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        })
    };
    let out_of_place = || OpenError::Inconsistent { field: "place of a root" };
    if start.sequence > 0 {
        write(areas.roots.offset, counts.as_bytes()).ok_or_else(out_of_place)?;
    }
    for root in found.iter() {
        let Some(value) = root.value else { continue };
        if root.slot == 0 || root.slot > start.last_slot {
            return Err(out_of_place());
        }
        for (offset, bytes) in [(root.entry.value, value), (root.entry.tag, root.name)] {
            if bytes.is_empty() {
                continue;
            }
            if offset < areas.segments.offset {
                return Err(out_of_place());
            }
            write(offset, bytes).ok_or_else(out_of_place)?;
        }
        write(areas.roots.offset + root.slot * ENTRY as u64, root.entry.as_bytes()).ok_or_else(out_of_place)?;
    }
    let out_of_place = || OpenError::Inconsistent { field: "place of an entry" };
    for CopiedLed { entry, location } in entries {
        if entry < areas.segments.offset || entry % handle::ENTRY as u64 != 0 {
            return Err(out_of_place());
        }
        let mut words = [0; handle::ENTRY];
        words[handle::LOCATION..][..8].copy_from_slice(&location.to_le_bytes());
        write(entry, &words).ok_or_else(out_of_place)?;
    }
    Ok(led.run as u32)
}

/// The entries in a list.
fn read_led(mapped: &Bytes, led: LedAt) -> Option<Vec<CopiedLed>> {
    let len = led.number.checked_mul(size_of::<CopiedLed>() as u64).filter(|&len| len <= mapped.len)?;
    let len = usize::try_from(len).ok()?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    bytes.resize(len, 0);
    mapped.read(led.offset, &mut bytes)?;
    if led.number > 0 && u64::from(crc32c::crc32c(&bytes)) != led.checksum {
        return None;
    }
    let entries = bytes.chunks_exact(size_of::<CopiedLed>()).map(|entry| CopiedLed::read_from_bytes(entry).ok());
    entries.collect()
}

/// The roots in their place that are not copy-on-write, as far as they make sense.
fn plain_roots(mapped: &Bytes, areas: &Areas) -> Vec<String> {
    let room = areas.roots.len / ENTRY as u64;
    let last_slot = mapped.entry(areas, 0).filter(|counts| counts.state == COUNTS).map_or(0, |counts| counts.tag);
    let root = |slot| {
        let entry =
            mapped.entry(areas, slot).filter(|entry| entry.state != FREE && entry.flags & COPY_ON_WRITE == 0)?;
        let mut name = vec![0; name_len(&entry).min(LONGEST_NAME)];
        mapped.read(entry.tag, &mut name)?;
        (entry.checksum == entry.expected_checksum(&name)).then(|| tag_of(&entry, &name))
    };
    (1..=last_slot.min(room - 1)).filter_map(root).collect()
}

/// What a root is called in an error.
fn tag_of(entry: &RootEntry, name: &[u8]) -> String {
    if name.is_empty() && entry.name_len == 0 {
        format!("{:#x}", entry.tag)
    } else {
        String::from_utf8_lossy(name).into()
    }
}
