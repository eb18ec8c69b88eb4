//! Recovery of an atomic heap: what it marks over, and who keeps that while it does.
//!
//! In the background, marking reads a second mapping of the heap file, which shows the last commit and stays as it is,
//! because nothing is folded into it meanwhile; what is written to the file directly lies behind what that commit
//! covers. Before the heap is used by anybody, its own memory is that commit.

use super::Atomic;
use crate::alloc::heap_core::Core;
use crate::alloc::windows;
use crate::commit::fold::FoldPause;
use crate::commit::journal::Journal;
use crate::commit::recovery::Replayed;
use crate::error::OpenError;
use crate::format::UNIT;
use crate::gc::image::Image;
use crate::heap::collect::default_workers;
use crate::heap::options::{HeapOptions, Recovery as When};
use crate::heap::recovery::{
    Background, Keeper, Recovery, RecoveryError, RecoveryProgress, RecoveryReport, recover_eagerly, start_background,
};
use crate::os::mapping::{self, Access, Source};
use crate::os::{CallError, errno};
use std::ops::ControlFlow;
use std::ptr::{self, NonNull};
use std::sync::{Arc, PoisonError};

/// How far recovery is.
#[derive(Debug, Default)]
pub(super) enum State {
    /// There was nothing to recover.
    #[default]
    None,
    /// It was given up, or could not be begun; the next opening does it.
    Pending,
    Running(Arc<Background>, Replayed),
    Done(RecoveryReport),
}

/// The heap file as of one commit, mapped a second time.
#[derive(Debug)]
struct Frozen {
    start: usize,
    len: usize,
}

impl Frozen {
    /// Maps the first `len` bytes, and memory that reads as zeros up to `end`.
    fn map(fd: i32, len: usize, end: usize) -> Result<Self, CallError> {
        let end = end.max(len);
        let image = Self { start: mapping::map_anywhere(end, Access::Read, Source::Anonymous)?, len: end };
        // SAFETY: mapped just now, and nobody has read there.
        unsafe { mapping::replace(image.start, len, Access::Read, Source::SharedFile(fd))? };
        Ok(image)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and only read through this value.
        let _ = unsafe { mapping::unmap(self.start, self.len) };
    }
}

/// What a recovery in the background needs: the heap, the image, and that nothing is folded into that.
struct Held {
    core: NonNull<Core>,
    _image: Frozen,
    _pause: FoldPause,
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
    image: Frozen,
    pause: FoldPause,
}

/// Recovers a heap that was just rebuilt and that nobody else has yet, or prepares to do so in the background.
///
/// # Safety
/// `core` was rebuilt from the last commit just now, for `units` units, and nobody else has it.
pub(super) unsafe fn recover(
    core: &Core,
    units: usize,
    journal: &Journal,
    replayed: Replayed,
    options: &HeapOptions,
) -> Result<(State, Option<Prepared>), OpenError> {
    if options.recovery == When::Background && units > 0 {
        let len = journal.data_len() as usize;
        let end = core.layout.segments.offset as usize + units * UNIT;
        let image = Frozen::map(journal.storage().data_fd(), len, end)?;
        // SAFETY: the mapping shows the file as of the last commit as far as that reaches, and zeros up to the end of the
        // last unit; it stays.
        let of_image =
            unsafe { Image::new(ptr::with_exposed_provenance(image.start), core.window, core.layout, units) };
        // SAFETY: the caller's promise; the image stays as it is while the pause lives.
        let recovery = unsafe { Recovery::prepare(core, of_image)? };
        let pause = journal.pause_folding();
        return Ok((State::Pending, Some(Prepared { recovery, image, pause })));
    }
    // SAFETY: the heap's own memory, which is the last commit as long as nobody has stored anything.
    let image = unsafe { Image::new(ptr::with_exposed_provenance(core.base), core.window, core.layout, units) };
    let tell = |progress: &RecoveryProgress| match &options.on_recovery {
        Some(tell) => (tell.0)(progress),
        None => ControlFlow::Continue(()),
    };
    // SAFETY: the caller's promise, and nobody has the heap.
    match unsafe { recover_eagerly(core, image, default_workers(), Some(&tell)) } {
        Ok(report) => Ok((State::Done(with_replayed(report, replayed)), None)),
        Err(RecoveryError::Aborted) => Ok((State::Pending, None)),
        Err(RecoveryError::Os(error)) => Err(error.into()),
    }
}

fn with_replayed(report: RecoveryReport, replayed: Replayed) -> RecoveryReport {
    RecoveryReport { replayed_commits: replayed.commits, replayed_pages: replayed.pages, ..report }
}

impl Atomic {
    fn recovery(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a prepared recovery of a heap that has just been made known. If there can be no thread, it stays pending.
    pub(super) fn start_recovery(&self, window: u32, prepared: Prepared, replayed: Replayed) {
        let Some(core) = windows::hold(window).and_then(NonNull::new) else { return };
        let Prepared { recovery, image, pause } = prepared;
        let held = Arc::new(Held { core, _image: image, _pause: pause });
        // SAFETY: prepared for this heap; closing it stops the recovery first.
        if let Ok(background) = unsafe { start_background(held, recovery, default_workers()) } {
            *self.recovery() = State::Running(Arc::new(background), replayed);
        }
    }

    /// Gives up what has not been recovered yet: the next opening does it.
    pub(in crate::heap) fn stop_recovery(&self) {
        self.end_recovery(|background| background.abort());
    }

    /// Waits until recovery is over; its report, if it came to its end.
    pub(in crate::heap) fn wait_for_recovery(&self) -> Option<RecoveryReport> {
        self.end_recovery(Background::wait);
        match &*self.recovery() {
            State::Done(report) => Some(report.clone()),
            _ => None,
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
        if matches!(&*state, State::Running(..)) {
            *state = match outcome {
                Ok(report) => State::Done(with_replayed(report, running.1)),
                Err(_) => State::Pending,
            };
        }
    }

    /// How far a recovery in the background has come.
    pub(in crate::heap) fn recovery_progress(&self) -> Option<RecoveryProgress> {
        match &*self.recovery() {
            State::Running(background, _) => Some(background.progress()),
            _ => None,
        }
    }

    /// Whether a recovery is under way.
    pub(in crate::heap) fn is_recovering(&self) -> bool {
        matches!(&*self.recovery(), State::Running(background, _) if !background.is_done())
    }

    /// Whether marking has yet to find what the file holds in vain.
    pub(in crate::heap) fn is_recovery_pending(&self) -> bool {
        match &*self.recovery() {
            State::Pending => true,
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
