//! Giving back what slots hold for nobody, and when.

use super::Growers;
use crate::alloc::heap_core::Core;
use crate::format::PAGE;
use crate::os::mapping;
use core::sync::atomic::Ordering;

/// Less memory than this is not worth a system call.
const LEAST_PURGE: usize = 64 << 10;
/// Who claims so much that was not held before gives back first what nobody needs.
const MUCH: usize = 4 << 20;

/// What [`Growers::purge`] gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unneeded {
    /// All that nobody has claimed.
    All,
    /// The same, but for the slot of that number.
    AllBut(usize),
    /// What nobody has taken since this was last asked for.
    SinceLast,
}

impl Growers {
    /// Before a slot that holds `held` bytes comes to hold a claim: others give back what they hold for nobody.
    #[inline(always)]
    pub(super) fn note_claim(&self, number: usize, claim: usize, held: usize) {
        if claim >= held + MUCH {
            self.make_room(number);
        }
    }

    #[cold]
    fn make_room(&self, number: usize) {
        // SAFETY: set by `begin`, as there is a slot; never let go.
        let core = unsafe { &*self.core.load(Ordering::Relaxed) };
        let _guard = core.lock.lock();
        // SAFETY: under the lock.
        unsafe { core.purge_growers(Unneeded::AllBut(number)) };
    }

    /// Gives memory back that lies in free slots, or behind the claims of live blocks; returns how many bytes at most.
    ///
    /// # Safety
    /// Under the heap's lock, so that nobody forks meanwhile.
    pub(crate) unsafe fn purge(&self, what: Unneeded) -> usize {
        let mut bytes = 0;
        for (number, slot) in self.slots.iter().enumerate() {
            if what == Unneeded::AllBut(number) {
                continue;
            }
            let taken = slot.taken.load(Ordering::Relaxed);
            if what == Unneeded::SinceLast && slot.seen.swap(taken, Ordering::Relaxed) != taken {
                continue;
            }
            // SAFETY: the caller's promise.
            bytes += unsafe { self.purge_slot(number) };
        }
        bytes
    }

    /// As [`Growers::purge`], of one slot.
    ///
    /// # Safety
    /// As there.
    unsafe fn purge_slot(&self, number: usize) -> usize {
        let slot = &self.slots[number];
        let Some(state) = slot.word.begin_purge(LEAST_PURGE) else { return 0 };
        let (claimed, held) = (state.claimed(), state.held());
        let start = self.address_of(number);
        let (from, to) = ((start + claimed).next_multiple_of(PAGE), (start + held).next_multiple_of(PAGE));
        // SAFETY: nobody has what lies behind the claim (Z3). The pages lie in the slot, and no block reaches its last ones.
        let is_gone = unsafe { mapping::discard(from, to - from) }.is_ok();
        slot.word.end_purge(if is_gone { claimed } else { held });
        if !is_gone {
            // The program has locked its memory: every claim is in memory at once then, and stays.
            self.cannot_purge.store(true, Ordering::Relaxed);
            self.is_ready.store(false, Ordering::Relaxed);
        }
        if is_gone { to - from } else { 0 }
    }

    /// Gives the memory back that a slot held whose block has been freed.
    #[cold]
    pub(crate) fn discard(&self, core: &Core, address: usize) {
        let _guard = core.lock.lock();
        // SAFETY: under the lock. If the slot has another block by now, that keeps what it has claimed.
        let bytes = unsafe { self.purge_slot(self.number_of(address)) };
        if bytes > 0 {
            core.totals.count_purge(bytes);
        }
    }

    /// Whether any slot holds what could be given back.
    pub(crate) fn holds_some(&self) -> bool {
        // Relaxed: read alone.
        !self.cannot_purge.load(Ordering::Relaxed)
            && self.slots.iter().any(|slot| slot.word.look().unneeded() >= LEAST_PURGE)
    }

    /// Whether the heap's memory up to unit `end` is about to be touched for the first time. Under the heap's lock.
    pub(in crate::alloc) fn is_new_end(&self, end: usize) -> bool {
        // Relaxed: under the lock.
        let is_new = end > self.heap_end.load(Ordering::Relaxed);
        if is_new {
            self.heap_end.store(end, Ordering::Relaxed);
        }
        is_new
    }
}

impl Core {
    /// Gives back what growers hold for nobody.
    ///
    /// # Safety
    /// Under the lock.
    pub(in crate::alloc) unsafe fn purge_growers(&self, what: Unneeded) -> usize {
        // SAFETY: the caller's promise.
        let bytes = self.growers.map_or(0, |growers| unsafe { growers.purge(what) });
        if bytes > 0 {
            self.totals.count_purge(bytes);
        }
        bytes
    }
}
