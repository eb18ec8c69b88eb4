//! Recovery of an atomic heap: what it marks over, and who keeps that while it does.
//!
//! In the background, marking reads a second mapping of the heap file, which shows the last commit and stays as it is:
//! nothing is folded meanwhile; what is written to the file directly lies behind what that commit covers; and of one that
//! was given up, pages are copied before the file is changed ([`super::preserve`]). Before the heap is used by anybody, its
//! own memory is that commit.

use super::Atomic;
use super::preserve::{Frozen, Kept};
use crate::alloc::heap_core::Core;
use crate::alloc::windows;
use crate::commit::fold::FoldPause;
use crate::commit::journal::Journal;
use crate::commit::recovery::Replayed;
use crate::error::OpenError;
use crate::format::UNIT;
use crate::gc::data_pages::DataPages;
use crate::gc::image::Image;
use crate::heap::collect::default_workers;
use crate::heap::options::{HeapOptions, Recovery as When};
use crate::heap::recovery::{
    Background, Keeper, Recovery, RecoveryError, RecoveryProgress, RecoveryReport, start_background,
};
use crate::os::{CallError, errno};
use std::ops::{ControlFlow, Range};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

/// How far recovery is.
#[derive(Debug, Default)]
pub(super) enum State {
    /// There was nothing to recover.
    #[default]
    None,
    /// It was given up for good, or could not be begun; the next opening does it.
    Pending,
    Running(Arc<Background>, Replayed),
    /// It was given up, and can be resumed if it is marked, or its image is kept.
    Suspended(Arc<Recovery>, Replayed),
    Done(RecoveryReport),
}

impl State {
    /// What follows on a recovery that has ended like this.
    fn after(ended: &Background, replayed: Replayed, outcome: Result<RecoveryReport, RecoveryError>) -> Self {
        match outcome {
            Ok(report) => Self::Done(with_replayed(report, replayed)),
            Err(_) => Self::Suspended(Arc::clone(ended.recovery()), replayed),
        }
    }
}

/// What a recovery in the background needs: the heap, and until everything is marked the image, and that nothing is folded
/// into that.
struct Held {
    core: NonNull<Core>,
    image: Mutex<Option<(Arc<Frozen>, FoldPause)>>,
    kept: Arc<Kept>,
}

// SAFETY: the core is shared by all threads anyway (it is `Sync`), and this value is one of its holders.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Keeper for Held {
    fn core(&self) -> &Core {
        // SAFETY: this value is one of the core's holders until it is dropped.
        unsafe { self.core.as_ref() }
    }

    fn let_go_of_image(&self) -> bool {
        let is_good = self.kept.let_go();
        drop(self.image.lock().unwrap_or_else(PoisonError::into_inner).take());
        is_good
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: this value's own hold, given back once.
        unsafe { Core::let_go(self.core.as_ptr()) };
    }
}

/// A recovery that has been prepared and not begun.
pub(super) struct Prepared {
    recovery: Recovery,
    pause: FoldPause,
}

/// Recovers a heap that was just rebuilt and that nobody else has yet, or prepares to do so in the background.
///
/// # Safety
/// `core` was rebuilt from the last commit just now, for `units` units, and nobody else has it. The journal writes through
/// `kept`, and nobody else changes the heap file.
pub(super) unsafe fn recover(
    core: &Core,
    units: usize,
    journal: &Arc<Journal>,
    kept: &Kept,
    replayed: Replayed,
    options: &HeapOptions,
) -> Result<(State, Option<Prepared>), OpenError> {
    if options.recovery == When::Background && units > 0 {
        // SAFETY: the file is as of the last commit, and is changed through `kept` alone.
        let image = unsafe { freeze(core, units, journal, kept)? };
        // SAFETY: the caller's promise; the image stays as it is as long as it is kept. It shows the journal's heap file, and
        // holes are looked for while folding is paused.
        let recovery = unsafe { Recovery::prepare(core, image)?.without_holes_of(Arc::clone(journal)) };
        let pause = journal.pause_folding();
        return Ok((State::Pending, Some(Prepared { recovery, pause })));
    }
    // SAFETY: the heap's own memory, which is the last commit as long as nobody has stored anything.
    let image = unsafe { Image::new(ptr::with_exposed_provenance(core.base), core.window, core.layout, units) };
    let tell = |progress: &RecoveryProgress| match &options.on_recovery {
        Some(tell) => (tell.0)(progress),
        None => ControlFlow::Continue(()),
    };
    // SAFETY: the caller's promise, and nobody has the heap; the memory shows the journal's heap file as far as that reaches.
    let recovery = unsafe { Recovery::prepare(core, image)?.without_holes_of(Arc::clone(journal)) };
    // SAFETY: as above.
    match unsafe { recovery.run(core, default_workers(), Some(&tell), || true) } {
        Ok(report) => Ok((State::Done(with_replayed(report, replayed)), None)),
        Err(RecoveryError::Aborted) if recovery.is_marked() => {
            Ok((State::Suspended(Arc::new(recovery), replayed), None))
        }
        // SAFETY: as above.
        Err(RecoveryError::Aborted) => match unsafe { freeze(core, units, journal, kept) } {
            // SAFETY: the image shows what the memory has shown so far.
            Ok(image) => Ok((State::Suspended(Arc::new(unsafe { recovery.over(image) }), replayed), None)),
            Err(_) => Ok((State::Pending, None)),
        },
        Err(RecoveryError::Os(error)) => Err(error.into()),
    }
}

/// Maps the heap file a second time, and keeps that.
///
/// # Safety
/// The heap file is as of the last commit, and is changed through `kept` alone. The image is used only while it is kept, or
/// somebody has it from there.
unsafe fn freeze(core: &Core, units: usize, journal: &Journal, kept: &Kept) -> Result<Image<'static>, CallError> {
    let layout = core.layout;
    let (roots, segments) = (layout.roots, layout.segments.offset as usize);
    let (len, end) = (journal.data_len() as usize, segments + units * UNIT);
    let wanted = [roots.offset as usize..(roots.offset + roots.len) as usize, segments..end];
    let image = Frozen::map(journal.storage().data_fd(), len, end, wanted)?;
    let start = ptr::with_exposed_provenance(image.start);
    kept.keep(Arc::new(image));
    // SAFETY: the mapping shows the file as of the last commit as far as that reaches, and zeros up to the end of the last
    // unit. What is looked at of it stays as it is while it is kept.
    Ok(unsafe { Image::new(start, core.window, layout, units) })
}

/// What the first `len` bytes of a heap file hold besides zeros; none if the descriptor's number leads to another file by
/// now, whose holes say nothing: a program may close all descriptors that it did not open.
pub(in crate::heap) fn data_of_file(journal: &Journal, len: usize) -> Result<Option<DataPages>, CallError> {
    if journal.check_files().is_err() {
        return Ok(None);
    }
    let mut data = DataPages::none_of(len)?;
    data.add_file(journal.storage().data_fd(), 0..len as u64);
    // It may have become another's meanwhile.
    Ok(journal.check_files().is_ok().then_some(data))
}

fn with_replayed(report: RecoveryReport, replayed: Replayed) -> RecoveryReport {
    let Replayed { commits, pages, took, .. } = replayed;
    RecoveryReport { replayed_commits: commits, replayed_pages: pages, replaying: took, ..report }
}

impl Atomic {
    fn recovery(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a prepared recovery of a heap that has just been made known.
    pub(super) fn start_recovery(&self, window: u32, prepared: Prepared, replayed: Replayed) {
        let image = self.kept.get().map(|image| (image, prepared.pause));
        *self.recovery() = self.begin(window, Arc::new(prepared.recovery), image, replayed);
    }

    /// Begins a recovery, which has an image and a pause of folding unless it is marked. If there can be no thread, it is
    /// suspended.
    fn begin(
        &self,
        window: u32,
        recovery: Arc<Recovery>,
        image: Option<(Arc<Frozen>, FoldPause)>,
        replayed: Replayed,
    ) -> State {
        let Some(core) = windows::hold(window).and_then(NonNull::new) else { return State::Pending };
        let held = Arc::new(Held { core, image: Mutex::new(image), kept: Arc::clone(&self.kept) });
        // SAFETY: prepared for this heap; closing it stops the recovery first.
        match unsafe { start_background(held, Arc::clone(&recovery), default_workers()) } {
            Ok(background) => State::Running(Arc::new(background), replayed),
            Err(_) if recovery.is_marked() || recovery.knows_holes() => State::Suspended(recovery, replayed),
            Err(_) => {
                self.kept.let_go();
                State::Pending
            }
        }
    }

    /// Takes up a recovery that was given up; whether one is under way now.
    pub(in crate::heap) fn resume_recovery(&self, window: u32) -> bool {
        let needs_image = match &*self.recovery() {
            State::Running(background, _) if !background.is_done() => return true,
            // It has ended by itself.
            State::Running(background, _) => !background.recovery().is_marked(),
            State::Suspended(recovery, _) => !recovery.is_marked(),
            State::None | State::Pending | State::Done(_) => return false,
        };
        // Before the lock: it may have to wait for a fold, and others ask meanwhile.
        let pause = needs_image.then(|| self.journal.pause_folding());
        let mut state = self.recovery();
        if let State::Running(background, replayed) = &*state {
            if !background.is_done() {
                // Somebody else was faster.
                return true;
            }
            let ended = State::after(background, *replayed, background.wait());
            *state = ended;
        }
        let (suspended, replayed) = match &*state {
            State::Suspended(recovery, replayed) => (Arc::clone(recovery), *replayed),
            _ => return false,
        };
        let Ok(recovery) = suspended.again() else { return false };
        let mut image = None;
        // What was marked stays so: there is a pause if it is needed.
        if let (false, Some(pause)) = (recovery.is_marked(), pause) {
            // Only now: a fold that was under way may have cost it.
            let Some(kept) = self.kept.get() else {
                *state = State::Pending;
                return false;
            };
            image = Some((kept, pause));
        }
        *state = self.begin(window, Arc::new(recovery), image, replayed);
        matches!(&*state, State::Running(..))
    }

    /// Gives up what has not been recovered yet, until it is resumed.
    pub(in crate::heap) fn stop_recovery(&self) {
        self.end_recovery(|background| background.abort());
    }

    /// Gives up what has not been recovered yet: the next opening does it.
    pub(in crate::heap) fn give_up_recovery(&self) {
        self.stop_recovery();
        self.forget_suspended(State::Pending);
    }

    /// Somebody else gives back, or has given back, what a suspended recovery would.
    pub(in crate::heap) fn supersede_recovery(&self, is_done: bool) {
        self.end_recovery(Background::wait);
        self.forget_suspended(if is_done { State::None } else { State::Pending });
    }

    fn forget_suspended(&self, next: State) {
        let mut state = self.recovery();
        if matches!(&*state, State::Suspended(..) | State::Pending) {
            *state = next;
            self.kept.let_go();
        }
    }

    /// Waits until recovery is over, also one that is resumed meanwhile; its report, if it came to its end.
    pub(in crate::heap) fn wait_for_recovery(&self) -> Option<RecoveryReport> {
        loop {
            self.end_recovery(Background::wait);
            match &*self.recovery() {
                State::Running(..) => {}
                State::Done(report) => return Some(report.clone()),
                State::None | State::Pending | State::Suspended(..) => return None,
            }
        }
    }

    fn end_recovery(&self, end: impl FnOnce(&Background) -> Result<RecoveryReport, RecoveryError>) {
        let running = match &*self.recovery() {
            State::Running(background, replayed) => (Arc::clone(background), *replayed),
            _ => return,
        };
        // Others may ask meanwhile.
        let outcome = end(&running.0);
        let mut state = self.recovery();
        // Another one may be under way by now.
        if matches!(&*state, State::Running(background, _) if Arc::ptr_eq(background, &running.0)) {
            *state = State::after(&running.0, running.1, outcome);
        }
    }

    /// How far a recovery in the background has come, or one that was given up.
    pub(in crate::heap) fn recovery_progress(&self) -> Option<RecoveryProgress> {
        match &*self.recovery() {
            State::Running(background, _) => Some(background.recovery().progress()),
            State::Suspended(recovery, _) => Some(recovery.progress()),
            _ => None,
        }
    }

    /// What the first `len` bytes of the heap's memory hold besides zeros: what its file does, and the pages that are its own.
    /// None if the file cannot be asked.
    pub(in crate::heap) fn data_pages(&self, core: &Core, len: usize) -> Result<Option<DataPages>, CallError> {
        let Some(mut data) = data_of_file(&self.journal, len)? else { return Ok(None) };
        let add = &mut |found: Range<usize>| data.add(found.start - core.base..found.end - core.base);
        self.capture().tracker.private_pages(core.base, len, add)?;
        Ok(Some(data))
    }

    /// Whether a recovery is under way.
    pub(in crate::heap) fn is_recovering(&self) -> bool {
        matches!(&*self.recovery(), State::Running(background, _) if !background.is_done())
    }

    /// Whether marking has yet to find what the file holds in vain.
    pub(in crate::heap) fn is_recovery_pending(&self) -> bool {
        match &*self.recovery() {
            State::Pending | State::Suspended(..) => true,
            State::Running(background, _) => !background.is_done() || background.wait().is_err(),
            State::None | State::Done(_) => false,
        }
    }
}

/// There is no memory for what recovery needs.
impl From<RecoveryError> for OpenError {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Os(error) => error.into(),
            RecoveryError::Aborted => Self::os("recover", errno::NO_MEMORY),
        }
    }
}

#[cfg(test)]
mod tests;
