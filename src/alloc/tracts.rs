//! Which segments are tracts, where in them objects lie, and how much of each is alive.
//!
//! A *tract* is a segment that holds objects which may be moved, one behind the other, and nothing else; for the heap below it is
//! one large object. Beside it, in memory of the process, there are two bits for each sixteen bytes: whether an object *begun* there, and
//! whether it has *ended*. Each bit is set once, by one thread: the first by who makes the object, the second by who drops, replaces
//! or moves it. So neither has to look at what the other does. The bits of all tracts of a window have addresses from when it has its
//! first one. So nobody waits for a mapping when a tract is begun, nor do readers for one that goes.
//!
//! A word counts the granules of sixteen bytes that are alive. While objects are still being put into a tract, or while it is not
//! known yet what it holds, the word is raised by more than all of it ([`HELD`]), so that it cannot become empty; what was put or
//! found there is added when that ends. Who takes the last granule away is told so, and the tract is that thread's to free.
//!
//! # Invariants
//! - **T1** A tract's bits are there from before its first object begins until after its last one ended, and all who have ended one
//!   are done with them: the bits are changed before the word.
//! - **T2** The word of a tract that is not held is the number of granules of objects that have begun and have not been given up.
//! - **T3** Exactly one thread is told that a tract is empty.
//! - **T4** Where a segment has no bits because it is no tract, there are zeros for the next one.
//!
//! # Volatile
//! All of it. Of a heap that was opened nothing is known until its pointers have been followed: each tract is held until then.

use super::windows;
use crate::format::{END_WINDOW, SEGMENT_UNITS, UNIT, WINDOW, WINDOW_SHIFT};
use crate::os::lock::Lock;
use crate::os::mapping;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Bytes of a tract, and what it is aligned to.
pub(crate) const TRACT: usize = SEGMENT_UNITS * UNIT;
/// What objects are aligned to at least, and what their bits stand for.
pub(crate) const GRANULE: usize = 16;
/// Granules of a tract.
pub(crate) const GRANULES: u32 = (TRACT / GRANULE) as u32;
/// Threads make objects in so many tracts at once.
pub(crate) const FILLS: usize = 8;
/// The fill of who moves objects, behind those of threads.
pub(crate) const MOVED: usize = FILLS;
/// The fill for objects that are read often.
pub(crate) const HOT: usize = FILLS + 1;

/// More than any number of granules: set while a tract cannot become empty.
const HELD: u32 = 1 << 31;
/// What a held word begins with, so that it stays positive when objects end that are not added yet.
const BEGIN: u32 = HELD | GRANULES;

/// Half of a tract.
const SPARSE: u32 = GRANULES / 2;

const WORDS: usize = TRACT / GRANULE / 64;
const TRACTS: usize = WINDOW / TRACT;

/// Where objects lie in a tract.
#[derive(Debug)]
#[repr(C)]
struct Bits {
    begun: [AtomicU64; WORDS],
    ended: [AtomicU64; WORDS],
}

/// One tract.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Tract {
    word: AtomicU32,
    /// How many tracts had been begun before this one: its age. Zero if it was there when the heap was opened.
    born: AtomicU32,
    /// Granules that were found by who followed the heap's pointers.
    found: AtomicU32,
    /// Whether objects lie here because they are read often; changed by who moves objects, and by who is told that it is empty.
    is_hot: AtomicU32,
    /// Null of a segment that is no tract.
    bits: AtomicPtr<Bits>,
    /// Whether there may be memory under the bits of a segment that is no tract any more.
    is_kept: AtomicU32,
}

/// What is alive of a tract of which something was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Some,
    /// Less than half, from now on.
    Little,
    /// It is empty, and the caller's (T3).
    Nothing,
}

/// Where objects are put next.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Fill {
    pub(crate) lock: Lock,
    /// Address of the next free byte and where the tract ends; both 0 without one. Under the lock.
    pub(crate) next: AtomicU64,
    pub(crate) end: AtomicU64,
    /// Granules of the objects in the tract. Under the lock.
    pub(crate) granules: AtomicU32,
}

/// The tracts of one window.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Table {
    /// Tracts begun so far.
    born: AtomicU32,
    /// Behind the last segment that ever was a tract.
    end: AtomicU32,
    /// Held by who lets a segment have its bits, and by who gives the memory back that lies under bits that nobody has.
    bits: Lock,
    pub(crate) fills: [Fill; HOT + 1],
    tracts: [Tract; TRACTS],
}

static TABLES: [AtomicPtr<Table>; END_WINDOW as usize] =
    [const { AtomicPtr::new(ptr::null_mut()) }; END_WINDOW as usize];

/// Bytes of a table, behind which the bits of all tracts lie.
const LEN: usize = size_of::<Table>().next_multiple_of(mapping::PAGE);
const BITS_LEN: usize = size_of::<Bits>();
const _: () = assert!(BITS_LEN % mapping::PAGE == 0);

/// Bytes of a table and the bits of as many tracts as so many bytes of a window have.
const fn len_with_bits(reserved: usize) -> usize {
    LEN + reserved.div_ceil(TRACT) * BITS_LEN
}

/// The table of the window that has an address, if there is one.
#[inline(always)]
pub(crate) fn table_at(address: usize) -> Option<&'static Table> {
    // Acquire pairs with the Release in `windows::ensure_table`.
    // SAFETY: mapped until nobody uses an object of the window any more. All of it is atomic, and zeros are a table.
    unsafe { TABLES.get(address >> WINDOW_SHIFT)?.load(Ordering::Acquire).as_ref() }
}

/// The table of the window that has an address, made if need be; none without memory.
#[inline(always)]
pub(crate) fn ensure_table_at(address: usize) -> Option<&'static Table> {
    table_at(address).or_else(|| make(address))
}

#[cold]
#[inline(never)]
fn make(address: usize) -> Option<&'static Table> {
    let place = TABLES.get(address >> WINDOW_SHIFT)?;
    let len = len_with_bits(windows::reserved_in(address >> WINDOW_SHIFT));
    windows::ensure_table(place, len).then(|| table_at(address))?
}

/// Whether it could not be noted that an object has ended, in any heap: then nothing more becomes known of tracts of before.
static IS_INCOMPLETE: AtomicU32 = AtomicU32::new(0);

/// The object at an address is not moved any more.
#[inline]
pub(crate) fn note_ended(address: usize) {
    // There is no table yet in a heap that was opened and none of whose objects was touched.
    match ensure_table_at(address) {
        Some(table) => table.note_ended(address),
        // Without addresses. The object would be found alive by who follows the pointers of before.
        None => IS_INCOMPLETE.store(1, Ordering::Relaxed),
    }
}

/// Whether what is found of tracts can be relied on.
pub(crate) fn is_complete() -> bool {
    // Relaxed: whoever asks was told of the ends of all objects by other means.
    IS_INCOMPLETE.load(Ordering::Relaxed) == 0
}

/// Whether an address lies in a tract of objects that are read often.
pub(crate) fn is_hot_at(address: usize) -> bool {
    table_at(address).is_some_and(|table| table.tract(address).is_hot())
}

/// Gives the tables of windows back.
///
/// # Safety
/// The registry is locked, and nobody uses an object of these windows any more.
pub(super) unsafe fn release(first: u32, windows: u32) {
    for window in first as usize..(first + windows) as usize {
        let Some(place) = TABLES.get(window) else { continue };
        // Relaxed: under the lock.
        let table = place.swap(ptr::null_mut(), Ordering::Relaxed);
        if table.is_null() {
            continue;
        }
        // SAFETY: mapped by `make`, and by the caller's promise nobody else uses it.
        let _ = unsafe { mapping::unmap(table.expose_provenance(), len_with_bits(windows::reserved_in(window))) };
    }
}

/// Gives the memory back that lies under bits of segments that are no tracts any more, in the windows of a range of addresses.
pub(crate) fn purge(range: &Range<usize>) {
    for start in (range.start / WINDOW * WINDOW..range.end).step_by(WINDOW) {
        if let Some(table) = table_at(start) {
            table.purge();
        }
    }
}

/// All locks of all tables, which are held over a fork.
///
/// # Safety
/// The registry is locked.
pub(crate) unsafe fn for_each_lock(mut visit: impl FnMut(&Lock)) {
    for place in &TABLES {
        // SAFETY: mapped as long as it is in the registry. Relaxed: under its lock.
        if let Some(table) = unsafe { place.load(Ordering::Relaxed).as_ref() } {
            table.fills.iter().for_each(|fill| visit(&fill.lock));
            visit(&table.bits);
        }
    }
}

impl Table {
    /// The tract that an address of the window lies in.
    #[inline(always)]
    pub(crate) fn tract(&self, address: usize) -> &Tract {
        &self.tracts[(address & (WINDOW - 1)) / TRACT]
    }

    /// Lets the tract at an address have its bits: zeros, unless it had them before.
    fn ensure_bits(&self, address: usize) {
        let number = (address & (WINDOW - 1)) / TRACT;
        // Relaxed: who looks through the tracts of others misses the newest, or does not.
        self.end.fetch_max(number as u32 + 1, Ordering::Relaxed);
        let bits = ptr::from_ref(self).addr() + LEN + number * BITS_LEN;
        let _guard = self.bits.lock();
        // Release pairs with the Acquire in `bits`.
        self.tract(address).bits.store(ptr::with_exposed_provenance_mut(bits), Ordering::Release);
    }

    /// A tract of a heap that was opened, of which nothing is known yet, is held.
    #[cold]
    #[inline(never)]
    fn adopt(&self, address: usize) {
        self.ensure_bits(address);
        // AcqRel: with the word come the bits.
        let _ = self.tract(address).word.compare_exchange(0, BEGIN, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The object at an address is not moved any more.
    #[inline(always)]
    pub(crate) fn note_ended(&self, address: usize) {
        let tract = self.tract(address);
        if tract.is_unknown() {
            self.adopt(address);
        }
        if let Some(bits) = tract.bits() {
            let (word, bit) = bit_of(address);
            // Release pairs with the Acquire in `live_word`.
            bits.ended[word].fetch_or(bit, Ordering::Release);
        }
    }

    /// An object of so many granules was found at an address by following the heap's pointers; false if one has been found there
    /// before.
    pub(crate) fn note_found(&self, address: usize, granules: u32) -> bool {
        let tract = self.tract(address);
        if tract.is_unknown() {
            self.adopt(address);
        }
        let Some(bits) = tract.bits() else { return true };
        let (word, bit) = bit_of(address);
        // Relaxed: told to others when all is found.
        if bits.begun[word].fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return false;
        }
        tract.found.fetch_add(granules, Ordering::Relaxed);
        true
    }

    /// A segment becomes a tract into which objects are put.
    pub(crate) fn begin(&self, start: usize) {
        let tract = self.tract(start);
        // SAFETY: nobody has an object there yet, nor looks for one.
        unsafe { tract.free_bits() };
        self.ensure_bits(start);
        // Relaxed: an age, and who finds an object there has got it from who made it.
        let born = self.born.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        tract.born.store(born, Ordering::Relaxed);
        tract.found.store(0, Ordering::Relaxed);
        // Release pairs with the Acquire in `live_word`: with the word come the bits.
        tract.word.store(BEGIN, Ordering::Release);
    }

    /// Gives the memory back that lies under bits of segments that are no tracts any more.
    fn purge(&self) {
        let _guard = self.bits.lock();
        let end = self.end.load(Ordering::Relaxed) as usize;
        let mut idle = 0;
        for at in 0..=end {
            let is_idle = at < end && self.tracts[at].is_idle();
            if is_idle {
                // Relaxed: under the lock, or by who frees them, which comes behind.
                self.tracts[at].is_kept.store(0, Ordering::Relaxed);
                idle += 1;
            } else if idle > 0 {
                // One call for those that lie side by side.
                let (start, len) = (ptr::from_ref(self).addr() + LEN + (at - idle) * BITS_LEN, idle * BITS_LEN);
                // SAFETY: nobody has them before the lock is given back, and zeros stay zeros (T4).
                let _ = unsafe { mapping::discard(start, len) };
                idle = 0;
            }
        }
    }

    /// Tracts begun so far.
    pub(crate) fn time(&self) -> u32 {
        // Relaxed: a figure.
        self.born.load(Ordering::Relaxed)
    }

    /// The tracts that there are, also those that are empty and wait to be freed, and where they begin in the window.
    pub(crate) fn known(&self) -> impl Iterator<Item = (usize, &Tract)> {
        // Relaxed: who goes on with one looks again.
        let is_there = |tract: &Tract| !tract.bits.load(Ordering::Relaxed).is_null();
        let end = self.end.load(Ordering::Relaxed) as usize;
        self.tracts[..end]
            .iter()
            .enumerate()
            .filter(move |(_, tract)| is_there(tract))
            .map(|(at, tract)| (at * TRACT, tract))
    }
}

impl Tract {
    /// Whether there may be memory under bits that nobody has. Nobody gets them as long as the table's lock is held.
    fn is_idle(&self) -> bool {
        // Relaxed: what is kept from now on is found next time. Acquire pairs with the Release in `free_bits`: who had the bits is done
        // with them.
        self.is_kept.load(Ordering::Relaxed) != 0 && self.bits.load(Ordering::Acquire).is_null()
    }

    /// Takes the bits away from a segment that is no tract any more.
    ///
    /// # Safety
    /// Nobody uses the bits any more (T1).
    unsafe fn free_bits(&self) {
        let Some(bits) = self.bits() else { return };
        for word in bits.begun.iter().chain(&bits.ended) {
            // Relaxed, all: by the caller's promise nobody else is there. What was never written has no memory yet.
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
        self.is_kept.store(1, Ordering::Relaxed);
        // Release pairs with the Acquire in `purge`, and with that in `bits` of who gets them next (T4).
        self.bits.store(ptr::null_mut(), Ordering::Release);
    }

    /// The segment is no tract any more.
    ///
    /// # Safety
    /// It was told to be empty, or is known to hold nothing that anybody uses, and the caller alone goes on with it (T3).
    pub(crate) unsafe fn forget(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.free_bits() };
        // Relaxed: whoever gets the segment next gets this with it.
        self.word.store(0, Ordering::Relaxed);
        self.found.store(0, Ordering::Relaxed);
    }

    /// Whether nothing is known of it yet: of one that has objects, as long as nobody has touched them.
    #[inline(always)]
    fn is_unknown(&self) -> bool {
        // Relaxed: who has seen an object begin there has seen the word.
        self.word.load(Ordering::Relaxed) == 0
    }

    #[inline(always)]
    fn bits(&self) -> Option<&Bits> {
        // Acquire pairs with the Release in `ensure_bits`.
        // SAFETY: T1; they lie behind the table, and are mapped as long as that.
        unsafe { self.bits.load(Ordering::Acquire).as_ref() }
    }

    /// An object begins at an address; it is finished.
    #[inline(always)]
    pub(crate) fn note_begun(&self, address: usize) {
        let (word, bit) = bit_of(address);
        if let Some(bits) = self.bits() {
            // Release pairs with the Acquire in `live_word`: who finds the object finds it whole.
            bits.begun[word].fetch_or(bit, Ordering::Release);
        }
    }

    /// So many granules are not used any more.
    #[inline(always)]
    #[must_use]
    pub(crate) fn give(&self, granules: u32) -> Left {
        // Relaxed: a tract that has no word is not known, and stays so.
        if self.is_unknown() {
            return Left::Some;
        }
        // AcqRel: who is told that the tract is empty comes behind all who gave before.
        let before = self.word.fetch_sub(granules, Ordering::AcqRel);
        if before == granules {
            Left::Nothing
        } else if before & HELD == 0 && before >= SPARSE && before - granules < SPARSE {
            Left::Little
        } else {
            Left::Some
        }
    }

    /// What was put into the tract, or found there, is so many granules, and that is all; whether it is empty, and the caller's.
    #[must_use]
    pub(crate) fn release(&self, granules: u32) -> bool {
        let less = BEGIN - granules.min(GRANULES);
        // AcqRel: as in `give`.
        self.word.fetch_sub(less, Ordering::AcqRel) == less
    }

    /// The granules that are alive; none while more may come, or nothing is known.
    pub(crate) fn live(&self) -> Option<u32> {
        // Relaxed: a figure.
        let word = self.word.load(Ordering::Relaxed);
        (word != 0 && word & HELD == 0).then_some(word)
    }

    /// The granules that are alive in a tract into which so many have been put so far.
    pub(crate) fn live_of(&self, put: u32) -> u32 {
        // Relaxed: a figure. What was put last may have ended already, and not be counted.
        (self.word.load(Ordering::Relaxed) & !HELD).wrapping_sub(GRANULES).wrapping_add(put)
    }

    /// Whether objects lie here because they are read often.
    pub(crate) fn is_hot(&self) -> bool {
        // Relaxed, here and below: a mark; what follows from it is said to others under locks.
        self.is_hot.load(Ordering::Relaxed) != 0
    }

    /// Says whether objects lie here because they are read often; returns what was said before.
    pub(crate) fn set_hot(&self, is_hot: bool) -> bool {
        self.is_hot.swap(u32::from(is_hot), Ordering::Relaxed) != 0
    }

    /// When the tract was begun; see [`Table::time`].
    pub(crate) fn born(&self) -> u32 {
        // Relaxed: a figure.
        self.born.load(Ordering::Relaxed)
    }

    /// The objects that have begun and not ended in 64 granules, a bit for each.
    fn live_word(&self, word: usize) -> u64 {
        // Of a tract that is seen not to be empty, the bits stay as long as the pin that the caller has. Acquire pairs with the Release
        // of who began it: the bits are its own.
        if self.word.load(Ordering::Acquire) == 0 {
            return 0;
        }
        // Acquire, both: pair with the Release of who set the bits.
        self.bits()
            .map_or(0, |bits| bits.begun[word].load(Ordering::Acquire) & !bits.ended[word].load(Ordering::Acquire))
    }

    /// Whether an object has begun at an address and not ended. With a pin, as for [`Tract::objects`].
    pub(crate) fn is_live_at(&self, address: usize) -> bool {
        let (word, bit) = bit_of(address);
        self.live_word(word) & bit != 0
    }

    /// Where in the tract objects lie, from a granule on. Only with a pin: whoever finds the tract empty after the pin began keeps its bits
    /// as long as that.
    pub(crate) fn objects(&self, from: usize) -> impl Iterator<Item = usize> {
        (from / 64..WORDS).flat_map(move |word| {
            let mut bits = self.live_word(word);
            if word == from / 64 {
                bits &= u64::MAX << (from % 64);
            }
            core::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < 64).then_some((word * 64 + bit as usize) * GRANULE)
            })
        })
    }

    /// All pointers have been followed: what was found is all there is. Whether the tract is empty, and the caller's.
    #[must_use]
    pub(crate) fn settle(&self) -> bool {
        // Relaxed: once, by who followed the pointers.
        let found = self.found.swap(0, Ordering::Relaxed);
        found != 0 && self.release(found)
    }

    /// What was found means nothing.
    pub(crate) fn unfind(&self) {
        // Relaxed: as above.
        if self.found.swap(0, Ordering::Relaxed) != 0 {
            if let Some(bits) = self.bits() {
                bits.begun.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            }
        }
    }
}

#[inline(always)]
fn bit_of(address: usize) -> (usize, u64) {
    let granule = (address & (TRACT - 1)) / GRANULE;
    (granule / 64, 1 << (granule % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::mapping::{Access, Source};

    const START: usize = 0x1040_0000_0000;

    fn table() -> &'static Table {
        let len = len_with_bits(WINDOW);
        let table = mapping::map_anywhere(len, Access::ReadWrite, Source::Anonymous).unwrap();
        // SAFETY: mapped just now, and never unmapped; zeros are a table.
        unsafe { &*ptr::with_exposed_provenance::<Table>(table) }
    }

    #[test]
    fn a_tract_is_empty_when_all_that_was_put_there_has_been_given() {
        let table = table();
        table.begin(START);
        let tract = table.tract(START);
        for at in [0, 64, 1600] {
            tract.note_begun(START + at);
        }
        // One ends while others may still come.
        table.note_ended(START + 64);
        assert_eq!((tract.give(96), tract.live()), (Left::Some, None));
        assert_eq!(tract.objects(0).collect::<Vec<_>>(), [0, 1600]);
        assert!(!tract.release(100 + 4));
        assert_eq!(tract.live(), Some(8));
        table.note_ended(START);
        table.note_ended(START + 1600);
        assert_eq!([tract.give(4), tract.give(4)], [Left::Some, Left::Nothing]);
        // SAFETY: it was told to be empty.
        unsafe { tract.forget() };
        assert_eq!((tract.live(), table.known().count()), (None, 0));
    }

    #[test]
    fn a_tract_that_is_empty_before_it_is_full_is_told_so_then() {
        let table = table();
        table.begin(START + TRACT);
        let tract = table.tract(START + TRACT);
        tract.note_begun(START + TRACT);
        table.note_ended(START + TRACT);
        assert!(tract.give(3) == Left::Some && tract.release(3));
    }

    #[test]
    fn once_it_is_told_that_little_is_left() {
        let table = table();
        table.begin(START);
        let tract = table.tract(START);
        assert!(!tract.release(GRANULES));
        let told: Vec<Left> = (0..4).map(|_| tract.give(GRANULES / 4 - 1)).collect();
        assert_eq!(told, [Left::Some, Left::Some, Left::Little, Left::Some]);
        assert_eq!(tract.give(4), Left::Nothing);
    }

    #[test]
    fn what_ends_before_it_was_found_is_not_alive_afterwards() {
        let table = table();
        let tract = table.tract(START);
        table.note_ended(START + 32);
        assert_eq!(tract.give(2), Left::Some);
        assert!(table.note_found(START, 2) && table.note_found(START + 32, 2));
        assert!(!table.note_found(START, 2), "found twice");
        assert!(!tract.settle());
        assert_eq!((tract.live(), tract.objects(0).collect::<Vec<_>>()), (Some(2), vec![0]));
        table.note_ended(START);
        assert_eq!(tract.give(2), Left::Nothing);
    }

    #[test]
    fn what_was_found_in_vain_leaves_the_tract_unknown() {
        let table = table();
        let tract = table.tract(START);
        assert!(table.note_found(START, 2));
        tract.unfind();
        assert!(!tract.settle() && tract.live().is_none());
        assert_eq!(tract.objects(0).count(), 0);
        assert!(table.note_found(START, 2) && !tract.settle());
        assert_eq!(tract.live(), Some(2));
    }

    #[test]
    fn the_bits_of_a_tract_that_is_gone_are_zeros_for_the_next_one_purged_or_not() {
        let table = table();
        for is_purged in [false, true, false] {
            table.begin(START);
            let tract = table.tract(START);
            assert_eq!(tract.objects(0).count(), 0);
            tract.note_begun(START + 32);
            // What is in use stays.
            table.purge();
            assert_eq!(tract.objects(0).collect::<Vec<_>>(), [32]);
            table.note_ended(START + 32);
            assert!(tract.give(1) == Left::Some && tract.release(1));
            // SAFETY: it was told to be empty.
            unsafe { tract.forget() };
            if is_purged {
                table.purge();
            }
        }
    }

    #[test]
    fn objects_are_listed_from_any_granule_on() {
        let table = table();
        table.begin(START);
        let tract = table.tract(START);
        let places = [0, 16, 1008, 1024, TRACT - 16];
        places.iter().for_each(|at| tract.note_begun(START + at));
        for from in [0, 1, 2, 63, 64, 65] {
            let wanted: Vec<usize> = places.iter().copied().filter(|&at| at >= from * GRANULE).collect();
            assert_eq!(tract.objects(from).collect::<Vec<_>>(), wanted);
        }
    }
}
