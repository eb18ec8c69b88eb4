//! Moving objects into the hot set and out of it.
//!
//! First there is free room, and what was chosen comes there. When the room is used up, an object must have been read clearly more often
//! than the least that belongs there to come in, and clearly less often to have to go: by as much as counts differ by chance. So what
//! is read as before moves little.
//! What goes makes room as a whole tract only. So the tracts are emptied that have most of what goes, and what stays is moved on.

use super::choose::{self, Candidate, Choice};
use super::{HotSet, HotSetStats, Unlocked, change, counts_of, find, has_objects, samples_and_hits, stats};
use crate::SalAlloc;
use crate::alloc::heat;
use crate::alloc::tracts::{HOT, MOVED, TRACT, Table, Tract};
use crate::error::{HotSetError, SessionError};
use crate::handle::object::{Head, Shape};
use crate::handle::pin::Pins;
use crate::heap::compact::{Compaction, Course, Room, tracts_of};
use crate::heap::handle::Place;
use crate::heap::hot_set::adjusting;
use crate::heap::memory_locks;
use crate::heap::movable::{self, home_table};
use crate::heap::owner::HeapInner;
use crate::heap::session::Read;
use crate::os::mapping::{self, Advice};
use std::collections::BTreeSet;
use std::time::Duration;

/// Counts are halved when so many samples have come for each block that was counted.
const HALVE_AFTER: u64 = 16;
/// But not before there are so many.
const LEAST_SAMPLES: u64 = 1 << 12;
/// A tract is emptied if that part of it becomes free.
const LEAST_GAIN: usize = TRACT / 8;

/// Where an object is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// From one hot tract into another.
    Stay,
    /// Into the hot set.
    In,
    /// Out of it.
    Out,
}

/// Brings what is read often into a heap's hot set.
///
/// # Errors
/// If the heap cannot be changed, or has no hot set.
pub(crate) fn adjust(heap: SalAlloc, budget: Option<Duration>) -> Result<HotSetStats, HotSetError> {
    adjust_with(heap, None, budget)
}

/// As [`adjust`], of a heap that the caller has.
///
/// # Errors
/// As for [`adjust`].
pub(crate) fn adjust_open(heap: &HeapInner, budget: Duration) -> Result<HotSetStats, HotSetError> {
    adjust_with(heap.alloc(), Some(heap), Some(budget))
}

fn adjust_with(
    heap: SalAlloc,
    inner: Option<&HeapInner>,
    budget: Option<Duration>,
) -> Result<HotSetStats, HotSetError> {
    if find(heap).is_none() {
        return Err(HotSetError::None);
    }
    let alone = adjusting();
    let hot_set = find(heap).ok_or(HotSetError::None)?;
    if has_objects(heap) {
        let mut compaction = Compaction::begin_open(heap, inner, budget);
        let plan = while_open(heap, inner, || plan(&hot_set))?;
        let mut moving = Moving::new(&hot_set);
        compaction.move_all(&mut moving, plan)?;
        moving.end();
        while_open(heap, inner, || look_after_locks(&hot_set))?;
        compaction.end();
    }
    drop(alone);
    stats(heap).ok_or(HotSetError::None)
}

/// Does something while the heap stays open.
fn while_open<R>(heap: SalAlloc, inner: Option<&HeapInner>, work: impl FnOnce() -> R) -> Result<R, SessionError> {
    if let Some(inner) = inner {
        let _session = Read::begin(inner, true)?;
        return Ok(work());
    }
    if let Place::Default(_) = heap.place() {
        return Ok(work());
    }
    let found = HeapInner::find(heap)?;
    while_open(heap, Some(&found), work)
}

/// What is to be moved, in the order in which that is to be done.
fn plan(hot_set: &HotSet) -> Vec<(usize, Aim)> {
    let heap = hot_set.heap;
    let histogram = choose::histogram(heap);
    let choice = choose::choose(heap, &histogram, hot_set.options.tracts() * TRACT);
    let samples = samples_and_hits(heap).0;
    let counted: u64 = histogram[1..].iter().sum();
    if samples - hot_set.halved_at.min(samples) >= (counted * HALVE_AFTER).max(LEAST_SAMPLES) {
        counts_of(heap).for_each(|(_, table)| table.halve());
        change(heap, |hot_set| {
            hot_set.halvings += 1;
            hot_set.halved_at = samples;
        });
        return plan_of(hot_set, choice, true);
    }
    plan_of(hot_set, choice, false)
}

fn plan_of(hot_set: &HotSet, choice: Choice, is_halved: bool) -> Vec<(usize, Aim)> {
    let heap = hot_set.heap;
    let hot: Vec<(usize, &Tract)> =
        tracts_of(heap).filter(|(_, _, tract)| tract.is_hot()).map(|(start, _, tract)| (start, tract)).collect();
    let fill = home_table(heap).map(|home| &home.fills[HOT]);
    let behind = fill.and_then(movable::open_tract).map_or(0, |(_, behind, _)| behind);
    // The budget may have become smaller.
    let most = hot_set.options.tracts();
    let mut free = most.saturating_sub(hot.len()) * TRACT + behind;
    let over = hot.len().saturating_sub(most);
    let (least, chance) = (choice.least, chance_of(choice.least));
    let mut comes = Vec::new();
    let mut wants = over * TRACT;
    for Candidate { address, len, count } in choice.candidates {
        if len <= free {
            free -= len;
        } else if u32::from(count) > u32::from(least) + u32::from(chance) {
            wants += len;
        } else {
            continue;
        }
        comes.push((address, Aim::In));
    }
    let mut moves = Vec::new();
    if wants > 0 {
        // The last tract is as full as it will be.
        fill.into_iter().for_each(|fill| movable::close(fill, None));
        // Counts may have been halved since the choice.
        let weak = (least - chance) >> u8::from(is_halved);
        let mut emptied: Vec<Emptied> =
            hot.into_iter().map(|(start, tract)| Emptied::new(start, tract, weak)).collect();
        emptied.sort_unstable_by_key(|tract| tract.stay_bytes);
        let mut gained = 0;
        for (number, tract) in emptied.into_iter().enumerate() {
            let gain = TRACT - tract.stay_bytes.min(TRACT);
            if gained >= wants || gain < LEAST_GAIN && number >= over {
                break;
            }
            gained += gain;
            moves.extend(tract.begin());
        }
    }
    moves.extend(comes);
    moves
}

/// Half of what a count that is so high on average differs from that by chance, which is its square root; rounded up.
fn chance_of(count: u8) -> u8 {
    (0..=8).find(|&half: &u8| u32::from(half).pow(2) * 4 >= u32::from(count)).unwrap_or(8)
}

/// A hot tract that may be emptied.
struct Emptied<'t> {
    start: usize,
    tract: &'t Tract,
    moves: Vec<(usize, Aim)>,
    stay_bytes: usize,
}

impl<'t> Emptied<'t> {
    fn new(start: usize, tract: &'t Tract, weak: u8) -> Self {
        let _pins = Pins::begin();
        let mut stay_bytes = 0;
        let moves = tract.objects(0).map(|at| {
            // SAFETY: it has begun and not ended, and with a pin its memory stays as it is.
            let head = unsafe { Head::of(start + at) };
            let count = heat::table_at(head.entry()).map_or(0, |table| table.count(head.entry()));
            let stays = count >= weak.max(1);
            stay_bytes += if stays { head.len() } else { 0 };
            (start + at, if stays { Aim::Stay } else { Aim::Out })
        });
        let moves = moves.collect();
        Self { start, tract, moves, stay_bytes }
    }

    /// The tract is none of the hot set any more (H1, H2).
    fn begin(self) -> Vec<(usize, Aim)> {
        movable::make_plain(self.start, self.tract);
        self.moves
    }
}

/// What the moves of one adjustment come to.
struct Moving<'s> {
    hot_set: &'s HotSet,
    hot_tracts: usize,
    is_full: bool,
    promotions: u64,
    demotions: u64,
    /// Where objects have come to lie that went out: tract by tract, from where to where.
    cold: BTreeSet<usize>,
}

impl<'s> Moving<'s> {
    fn new(hot_set: &'s HotSet) -> Self {
        let hot_tracts = tracts_of(hot_set.heap).filter(|(_, _, tract)| tract.is_hot()).count();
        Self { hot_set, hot_tracts, is_full: false, promotions: 0, demotions: 0, cold: BTreeSet::new() }
    }

    fn end(self) {
        change(self.hot_set.heap, |hot_set| {
            hot_set.promotions += self.promotions;
            hot_set.demotions += self.demotions;
        });
        // Advice only.
        for start in self.cold {
            let _ = mapping::advise(start, TRACT, Advice::Cold);
        }
    }

    /// A hot tract, if the budget has room for it (H1).
    fn begin_tract(&mut self, heap: SalAlloc) -> Option<usize> {
        if self.hot_tracts >= self.hot_set.options.tracts() {
            return None;
        }
        let start = movable::begin_tract(heap)?;
        self.hot_tracts += 1;
        make_hot(self.hot_set, start);
        Some(start)
    }
}

fn make_hot(hot_set: &HotSet, start: usize) {
    if let Some(table) = crate::alloc::tracts::table_at(start) {
        table.tract(start).set_hot(true);
        // Before objects come there, so that their pages are locked as they come.
        keep(hot_set, start);
    }
}

/// Locks a tract, or else tells the system that it is needed; whether it is locked, or why not.
fn keep(hot_set: &HotSet, start: usize) -> Option<Unlocked> {
    let refused = if hot_set.options.is_locked {
        memory_locks::lock_tract(start).err().map(Unlocked::from)
    } else {
        memory_locks::unlock_tract(start);
        Some(Unlocked::NotWanted)
    };
    if refused.is_some() {
        // Advice only.
        let _ = mapping::advise(start, TRACT, Advice::WillNeed);
    }
    refused
}

/// Locks hot tracts that are not, and says why if some cannot be.
fn look_after_locks(hot_set: &HotSet) {
    let mut refused = None;
    for (start, _, _) in tracts_of(hot_set.heap).filter(|(_, _, tract)| tract.is_hot()) {
        if !hot_set.options.is_locked || !memory_locks::is_tract_locked(start) {
            refused = keep(hot_set, start).or(refused);
        }
    }
    change(hot_set.heap, |hot_set| hot_set.unlocked_because = refused);
}

impl Course for Moving<'_> {
    type Aim = Aim;

    fn room(&mut self, heap: SalAlloc, home: &Table, aim: Aim, shape: Shape) -> Room {
        if aim == Aim::Out {
            return movable::put_in(heap, &home.fills[MOVED], shape).map_or(Room::Full, Room::At);
        }
        if self.is_full {
            return Room::Stay;
        }
        match movable::put_in_new(&home.fills[HOT], shape, || self.begin_tract(heap)) {
            Some(to) => Room::At(to),
            None => {
                self.is_full = true;
                Room::Stay
            }
        }
    }

    fn moved(&mut self, aim: Aim, to: usize, _: Shape) {
        match aim {
            Aim::Stay => {}
            Aim::In => self.promotions += 1,
            Aim::Out => {
                self.demotions += 1;
                self.cold.insert(to & !(TRACT - 1));
            }
        }
    }
}
