//! What lies in a heap, what its roots reach, and giving back the rest on demand.
//!
//! [`Heap::locate`] may be asked at any time. All else looks at the bookkeeping of every thread, so nobody else may be in
//! the heap meanwhile; and [`SalCollect::collect`] frees blocks that no root reaches, so nobody may hold one: a vector
//! on a stack that lies in the heap would lose its elements.

mod report;

pub use report::{BlockInfo, CollectReport, Leak, LeakReport};

use super::atomic::Atomic;
use super::compact::{moving_alone, pause};
use super::movable;
use super::owner::{Heap, HeapInner};
use super::recovery::{RecoveryError, mark};
use super::seal::protect;
use crate::alloc::backing::Backing;
use crate::alloc::heap_core::{Core, Run};
use crate::alloc::size_class::{class_size, index_in_slab, slab_blocks};
use crate::alloc::threads::Threads;
use crate::alloc::young;
use crate::error::CollectError;
use crate::format::PAGE;
use crate::gc::data_pages::DataPages;
use crate::gc::image::Image;
use crate::gc::live::{copy_of, free_blocks};
use crate::gc::marker::{Job, Marker, STACK};
use crate::gc::marks::Marks;
use crate::gc::runs::Runs;
use crate::gc::sweep::{Swept, sweep};
use crate::gc::tallies::Tallies;
use crate::gc::trace::Program;
use crate::os::CallError;
use report::LEAK_BYTES;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Most threads that mark.
const MOST_WORKERS: usize = 8;
/// Leaked blocks that a report names.
const LEAKS_NAMED: usize = 1000;

/// Threads that mark, if nobody wants another number.
pub(crate) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS)
}

/// Looking through a whole heap.
///
/// What is reached is decided by the types of the roots, as they are stored with them, if all are known
/// ([`Trace`](crate::Trace)): pointers of values are followed, and a number that is an
/// address is none. Otherwise each aligned word of a reached block that holds an address in a block, or its distance
/// from the heap's start, reaches that block. [`CollectReport::is_precise`] says which it was.
///
/// ```
/// use sal::prelude::*;
/// use sal::{HeapOptions, SalCollect};
///
/// const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
/// let heap = HeapOptions::new().volatile()?;
/// let tx = heap.write()?;
/// tx.root_or_default(NUMBERS)?.extend(0..1000);
/// drop(tx);
/// std::mem::forget(allocator_api2::boxed::Box::new_in([7_u8; 100], heap.alloc()));
///
/// // SAFETY: no other thread uses the heap, and only roots hold anything in it that is still wanted.
/// let report = unsafe { heap.collect()? };
/// assert_eq!(report.reclaimed_blocks, 1);
/// println!("{report}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SalCollect {
    /// Frees every block that no root reaches.
    ///
    /// # Errors
    /// See [`CollectError`].
    ///
    /// # Safety
    /// - Until this returns no other thread uses the heap in any way: no session, no allocation, no free, no write to
    ///   a value in it.
    /// - Nothing but the roots holds a block of the heap that will still be used, dropping included: no container on
    ///   a stack, in a static or in another heap.
    unsafe fn collect(&self) -> Result<CollectReport, CollectError>;

    /// Finds the blocks that [`SalCollect::collect`] would free, and frees nothing. Blocks that something outside of the heap
    /// holds are among them.
    ///
    /// # Errors
    /// See [`CollectError`].
    ///
    /// # Safety
    /// Until this returns no other thread uses the heap in any way.
    unsafe fn leak_report(&self) -> Result<LeakReport, CollectError>;

    /// All allocated blocks of this moment, in the order of their addresses.
    ///
    /// # Errors
    /// See [`CollectError`].
    ///
    /// # Safety
    /// Until this returns no other thread uses the heap in any way; while the iterator is used, anybody may.
    unsafe fn objects(&self) -> Result<Objects, CollectError>;
}

/// The blocks of a quiet heap; those that it keeps for itself count as free.
struct Snapshot {
    runs: Runs,
    free: Marks,
    image: Image<'static>,
    program: Program,
    /// What the image holds besides zeros, if that is known.
    data: Option<DataPages>,
    /// The heap's addresses, and where its segments begin.
    heap: Range<usize>,
    segments: usize,
}

/// What the roots of a quiet heap reach.
struct Marked {
    marks: Marks,
    /// Threads that marked.
    workers: usize,
    /// Whether by types.
    is_precise: bool,
}

impl Snapshot {
    /// # Safety
    /// No other thread uses the heap in any way, as long as this is used; of [`Objects`], until it has been made.
    unsafe fn of(heap: &HeapInner) -> Result<Self, CallError> {
        let core = heap.core();
        // What waits to be freed would count as in use.
        protect::open_all(core);
        let units = core.committed_units();
        if let Backing::Anonymous { .. } = core.backing {
            // Of memory directory and types are made usable as they grow, and without a root nothing of them is.
            for area in [core.layout.roots, core.layout.types] {
                core.backing.commit(core.base, area.offset as usize, area.len as usize)?;
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            let runs = Runs::of(core, units)?;
            let free = free_blocks(core, &runs)?;
            let image = Image::new(std::ptr::with_exposed_provenance(core.base), core.window, core.layout, units);
            let data = heap.atomic.as_ref().map(|atomic| atomic.data_pages(core, image.len())).transpose()?.flatten();
            for address in heap.kept_blocks().into_iter().chain(movable::filling(&core.address_range())) {
                if let Some((_, block)) = runs.find_word(&image, address as u64) {
                    free.set(block.word, block.bit, false);
                }
            }
            let program = Program::of(&image.with_data(data.as_ref()));
            Ok(Self { runs, free, image, program, data, heap: core.address_range(), segments: core.segments })
        }
    }

    /// Marks what the roots reach, beside what is free; returns how many threads did. If there are
    /// `tallies`, pointers are counted.
    fn mark(&self, job: &Job, tallies: Option<&Tallies>) -> Result<Marked, CollectError> {
        if let Some(marked) = self.mark_by(Some(&self.program), job, tallies)? {
            return Ok(marked);
        }
        // What was found so far means nothing.
        job.begin_again();
        tallies.inspect(|tallies| tallies.clear(&self.runs));
        movable::unfind(&self.heap);
        self.mark_by(None, job, tallies)?.ok_or(CollectError::Incomplete)
    }

    /// None if the types of a program cannot be followed.
    fn mark_by(
        &self,
        program: Option<&Program>,
        job: &Job,
        tallies: Option<&Tallies>,
    ) -> Result<Option<Marked>, CollectError> {
        let marks = copy_of(&self.free, &self.runs)?;
        let workers = default_workers();
        // SAFETY: pages that lie in a hole of the heap's very file and are not our own hold zeros, and nobody uses the heap.
        let image = unsafe { self.image.with_data(self.data.as_ref()) };
        let marker = Marker::new(image, &self.runs, &marks, job).with(workers, STACK);
        let marker = marker.typed(program);
        let marker = match tallies {
            Some(tallies) => marker.counting(tallies).finding(self.segments),
            None => marker,
        };
        match mark(&marker, job, workers, || ()) {
            Ok(ran) => Ok(ran.map(|workers| Marked { marks, workers, is_precise: program.is_some() })),
            Err(RecoveryError::Os(error)) => Err(error.into()),
            Err(RecoveryError::Aborted) => Err(CollectError::Incomplete),
        }
    }

    /// What a block begins with.
    fn first_bytes(&self, core: &Core, start: usize, len: usize) -> [u8; LEAK_BYTES] {
        let first: *const u8 = std::ptr::with_exposed_provenance(start);
        // They may lie in two pages.
        let is_hole = |at: usize| self.data.as_ref().is_some_and(|data| !data.has(start + at - core.base));
        std::array::from_fn(|at| {
            if at >= len || is_hole(at) {
                return 0;
            }
            // It may never have been written, so what the read gives is taken as it is.
            // SAFETY: within the block, which is mapped and which nobody writes to now.
            unsafe { first.add(at).read_volatile() }
        })
    }
}

impl From<CallError> for CollectError {
    fn from(error: CallError) -> Self {
        Self::os(error.call, error.errno)
    }
}

/// Counts the pointers in a heap that nobody uses yet, where those that are counted have no numbers; whether there are any.
///
/// # Errors
/// Without memory for it.
pub(super) fn count_pointers(heap: &HeapInner) -> Result<bool, CollectError> {
    // SAFETY: the caller's promise: the heap is not known to anybody else.
    let snapshot = unsafe { Snapshot::of(heap)? };
    let tallies = Tallies::new(snapshot.runs.units())?;
    snapshot.mark(&Job::default(), Some(&tallies))?;
    let is_sealed = young::is_noted(heap.core().segments);
    // SAFETY: the heap is open, and nobody has a pointer but those that were counted.
    unsafe { tallies.tell(heap.core(), &snapshot.runs, |count, counted| count.set(counted, is_sealed))? };
    movable::settle(&heap.core().address_range());
    Ok(tallies.has_any())
}

fn info(core_segments: usize, run: Run, block: crate::gc::runs::Block) -> BlockInfo {
    BlockInfo {
        start: core_segments + block.start,
        len: block.len,
        is_large: matches!(run, Run::Large { .. }),
        is_allocated: Some(true),
    }
}

/// The allocated blocks of a heap at one moment; from [`SalCollect::objects`].
pub struct Objects {
    runs: Runs,
    free: Marks,
    segments: usize,
    /// Where the search goes on: a unit, a word of the run there, and the bits of it that are still to come.
    unit: usize,
    words: Vec<(Run, usize, u64)>,
}

impl Iterator for Objects {
    type Item = BlockInfo;

    fn next(&mut self) -> Option<BlockInfo> {
        loop {
            if let Some((run, word, bits)) = self.words.last_mut() {
                if *bits == 0 {
                    self.words.pop();
                    continue;
                }
                let bit = bits.trailing_zeros();
                *bits &= *bits - 1;
                return Some(info(self.segments, *run, Runs::block_of_mark(*run, *word, bit)));
            }
            let run = self.runs.in_units(self.unit..self.runs.units()).next()?;
            self.unit = Runs::end_of(run);
            self.words.extend(Runs::mark_words(run).map(|(word, all)| (run, word, all & !self.free.word(word))));
            self.words.reverse();
        }
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

impl Heap {
    fn quiet_core(&self, writes: bool) -> Result<&Core, CollectError> {
        let inner = self.inner();
        if inner.is_forked() {
            return Err(CollectError::Forked);
        }
        if writes && inner.is_read_only() {
            return Err(CollectError::ReadOnly);
        }
        if writes && inner.atomic.as_ref().is_some_and(Atomic::is_recovering) {
            return Err(CollectError::Recovering);
        }
        Ok(inner.core())
    }

    /// The block that an address falls into: any address, in this heap or not, at the start of a block or inside. Nothing
    /// is read but the heap's bookkeeping.
    ///
    /// ```
    /// use sal::HeapOptions;
    ///
    /// let heap = HeapOptions::new().volatile()?;
    /// let boxed = allocator_api2::boxed::Box::new_in([0_u8; 50], heap.alloc());
    /// let block = heap.locate(&raw const boxed[20] as usize).expect("it lies in a block");
    /// assert_eq!((block.start, block.len), (boxed.as_ptr() as usize, 64));
    /// assert!(heap.locate(&raw const heap as usize).is_none()); // on the stack
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    pub fn locate(&self, address: usize) -> Option<BlockInfo> {
        let core = self.inner().core();
        match core.run_of(address)? {
            Run::Large { head, len_pages } => {
                let (start, len) = (core.address_of(head), len_pages as usize * PAGE);
                let is_inside = address - start < len;
                is_inside.then_some(BlockInfo { start, len, is_large: true, is_allocated: Some(true) })
            }
            Run::Slab { head, class } => {
                let slab = core.address_of(head);
                let index = index_in_slab(class, address - slab);
                (index < slab_blocks(class)).then(|| BlockInfo {
                    start: slab + index as usize * class_size(class),
                    len: class_size(class),
                    is_large: false,
                    is_allocated: is_allocated(core, head, class, index),
                })
            }
        }
    }
}

/// Whether a slab says that a block is out, if the caller may look.
fn is_allocated(core: &Core, head: usize, class: usize, index: u32) -> Option<bool> {
    // Relaxed: of racing frees either order is right.
    if core.remote(head, class).bits.get(index as usize / 64)?.load(Ordering::Relaxed) >> (index % 64) & 1 != 0 {
        return Some(false);
    }
    let _guard = core.lock.lock();
    // It may have been given up since, or given to somebody else.
    if core.run_of(core.address_of(head)) != Some(Run::Slab { head, class }) {
        return None;
    }
    // SAFETY: under the lock, slabs without a live owner are ours, and threads change neither sides meanwhile (K2, T2).
    unsafe {
        let state = core.slab_state(head);
        let owner = Threads::find((*core.threads.get()).table(), (*state).owner.load(Ordering::Relaxed));
        if !owner.is_null() && (*owner).is_live {
            return None;
        }
        let bits = *core.free_bits(head).add(index as usize / 64);
        Some(index < (*state).local.fresh && bits >> (index % 64) & 1 == 0)
    }
}

impl SalCollect for Heap {
    unsafe fn collect(&self) -> Result<CollectReport, CollectError> {
        let core = self.quiet_core(true)?;
        // The heap's own maintenance moves nothing from here on.
        let _pause = pause(self.alloc());
        // What the last commit leads to must stay: so there is one that leads to what the roots do.
        self.inner().commit_if_shared()?;
        let started = Instant::now();
        let _mover = moving_alone();
        // SAFETY: the caller's promise.
        let snapshot = unsafe {
            movable::begin_anew(&core.address_range());
            Snapshot::of(self.inner())?
        };
        let job = Job::default();
        let tallies = Tallies::new(snapshot.runs.units())?;
        let Marked { marks, workers, is_precise } = snapshot.mark(&job, Some(&tallies))?;
        let is_sealed = young::is_noted(core.segments);
        // SAFETY: the heap is open; only the roots hold its blocks, by the caller's promise, so what was counted is all there is.
        unsafe { tallies.tell(core, &snapshot.runs, |count, counted| count.set(counted, is_sealed))? };
        movable::settle(&core.address_range());
        let marking = started.elapsed();
        // What it would give back is given back here.
        let atomic = self.inner().atomic.as_ref();
        atomic.inspect(|atomic| atomic.supersede_recovery(false));
        let started = Instant::now();
        let swept = Swept::default();
        // SAFETY: all blocks of the runs are allocated or have a mark because they are free; those that the roots
        // reach have one too, and nobody holds others by the caller's promise.
        unsafe { sweep(core, &snapshot.runs, &marks, &swept, || true) };
        atomic.inspect(|atomic| atomic.supersede_recovery(true));
        let report = CollectReport::new(&job.counters, &swept, [marking, started.elapsed()], workers);
        Ok(CollectReport { is_precise, ..report })
    }

    unsafe fn leak_report(&self) -> Result<LeakReport, CollectError> {
        let core = self.quiet_core(false)?;
        let _mover = moving_alone();
        // SAFETY: the caller's promise.
        let snapshot = unsafe { Snapshot::of(self.inner())? };
        let Marked { marks, .. } = snapshot.mark(&Job::default(), None)?;
        let mut report = LeakReport::default();
        // The smallest on top; of equal ones the one that lies last.
        let mut largest: BinaryHeap<Reverse<(usize, Reverse<usize>, bool)>> = BinaryHeap::new();
        for run in snapshot.runs.iter() {
            for (word, all) in Runs::mark_words(run) {
                let mut lost = !marks.word(word) & all;
                while lost != 0 {
                    let block = info(core.segments, run, Runs::block_of_mark(run, word, lost.trailing_zeros()));
                    lost &= lost - 1;
                    report.blocks += 1;
                    report.bytes += block.len as u64;
                    largest.push(Reverse((block.len, Reverse(block.start), block.is_large)));
                    if largest.len() > LEAKS_NAMED {
                        largest.pop();
                    }
                }
            }
        }
        let named = largest.into_sorted_vec().into_iter();
        report.largest = named
            .map(|Reverse((len, Reverse(start), is_large))| Leak {
                block: BlockInfo { start, len, is_large, is_allocated: Some(true) },
                first_bytes: snapshot.first_bytes(core, start, len),
            })
            .collect();
        Ok(report)
    }

    unsafe fn objects(&self) -> Result<Objects, CollectError> {
        let core = self.quiet_core(false)?;
        let _mover = moving_alone();
        // SAFETY: the caller's promise.
        let Snapshot { runs, free, .. } = unsafe { Snapshot::of(self.inner())? };
        Ok(Objects { runs, free, segments: core.segments, unit: 0, words: Vec::new() })
    }
}

#[cfg(test)]
mod tests;
