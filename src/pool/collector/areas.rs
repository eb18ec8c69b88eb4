//! The chunks of all pools of a collection, and what is marked in them.
//!
//! # Invariants
//! - **B1** An area that is live is a chunk (K1) of the pool with its number, of the geometry that is noted. Areas are live until the
//!   call ends that found the pools; the next one looks anew, and knows a chunk by its address and stamp.
//! - **B2** What is marked is a slot of the area.
#![allow(unsafe_code)]

use crate::gc::trace::layouts::pool::{Geometry, LEAST_CHUNK};
use crate::persist::follow::FoundPool;
use crate::pool::chunk::Chunk;
use crate::pool::control::Control;

/// Addresses are looked up by these.
const GRANULE_SHIFT: u32 = LEAST_CHUNK.trailing_zeros();

/// One chunk.
pub(super) struct Area {
    pub(super) chunk: Chunk,
    stamp: u64,
    /// The number of its pool, in this call.
    pub(super) pool: u32,
    pub(super) is_live: bool,
    pub(super) geometry: Geometry,
    pub(super) marks: Vec<u64>,
    /// Marked objects for which the stack had no room; empty if there never was one.
    pub(super) waiting: Vec<u64>,
    /// Slots that were taken when marking was done, if objects may have been made since.
    pub(super) taken: Vec<u64>,
    /// Objects freed explicitly when marking was done.
    pub(super) freed: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Areas {
    pub(super) list: Vec<Area>,
    /// Granules of addresses and the areas there; a granule plus one, so that 0 is none.
    table: Vec<(usize, u32)>,
    /// The entry that was found last: neighbours lead to neighbours.
    last: (usize, u32),
}

impl Areas {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.table.clear();
        self.last = (0, 0);
    }

    /// Takes in the chunks that the pools have now, new ones only if that is wanted; what is new has its old objects marked if that is wanted, and otherwise nothing, and
    /// counts as unchanged.
    ///
    /// # Safety
    /// The control blocks are of pools that the caller has alone (L1), until areas are made not live.
    pub(super) unsafe fn take_in(&mut self, pools: &[FoundPool], marks_old: bool, takes_new: bool) {
        self.list.iter_mut().for_each(|area| area.is_live = false);
        let mut has_new = false;
        for (number, pool) in pools.iter().enumerate() {
            // SAFETY: the caller's promise; chunks are chunks (C1).
            unsafe {
                let control: &Control = pool.control.cast().as_ref();
                for chunk in control.chunks() {
                    let stamp = (*chunk.head()).stamp;
                    let known = self.area_at(chunk.address()).map(|at| &mut self.list[at]);
                    match known.filter(|area| area.chunk == chunk && area.stamp == stamp) {
                        Some(area) => (area.is_live, area.pool) = (true, number as u32),
                        None if !takes_new => {}
                        None => {
                            has_new = true;
                            let geometry = &pool.kind.geometry;
                            if !marks_old {
                                // Nothing is marked there, so nothing has been looked at that may have been changed.
                                (*chunk.head()).dirty = 0;
                            }
                            let old = |word| if marks_old { *chunk.old(geometry, word) } else { 0 };
                            self.list.push(Area {
                                chunk,
                                stamp,
                                pool: number as u32,
                                is_live: true,
                                geometry: *geometry,
                                marks: (0..geometry.words).map(old).collect(),
                                waiting: Vec::new(),
                                taken: Vec::new(),
                                freed: 0,
                            });
                        }
                    }
                }
            }
        }
        if has_new {
            self.index();
        }
    }

    /// The calls' pools are theirs alone no more.
    pub(super) fn let_go(&mut self) {
        self.list.iter_mut().for_each(|area| area.is_live = false);
    }

    /// Makes the table. If several areas were at one place, it has the live one.
    fn index(&mut self) {
        let granules: usize = self.list.iter().map(|area| area.geometry.chunk >> GRANULE_SHIFT).sum();
        self.table.clear();
        self.last = (0, 0);
        self.table.resize((granules * 2).next_power_of_two(), (0, 0));
        for (at, area) in self.list.iter().enumerate().filter(|(_, area)| area.is_live) {
            let first = area.chunk.address() >> GRANULE_SHIFT;
            for granule in first..first + (area.geometry.chunk >> GRANULE_SHIFT) {
                let mut place = home(granule, self.table.len());
                while self.table[place].0 != 0 {
                    place = (place + 1) & (self.table.len() - 1);
                }
                self.table[place] = (granule + 1, at as u32);
            }
        }
    }

    /// As [`Areas::find`], and remembers where it was.
    #[inline(always)]
    pub(super) fn find_next(&mut self, address: usize) -> Option<(usize, usize, bool)> {
        let granule = address >> GRANULE_SHIFT;
        if self.last.0 != granule + 1 {
            let at = self.area_at(address)?;
            self.last = (granule + 1, at as u32);
        }
        let at = self.last.1 as usize;
        let area = &self.list[at];
        let (slot, is_start) = area.geometry.slot_of(address.wrapping_sub(area.chunk.address()))?;
        Some((at, slot, is_start))
    }

    #[inline(always)]
    fn area_at(&self, address: usize) -> Option<usize> {
        let granule = address >> GRANULE_SHIFT;
        let mask = self.table.len().checked_sub(1)?;
        let mut place = home(granule, self.table.len());
        loop {
            let (found, at) = self.table[place];
            if found == granule + 1 {
                return Some(at as usize);
            }
            if found == 0 {
                return None;
            }
            place = (place + 1) & mask;
        }
    }

    /// The area and slot that an address falls into, and whether the slot begins there. The area may not be live.
    #[inline(always)]
    pub(super) fn find(&self, address: usize) -> Option<(usize, usize, bool)> {
        let at = self.area_at(address)?;
        let area = &self.list[at];
        let (slot, is_start) = area.geometry.slot_of(address.wrapping_sub(area.chunk.address()))?;
        Some((at, slot, is_start))
    }

    /// Whether the object at an address is marked.
    pub(super) fn is_marked(&self, address: usize) -> bool {
        self.find(address).is_some_and(|(at, slot, _)| self.list[at].marks[slot / 64] >> (slot % 64) & 1 != 0)
    }
}

#[inline(always)]
fn home(granule: usize, len: usize) -> usize {
    ((granule as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & (len - 1)
}
