//! Finding out what an unclean stop lost, and giving it back.
//!
//! After an unclean stop a heap opens with everything that its last commit had allocated counted as in use
//! ([`crate::alloc::rebuild`]). A [`Recovery`] marks, over an image of that commit which nobody changes, what the roots
//! reach, and then sweeps what they do not: eagerly, before the heap is used, or on a thread of its own while the program
//! works with the heap.
//!
//! # Invariants
//! - **Y1** The runs are taken when the state has just been rebuilt and nobody else has used the heap.
//! - **Y2** Nothing is swept unless marking came to its end, over an image that showed the commit all the time.
//! - **Y3** The background thread has touched the heap for the last time when [`Background::abort`] or the drop of its
//!   [`Background`] returns, and when [`Background::is_done`] says so.
//! - **Y4** Of the recoveries of one heap, each but the first goes on from where the one before has ended
//!   ([`Recovery::again`]): with its runs, and if that had begun to sweep, with its marks, behind what it has swept.
//! - **Y5** The image is read by marking alone: not once everything is marked, nor by a recovery that was given up until
//!   whoever goes on with it has made sure that it is still there.
//!
//! # Taking one up again
//! What the commit's roots did not reach when the heap was opened is not reached later, since nobody has it; it stays
//! allocated until it is swept, and it alone may be swept (G2 of [`crate::gc::sweep`]). So the runs and the marks stay good
//! however long a recovery rests: blocks of runs that came later are in no run of these, and a block that the program has
//! freed and had again since has its mark, or did not lie in these runs. If marking had not ended, the image of that commit
//! is needed once more, unchanged; a later commit would not do, since what the program has taken out of its roots since is
//! reached by nothing there. What has been swept was free from then on and may be in use again, so it is not swept again.
//!
//! # What survives a crash
//! A recovery that is aborted or interrupted at any point leaves a heap that is right: what is not swept stays allocated,
//! and the next one marks again.

mod background;

pub(crate) use background::{Background, Keeper, start_background};

use super::SalAlloc;
use super::atomic::data_of_file;
use super::movable;
use super::unknown_counts;
use crate::alloc::heap_core::Core;
use crate::alloc::young;
use crate::commit::journal::Journal;
use crate::gc::data_pages::DataPages;
use crate::gc::image::Image;
use crate::gc::marker::{Job, Marker, STACK};
use crate::gc::marks::Marks;
use crate::gc::runs::Runs;
use crate::gc::sweep::{Swept, sweep};
use crate::gc::tallies::Tallies;
use crate::gc::trace::Program;
use crate::heap::collect::CollectReport;
use crate::os::CallError;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// How often somebody who wants to know is told how far a recovery has come, besides at the first look in each phase.
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// What a recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Commits that were in the log and not yet in the heap file.
    pub replayed_commits: u64,
    /// Pages whose images were taken from the log.
    pub replayed_pages: u64,
    /// How long it took to read the log, to make sure that it is durable, and to write these pages into the heap file.
    pub replaying: Duration,
    /// What was reached from the roots, and what was given back because it was not.
    pub collected: CollectReport,
}

/// How far a recovery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryProgress {
    /// What it does at the moment.
    pub phase: RecoveryPhase,
    /// Bytes of blocks that were reached from the roots so far.
    pub marked_bytes: u64,
    /// How many blocks these are.
    pub marked_blocks: u64,
    /// Bytes of blocks that were given back so far.
    pub reclaimed_bytes: u64,
    /// How many blocks these are.
    pub reclaimed_blocks: u64,
    /// Bytes of all blocks of the heap, in use or not: those marked and those given back come to this in the end.
    pub total_bytes: u64,
}

/// What a recovery does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryPhase {
    /// It looks for what the roots reach.
    Marking,
    /// It gives back what they do not.
    Sweeping,
    /// It has come to its end.
    Done,
    /// It was given up before. What it has not given back is looked for again when it is resumed, or the heap is next opened.
    Aborted,
}

impl RecoveryPhase {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Marking,
            1 => Self::Sweeping,
            2 => Self::Done,
            _ => Self::Aborted,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Marking => 0,
            Self::Sweeping => 1,
            Self::Done => 2,
            Self::Aborted => 3,
        }
    }
}

/// Why a recovery did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecoveryError {
    /// Somebody gave it up.
    Aborted,
    /// There was no memory for its tables.
    Os(CallError),
}

impl From<CallError> for RecoveryError {
    fn from(error: CallError) -> Self {
        Self::Os(error)
    }
}

/// Is told from time to time how far a recovery has come, and says whether to go on.
pub(crate) type OnProgress<'a> = &'a dyn Fn(&RecoveryProgress) -> ControlFlow<()>;

/// One heap's recovery.
#[derive(Debug)]
pub(crate) struct Recovery {
    image: Image<'static>,
    /// Of the file whose holes the image need not show.
    file: Option<Arc<Journal>>,
    /// What the image holds besides zeros; found out when marking first begins.
    data: Arc<OnceLock<Option<DataPages>>>,
    runs: Arc<Runs>,
    marks: Arc<Marks>,
    /// The types of the roots, as they are stored with them.
    program: Arc<Program>,
    /// The pointers that are counted; joined with the heap's counts when marking is over.
    tallies: Arc<Tallies>,
    job: Job,
    swept: Swept,
    /// Bytes of all blocks.
    total_bytes: u64,
    phase: AtomicU8,
    is_marked: AtomicBool,
    /// Whether marking could follow types.
    is_precise: AtomicBool,
    /// Threads that marked, and nanoseconds that marking and sweeping took.
    workers: AtomicUsize,
    took: [AtomicU64; 2],
}

impl Recovery {
    /// Takes down which runs there are; to be called before the heap is used (Y1).
    ///
    /// # Safety
    /// The heap has just been rebuilt, and nobody else is there. `image` is what it was rebuilt from, its blocks, roots and types
    /// at least. Blocks and roots stay readable and unchanged until marking is over.
    pub(crate) unsafe fn prepare(core: &Core, image: Image<'static>) -> Result<Self, CallError> {
        // SAFETY: the caller's promise.
        let runs = unsafe { Runs::of(core, image.units())? };
        let (_, total_bytes) = runs.total();
        let marks = Arc::new(Marks::new(runs.units())?);
        let tallies = Arc::new(Tallies::new(runs.units())?);
        Ok(Self {
            image,
            file: None,
            data: Arc::default(),
            runs: Arc::new(runs),
            marks,
            program: Arc::new(Program::of(&image)),
            tallies,
            job: Job::default(),
            swept: Swept::default(),
            total_bytes,
            phase: AtomicU8::new(RecoveryPhase::Marking.number()),
            is_marked: AtomicBool::new(false),
            is_precise: AtomicBool::new(false),
            workers: AtomicUsize::new(0),
            took: Default::default(),
        })
    }

    /// Leaves out what is a hole in a heap file, if that can be asked.
    ///
    /// # Safety
    /// When marking first begins, the image shows the journal's heap file, and zeros behind its end.
    pub(crate) unsafe fn without_holes_of(self, journal: Arc<Journal>) -> Self {
        Self { file: Some(journal), ..self }
    }

    /// Marks over another image of the same bytes.
    ///
    /// # Safety
    /// As for [`Recovery::prepare`]; and this one does not run.
    pub(crate) unsafe fn over(self, image: Image<'static>) -> Self {
        Self { image, ..self }
    }

    /// One that goes on where this one has ended, which must have been given up (Y4).
    ///
    /// # Errors
    /// If there is no memory for its marks.
    pub(crate) fn again(&self) -> Result<Self, CallError> {
        let is_marked = self.is_marked();
        let (marks, job) = if is_marked {
            (Arc::clone(&self.marks), Job { counters: self.job.counters.copy(), ..Job::default() })
        } else {
            (Arc::new(Marks::new(self.runs.units())?), Job::default())
        };
        let tallies = if is_marked { Arc::clone(&self.tallies) } else { Arc::new(Tallies::new(self.runs.units())?) };
        let phase = if is_marked { RecoveryPhase::Sweeping } else { RecoveryPhase::Marking };
        // Relaxed: it has ended.
        Ok(Self {
            image: self.image,
            file: self.file.clone(),
            data: Arc::clone(&self.data),
            runs: Arc::clone(&self.runs),
            marks,
            program: Arc::clone(&self.program),
            tallies,
            job,
            swept: self.swept.copy(),
            total_bytes: self.total_bytes,
            phase: AtomicU8::new(phase.number()),
            is_marked: AtomicBool::new(is_marked),
            is_precise: AtomicBool::new(self.is_precise.load(Ordering::Relaxed)),
            workers: AtomicUsize::new(self.workers.load(Ordering::Relaxed)),
            took: self.took.each_ref().map(|nanoseconds| AtomicU64::new(nanoseconds.load(Ordering::Relaxed))),
        })
    }

    /// Whether marking is over, and the image is not wanted any more.
    pub(crate) fn is_marked(&self) -> bool {
        // Relaxed: asked by the thread that marks, or by who has seen that it ended.
        self.is_marked.load(Ordering::Relaxed)
    }

    /// Whether holes of the file were looked for, so that it may change.
    pub(crate) fn knows_holes(&self) -> bool {
        self.data.get().is_some()
    }

    fn data_pages(&self) -> Result<Option<DataPages>, CallError> {
        self.file.as_ref().map_or(Ok(None), |journal| data_of_file(journal, self.image.len()))
    }

    pub(crate) fn progress(&self) -> RecoveryProgress {
        // Relaxed, all: figures.
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecoveryProgress {
            phase: RecoveryPhase::of(self.phase.load(Ordering::Relaxed)),
            marked_bytes: of(&self.job.counters.bytes),
            marked_blocks: of(&self.job.counters.blocks),
            reclaimed_bytes: of(&self.swept.bytes),
            reclaimed_blocks: of(&self.swept.blocks),
            total_bytes: self.total_bytes,
        }
    }

    /// Lets it end soon, wherever it is.
    pub(crate) fn abort(&self) {
        self.job.pool.abort();
    }

    /// Marks and sweeps, with so many threads, of which the calling one is one; `on_progress` is asked from time to time
    /// whether to go on, and `is_image_good` when everything is marked, whether the image has shown the commit until then:
    /// it is not looked at any more. Once for each value.
    ///
    /// # Errors
    /// [`RecoveryError::Aborted`], or no memory. Then nothing is wrong with the heap, and it may be used.
    ///
    /// # Safety
    /// `core` is the heap that this was prepared for. It stays open meanwhile, and its program holds no block of before
    /// that it has not got from the roots in the image.
    pub(crate) unsafe fn run(
        &self,
        core: &Core,
        workers: usize,
        on_progress: Option<OnProgress<'_>>,
        is_image_good: impl FnOnce() -> bool,
    ) -> Result<RecoveryReport, RecoveryError> {
        // SAFETY: the caller's promise.
        let done = unsafe { self.mark_and_sweep(core, workers, on_progress, is_image_good) };
        self.enter(if done.is_ok() { RecoveryPhase::Done } else { RecoveryPhase::Aborted });
        done?;
        // Relaxed: written by this thread, or one that has ended.
        let took = self.took.each_ref().map(|nanoseconds| Duration::from_nanos(nanoseconds.load(Ordering::Relaxed)));
        let workers = self.workers.load(Ordering::Relaxed);
        let collected = CollectReport {
            is_precise: self.is_precise.load(Ordering::Relaxed),
            ..CollectReport::new(&self.job.counters, &self.swept, took, workers)
        };
        Ok(RecoveryReport { collected, ..RecoveryReport::default() })
    }

    /// # Safety
    /// As for [`Recovery::run`].
    unsafe fn mark_and_sweep(
        &self,
        core: &Core,
        workers: usize,
        on_progress: Option<OnProgress<'_>>,
        is_image_good: impl FnOnce() -> bool,
    ) -> Result<(), RecoveryError> {
        let mut last: Option<(Instant, RecoveryPhase)> = None;
        let mut ask = || {
            if let Some(on_progress) = on_progress {
                let progress = self.progress();
                if last.is_none_or(|(last, phase)| last.elapsed() >= REPORT_EVERY || phase != progress.phase) {
                    last = Some((Instant::now(), progress.phase));
                    if on_progress(&progress).is_break() {
                        self.abort();
                    }
                }
            }
        };
        // Relaxed, here and below: figures.
        let spend = |which: usize, since: Instant| {
            self.took[which].fetch_add(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
        };
        if !self.is_marked() {
            let started = Instant::now();
            // Whoever gave up before has found some.
            movable::unfind(&core.address_range());
            // Also if it is given up at once: later on the file may be another.
            if self.data.get().is_none() {
                let _ = self.data.set(self.data_pages()?);
            }
            let data = self.data.get().and_then(Option::as_ref);
            // SAFETY: what is a hole in the file, which was asked itself, holds zeros in the image, by the promise of
            // `without_holes_of`.
            let image = unsafe { self.image.with_data(data) };
            let marker = || {
                let marker = Marker::new(image, &self.runs, &self.marks, &self.job).with(workers, STACK);
                marker.counting(&self.tallies).finding(core.segments)
            };
            let (ran, is_precise) = match mark(&marker().typed(Some(&self.program)), &self.job, workers, &mut ask)? {
                Some(ran) => (ran, true),
                None => {
                    // What was found so far means nothing.
                    self.marks.clear();
                    self.tallies.clear(&self.runs);
                    movable::unfind(&core.address_range());
                    self.job.begin_again();
                    (mark(&marker(), &self.job, workers, &mut ask)?.ok_or(RecoveryError::Aborted)?, false)
                }
            };
            self.is_precise.store(is_precise, Ordering::Relaxed);
            if !is_image_good() {
                return Err(RecoveryError::Aborted);
            }
            let is_sealed = young::is_noted(core.segments);
            // SAFETY: the heap is open, and that of the runs. What was noted since then is added to what was counted.
            unsafe { self.tallies.tell(core, &self.runs, |count, counted| count.join(counted, is_sealed))? };
            movable::settle(&core.address_range());
            unknown_counts::end(SalAlloc::of_name(core.name()));
            self.workers.store(ran, Ordering::Relaxed);
            self.is_marked.store(true, Ordering::Relaxed);
            spend(0, started);
        }
        self.enter(RecoveryPhase::Sweeping);
        let started = Instant::now();
        let go_on = || {
            ask();
            !self.job.pool.is_aborted()
        };
        // SAFETY: Y1; marking came to its end, so what has no mark is reached by nobody (V2), and the caller's promise. What
        // was swept before, was so with these runs and marks (Y4).
        let is_complete = unsafe { sweep(core, &self.runs, &self.marks, &self.swept, go_on) };
        spend(1, started);
        if is_complete { Ok(()) } else { Err(RecoveryError::Aborted) }
    }

    fn enter(&self, phase: RecoveryPhase) {
        // Relaxed: shown only.
        self.phase.store(phase.number(), Ordering::Relaxed);
    }
}

/// Marks with up to so many threads, of which the calling one is one and calls `tick`; returns how many there were, and none
/// if types cannot be followed.
pub(super) fn mark(
    marker: &Marker<'_>,
    job: &Job,
    workers: usize,
    mut tick: impl FnMut(),
) -> Result<Option<usize>, RecoveryError> {
    let mut ran = 1;
    let own = thread::scope(|scope| {
        for _ in 1..workers {
            let helper = thread::Builder::new().name("sal-mark".into());
            // One that cannot be had, or has no memory, is done without: the others do its part.
            ran += usize::from(helper.spawn_scoped(scope, || marker.work(|| ())).is_ok());
        }
        marker.work(&mut tick)
    });
    if job.pool.is_done() {
        return Ok(Some(ran));
    }
    own?;
    if job.pool.is_refused() && !job.pool.is_aborted() { Ok(None) } else { Err(RecoveryError::Aborted) }
}

/// Marks and sweeps before the heap is used: [`Recovery::prepare`] and [`Recovery::run`] at once. The image is the heap's own
/// memory.
///
/// # Errors
/// As for [`Recovery::run`].
///
/// # Safety
/// As for [`Recovery::prepare`]; and nobody uses the heap before this returns.
pub(crate) unsafe fn recover_eagerly(
    core: &Core,
    image: Image<'static>,
    workers: usize,
) -> Result<RecoveryReport, RecoveryError> {
    // SAFETY: the caller's promise.
    unsafe { Recovery::prepare(core, image)?.run(core, workers, None, || true) }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replayed_commits, replayed_pages, replaying, collected } = self;
        write!(f, "replayed {replayed_commits} commits with {replayed_pages} pages in {replaying:.1?}; {collected}")
    }
}

impl fmt::Display for RecoveryProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |bytes: u64| bytes as f64 * 100.0 / (self.total_bytes as f64).max(1.0);
        match self.phase {
            RecoveryPhase::Marking => write!(f, "marking: {:.1}%", percent(self.marked_bytes)),
            RecoveryPhase::Sweeping => {
                write!(f, "sweeping: {:.1}%", percent(self.marked_bytes + self.reclaimed_bytes))
            }
            RecoveryPhase::Done => f.write_str("done"),
            RecoveryPhase::Aborted => f.write_str("given up"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
