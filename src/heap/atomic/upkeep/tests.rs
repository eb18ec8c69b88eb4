//! Heaps whose huge pages are made whole at every moment: after each, a commit must be what the memory holds.

use super::*;
use crate::heap::atomic::Atomic;
use crate::heap::options::{HeapOptions, Mode};
use crate::heap::owner::Heap;
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;

const REGIONS: usize = 4;
const PAGES: usize = REGIONS * REGION / PAGE;

/// A heap with one block of several regions.
struct Subject {
    heap: Heap,
    block: usize,
}

impl Subject {
    fn create(path: &Path) -> Self {
        let options = HeapOptions::new().mode(Mode::Atomic).capacity(64 << 20);
        // SAFETY: the file is this test's own.
        let heap = unsafe { options.create(path) }.unwrap();
        let layout = Layout::from_size_align(REGIONS * REGION, REGION).unwrap();
        let block = heap.alloc().allocate(layout).unwrap().cast::<u8>().as_ptr().expose_provenance();
        let subject = Self { heap, block };
        (0..PAGES).for_each(|page| subject.write(page));
        subject.heap.sync().unwrap();
        subject
    }

    fn atomic(&self) -> &Atomic {
        self.heap.inner().atomic.as_ref().unwrap()
    }

    /// False, and a word about it, where the kernel protects no pages.
    fn is_tracked(&self) -> bool {
        let is_tracked = self.atomic().capture().tracker.tracking() == Tracking::WriteProtect;
        if !is_tracked {
            println!("this kernel has no asynchronous write protection");
        }
        is_tracked
    }

    fn write(&self, page: usize) {
        assert!(page < PAGES);
        let word: *mut AtomicU64 = std::ptr::with_exposed_provenance_mut(self.block + page * PAGE + page % 512 * 8);
        // SAFETY: in the block, aligned, and written only so while it lives.
        unsafe { (*word).fetch_add(1, Ordering::Relaxed) };
    }

    /// Splits all huge pages, as far as there are any.
    fn split(&self) {
        for region in 0..REGIONS {
            self.write(region * (REGION / PAGE) + 7);
            self.write(region * (REGION / PAGE) + 9);
        }
        self.heap.sync().unwrap();
    }

    /// As when all has been quiet for a long time.
    fn run(&self) {
        self.atomic().capture().regions.pass_time();
        let upkeep = self.atomic().upkeep.as_ref().unwrap();
        upkeep.begin(&self.atomic().capture);
        upkeep.wait();
    }

    /// As [`Subject::run`], until all regions are whole: for a moment the system may have no huge page to give.
    fn run_until_whole(&self) {
        for _ in 0..20 {
            self.run();
            if self.whole() == REGIONS {
                break;
            }
        }
    }

    fn whole(&self) -> usize {
        let capture = self.atomic().capture();
        (0..REGIONS).filter(|region| capture.tracker.is_huge(self.block + region * REGION, REGION)).count()
    }

    /// The pages of the block that are not what the last commit has. Nobody writes to them.
    fn lost(&self) -> Vec<usize> {
        let capture = self.atomic().capture();
        let (mut live, mut committed) = ([0; PAGE], [0; PAGE]);
        let is_lost = |&page: &usize| {
            let address = self.block + page * PAGE;
            // SAFETY: in the block, which lives.
            unsafe { copy_out(address, &mut live) };
            self.atomic().journal().committed_page(page_of(capture.base, address), &mut committed).unwrap();
            live != committed
        };
        (0..PAGES).filter(is_lost).collect()
    }

    fn committed_pages(&self) -> u64 {
        self.heap.stats().commits.unwrap().pages
    }
}

/// Whether the kernel makes huge pages of memory that no tracker knows.
fn collapsing_works() -> bool {
    use crate::os::mapping::{self, Access, Advice, Source};
    let at = mapping::map_anywhere(2 * REGION, Access::ReadWrite, Source::Anonymous).unwrap();
    let works = mapping::advise(at, 2 * REGION, Advice::PopulateWrite).is_ok()
        && mapping::advise(at.next_multiple_of(REGION), REGION, Advice::Collapse).is_ok();
    // SAFETY: mapped above.
    unsafe { mapping::unmap(at, 2 * REGION).unwrap() };
    works
}

#[test]
fn quiet_regions_become_whole_and_nothing_of_them_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let subject = Subject::create(&directory.path().join("quiet"));
    if !subject.is_tracked() {
        return;
    }
    for _ in 0..3 {
        subject.split();
        assert_eq!(subject.whole(), 0);
        let before = (subject.committed_pages(), subject.heap.last_commit().unwrap());
        subject.run_until_whole();
        let whole = subject.whole();
        assert!(whole == REGIONS || !collapsing_works(), "{whole} regions are whole");
        subject.heap.sync().unwrap();
        assert_eq!((subject.committed_pages(), subject.heap.last_commit().unwrap()), before);
        assert_eq!(subject.whole(), whole, "the sync left them alone");
        subject.run();
        assert_eq!(subject.lost(), []);
        subject.write(1000);
        subject.heap.sync().unwrap();
        assert_eq!(subject.committed_pages(), before.0 + 1, "just the page that was written");
        assert_eq!(subject.lost(), []);
    }
}

#[test]
fn a_write_between_any_two_steps_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let subject = Subject::create(&directory.path().join("steps"));
    if !subject.is_tracked() {
        return;
    }
    let mut copy = vec![0; REGION];
    for moment in [Step::Copied, Step::Scanned, Step::Collapsed, Step::Armed] {
        subject.split();
        let mut told = 0;
        let is_whole = subject.atomic().capture().make_whole(subject.block, &mut copy, &mut |step| {
            told += 1;
            if step == moment {
                subject.write(0);
                subject.write(300);
                subject.write(511);
            }
        });
        assert_eq!(told, if moment == Step::Copied { 1 } else { 4 }, "a region that is written to is left alone");
        assert!(!is_whole || told == 4);
        let before = subject.committed_pages();
        subject.heap.sync().unwrap();
        assert_eq!(subject.lost(), [], "{moment:?}");
        assert_eq!(subject.committed_pages() - before, 3, "{moment:?}");
    }
}

#[test]
fn nothing_is_lost_beside_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let subject = Subject::create(&directory.path().join("writer"));
    if !subject.is_tracked() {
        return;
    }
    const ROUNDS: u64 = 60;
    let barrier = Barrier::new(2);
    let mut lost = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 0x5EED_0021_u64;
            println!("seed {random:#x}");
            for _ in 0..ROUNDS {
                barrier.wait();
                for _ in 0..40 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    subject.write((random >> 33) as usize % PAGES);
                    (0..(random >> 20) % 4000).for_each(|_| std::hint::spin_loop());
                }
                barrier.wait();
            }
        });
        for round in 0..ROUNDS {
            subject.split();
            barrier.wait();
            subject.run();
            if round % 2 == 0 {
                subject.heap.sync().unwrap();
            }
            barrier.wait();
            subject.heap.sync().unwrap();
            // A panic here would leave the other thread at the barrier.
            lost.extend(subject.lost().into_iter().map(|page| (round, page)));
        }
    });
    assert_eq!(lost, []);
}

#[test]
fn a_heap_can_be_closed_while_it_is_kept_up() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let path = directory.path().join(format!("closed {round}"));
        let subject = Subject::create(&path);
        subject.split();
        subject.atomic().capture().regions.pass_time();
        subject.atomic().upkeep.as_ref().unwrap().begin(&subject.atomic().capture);
        if round % 2 == 0 {
            subject.write(3);
        }
        // SAFETY: nothing of the heap is used afterwards.
        unsafe { subject.heap.close_and_unmap() }.unwrap();
    }
}
