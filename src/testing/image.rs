//! Opening what a crash left: what is in it, and whether it works on.

use super::SimulatedDisk;
use super::history::{End, Expected, History};
use super::report::CrashReport;
use crate::collections::SalVec;
use crate::commit::simulated::crash::{CrashImage, Random, Strategy};
use crate::error::RootError;
use crate::heap::{Heap, HeapOptions, SalCollect, SyncLevel};
use crate::root::{Root, SalRoots};
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;
use std::fmt;

/// What the tester changes in an image to see whether it works on.
const PROBE: Root<SalVec<u64>> = Root::new("sal::testing::probe");

/// Second power cuts leave at most so many images at one moment.
const SECOND_IMAGES: usize = 3;

static ZEROS: [u8; 4096] = [0; 4096];

/// Looks at images of one heap.
pub(super) struct Checker<'a, M> {
    pub(super) options: &'a HeapOptions,
    pub(super) check: &'a dyn Fn(&Heap, &M),
}

/// Where a check is, for whoever reads why it failed.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) seed: u64,
    pub(super) moment: usize,
    pub(super) strategy: Strategy,
    pub(super) image: usize,
    pub(super) second: Option<(usize, usize)>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, moment, strategy, image, second } = self;
        write!(f, "SAL_CRASH_SEED={seed}, image {image} of a power cut after operation {moment}, {strategy:?}")?;
        if let Some((moment, image)) = second {
            write!(f, ", image {image} of another after operation {moment} of its recovery and what followed")?;
        }
        Ok(())
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was {self}");
        }
    }
}

/// Whether a heap was being created and had no header yet.
fn is_unmade(image: &CrashImage) -> bool {
    image.data.pages().next().is_none_or(|(number, _)| number > 1)
}

/// Whether memory that is handed out as zeros is: nothing may show of what a crash left in the file.
fn look_for_zeros(heap: &Heap) {
    let handle = heap.alloc();
    // Most that a segment has, in pieces.
    for len in [32 << 10, 1 << 20, 256 << 10, 512 << 10, 100 << 10, 2 << 20] {
        let Ok(layout) = Layout::from_size_align(len, 8) else { continue };
        let Ok(block) = handle.allocate_zeroed(layout) else { panic!("no {len} bytes") };
        // SAFETY: allocated just now, as long, and nobody else has it.
        let is_zero = unsafe { block.as_ref() }.chunks(ZEROS.len()).all(|bytes| bytes == &ZEROS[..bytes.len()]);
        assert!(is_zero, "{len} bytes were handed out as zeros and are not");
    }
}

impl<M: Clone> Checker<'_, M> {
    /// What every heap has to be, whatever happened to it: the model of its commit, and in order.
    pub(super) fn look(&self, heap: &Heap, model: &M) {
        (self.check)(heap, model);
        match heap.with_root(PROBE, |probe| probe.iter().copied().eq(0..probe.len() as u64)) {
            Ok(is_whole) => assert!(is_whole, "the probe is damaged"),
            Err(RootError::NotFound { .. }) => {}
            Err(error) => panic!("the probe cannot be read: {error}"),
        }
        // SAFETY: the only handle that this heap's opening gave away was that of the check, which is over.
        if let Err(broken) = unsafe { heap.inner().check_bookkeeping() } {
            panic!("the heap's bookkeeping contradicts itself: {broken}");
        }
    }

    /// Whether the recovery of a heap that was just opened gave back everything that no root reaches, and nothing else.
    fn look_for_leaks(heap: &Heap) {
        let Some(recovered) = heap.wait_for_recovery() else { return };
        assert_eq!(heap.stats().live_bytes, recovered.collected.marked_bytes, "live, and reached from roots");
        // SAFETY: nobody else has the heap yet.
        match unsafe { heap.leak_report() } {
            Ok(leaks) => assert_eq!(leaks.blocks, 0, "recovery has left {} bytes that no root reaches", leaks.bytes),
            Err(error) => panic!("{error}"),
        }
    }

    /// The commit that a heap is at, and its model.
    fn found(heap: &Heap, expected: &Expected<M>) -> (u64, M) {
        let number = match heap.last_commit() {
            Ok(number) => number,
            Err(error) => panic!("{error}"),
        };
        match expected.models.get(&number) {
            Some(model) => (number, model.clone()),
            None => panic!("found commit {number}; expected one of {:?}", expected.models.keys()),
        }
    }

    fn open(&self, disk: &SimulatedDisk) -> Heap {
        match disk.open(self.options) {
            Ok(heap) => heap,
            Err(error) => panic!("the heap does not open: {error}"),
        }
    }

    /// Opens an image, looks at it, and works on in some of them; and looks at what second power cuts leave.
    pub(super) fn check_image(
        &self,
        image: &CrashImage,
        expected: &Expected<M>,
        position: &mut Position,
        random: &mut Random,
        report: &mut CrashReport,
    ) {
        report.images += 1;
        if is_unmade(image) {
            assert!(expected.models.contains_key(&0), "the header is gone");
            return;
        }
        let disk = SimulatedDisk::from_image(image);
        if random.below(16) == 0 {
            self.look_read_only(&disk, image, expected, position);
        }
        let mut history = History::after(expected);
        let heap = self.open(&disk);
        let (number, model) = Self::found(&heap, expected);
        history.opened(disk.operations(), number);
        Self::look_for_leaks(&heap);
        report.in_flight += u64::from(expected.models.keys().next() != Some(&number));
        self.look(&heap, &model);
        if random.below(3) > 0 {
            // SAFETY: as whoever runs the tester has promised, the check has kept nothing.
            unsafe { disk.kill(heap) };
            return;
        }
        self.work_on(&disk, heap, &model, &mut history, random);
        if random.below(8) == 0 {
            self.cut_again(&disk, &history, position, random, report);
        }
    }

    fn look_read_only(&self, disk: &SimulatedDisk, image: &CrashImage, expected: &Expected<M>, position: &Position) {
        match disk.open(&self.options.clone().read_only(true)) {
            Ok(heap) => {
                let (_, model) = Self::found(&heap, expected);
                (self.check)(&heap, &model);
                // SAFETY: as in `check_image`.
                unsafe { disk.kill(heap) };
            }
            Err(error) => panic!("the heap does not open for reading: {error}"),
        }
        let now = disk.trace().crash_images(disk.operations(), position.strategy);
        assert!(now.iter().all(|now| now == image), "a heap that is only read has changed its files");
    }

    /// Changes something, syncs, closes and opens again: a heap that was recovered is as good as any.
    fn work_on(&self, disk: &SimulatedDisk, heap: Heap, model: &M, history: &mut History<M>, random: &mut Random) {
        let sync = |heap: &Heap, history: &mut History<M>, level: SyncLevel| {
            let number = heap.last_commit().map_or(0, |last| last + 1);
            history.begin(disk.operations(), number, model.clone());
            match heap.sync_with(level) {
                Ok(number) => history.acknowledge(disk.operations(), number, true),
                Err(error) => panic!("a heap that was recovered does not sync: {error}"),
            }
            heap.inner().wait_for_fold();
        };
        let len = [5, 700, 40_000][random.below(12).saturating_sub(9) as usize];
        if let Err(error) = heap.with_session(|tx| tx.set_root(PROBE, (0..len).collect())) {
            panic!("{error}");
        }
        sync(&heap, history, SyncLevel::Data);
        self.look(&heap, model);
        if random.below(2) == 0 {
            if let Err(error) = heap.take_root(PROBE) {
                panic!("{error}");
            }
        }
        if random.below(2) == 0 {
            sync(&heap, history, SyncLevel::Full);
        }
        let before = heap.last_commit().unwrap_or(0);
        history.begin(disk.operations(), before + 1, model.clone());
        // SAFETY: nothing of the heap is used afterwards, as whoever runs the tester has promised.
        if let Err(error) = unsafe { heap.close_and_unmap() } {
            panic!("a heap that was recovered does not close: {error}");
        }
        let closed = disk.operations();
        let heap = self.open(disk);
        let Ok(number) = heap.last_commit() else { panic!("no commit") };
        assert!((before..=before + 1).contains(&number), "closed after commit {before}, found {number}");
        history.acknowledge(closed, number, true);
        self.look(&heap, model);
        look_for_zeros(&heap);
        // SAFETY: as above.
        unsafe { disk.kill(heap) };
    }

    /// Cuts the power again: during the recovery of an image, and during the work on it.
    fn cut_again(
        &self,
        disk: &SimulatedDisk,
        history: &History<M>,
        position: &mut Position,
        random: &mut Random,
        report: &mut CrashReport,
    ) {
        let trace = disk.trace();
        let mut moment = trace.start();
        let strategy = Strategy { most: SECOND_IMAGES, ..position.strategy };
        let mut point = random.below(4) as usize;
        while point <= trace.len() {
            moment.advance_to(point);
            let expected = history.at(point, End::PowerCut);
            for (number, image) in moment.crash_images(strategy).iter().enumerate() {
                position.second = Some((point, number));
                let disk = SimulatedDisk::from_image(image);
                let heap = self.open(&disk);
                let (_, model) = Self::found(&heap, &expected);
                Self::look_for_leaks(&heap);
                self.look(&heap, &model);
                // SAFETY: as in `check_image`.
                unsafe { disk.kill(heap) };
                report.images += 1;
                report.second_images += 1;
            }
            point += 1 + random.below(5) as usize;
        }
        position.second = None;
    }
}
