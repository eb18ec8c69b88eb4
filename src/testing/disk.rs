//! The disk that users see, and its connection to one opening of the heap.

use crate::commit::simulated::crash::{CrashImage, Strategy, Trace, Unit};
use crate::commit::simulated::medium::Contents;
use crate::commit::simulated::{self, Fault};
use crate::commit::storage::{Part, Storage};
use crate::error::OpenError;
use crate::heap::{Heap, HeapOptions, open_or_create_on};
use crate::os::{CallError, Errno, errno};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a place is tried that another heap has, a millisecond apart.
const TRIES: usize = 500;

/// What a call that fails has done nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing. After a sync, what was to be made durable may still become it.
    Nothing,
    /// The first half of a write. What a sync was to make durable is lost, though reading still shows it.
    Half,
    /// All of it.
    Whole,
}

/// What the disk writes whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Granularity {
    /// 512 bytes.
    Sector,
    /// 4 KiB.
    Page,
}

/// A disk in memory for one atomic heap. Clones are the same disk.
///
/// ```
/// use sal::HeapOptions;
/// use sal::prelude::*;
/// use sal::testing::{Granularity, SimulatedDisk};
///
/// const VISITS: Root<u64> = Root::new("visits");
/// let disk = SimulatedDisk::new();
/// let heap = disk.open(&HeapOptions::new())?;
/// heap.set_root(VISITS, 1)?;
/// heap.sync()?;
/// heap.set_root(VISITS, 2)?;
/// // SAFETY: nothing of the heap is used afterwards; nor below.
/// unsafe { disk.kill(heap) };
///
/// let after = disk.crash_images(disk.operations(), Granularity::Sector, 1, 0).next().unwrap();
/// let heap = after.open(&HeapOptions::new())?;
/// assert_eq!(*heap.read()?.root(VISITS)?, 1);
/// unsafe { after.kill(heap) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    disk: Arc<simulated::SimulatedDisk>,
    /// The newest opening's.
    connection: Arc<Mutex<Option<Arc<Connection>>>>,
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    /// An empty disk.
    ///
    /// # Panics
    /// If the system gives no memory file.
    pub fn new() -> Self {
        Self::from_image(&CrashImage { data: Contents::default(), log: None })
    }

    pub(super) fn from_image(image: &CrashImage) -> Self {
        match simulated::SimulatedDisk::new(image) {
            Ok(disk) => Self { disk: Arc::new(disk), connection: Arc::default() },
            Err(error) => panic!("no memory file: {error}"),
        }
    }

    /// Opens the heap on this disk, or creates it if the disk is empty.
    ///
    /// Only one heap that was made by the same creation can be open in a process at a time: crash images are opened where
    /// the heap was that they are images of.
    ///
    /// # Errors
    /// As [`HeapOptions::open_or_create`].
    pub fn open(&self, options: &HeapOptions) -> Result<Heap, OpenError> {
        let mut patience = TRIES;
        loop {
            match self.try_open(options) {
                // A new heap of another test may be there for a moment, looking for a place of its own.
                Err(OpenError::AddressTaken { .. }) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                done => return done,
            }
        }
    }

    fn try_open(&self, options: &HeapOptions) -> Result<Heap, OpenError> {
        let connection = Arc::new(Connection { disk: Arc::clone(&self.disk), is_cut: AtomicBool::new(false) });
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&connection));
        open_or_create_on(connection, options)
    }

    /// Ends a heap that is open on this disk as if its process had been killed: nothing more is written. What was written
    /// can be read, and what was not synced can still be lost by a power cut.
    ///
    /// # Panics
    /// If a session is open.
    ///
    /// # Safety
    /// As for [`Heap::close_and_unmap`]: nothing that lies in the heap is used afterwards.
    pub unsafe fn kill(&self, heap: Heap) {
        if let Some(connection) = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Relaxed: who calls the disk meanwhile may be before or after.
            connection.is_cut.store(true, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        if let Err(error @ crate::CloseError::SessionsOpen { .. }) = unsafe { heap.close_and_unmap() } {
            panic!("{error}");
        }
    }

    /// How many changes, syncs and changes of names there have been: each number up to this one is a moment at which the
    /// power can fail.
    pub fn operations(&self) -> usize {
        self.disk.operations()
    }

    /// How many calls of any kind there have been, those included that change nothing.
    pub fn calls(&self) -> u64 {
        self.disk.calls()
    }

    /// Lets the call fail that comes after `skip` more, with this error number of the system (as `ENOSPC`).
    pub fn fail_at(&self, skip: u64, errno: i32, effect: Effect) {
        self.fail(skip, 1, errno, effect);
    }

    /// As [`SimulatedDisk::fail_at`], and all calls after it.
    pub fn fail_from(&self, skip: u64, errno: i32, effect: Effect) {
        self.fail(skip, u64::MAX, errno, effect);
    }

    fn fail(&self, skip: u64, times: u64, errno: i32, effect: Effect) {
        let effect = match effect {
            Effect::Nothing => simulated::Effect::Nothing,
            Effect::Half => simulated::Effect::Half,
            Effect::Whole => simulated::Effect::Whole,
        };
        self.disk.inject(Fault { matches: Box::new(|_| true), skip, times, errno: Errno(errno), effect });
    }

    /// Lets all calls go well from now on; returns how many failed since the last time.
    pub fn heal(&self) -> u64 {
        self.disk.heal()
    }

    /// Disks as a power cut after the first `point` operations can leave them: all if there are no more than `most`, else
    /// that many, chosen by `seed`.
    ///
    /// # Panics
    /// If there were fewer operations.
    pub fn crash_images(
        &self,
        point: usize,
        granularity: Granularity,
        most: usize,
        seed: u64,
    ) -> impl Iterator<Item = Self> + use<> {
        let strategy = Strategy { unit: granularity.unit(), most, seed };
        self.disk.trace().crash_images(point, strategy).into_iter().map(|image| Self::from_image(&image))
    }

    pub(super) fn trace(&self) -> Trace {
        self.disk.trace()
    }
}

impl Granularity {
    pub(super) const fn unit(self) -> Unit {
        match self {
            Self::Sector => Unit::Sector,
            Self::Page => Unit::Page,
        }
    }
}

/// What one opening of the heap has of the disk, until its process is killed.
#[derive(Debug)]
struct Connection {
    disk: Arc<simulated::SimulatedDisk>,
    is_cut: AtomicBool,
}

impl Connection {
    fn disk(&self) -> Result<&simulated::SimulatedDisk, CallError> {
        // Relaxed: see `SimulatedDisk::kill`.
        if self.is_cut.load(Ordering::Relaxed) {
            return Err(CallError { call: "simulated", errno: errno::IO });
        }
        Ok(&self.disk)
    }
}

impl Storage for Connection {
    fn read_at(&self, part: Part, bytes: &mut [u8], offset: u64) -> Result<usize, CallError> {
        self.disk()?.read_at(part, bytes, offset)
    }

    fn write_at(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        self.disk()?.write_at(part, bytes, offset)
    }

    fn sync_data(&self, part: Part) -> Result<(), CallError> {
        self.disk()?.sync_data(part)
    }

    fn reserve(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.disk()?.reserve(part, offset, len)
    }

    fn set_len(&self, part: Part, len: u64) -> Result<(), CallError> {
        self.disk()?.set_len(part, len)
    }

    fn clear(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.disk()?.clear(part, offset, len)
    }

    fn len(&self, part: Part) -> Result<u64, CallError> {
        self.disk()?.len(part)
    }

    fn open_log(&self) -> Result<bool, CallError> {
        self.disk()?.open_log()
    }

    fn create_log(&self) -> Result<(), CallError> {
        self.disk()?.create_log()
    }

    fn remove_log(&self) -> Result<(), CallError> {
        self.disk()?.remove_log()
    }

    fn sync_directory(&self) -> Result<(), CallError> {
        self.disk()?.sync_directory()
    }

    fn data_fd(&self) -> i32 {
        self.disk.data_fd()
    }

    fn keep_length(&self) {}

    /// The disk can be opened again.
    fn close(&self) {
        // Relaxed: see `SimulatedDisk::kill`.
        self.is_cut.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::SalVec;
    use crate::commit::simulated::CallKind;
    use crate::heap::{DirtyTracking, Recovery};
    use crate::root::{Root, SalRoots};

    const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
    const LARGE: Root<SalVec<u64>> = Root::new("large");

    #[test]
    fn what_is_written_after_its_page_was_copied_is_in_the_next_commit() {
        let tracking = DirtyTracking::WriteProtect;
        let options = HeapOptions::new().recovery(Recovery::Eager).dirty_tracking(tracking).huge_pages(false);
        let disk = SimulatedDisk::new();
        let heap = disk.open(&options).unwrap();
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..1).collect())).unwrap();
        let place = heap.with_root(NUMBERS, |numbers| numbers.as_ptr().expose_provenance()).unwrap();
        heap.sync().unwrap();
        // A page with an image, and many that go straight to the heap file, once the images have been copied.
        heap.with_root_mut(NUMBERS, |numbers| numbers[0] = 1).unwrap();
        heap.with_session(|tx| tx.set_root(LARGE, (0..300 * 512).collect())).unwrap();
        let written = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&written);
        let matches = Box::new(move |call: &simulated::Call| {
            if call.kind == CallKind::Write && call.part == Part::Data && call.len > 100 << 12 {
                // Relaxed: one thread.
                note.store(true, Ordering::Relaxed);
                // SAFETY: the number, to which nobody has a reference now.
                unsafe { std::ptr::with_exposed_provenance_mut::<u64>(place).write_volatile(2) };
            }
            false
        });
        disk.disk.inject(Fault { matches, skip: 0, times: 1, errno: errno::IO, effect: simulated::Effect::Nothing });
        heap.sync().unwrap();
        disk.heal();
        assert!(written.load(Ordering::Relaxed));
        heap.sync().unwrap();
        // SAFETY: nothing of the heap is used afterwards; nor below.
        unsafe { disk.kill(heap) };
        let after = disk.crash_images(disk.operations(), Granularity::Page, 1, 0).next().unwrap();
        let heap = after.open(&options).unwrap();
        assert_eq!(heap.with_root(NUMBERS, |numbers| numbers[0]).unwrap(), 2);
        // SAFETY: as above.
        unsafe { after.kill(heap) };
    }
}
