//! Marking: from the roots, object by object, to all that is reached.
//!
//! A visitor asks for objects one by one and tells of the pointers in them, so neither lists nor trees need any stack but
//! this one. It is bounded: what finds no room is noted by a bit, and taken up when the stack is empty. When that is, objects
//! in cards that may have been changed since the last look are visited again, if they are marked; the cards count as unchanged
//! from then on.
//!
//! # Invariants
//! - **M1** The stack, the queue and the bits of those that wait name marked objects which are to be visited. An entry whose area is not live,
//!   or whose slot is not taken any more, is passed over.
//! - **M2** When `next` has said that there is nothing left, and pools have not changed since, all that a marked object leads to is marked.
#![allow(unsafe_code)]

use super::areas::Areas;
use crate::persist::follow::{Follow, FoundPool, Visit};
use crate::pool::chunk::Chunk;
use std::time::Instant;

/// Entries of the stack: 8 MiB.
const ROOM: usize = 1 << 20;
/// Objects whose memory is asked for before they are visited.
const AHEAD: usize = 8;
/// Objects that are visited between two looks at the clock.
const TICK: u32 = 32;
/// Looks for what may have been changed, after which marking is done in one go: a program that changes more in each pause than a step looks
/// at would never see the end.
const MOST_ROUNDS: u32 = 64;
/// Pointers of a value outside of pools that are noted before all pools are known.
const NOTED: usize = 1 << 20;

/// What pointers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Pools are being found; pointers are noted.
    Finding,
    Marking,
}

/// An area and a slot of it.
#[derive(Clone, Copy)]
struct Entry {
    area: u32,
    slot: u32,
}

/// See the module.
pub(super) struct Marker {
    pub(super) areas: Areas,
    pub(super) pools: Vec<FoundPool>,
    phase: Phase,
    noted: Vec<usize>,
    /// Whether some were not noted, so that the value must be looked at again.
    pub(super) has_missed: bool,
    stack: Vec<Entry>,
    room: usize,
    queue: [Entry; AHEAD],
    first: usize,
    queued: usize,
    /// Whether there is one among the areas' bits of those that wait.
    has_waiting: bool,
    pub(super) deadline: Option<Instant>,
    until_look: u32,
    pub(super) is_late: bool,
    /// How often the stack was empty, and objects were found that may have been changed.
    rounds: u32,
    /// Objects that were visited, and how many of them because of a card.
    pub(super) visited: u64,
    pub(super) remembered: u64,
}

impl Marker {
    pub(super) fn new() -> Self {
        Self {
            areas: Areas::default(),
            pools: Vec::new(),
            phase: Phase::Finding,
            noted: Vec::new(),
            has_missed: false,
            stack: Vec::new(),
            room: ROOM,
            queue: [Entry { area: 0, slot: 0 }; AHEAD],
            first: 0,
            queued: 0,
            has_waiting: false,
            deadline: None,
            until_look: TICK,
            is_late: false,
            rounds: 0,
            visited: 0,
            remembered: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn with_room(room: usize) -> Self {
        Self { room, ..Self::new() }
    }

    /// Begins a cycle.
    pub(super) fn begin(&mut self) {
        self.areas.clear();
        self.stack.clear();
        (self.queued, self.has_waiting) = (0, false);
        (self.rounds, self.visited, self.remembered) = (0, 0, 0);
    }

    /// Begins a call, which has until then.
    pub(super) fn find_pools(&mut self, deadline: Option<Instant>) {
        self.pools.clear();
        self.noted.clear();
        self.phase = Phase::Finding;
        (self.deadline, self.is_late, self.until_look, self.has_missed) = (deadline, false, TICK, false);
    }

    /// From here on pointers are followed; those that were noted first.
    pub(super) fn mark_noted(&mut self) {
        self.phase = Phase::Marking;
        for address in core::mem::take(&mut self.noted) {
            self.mark_exactly(address);
        }
    }

    /// Marks an object, if there is one that begins there.
    #[inline(always)]
    pub(super) fn mark_exactly(&mut self, address: usize) {
        if let Some((area, slot, true)) = self.areas.find_next(address) {
            self.mark(area, slot);
        }
    }

    #[inline(always)]
    fn mark(&mut self, at: usize, slot: usize) {
        let area = &mut self.areas.list[at];
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        // A free slot is not marked, so that nobody takes what lies there for an object.
        // SAFETY: a live area is a chunk (B1) and has the slot.
        if area.marks[word] & bit != 0 || !area.is_live || unsafe { !area.chunk.is_taken(slot) } {
            return;
        }
        area.marks[word] |= bit;
        if self.stack.len() < self.room {
            self.stack.push(Entry { area: at as u32, slot: slot as u32 });
        } else {
            if area.waiting.is_empty() {
                area.waiting = vec![0; area.geometry.words];
            }
            area.waiting[word] |= bit;
            self.has_waiting = true;
        }
    }

    /// Fills the stack from the bits of those that wait; false if there is none.
    #[cold]
    fn take_waiting(&mut self) -> bool {
        if !core::mem::take(&mut self.has_waiting) {
            return false;
        }
        for (at, area) in self.areas.list.iter_mut().enumerate() {
            for (word, bits) in area.waiting.iter_mut().enumerate() {
                while *bits != 0 {
                    // Half of the room is for what they lead to.
                    if self.stack.len() > self.room / 2 {
                        self.has_waiting = true;
                        return true;
                    }
                    let slot = word * 64 + bits.trailing_zeros() as usize;
                    *bits &= *bits - 1;
                    self.stack.push(Entry { area: at as u32, slot: slot as u32 });
                }
            }
        }
        !self.stack.is_empty()
    }

    /// Puts the marked objects of changed cards on the stack; false if there is none.
    #[cold]
    fn take_changed(&mut self) -> bool {
        for (at, area) in self.areas.list.iter_mut().enumerate().filter(|(_, area)| area.is_live) {
            // SAFETY: B1.
            let dirty = unsafe { &raw mut (*area.chunk.head()).dirty };
            // SAFETY: as above; the pool is the caller's alone.
            let mut cards = unsafe { *dirty };
            if cards == 0 {
                continue;
            }
            // SAFETY: as above.
            unsafe { *dirty = 0 };
            let before = self.stack.len();
            while cards != 0 {
                for slot in Chunk::slots_of_card(&area.geometry, cards.trailing_zeros() as usize) {
                    if area.marks[slot / 64] >> (slot % 64) & 1 != 0 {
                        self.stack.push(Entry { area: at as u32, slot: slot as u32 });
                    }
                }
                cards &= cards - 1;
            }
            self.remembered += (self.stack.len() - before) as u64;
            if self.stack.len() > before {
                return true;
            }
        }
        false
    }

    /// Fills the queue; false if nothing is left to do.
    #[inline(always)]
    fn fill(&mut self) -> bool {
        loop {
            while self.queued < AHEAD {
                let Some(entry) = self.stack.pop() else { break };
                let area = &self.areas.list[entry.area as usize];
                prefetch(area.chunk.address() + area.geometry.position(entry.slot as usize));
                self.queue[(self.first + self.queued) % AHEAD] = entry;
                self.queued += 1;
            }
            if self.queued > 0 {
                return true;
            }
            if self.take_waiting() {
                continue;
            }
            if !self.take_changed() {
                return false;
            }
            self.rounds += 1;
        }
    }
}

impl Follow for Marker {
    #[inline]
    fn pointers(&mut self, addresses: &[usize]) {
        match self.phase {
            Phase::Marking => addresses.iter().for_each(|&address| self.mark_exactly(address)),
            Phase::Finding if self.noted.len() < NOTED => self.noted.extend(addresses),
            Phase::Finding => self.has_missed |= !addresses.is_empty(),
        }
    }

    fn word(&mut self, word: usize) {
        if let Some((area, slot, _)) = self.areas.find_next(word) {
            self.mark(area, slot);
        }
    }

    fn pool(&mut self, pool: FoundPool) -> bool {
        match self.phase {
            Phase::Finding => self.pools.push(pool),
            // One that is collected, and is come to again; or one that is not, whose objects keep what they lead to.
            Phase::Marking => return self.pools.iter().any(|known| known.control == pool.control),
        }
        true
    }

    #[inline]
    fn next(&mut self, addresses: &[usize]) -> Option<(*const u8, Visit)> {
        self.pointers(addresses);
        if self.phase == Phase::Finding {
            return None;
        }
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = TICK;
            self.is_late =
                self.rounds < MOST_ROUNDS && self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        }
        if self.is_late {
            return None;
        }
        while self.fill() {
            let entry = self.queue[self.first];
            self.first = (self.first + 1) % AHEAD;
            self.queued -= 1;
            let area = &self.areas.list[entry.area as usize];
            // SAFETY: B1 and B2; M1 for what has gone meanwhile.
            unsafe {
                if area.is_live && area.chunk.is_taken(entry.slot as usize) {
                    self.visited += 1;
                    let object = area.chunk.slot(&area.geometry, entry.slot as usize);
                    return Some((object.as_ptr(), self.pools[area.pool as usize].kind.visit));
                }
            }
        }
        None
    }
}

/// Asks for the memory at an address, which may be anything.
#[inline(always)]
fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every such processor has it, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::without_provenance(address)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
