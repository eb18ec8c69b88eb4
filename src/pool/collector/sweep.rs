//! Freeing what is not marked, chunk by chunk.
//!
//! An object is one that a collection frees if it was there when marking was done and had no mark. Where the program has been in
//! between, objects may have been made since, which have no mark either; so what was there is noted then. A slot that was freed
//! explicitly since may have another object, so of a chunk in which that has happened nothing is freed before the next collection, and all of it
//! counts as changed.
#![allow(unsafe_code)]

use super::areas::Area;
use super::report::PoolReport;
use crate::persist::follow::PoolKind;
use crate::pool::control::Control;

/// Notes what is there now that marking is done, if objects may be made before the area is swept.
///
/// # Safety
/// The area is live, and its pool the caller's alone.
pub(super) unsafe fn prepare(area: &mut Area, may_change: bool) {
    // SAFETY: B1.
    unsafe {
        if may_change {
            area.taken = (0..area.geometry.words).map(|word| *area.chunk.taken(word)).collect();
        }
        area.freed = (*area.chunk.head()).freed;
    }
}

/// Frees what is not marked in an area that was prepared; what is marked is old from then on. A chunk in which nothing is left is
/// given back.
///
/// # Safety
/// The area is live, `control` and `kind` are those of its pool, which is the caller's alone, and all is marked that is kept (G2).
pub(super) unsafe fn sweep(area: &Area, control: &mut Control, kind: &PoolKind, report: &mut PoolReport) {
    let (chunk, geometry) = (area.chunk, &area.geometry);
    let frees = control.since_sweep >= control.sweep_every;
    // Only if the program has been here since marking was done can it have made weak pointers to what is dead, or armed it.
    let may_be_known = !area.taken.is_empty() && control.knows_any();
    // SAFETY: B1; words and slots are of the geometry. A slot is vacated before its object is dropped (C5).
    unsafe {
        let head = chunk.head();
        let is_reused = (*head).freed != area.freed;
        if is_reused {
            (*head).dirty = u64::MAX;
        }
        let (mut first_freed, is_scrubbed) = (None, chunk.is_scrubbed());
        for word in 0..geometry.words {
            let (taken, old) = (chunk.taken(word), chunk.old(geometry, word));
            let was_taken = area.taken.get(word).copied().unwrap_or(*taken);
            let marked = area.marks[word];
            let survivors = *taken & was_taken & marked;
            if *old != survivors {
                *old = survivors;
            }
            let mut dead = *taken & was_taken & !marked;
            if dead == 0 || is_reused || !frees {
                continue;
            }
            *taken &= !dead;
            let count = u64::from(dead.count_ones());
            (*head).used -= count;
            control.len -= count;
            report.freed += count;
            if first_freed.is_none() {
                first_freed = Some(word);
                control.freed_in(chunk, word);
            }
            while (kind.drop.is_some() || may_be_known || is_scrubbed) && dead != 0 {
                let slot = word * 64 + dead.trailing_zeros() as usize;
                let object = chunk.slot(geometry, slot);
                dead &= dead - 1;
                if may_be_known {
                    control.forget(object.addr().get());
                }
                if let Some(drop) = kind.drop {
                    drop(object.as_ptr());
                }
                if is_scrubbed {
                    chunk.scrub(geometry, slot);
                }
            }
        }
        if control.release_if_empty(geometry, chunk, false) {
            report.released_bytes += geometry.chunk as u64;
        }
    }
}
