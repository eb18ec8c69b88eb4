//! Memory that holds nothing but sealed values is read-only, so that a stray write to it faults.
//!
//! Slabs are shared by all that allocates, so what may be read-only is told by the counts. It goes by whole segments, where huge
//! pages stay whole: one of whose units each lies in a slab with nothing but finished values
//! ([`RefCount::is_finished`](crate::alloc::ref_count::RefCount::is_finished)), or in a large object that is one. Such a segment has no
//! block that anybody could be given, and nobody writes to those that it has. A seal looks at the segments in which it has found
//! something new, and segments side by side are one call.
//!
//! A block that is freed there is *withheld*: its count says so, and nothing else is done. Only when an eighth of the segment waits,
//! or the heap lacks room, is the segment made writable, and what waits is freed. A large object does not wait.
//!
//! # How frees and seals meet
//! The word of a segment ([`young::segment`]) is zero, or says that it is read-only, or may be in a moment, and how many bytes wait.
//! Who frees a sealed block has dropped the last pointer to it, which the count says, and looks at the word then; who makes segments
//! read-only sets the word, and looks at the counts then. With a fence between the two on both sides, at least one sees the other: the
//! block is not finished any more and the segment stays as it is, or the word is not zero and who frees asks again under the lock.
//!
//! # Invariants
//! - **W1** A segment that is read-only has a word that is not zero, which changes under the lock.
//! - **W2** While the word is not zero, and the lock is free, each block of the segment is finished, or its last pointer is gone and
//!   its value is being moved out of it, or it is withheld.
//! - **W3** A block is withheld only while the segment's word is not zero, and only under the lock is it ever so, or no more.

use crate::alloc::count_table;
use crate::alloc::current;
use crate::alloc::heap_core::{Core, Run};
use crate::alloc::protection::Protection;
use crate::alloc::ref_count::RefCount;
use crate::alloc::size_class::{CLASSES, class_size, slab_units};
use crate::alloc::thread_heap::ThreadHeap;
use crate::alloc::young::{self, SEGMENT};
use crate::format::slab_entry::units_of_pages;
use crate::format::{PAGE, UNIT};
use crate::heap::allocate::{free_slow_unless, scrub};
use crate::heap::counted;
use crate::heap::handle::Place;
use crate::os::mapping::{self, Access};
use crate::sync::{AtomicU32, Ordering, fence};
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;

/// A segment is read-only, or may be so in a moment; the other bits are the bytes of the blocks that wait there.
const PROTECTED: u32 = 1 << 31;

/// So many bytes wait in a segment at most.
const MOST_WITHHELD: u32 = (SEGMENT / 8) as u32;

/// The word of a segment of the heap, by any address in it; none for any other address, and if the heap does not seal.
fn word_in(core: &Core, address: usize) -> Option<&'static AtomicU32> {
    let area = core.segments..core.segments + core.layout.segments.len as usize;
    if area.contains(&address) { young::segment(address) } else { None }
}

/// Whether a segment is read-only, or may be in a moment.
fn is_protected(core: &Core, segment: usize) -> bool {
    // Relaxed: under the lock.
    word_in(core, segment).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
}

/// The segments that a range of addresses touches.
fn segments_of(range: Range<usize>) -> impl Iterator<Item = usize> {
    (range.start / SEGMENT * SEGMENT..range.end).step_by(SEGMENT)
}

/// Segments that a seal has found something new in, and whether that fills its runs.
#[derive(Debug, Default)]
pub(super) struct Candidates(Vec<(usize, bool)>);

impl Candidates {
    /// Something new was found in a run.
    pub(super) fn add(&mut self, core: &Core, address: usize, run: Option<Run>, is_full: bool) {
        let range = match run {
            Some(Run::Large { head, len_pages }) => {
                let start = core.address_of(head);
                start..start + len_pages as usize * PAGE
            }
            _ => address..address + 1,
        };
        for segment in segments_of(range) {
            match self.0.last_mut() {
                Some((last, all)) if *last == segment => *all &= is_full,
                _ => self.0.push((segment, is_full)),
            }
        }
    }

    /// Each segment once, in the order of addresses, but for those with a run that is not full.
    fn into_segments(mut self) -> impl Iterator<Item = usize> {
        self.0.sort_unstable();
        // Of equal ones the first stays, and no comes before yes.
        self.0.dedup_by_key(|&mut (segment, _)| segment);
        self.0.into_iter().filter(|&(_, is_full)| is_full).map(|(segment, _)| segment)
    }
}

/// Makes read-only what of the candidates may be.
pub(super) fn protect(core: &Core, candidates: Candidates) {
    let _guard = core.protection.lock.lock();
    let mut range = 0..0;
    for segment in candidates.into_segments() {
        if range.end != segment {
            make_read_only(core, range);
            range = segment..segment;
        }
        if try_mark(core, segment) {
            range.end = segment + SEGMENT;
        }
    }
    make_read_only(core, range);
}

/// Sets the word of a segment that is zero, if it holds nothing but finished values.
fn try_mark(core: &Core, segment: usize) -> bool {
    // Relaxed, here and below: under the lock.
    let Some(word) = word_in(core, segment).filter(|word| word.load(Ordering::Relaxed) == 0) else { return false };
    word.store(PROTECTED, Ordering::Relaxed);
    // Pairs with the fence in `free_sealed`.
    fence(Ordering::SeqCst);
    if is_finished(core, segment) {
        return true;
    }
    word.store(0, Ordering::Relaxed);
    false
}

/// Whether a segment holds nothing but finished values.
fn is_finished(core: &Core, segment: usize) -> bool {
    let (mut unit, end) = (core.unit_of(segment), core.unit_of(segment + SEGMENT));
    // Where a large object reaches to there may be no others.
    if !count_table::is_mapped_at(segment) {
        return false;
    }
    while unit < end {
        match core.run_of(core.address_of(unit)) {
            Some(Run::Slab { head, class }) if class < CLASSES => {
                // SAFETY: a slab's, and counts are mapped.
                if !unsafe { count_table::of_slab(core.address_of(head), class) }.all(RefCount::is_finished) {
                    return false;
                }
                unit = head + slab_units(class);
            }
            Some(Run::Large { head, len_pages }) => {
                // SAFETY: as above.
                if !unsafe { count_table::place_of(core.address_of(head), None).as_ref() }.is_finished() {
                    return false;
                }
                unit = head + units_of_pages(len_pages);
            }
            // Fresh, or of a lease, or kept at hand; or of a class that has no counted blocks.
            _ => return false,
        }
    }
    true
}

/// Makes segments read-only whose words have been set; if that cannot be, they are as they were.
fn make_read_only(core: &Core, mut range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    let protection = &core.protection;
    if protection.unprotected.load(Ordering::Relaxed) > 0 {
        // What could not have a range of its own.
        while try_mark(core, range.start - SEGMENT) {
            range.start -= SEGMENT;
        }
        while try_mark(core, range.end) {
            range.end += SEGMENT;
        }
    }
    let segments = (range.len() / SEGMENT) as u32;
    let forget = || {
        segments_of(range.clone()).filter_map(|segment| word_in(core, segment)).for_each(|word| {
            word.store(0, Ordering::Relaxed);
        })
    };
    let (left, right) = (is_protected(core, range.start.wrapping_sub(1)), is_protected(core, range.end));
    if !left && !right && !protection.add_range() {
        protection.unprotected.fetch_add(u64::from(segments), Ordering::Relaxed);
        return forget();
    }
    // SAFETY: nobody writes to finished values, and those that are freed meanwhile wait for the lock (W2).
    if unsafe { mapping::protect(range.start, range.len(), Access::Read) }.is_err() {
        protection.failed.fetch_add(1, Ordering::Relaxed);
        // A part may be read-only.
        // SAFETY: nobody minds.
        if unsafe { mapping::protect(range.start, range.len(), Access::ReadWrite) }.is_ok() {
            if !left && !right {
                protection.remove_range();
            }
            return forget();
        }
    }
    if left && right {
        protection.remove_range();
    }
    protection.segments.fetch_add(segments, Ordering::Relaxed);
}

/// Withholds a block if that is needed; otherwise the caller frees it.
///
/// # Safety
/// As for [`counted::free`].
#[cold]
#[inline(never)]
pub(in crate::heap) unsafe fn free_sealed(block: NonNull<u8>, layout: Layout) -> bool {
    let address = block.addr().get();
    if young::segment(address).is_none() {
        return false;
    }
    // Pairs with the fence in `protect`: the count has said before that nobody has the block.
    fence(Ordering::SeqCst);
    // Relaxed: the fence orders it.
    let is_open = |segment| young::segment(segment).is_none_or(|word| word.load(Ordering::Relaxed) == 0);
    if segments_of(address..address + layout.size().max(1)).all(is_open) {
        return false;
    }
    let Place::Window(name) = counted::heap_of(block).place() else { return false };
    // A closed heap takes nothing back, nor does one of another process.
    // SAFETY: the calling thread's own, and the caller's promise.
    current::with_window(name, |heap| unsafe { withhold(heap, block, layout) }).unwrap_or(false)
}

/// Withholds a block, unless its segment is writable, or can be made so if the block is a large one.
///
/// # Safety
/// As for [`free_sealed`], and `heap` is the calling thread's own of the block's heap, which is open.
unsafe fn withhold(heap: *mut ThreadHeap, block: NonNull<u8>, layout: Layout) -> bool {
    // SAFETY: the caller's promise.
    let core = unsafe { &*(*heap).core };
    let _guard = core.protection.lock.lock();
    let address = block.addr().get();
    let touched = address..address + layout.size().max(1);
    if !segments_of(touched.clone()).any(|segment| is_protected(core, segment)) {
        return false;
    }
    // SAFETY: the caller's promise.
    let count = unsafe { counted::count_of(block, layout) };
    let Some(Run::Slab { class, .. }) = core.run_of(address) else {
        let mut read_only = segments_of(touched).filter(|&segment| is_protected(core, segment));
        // SAFETY: the caller's promise.
        if read_only.all(|segment| unsafe { make_writable(heap, segment..segment + SEGMENT) }) {
            return false;
        }
        // It stays in use, and so does all that lies there.
        count.withhold();
        return true;
    };
    #[cfg(feature = "checked")]
    // SAFETY: the caller's promise.
    crate::heap::checked::withheld(core, unsafe { (*heap).number }, block, counted::whole(layout));
    count.withhold();
    let size = class_size(class) as u32;
    core.protection.withheld.fetch_add(u64::from(size), Ordering::Relaxed);
    let waiting = word_in(core, address).map_or(0, |word| word.fetch_add(size, Ordering::Relaxed) + size);
    if waiting & !PROTECTED >= MOST_WITHHELD {
        // If it cannot be, what waits goes on waiting.
        let segment = address / SEGMENT * SEGMENT;
        // SAFETY: the caller's promise.
        unsafe { make_writable(heap, segment..segment + SEGMENT) };
    }
    true
}

/// Makes segments writable that are not, and frees what waits there; more of those beside them if there can be no more ranges.
/// Whether they are writable now.
///
/// # Safety
/// `heap` is the calling thread's own of a heap that is open, and the thread is not in the midst of anything there. Under the lock;
/// all the segments are read-only.
unsafe fn make_writable(heap: *mut ThreadHeap, range: Range<usize>) -> bool {
    // SAFETY: the caller's promise.
    let core = unsafe { &*(*heap).core };
    let (mut start, mut end) = (range.start, range.end);
    let (left, right) = (is_protected(core, start.wrapping_sub(1)), is_protected(core, end));
    if left && right {
        if core.protection.add_range() {
            // SAFETY: the caller's promise.
            if unsafe { change(heap, range.clone()) } {
                return true;
            }
            core.protection.remove_range();
        }
        // As far as the nearer end: that takes no mapping more.
        while is_protected(core, start.wrapping_sub(1)) && is_protected(core, end) {
            (start, end) = (start - SEGMENT, end + SEGMENT);
        }
        let part = if is_protected(core, end) { start..range.end } else { range.start..end };
        // SAFETY: the caller's promise.
        return unsafe { change(heap, part) };
    }
    // SAFETY: the caller's promise.
    let is_changed = unsafe { change(heap, range) };
    if is_changed && !left && !right {
        core.protection.remove_range();
    }
    is_changed
}

/// Makes segments writable that are not, and frees what waits there.
///
/// # Safety
/// As for [`make_writable`].
unsafe fn change(heap: *mut ThreadHeap, range: Range<usize>) -> bool {
    // SAFETY: the caller's promise.
    let core = unsafe { &*(*heap).core };
    // SAFETY: the heap's own segments, which all may write to.
    if unsafe { mapping::protect(range.start, range.len(), Access::ReadWrite) }.is_err() {
        core.protection.failed.fetch_add(1, Ordering::Relaxed);
        return false;
    }
    for segment in segments_of(range) {
        let Some(word) = word_in(core, segment) else { continue };
        core.protection.segments.fetch_sub(1, Ordering::Relaxed);
        // Relaxed: who sees zero writes there only after it got a block by other means.
        let waiting = word.swap(0, Ordering::Relaxed) & !PROTECTED;
        if waiting > 0 {
            core.protection.withheld.fetch_sub(u64::from(waiting), Ordering::Relaxed);
            // SAFETY: the caller's promise; the segment is writable.
            unsafe { free_waiting(heap, segment) };
        }
    }
    true
}

/// Frees what waits in a segment.
///
/// # Safety
/// As for [`make_writable`]; the segment is writable.
unsafe fn free_waiting(heap: *mut ThreadHeap, segment: usize) {
    // SAFETY: the caller's promise.
    let core = unsafe { &*(*heap).core };
    let (mut unit, end) = (core.unit_of(segment), core.unit_of(segment + SEGMENT));
    while unit < end {
        let Some(Run::Slab { head, class }) = core.run_of(core.address_of(unit)) else {
            unit += 1;
            continue;
        };
        let start = core.address_of(head);
        // SAFETY: as in `is_finished`. Blocks that wait keep their slab; where there are none any more, nothing is found.
        for (block, count) in unsafe { count_table::of_slab(start, class) }.enumerate() {
            if count.end_if_withheld() {
                let block = core::ptr::with_exposed_provenance_mut(start + block * class_size(class));
                // SAFETY: withheld by who had it alone, and nobody else frees it (W3).
                unsafe {
                    scrub(core, block, class_size(class));
                    free_slow_unless(heap, class, block);
                }
            }
        }
        unit = head + slab_units(class);
    }
}

/// Frees all blocks that wait; whether there were any.
///
/// # Safety
/// `heap` is the calling thread's own of a heap that is open, and the thread is not in the midst of anything there.
#[cold]
pub(in crate::heap) unsafe fn free_withheld(heap: *mut ThreadHeap) -> bool {
    // SAFETY: the caller's promise.
    let core = unsafe { &*(*heap).core };
    // Relaxed: what is added just now is found another time.
    if core.protection.withheld.load(Ordering::Relaxed) == 0 {
        return false;
    }
    // SAFETY: the caller's promise.
    unsafe { make_all_writable(heap, |word| word & !PROTECTED > 0, |_| ()) }
}

/// As [`free_withheld`], from outside of the heap.
pub(in crate::heap) fn free_all_withheld(core: &Core) {
    // SAFETY: the calling thread's own, of a heap that is open.
    current::with_window_if_used(core.name(), |heap| unsafe { free_withheld(heap) });
}

/// Makes those segments writable that are read-only and whose words say so to `which`; whether there were any. `told` is told of each.
///
/// # Safety
/// As for [`free_withheld`].
unsafe fn make_all_writable(heap: *mut ThreadHeap, which: impl Fn(u32) -> bool, told: impl Fn(usize)) -> bool {
    // SAFETY: the caller's promise.
    let core = unsafe { &*(*heap).core };
    let _guard = core.protection.lock.lock();
    let mut were_any = false;
    // SAFETY: mapped as long as the core lives (K3). Relaxed: nothing behind it has been used before the lock was taken.
    let committed = unsafe { (*core.soft()).committed_units.load(Ordering::Relaxed) } as usize * UNIT;
    let (mut start, end) = (core.segments, core.segments + committed);
    while start < end {
        // Relaxed: under the lock.
        let word_at = |at| word_in(core, at).map_or(0, |word| word.load(Ordering::Relaxed));
        let mut stop = start;
        while stop < end && word_at(stop) != 0 && which(word_at(stop)) {
            stop += SEGMENT;
        }
        if stop > start {
            // SAFETY: the caller's promise.
            were_any |= unsafe { make_writable(heap, start..stop) };
            segments_of(start..stop).for_each(&told);
        }
        start = stop.max(start + SEGMENT);
    }
    were_any
}

/// Makes the whole heap writable and frees what waits. The next seal looks again at what was read-only.
pub(in crate::heap) fn open_all(core: &Core) {
    // Relaxed: the caller keeps seals out.
    if core.protection.segments.load(Ordering::Relaxed) > 0 {
        // SAFETY: the calling thread's own, of a heap that is open.
        current::with_window(core.name(), |heap| unsafe { make_all_writable(heap, |_| true, young::note) });
    }
}

/// What is read-only in a heap, if anything is to be.
pub(in crate::heap) fn stats(protection: &Protection) -> Option<super::SealStats> {
    // Relaxed, all: figures.
    protection.is_wanted.load(Ordering::Relaxed).then(|| super::SealStats {
        protected_bytes: u64::from(protection.segments.load(Ordering::Relaxed)) * SEGMENT as u64,
        ranges: protection.ranges.load(Ordering::Relaxed).into(),
        withheld_bytes: protection.withheld.load(Ordering::Relaxed),
        unprotected_bytes: protection.unprotected.load(Ordering::Relaxed) * SEGMENT as u64,
        failed_calls: protection.failed.load(Ordering::Relaxed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Heap, HeapOptions, SalRc, SealPolicy, SyncLevel};

    fn filled(capacity: u64) -> (Heap, Vec<Option<SalRc<[u64; 64]>>>) {
        let heap = HeapOptions::new().capacity(capacity).seal_policy(SealPolicy::Mprotect).volatile().unwrap();
        let values = std::iter::from_fn(|| SalRc::try_new_in([7; 64], heap.alloc()).ok());
        let values: Vec<_> = values.map(Some).collect();
        (heap, values)
    }

    fn seal(heap: &Heap) -> crate::SealStats {
        heap.sync_with(SyncLevel::Seal).unwrap();
        heap.stats().seals.unwrap()
    }

    /// The segment of a value, counted from the heap's first.
    fn segment_of(heap: &Heap, value: &SalRc<[u64; 64]>) -> usize {
        (SalRc::as_ptr(value).addr() - heap.inner().core().segments) / SEGMENT
    }

    /// The words, and the numbers that go with them.
    fn check(heap: &Heap) {
        let (core, stats) = (heap.inner().core(), heap.stats().seals.unwrap());
        let area = core.segments..core.segments + core.layout.segments.len as usize;
        let words: Vec<u32> =
            segments_of(area).map(|segment| word_in(core, segment).unwrap().load(Ordering::Relaxed)).collect();
        let waiting: u32 = words.iter().map(|word| word & !PROTECTED).sum();
        let ranges = words.split(|&word| word == 0).filter(|range| !range.is_empty()).count();
        assert_eq!((waiting.into(), ranges as u64), (stats.withheld_bytes, stats.ranges));
        assert_eq!(words.iter().filter(|&&word| word != 0).count() as u64 * SEGMENT as u64, stats.protected_bytes);
        assert!(words.iter().all(|&word| word == 0 || word & PROTECTED != 0 && word & !PROTECTED < MOST_WITHHELD));
    }

    #[test]
    fn there_are_no_more_ranges_than_there_may_be_and_what_is_beside_one_joins_it() {
        let (heap, mut values) = filled(48 << 20);
        heap.inner().core().protection.most_ranges.store(5, Ordering::Relaxed);
        // Every other segment is full.
        let mut holes = Vec::new();
        for (at, value) in values.iter_mut().enumerate() {
            if segment_of(&heap, value.as_ref().unwrap()) % 2 == 1 && at % 50 == 0 {
                *value = None;
                holes.push(at);
            }
        }
        let stats = seal(&heap);
        assert_eq!((stats.ranges, stats.protected_bytes), (5, 5 * SEGMENT as u64));
        assert!(stats.unprotected_bytes > 5 * SEGMENT as u64);
        check(&heap);
        // The holes are filled, and each segment between two ranges makes them one; those far away find room for theirs.
        holes.iter().for_each(|&at| values[at] = Some(SalRc::new_in([8; 64], heap.alloc())));
        let stats = seal(&heap);
        assert!(stats.ranges <= 5 && stats.protected_bytes >= 20 * SEGMENT as u64, "{stats}");
        check(&heap);
        // To make one in the midst writable splits a range, as long as there may be one more.
        heap.inner().core().protection.most_ranges.store(3, Ordering::Relaxed);
        for doomed in (1..22).step_by(4) {
            let mut freed = 0;
            for value in &mut values {
                if freed < MOST_WITHHELD && value.as_ref().is_some_and(|value| segment_of(&heap, value) == doomed) {
                    *value = None;
                    freed += 512;
                }
            }
            check(&heap);
            let stats = heap.stats().seals.unwrap();
            assert!(stats.ranges <= 5 && stats.withheld_bytes == 0, "{stats}");
        }
        assert!(values.iter().flatten().all(|value| value[63] == 7 || value[63] == 8));
        drop(values);
        check(&heap);
        assert_eq!((heap.stats().live_bytes, heap.stats().seals.unwrap().failed_calls), (0, 0));
    }

    #[test]
    fn a_number_that_was_only_found_makes_nothing_read_only() {
        let (heap, values) = filled(32 << 20);
        let value = values[values.len() / 2].as_ref().unwrap();
        let block = NonNull::new(SalRc::as_ptr(value).cast_mut().cast::<u8>()).unwrap();
        // SAFETY: the value's block.
        let count = unsafe { counted::count_of(block, Layout::new::<[u64; 64]>()) };
        count.end();
        count.join(1, true);
        let doubtful = segment_of(&heap, value);
        let stats = seal(&heap);
        let core = heap.inner().core();
        assert!(stats.ranges == 2 && !is_protected(core, core.segments + doubtful * SEGMENT), "{stats}");
        check(&heap);
        drop(values);
        assert_eq!(heap.stats().live_bytes, 0);
    }
}
