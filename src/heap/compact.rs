//! Moving objects together.
//!
//! Who compacts a heap takes the tracts of which little is alive, those first that give most memory back for what has to be copied, and
//! older ones before younger ones, which may soon be empty by themselves. It copies their objects, one behind the other, into tracts of
//! its own, and leads the entries there. Benefit and age are weighed as in log-structured file systems (Rosenblum and Ousterhout, *The
//! design and implementation of a log-structured file system*, 1992).
//!
//! It works in steps of a millisecond or so, each in a write session of the heap: a commit is captured between two of them, and has each
//! object at one place. The old place is free when no pin is left; what a durable heap has committed lies in its file and its log, which are
//! written by commits only.

use super::SalAlloc;
use super::former;
use super::handle::Place;
use super::movable::{self, home_table};
use super::owner::HeapInner;
use super::session::{Write, in_session};
use crate::alloc::heat;
use crate::alloc::tracts::{self, GRANULES, MOVED, TRACT, Table, Tract};
use crate::alloc::windows;
use crate::error::SessionError;
use crate::format::END_WINDOW;
use crate::handle::limbo;
use crate::handle::moving::MOVING;
use crate::handle::object::{Head, Shape, move_object};
use crate::handle::pin::{self, Pins};
use crate::os::lock::{Guard, Lock};
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Objects between two looks at the clock.
const LOOK: usize = 32;
/// How long a step takes, about.
const STEP: Duration = Duration::from_millis(1);

/// How often it is looked at the end whether readers are gone.
const PATIENCE: u32 = 50;

/// One thread at a time moves. Held within a session at most, never while one is waited for.
static MOVER: Lock = Lock::new();

std::thread_local! {
    /// Whether this thread moves: then it is within what it was told by the heap, of a mark that was passed, say.
    static IS_MOVING: Cell<bool> = const { Cell::new(false) };
}

/// Nobody else moves objects as long as it is there.
pub(super) struct Alone(#[expect(dead_code, reason = "it is held")] Guard<'static>);

impl Drop for Alone {
    fn drop(&mut self) {
        IS_MOVING.set(false);
    }
}

/// Waits until nobody else moves objects.
pub(super) fn moving_alone() -> Alone {
    let guard = MOVER.lock();
    IS_MOVING.set(true);
    Alone(guard)
}

/// Of each window, how many want that nothing of its heap is moved.
static PAUSES: [AtomicU32; END_WINDOW as usize] = [const { AtomicU32::new(0) }; END_WINDOW as usize];

fn pauses(heap: SalAlloc) -> Option<&'static AtomicU32> {
    match heap.place() {
        Place::Window(name) => PAUSES.get(windows::window_of(name) as usize),
        Place::Default(_) => None,
    }
}

/// Nothing of a heap is moved as long as it is there.
#[derive(Debug)]
pub(super) struct Pause(SalAlloc);

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(pauses) = pauses(self.0) {
            // Relaxed: it ends nothing that anybody waits for.
            pauses.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whoever moves objects of a heap has stopped, and nobody begins; unlike [`moving_alone`], also while the heap is synced.
pub(super) fn pause(heap: SalAlloc) -> Pause {
    if let Some(pauses) = pauses(heap) {
        // Relaxed: who takes the lock next sees it, and who has it is waited for.
        pauses.fetch_add(1, Ordering::Relaxed);
        drop(moving_alone());
    }
    Pause(heap)
}

/// In a forked child nobody moves, whoever did in the parent.
pub(super) fn begin_child() {
    MOVING.end();
    // SAFETY: whoever held it is not in this process, but for this thread, which has no other beside it.
    unsafe { MOVER.release() };
}

/// What is moved, in which order, and for how long.
///
/// ```
/// use sal::prelude::*;
/// use sal::{CompactOptions, SalMovable};
/// use std::time::Duration;
///
/// let heap = sal::HeapOptions::new().volatile()?;
/// let mut pages: Vec<_> = (0..1000_u64).map(|n| heap.handle([n; 64])).collect();
/// pages.truncate(100);
/// // Ten milliseconds now, and no more than 200 MB a second: others read meanwhile.
/// let options = CompactOptions::new().budget(Duration::from_millis(10)).rate(200_000_000);
/// let report = heap.compact_with(options)?;
/// println!("{report}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CompactOptions {
    /// Tracts of which at most this part is alive are emptied: 0.75 by default. With 1 all are.
    pub sparse: f64,
    /// How long it may take, about; as long as it needs by default.
    pub budget: Option<Duration>,
    /// How many bytes are moved in a second at most; as many as can be by default.
    pub rate: Option<u64>,
    /// In which order objects come to lie.
    pub order: Order,
}

/// In which order objects come to lie that are moved together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// As they lay before, tract by tract.
    #[default]
    Address,
    /// By their entries, which are mostly in the order in which the values were made.
    Entry,
    /// Those first that are read most often, as far as a [hot set](crate::SalHotSet) of the heap has found that out, and otherwise as they lay
    /// before. So what is read often shares its pages with what is, too, and not with what hardly anybody reads.
    Access,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self { sparse: 0.75, budget: None, rate: None, order: Order::Address }
    }
}

impl CompactOptions {
    /// The default ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties tracts of which at most this part is alive, from 0 to 1.
    pub fn sparse(self, sparse: f64) -> Self {
        Self { sparse, ..self }
    }

    /// Takes no longer than this, about; a step of a millisecond is taken in any case.
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Moves no more than so many bytes in a second: it sleeps between steps of a millisecond, and others have the processor, its caches and
    /// the log meanwhile. One that is limited so takes longer, and costs those who read meanwhile less. With zero, one step is taken.
    pub fn rate(self, bytes_per_second: u64) -> Self {
        Self { rate: Some(bytes_per_second), ..self }
    }

    /// Sorts what is moved.
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Objects that were moved.
    pub moved_objects: u64,
    /// Bytes of these.
    pub moved_bytes: u64,
    /// Bytes of objects that are alive, of those that may be moved and of those that are being made.
    pub live_bytes: u64,
    /// Bytes of the tracts that there were before, and after.
    pub held_bytes: [u64; 2],
    /// Values and tracts that wait until readers are gone. If that stays, somebody keeps a pin.
    pub waiting: usize,
    /// The threads that have had pins for so long that something waits for them, by the numbers that the system gives threads (`gettid`).
    pub readers: Vec<u32>,
    /// Whether all was moved that was to be; if not, the time was over, or the heap was full.
    pub is_complete: bool,
    /// How long it took.
    pub took: Duration,
    /// How long the longest step took, which other sessions may have waited for.
    pub longest_step: Duration,
}

impl fmt::Display for CompactReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "moved {} objects of {:.1} MiB in {:.1?}; {:.1} MiB became {:.1} MiB",
            self.moved_objects,
            mib(self.moved_bytes),
            self.took,
            mib(self.held_bytes[0]),
            mib(self.held_bytes[1])
        )?;
        if self.waiting > 0 {
            write!(f, "; {} wait for readers (threads {:?})", self.waiting, self.readers)?;
        }
        if self.is_complete { Ok(()) } else { f.write_str("; not all was done") }
    }
}

/// The tracts of a heap, and where they begin.
pub(super) fn tracts_of(heap: SalAlloc) -> impl Iterator<Item = (usize, &'static Table, &'static Tract)> {
    movable::tracts_of(heap.address_range().unwrap_or_default())
}

fn heap_start(heap: SalAlloc) -> Option<usize> {
    heap.address_range().map(|range| range.start)
}

/// How well it pays to empty a tract of which so many granules are alive and that is so old: what is free afterwards, for each byte that is
/// read and written, times its age.
fn worth(live: u32, age: u32) -> f64 {
    let used = f64::from(live) / f64::from(GRANULES);
    (1.0 - used) * f64::from(age.max(1)) / (1.0 + used)
}

/// How long moving so many bytes is to take, if there is a rate; none if that is for ever.
pub(super) fn time_for(bytes: u64, rate: Option<u64>) -> Option<Duration> {
    rate.map_or(Some(Duration::ZERO), |rate| Duration::try_from_secs_f64(bytes as f64 / rate as f64).ok())
}

/// How a step has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There may be more to do.
    Going,
    /// All is done.
    Done,
    /// The heap has no room, or nothing is to be moved for now.
    Full,
}

/// Room for an object that is to be moved.
pub(super) enum Room {
    At(usize),
    /// It stays where it is.
    Stay,
    /// The heap has none.
    Full,
}

/// Where objects are moved to.
pub(super) trait Course {
    /// What is known of an object besides where it lies.
    type Aim: Copy;
    /// Room for it.
    fn room(&mut self, heap: SalAlloc, home: &Table, aim: Self::Aim, shape: Shape) -> Room;
    /// It was moved there.
    fn moved(&mut self, _: Self::Aim, _to: usize, _: Shape) {}
}

/// All one behind the other.
struct Together;

impl Course for Together {
    type Aim = ();
    fn room(&mut self, heap: SalAlloc, home: &Table, (): (), shape: Shape) -> Room {
        movable::put_in(heap, &home.fills[MOVED], shape).map_or(Room::Full, Room::At)
    }
}

/// A compaction that goes on.
pub(super) struct Compaction<'h> {
    heap: SalAlloc,
    /// The heap, if the caller has it.
    inner: Option<&'h HeapInner>,
    pub(super) report: CompactReport,
    begun: Instant,
    budget: Option<Duration>,
    rate: Option<u64>,
}

impl<'h> Compaction<'h> {
    pub(super) fn begin(heap: SalAlloc, budget: Option<Duration>) -> Self {
        if let Some(address) = heap_start(heap) {
            limbo::finish_some(address);
        }
        let mut report = CompactReport::default();
        report.held_bytes[0] = tracts_of(heap).count() as u64 * TRACT as u64;
        Self { heap, inner: None, report, begun: Instant::now(), budget, rate: None }
    }

    /// As [`Compaction::begin`], of a heap that the caller has.
    pub(super) fn begin_open(heap: SalAlloc, inner: Option<&'h HeapInner>, budget: Option<Duration>) -> Self {
        Self { inner, ..Self::begin(heap, budget) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.budget.is_some_and(|budget| self.begun.elapsed() >= budget)
    }

    /// How long to wait until more may be moved; none if that is for longer than there is time.
    fn pause(&self) -> Option<Duration> {
        let due = time_for(self.report.moved_bytes, self.rate)?;
        self.budget.is_none_or(|budget| due < budget).then(|| due.saturating_sub(self.begun.elapsed()))
    }

    /// Moves objects in steps, as many as there is time for. They are looked for within a step only.
    pub(super) fn move_all<C: Course>(
        &mut self,
        course: &mut C,
        objects: impl IntoIterator<Item = (usize, C::Aim)>,
    ) -> Result<(), SessionError> {
        let mut objects = objects.into_iter();
        let mut state = if IS_MOVING.get() { State::Full } else { State::Going };
        while state == State::Going {
            state = match self.inner {
                Some(heap) => {
                    let _session = Write::begin(heap, true)?;
                    self.step(course, &mut objects)
                }
                None => in_session(self.heap, || self.step(course, &mut objects))?,
            };
            let Some(pause) = self.pause().filter(|_| !self.is_over()) else { break };
            if state == State::Going && !pause.is_zero() {
                thread::sleep(pause);
            }
            // What has become empty is where objects are moved to next.
            if let Some(address) = heap_start(self.heap) {
                limbo::finish_memory(address);
            }
        }
        self.report.is_complete = state == State::Done;
        Ok(())
    }

    /// Moves objects for a while.
    fn step<C: Course>(&mut self, course: &mut C, objects: &mut impl Iterator<Item = (usize, C::Aim)>) -> State {
        /// Nothing is moved any more, also after a panic.
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                MOVING.end();
            }
        }
        let Some(home) = home_table(self.heap) else { return State::Full };
        let _alone = moving_alone();
        // Relaxed: behind the lock.
        if pauses(self.heap).is_some_and(|pauses| pauses.load(Ordering::Relaxed) > 0) {
            return State::Full;
        }
        let begun = Instant::now();
        MOVING.begin(pin::all(), thread::yield_now);
        let end = End;
        // Before objects are looked for: their tracts stay meanwhile.
        let pins = Pins::begin();
        let mut state = State::Going;
        let mut number = 0;
        while state == State::Going {
            match objects.next() {
                None => state = State::Done,
                Some((from, aim)) if !self.move_one(course, home, from, aim) => state = State::Full,
                Some(_) => {}
            }
            number += 1;
            if number % LOOK == 0 && begun.elapsed() >= STEP {
                break;
            }
        }
        drop(pins);
        drop(end);
        self.report.longest_step = self.report.longest_step.max(begun.elapsed());
        state
    }

    /// False if there is no room for it.
    fn move_one<C: Course>(&mut self, course: &mut C, home: &Table, from: usize, aim: C::Aim) -> bool {
        // It may have ended since it was found; then so may its tract have.
        if !tracts::table_at(from).is_some_and(|table| table.tract(from).is_live_at(from)) {
            return true;
        }
        // SAFETY: it had begun and not ended just now, and with a pin its memory stays as it is.
        let shape = unsafe { Head::of(from) }.shape();
        let to = match course.room(self.heap, home, aim, shape) {
            Room::At(to) => to,
            Room::Stay => return true,
            Room::Full => return false,
        };
        // SAFETY: objects are being moved, there is a pin, and the room is ours.
        if unsafe { move_object(from, to, |entry| former::keep(self.heap, entry)) } {
            movable::give_up(from, shape.granules());
            self.report.moved_objects += 1;
            self.report.moved_bytes += shape.len as u64;
            course.moved(aim, to, shape);
        } else {
            movable::give_up(to, shape.granules());
        }
        true
    }

    pub(super) fn end(mut self) -> CompactReport {
        // Pins of those who just read something are gone in a moment.
        let address = heap_start(self.heap).unwrap_or(0);
        for _ in 0..PATIENCE {
            self.report.waiting = limbo::finish_some(address);
            if self.report.waiting == 0 {
                break;
            }
            thread::yield_now();
        }
        self.report.readers = limbo::readers(address);
        for (_, _, tract) in tracts_of(self.heap) {
            self.report.held_bytes[1] += TRACT as u64;
            self.report.live_bytes += u64::from(tract.live().unwrap_or(0)) * tracts::GRANULE as u64;
        }
        self.report.took = self.begun.elapsed();
        self.report
    }
}

/// Moves the objects of sparse tracts together.
///
/// # Errors
/// If the heap cannot be changed.
pub(crate) fn compact(heap: SalAlloc, options: CompactOptions) -> Result<CompactReport, SessionError> {
    let mut compaction = Compaction { rate: options.rate, ..Compaction::begin(heap, options.budget) };
    if let Some(home) = home_table(heap) {
        home.fills[..=MOVED].iter().for_each(|fill| movable::close_if_sparse(fill, options.sparse));
    }
    let most = (options.sparse.clamp(0.0, 1.0) * f64::from(GRANULES)) as u32;
    let mut chosen: Vec<(f64, usize, &Tract)> = tracts_of(heap)
        // What is read often is moved by who looks after that.
        .filter(|(_, _, tract)| !tract.is_hot())
        .filter_map(|(start, table, tract)| {
            let live = tract.live().filter(|&live| live <= most)?;
            Some((worth(live, table.time().saturating_sub(tract.born())), start, tract))
        })
        .collect();
    chosen.sort_by(|a, b| b.0.total_cmp(&a.0));
    let objects = |(_, start, tract): (f64, usize, &'static Tract)| tract.objects(0).map(move |at| start + at);
    // SAFETY: with a pin from before it was found the memory of an object stays as it is.
    let entry_of = |at| unsafe { Head::of(at) }.entry();
    let sort_key: fn(usize) -> usize = match options.order {
        Order::Address => {
            compaction.move_all(&mut Together, chosen.into_iter().flat_map(objects).map(|at| (at, ())))?;
            return Ok(compaction.end());
        }
        Order::Entry => |entry| entry,
        Order::Access => |entry| usize::from(u8::MAX - heat::table_at(entry).map_or(0, |table| table.count(entry))),
    };
    let mut all: Vec<(usize, usize)> = {
        let _pins = Pins::begin();
        chosen.into_iter().flat_map(objects).map(|at| (sort_key(entry_of(at)), at)).collect()
    };
    all.sort_unstable();
    compaction.move_all(&mut Together, all.into_iter().map(|(_, at)| (at, ())))?;
    Ok(compaction.end())
}

/// Moves objects so that they lie in the order in which they are named; those with blocks of their own stay.
///
/// # Errors
/// If the heap cannot be changed.
pub(crate) fn place_in_order(
    heap: SalAlloc,
    objects: impl Iterator<Item = usize>,
) -> Result<CompactReport, SessionError> {
    let mut compaction = Compaction::begin(heap, None);
    if let Some(home) = home_table(heap) {
        // They begin in a tract of their own.
        movable::close(&home.fills[MOVED], None);
    }
    compaction.move_all(&mut Together, objects.map(|at| (at, ())))?;
    Ok(compaction.end())
}
