//! What a tracker must never miss, under writers, forks, and those who take its means away.

use super::*;
use Tracking::{Compare, WriteProtect};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;

const HUGE: usize = 512;

/// A mapping of its own, counted in pages.
struct Area {
    at: usize,
    len: usize,
}

impl Area {
    fn map(pages: usize, source: Source) -> Self {
        let at = mapping::map_anywhere(pages * PAGE, Access::ReadWrite, source).unwrap();
        Self { at, len: pages * PAGE }
    }

    fn anonymous(pages: usize) -> Self {
        Self::map(pages, Source::Anonymous)
    }

    /// Begins at a huge page.
    fn huge(pages: usize) -> Self {
        let area = Self::map(pages + HUGE, Source::Anonymous);
        let start = area.at.next_multiple_of(HUGE * PAGE);
        let skipped = start - area.at;
        // SAFETY: both ends are our own, and nobody has seen them.
        unsafe {
            if skipped != 0 {
                mapping::unmap(area.at, skipped).unwrap();
            }
            mapping::unmap(start + pages * PAGE, HUGE * PAGE - skipped).unwrap();
        }
        std::mem::forget(area);
        mapping::advise(start, pages * PAGE, Advice::HugePage).unwrap();
        Self { at: start, len: pages * PAGE }
    }

    /// Private pages of a file: data first, then a hole of the same length.
    fn half_a_file(pages: usize) -> Self {
        let file = half_full(pages);
        Self::map(pages, Source::PrivateFile(file.as_raw_fd()))
    }

    fn pages(&self) -> usize {
        self.len / PAGE
    }

    fn word(&self, page: usize) -> &AtomicU64 {
        assert!(page * PAGE < self.len);
        // SAFETY: within the mapping, aligned, and written only atomically or by the kernel.
        unsafe { &*ptr::with_exposed_provenance(self.at + page * PAGE) }
    }

    fn write(&self, page: usize) {
        self.word(page).fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self, page: usize) -> u64 {
        self.word(page).load(Ordering::Relaxed)
    }

    /// The numbers of the pages that a scan of all of it reports.
    fn scan(&self, tracker: &Tracker) -> Vec<usize> {
        self.scan_as(tracker, Memory::Mixed)
    }

    fn scan_as(&self, tracker: &Tracker, memory: Memory) -> Vec<usize> {
        let mut pages = Vec::new();
        let mut scans = tracker.begin().unwrap();
        scans.scan(self.at, self.len, memory, &mut |range| self.add(&mut pages, range)).unwrap();
        pages.sort_unstable();
        pages.dedup();
        pages
    }

    fn private(&self, tracker: &Tracker) -> Vec<usize> {
        let mut pages = Vec::new();
        tracker.private_pages(self.at, self.len, &mut |range| self.add(&mut pages, range)).unwrap();
        pages
    }

    /// Ranges lie within what was asked for, and consist of whole pages.
    fn add(&self, pages: &mut Vec<usize>, range: Range<usize>) {
        assert!(range.start < range.end && range.start % PAGE == 0 && range.end % PAGE == 0, "{range:x?}");
        assert!(range.start >= self.at && range.end <= self.at + self.len, "{range:x?}");
        let first = (range.start - self.at) / PAGE;
        pages.extend(first..(range.end - self.at) / PAGE);
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mapped by `Area`, and gone with it.
        unsafe { mapping::unmap(self.at, self.len).unwrap() };
    }
}

fn half_full(pages: usize) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&vec![7; pages / 2 * PAGE], 0).unwrap();
    file.set_len((pages * PAGE) as u64).unwrap();
    file
}

/// The tracker wanted; none, and a word about it, where the kernel protects no pages.
fn tracker(tracking: Tracking) -> Option<Tracker> {
    let tracker = Tracker::new(Some(tracking)).unwrap();
    assert_eq!(tracker.sees_exactly(), tracker.tracking() == WriteProtect);
    if tracker.tracking() != tracking {
        assert!(Userfault::open().is_err(), "what the kernel offers is not used");
        println!("this kernel has no asynchronous write protection");
        return None;
    }
    Some(tracker)
}

fn registered(tracking: Tracking, area: &Area) -> Option<Tracker> {
    let tracker = tracker(tracking)?;
    tracker.register(area.at, area.len).unwrap();
    Some(tracker)
}

struct Random(u64);

impl Random {
    fn seeded(seed: u64) -> Self {
        println!("seed {seed:#x}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % bound
    }
}

#[test]
fn a_scan_reports_what_was_written_since_the_last_one() {
    for area in [Area::anonymous(64), Area::half_a_file(64)] {
        let Some(tracker) = tracker(WriteProtect) else { return };
        area.write(3);
        tracker.register(area.at, area.len).unwrap();
        area.write(5);
        area.read(6);
        assert_eq!(area.scan(&tracker), [3, 5], "the first scan reports all private pages");
        assert!(area.scan(&tracker).is_empty());
        area.write(5);
        area.write(6);
        area.write(63);
        (0..64).for_each(|page| assert!(area.read(page) < u64::MAX));
        assert_eq!(area.scan(&tracker), [5, 6, 63], "reading is not writing");
        assert!(area.scan(&tracker).is_empty());
        assert_eq!(area.private(&tracker), [3, 5, 6, 63]);
        assert!(tracker.sees_exactly());
    }
}

#[test]
fn what_a_scan_is_told_of_the_memory_changes_nothing_in_what_it_reports() {
    let area = Area::anonymous(6000);
    let Some(tracker) = registered(WriteProtect, &area) else { return };
    area.read(7);
    for memory in [Memory::Anonymous, Memory::Mixed] {
        // At first most pages do not exist. The steps of two and three give more ranges than one call reports.
        for step in [300, 40, 1, 2, 3, 40] {
            let written: Vec<usize> = (9..6000).step_by(step).collect();
            written.iter().for_each(|&page| area.write(page));
            assert_eq!(area.scan_as(&tracker, memory), written);
            for memory in [Memory::Anonymous, Memory::Mixed] {
                assert!(area.scan_as(&tracker, memory).is_empty());
            }
        }
        // SAFETY: the area's own memory, and nobody relies on what it holds.
        unsafe { mapping::discard(area.at, area.len).unwrap() };
    }
    let file = Area::half_a_file(64);
    tracker.register(file.at, file.len).unwrap();
    file.read(3);
    file.write(5);
    assert!(file.scan_as(&tracker, Memory::Anonymous).contains(&5), "too much is reported, not too little");
    file.write(3);
    assert_eq!(file.scan_as(&tracker, Memory::Anonymous), [3]);
}

#[test]
fn comparing_reports_all_private_pages_each_time() {
    for (reads_only, zero_page_is_told_apart) in [(false, true), (true, false)] {
        let anonymous = Area::anonymous(64);
        let file = Area::half_a_file(64);
        let tracker = registered(Compare, &anonymous).unwrap();
        lock(&tracker.pagemap).reads_only = reads_only;
        anonymous.write(3);
        assert_eq!(anonymous.scan(&tracker), [3]);
        anonymous.read(6);
        anonymous.write(9);
        let found = anonymous.scan(&tracker);
        assert_eq!(found, if zero_page_is_told_apart { vec![3, 9] } else { vec![3, 6, 9] });
        (0..64).for_each(|page| assert!(file.read(page) < u64::MAX));
        [0, 1, 31, 32, 63].into_iter().for_each(|page| file.write(page));
        assert_eq!(file.scan(&tracker), [0, 1, 31, 32, 63]);
        assert_eq!(file.private(&tracker), [0, 1, 31, 32, 63]);
        assert!(!tracker.sees_exactly());
    }
}

#[test]
fn words_of_the_page_map_are_read_over_the_end_of_a_chunk() {
    // One chunk describes 65,536 pages.
    let area = Area::anonymous(140_000);
    let tracker = registered(Compare, &area).unwrap();
    let written = [0, 1, 65_534, 65_535, 65_536, 65_537, 131_071, 131_072, 139_999];
    written.into_iter().for_each(|page| area.write(page));
    assert_eq!(area.scan(&tracker), written);
    lock(&tracker.pagemap).reads_only = true;
    assert_eq!(area.scan(&tracker), written);
}

#[test]
fn more_ranges_than_one_call_reports_are_all_found() {
    let area = Area::anonymous(6000);
    for tracking in [WriteProtect, Compare] {
        let Some(tracker) = registered(tracking, &area) else { continue };
        let even: Vec<usize> = (0..6000).step_by(2).collect();
        even.iter().for_each(|&page| area.write(page));
        assert_eq!(area.scan(&tracker), even);
        assert_eq!(area.scan(&tracker).is_empty(), tracking == WriteProtect);
        even.iter().step_by(2).for_each(|&page| area.write(page));
        let found = area.scan(&tracker);
        assert!(even.iter().step_by(2).all(|page| found.binary_search(page).is_ok()));
    }
}

/// In each round a second thread writes while a scan runs; after a quiet one, all that was reported must be all that has
/// changed.
fn nothing_is_lost_beside_a_writer(area: &Area, tracking: Tracking, memory: Memory) {
    let Some(tracker) = registered(tracking, area) else { return };
    let source = tempfile::tempfile().unwrap();
    let words: Vec<u8> = (0..64_000_u32).flat_map(|word| word.wrapping_mul(0x9E37_79B1).to_ne_bytes()).collect();
    source.write_all_at(&words, 0).unwrap();
    let mut image: Vec<u64> = (0..area.pages()).map(|page| area.read(page)).collect();
    let barrier = Barrier::new(2);
    const ROUNDS: usize = 200;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::seeded(0x5EED_0011);
            for _ in 0..ROUNDS {
                barrier.wait();
                for _ in 0..random.below(600) {
                    let page = random.below(area.pages());
                    if random.below(8) != 0 {
                        area.write(page);
                        continue;
                    }
                    let offset = random.below(31_000) * 8;
                    // SAFETY: the target lies within the mapping, and nobody has a reference to it that forbids this.
                    let read =
                        unsafe { libc::pread(source.as_raw_fd(), area.word(page).as_ptr().cast(), 8, offset as i64) };
                    assert_eq!(read, 8);
                }
                barrier.wait();
            }
        });
        for round in 0..ROUNDS {
            barrier.wait();
            let beside = area.scan_as(&tracker, memory);
            barrier.wait();
            let after = area.scan_as(&tracker, memory);
            for page in beside.into_iter().chain(after) {
                image[page] = area.read(page);
            }
            for (page, &seen) in image.iter().enumerate() {
                assert_eq!(seen, area.read(page), "page {page}, round {round}");
            }
        }
    });
    assert_eq!(tracker.tracking(), tracking);
}

#[test]
fn nothing_is_lost_on_small_pages() {
    nothing_is_lost_beside_a_writer(&Area::anonymous(1500), WriteProtect, Memory::Mixed);
    nothing_is_lost_beside_a_writer(&Area::anonymous(1500), WriteProtect, Memory::Anonymous);
}

#[test]
fn nothing_is_lost_on_huge_pages() {
    nothing_is_lost_beside_a_writer(&Area::huge(3 * HUGE), WriteProtect, Memory::Mixed);
    nothing_is_lost_beside_a_writer(&Area::huge(3 * HUGE), WriteProtect, Memory::Anonymous);
}

#[test]
fn nothing_is_lost_on_a_file_with_a_hole() {
    nothing_is_lost_beside_a_writer(&Area::half_a_file(1500), WriteProtect, Memory::Mixed);
}

#[test]
fn nothing_is_lost_when_comparing() {
    nothing_is_lost_beside_a_writer(&Area::half_a_file(1500), Compare, Memory::Mixed);
}

#[test]
fn both_ways_agree_with_a_model_of_random_writes() {
    let mut random = Random::seeded(0x5EED_0012);
    // Each has its own, because what one of them arms can look private to the other.
    let areas = [Area::half_a_file(700), Area::half_a_file(700)];
    let Some(exact) = registered(WriteProtect, &areas[0]) else { return };
    let comparing = registered(Compare, &areas[1]).unwrap();
    let mut since_scan = BTreeSet::new();
    let mut ever = BTreeSet::new();
    for _ in 0..300 {
        for _ in 0..random.below(20) {
            let page = random.below(700);
            if random.below(3) == 0 {
                areas.iter().for_each(|area| assert!(area.read(page) < u64::MAX));
            } else {
                areas.iter().for_each(|area| area.write(page));
                since_scan.insert(page);
                ever.insert(page);
            }
        }
        assert!(areas[0].scan(&exact).into_iter().eq(std::mem::take(&mut since_scan)));
        assert!(areas[1].scan(&comparing).into_iter().eq(ever.iter().copied()));
        let plain = lock(&comparing.pagemap).reads_only;
        lock(&comparing.pagemap).reads_only = !plain;
    }
}

#[test]
fn a_huge_page_is_reported_whole_at_first_and_by_small_pages_later() {
    let area = Area::huge(2 * HUGE);
    let Some(tracker) = registered(WriteProtect, &area) else { return };
    area.read(HUGE + 5);
    assert!(area.scan(&tracker).is_empty(), "zeros that were only read");
    area.write(7);
    let found = area.scan(&tracker);
    assert!(found.contains(&7) && found.iter().all(|&page| page < HUGE));
    assert!(area.scan(&tracker).is_empty());
    area.write(9);
    assert_eq!(area.scan(&tracker), [9]);
    area.write(HUGE + 6);
    assert!(area.scan(&tracker).contains(&(HUGE + 6)), "over zeros that were read before");
}

#[test]
fn a_range_may_hold_many_mappings_and_gaps() {
    for tracking in [WriteProtect, Compare] {
        let Some(tracker) = tracker(tracking) else { continue };
        let area = Area::anonymous(100);
        let file = half_full(20);
        // SAFETY: our own range, of which nobody relies on anything yet.
        unsafe {
            mapping::replace(area.at, 20 * PAGE, Access::ReadWrite, Source::PrivateFile(file.as_raw_fd())).unwrap();
            mapping::unmap(area.at + 40 * PAGE, 10 * PAGE).unwrap();
            mapping::protect(area.at + 60 * PAGE, 10 * PAGE, Access::None).unwrap();
        }
        tracker.register(area.at, area.len).unwrap();
        tracker.register(area.at, area.len).unwrap();
        let written = [0, 10, 19, 20, 39, 50, 59, 70, 99];
        written.into_iter().for_each(|page| area.write(page));
        assert_eq!(area.scan(&tracker), written);
        // SAFETY: our own range.
        unsafe { mapping::protect(area.at + 10 * PAGE, 20 * PAGE, Access::Read).unwrap() };
        assert_eq!(area.scan(&tracker).is_empty(), tracking == WriteProtect);
        // SAFETY: as above.
        unsafe { mapping::protect(area.at + 10 * PAGE, 20 * PAGE, Access::ReadWrite).unwrap() };
        area.write(19);
        area.write(20);
        let expected: &[usize] = if tracking == WriteProtect { &[19, 20] } else { &written };
        assert_eq!(area.scan(&tracker), expected);
    }
}

#[test]
fn a_range_that_was_moved_or_mapped_anew_is_reported_and_held_again() {
    let area = Area::anonymous(100);
    let elsewhere = Area::anonymous(10);
    let Some(tracker) = registered(WriteProtect, &area) else { return };
    (0..100).step_by(3).for_each(|page| area.write(page));
    assert_eq!(area.scan(&tracker).len(), 34);
    let move_pages = |from: usize, to: usize| {
        let (from, to) = (ptr::with_exposed_provenance_mut(from), ptr::with_exposed_provenance_mut::<u8>(to));
        // SAFETY: both ranges are of this test, and nobody has references to them.
        let moved = unsafe {
            libc::mremap(from, 10 * PAGE, 10 * PAGE, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, to.cast::<u8>())
        };
        assert_eq!(moved.cast::<u8>(), to);
    };
    move_pages(area.at + 50 * PAGE, elsewhere.at);
    move_pages(elsewhere.at, area.at + 50 * PAGE);
    mapping::map_at(elsewhere.at, elsewhere.len, Access::ReadWrite, Source::Anonymous).unwrap();
    // SAFETY: as above.
    unsafe { mapping::replace(area.at + 80 * PAGE, 5 * PAGE, Access::ReadWrite, Source::Anonymous).unwrap() };
    area.write(52);
    area.write(82);
    let found = area.scan(&tracker);
    assert!(found.contains(&52) && found.contains(&82), "{found:?}");
    assert!(!tracker.sees_exactly(), "the pages in between are reported, too");
    assert_eq!(tracker.tracking(), WriteProtect);
    assert!(area.scan(&tracker).is_empty());
    area.write(82);
    assert_eq!(area.scan(&tracker), [82]);
    assert!(tracker.sees_exactly());
}

#[test]
fn descriptors_closed_by_others_lose_no_write() {
    for put_something_else_there in [false, true] {
        let area = Area::anonymous(100);
        let Some(tracker) = registered(WriteProtect, &area) else { return };
        (0..100).step_by(3).for_each(|page| area.write(page));
        area.scan(&tracker);
        let fds = [lock(&tracker.userfault).as_ref().unwrap().fd(), lock(&tracker.pagemap).fd()];
        // SAFETY: the tracker must cope with exactly this. Another test's file may get the number.
        let taken = fds.map(|fd| unsafe {
            if put_something_else_there {
                libc::dup3(2, fd, libc::O_CLOEXEC)
            } else {
                libc::close(fd);
                -1
            }
        });
        area.write(6);
        area.write(7);
        let found = area.scan(&tracker);
        assert!(found.contains(&6) && found.contains(&7), "{found:?}");
        assert_eq!(tracker.tracking(), WriteProtect);
        assert!(area.scan(&tracker).is_empty());
        area.write(8);
        assert_eq!(area.scan(&tracker), [8]);
        drop(tracker);
        for fd in taken.into_iter().filter(|&fd| fd >= 0) {
            // SAFETY: put there above.
            assert_eq!(unsafe { libc::close(fd) }, 0, "the tracker closed what is not its own");
        }
    }
}

/// Runs `child` in a child process and asserts that it succeeds. It must not allocate: other threads may hold locks.
fn in_child(child: impl FnOnce() -> bool) {
    // SAFETY: the child only does what needs no lock, and ends without running anything else.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            libc::_exit(if child() { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert_eq!(status, 0, "the child saw what it should not, or died");
    }
}

#[test]
fn a_child_gets_an_error_and_takes_nothing_from_its_parent() {
    for tracking in [WriteProtect, Compare] {
        let area = Area::anonymous(50);
        let Some(tracker) = registered(tracking, &area) else { continue };
        area.write(1);
        area.write(2);
        area.scan(&tracker);
        area.write(2);
        area.write(30);
        let forked = Err(CallError { call: "fork", errno: Errno(libc::ESRCH) });
        in_child(|| {
            area.write(40);
            tracker.begin().map(drop) == forked
                && tracker.private_pages(area.at, area.len, &mut |_| ()) == forked
                && tracker.register(area.at, area.len) == forked
                && tracker.collapse(area.at, area.len) == forked
        });
        area.write(31);
        let expected: &[usize] = if tracking == WriteProtect { &[2, 30, 31] } else { &[1, 2, 30, 31] };
        assert_eq!(area.scan(&tracker), expected);
    }
}

#[test]
fn a_child_that_has_its_parents_number_is_known_as_a_child() {
    let area = Area::anonymous(4);
    let made = crate::os::process::clone::says(libc::CLONE_NEWPID, || {
        let Ok(tracker) = Tracker::new(Some(Compare)) else { return false };
        area.write(1);
        let is_first = || crate::os::process::id() == 1;
        let seen =
            |pages: &mut usize| tracker.private_pages(area.at, area.len, &mut |found| *pages += found.len() / PAGE);
        let mut pages = 0;
        let inner = || is_first() && seen(&mut 0).is_err() && tracker.begin().is_err();
        is_first()
            && crate::os::process::clone::says(libc::CLONE_NEWPID, inner) == Some(true)
            && seen(&mut pages).is_ok()
            && pages == 1
    });
    match made {
        Some(told) => assert!(told),
        None => println!("no namespace of processes can be made here"),
    }
}

#[test]
fn a_lock_held_over_a_fork_does_not_stop_the_child() {
    let area = Area::anonymous(4);
    let tracker = registered(Compare, &area).unwrap();
    let held = lock(&tracker.pagemap);
    in_child(|| tracker.begin().is_err());
    drop(held);
}

/// Whether the kernel collapses small pages that no tracker knows.
fn collapsing_works() -> bool {
    let area = Area::anonymous(2 * HUGE);
    (0..2 * HUGE).for_each(|page| area.write(page));
    mapping::advise(area.at.next_multiple_of(HUGE * PAGE), HUGE * PAGE, Advice::Collapse).is_ok()
}

#[test]
fn a_collapsed_range_keeps_its_contents_and_is_reported() {
    let area = Area::huge(2 * HUGE);
    for tracking in [WriteProtect, Compare] {
        let Some(tracker) = registered(tracking, &area) else { continue };
        (0..2 * HUGE).for_each(|page| area.write(page));
        area.scan(&tracker);
        (0..2 * HUGE).step_by(5).for_each(|page| area.write(page));
        area.scan(&tracker);
        let before: Vec<u64> = (0..2 * HUGE).map(|page| area.read(page)).collect();
        area.write(700);
        let collapsed = tracker.collapse(area.at + HUGE * PAGE, HUGE * PAGE);
        assert!(collapsed.is_ok() || !collapsing_works(), "{collapsed:?}");
        area.write(800);
        let found = area.scan(&tracker);
        assert!(found.contains(&700) && found.contains(&800));
        assert_eq!(found.contains(&5), tracking == Compare, "the other huge page was left alone");
        let after: Vec<u64> =
            (0..2 * HUGE).map(|page| area.read(page) - u64::from(page == 700 || page == 800)).collect();
        assert_eq!(before, after);
        assert_eq!(area.scan(&tracker).is_empty(), tracking == WriteProtect);
        area.write(900);
        assert!(area.scan(&tracker).contains(&900));
    }
}

#[test]
fn pages_sent_to_swap_are_reported_if_they_were_written() {
    let area = Area::anonymous(64);
    let Some(tracker) = registered(WriteProtect, &area) else { return };
    let comparing = registered(Compare, &area).unwrap();
    let send_away = || {
        // SAFETY: the call changes no contents. Without swap it does nothing.
        unsafe { libc::madvise(ptr::with_exposed_provenance_mut(area.at), area.len, libc::MADV_PAGEOUT) };
    };
    let all: Vec<usize> = (0..64).collect();
    all.iter().for_each(|&page| area.write(page));
    send_away();
    assert_eq!(area.scan(&tracker), all);
    send_away();
    assert!(area.scan(&tracker).is_empty(), "armed pages stay so in swap");
    area.write(5);
    area.read(6);
    send_away();
    assert_eq!(area.scan(&tracker), [5]);
    for reads_only in [false, true] {
        lock(&comparing.pagemap).reads_only = reads_only;
        assert_eq!(area.scan(&comparing), all);
    }
}

/// Forbids system calls to the calling thread, for good.
fn forbid(calls: &[i64]) {
    let statement = |code: u32, k: u32, skip: u8| libc::sock_filter { code: code as u16, jt: 0, jf: skip, k };
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for &call in calls {
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 1));
        program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is well-formed and outlives the call; it holds for this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}

fn on_a_thread_of_its_own(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
}

#[test]
fn forbidden_calls_are_found_out_when_the_tracker_is_made() {
    for call in [libc::SYS_userfaultfd, libc::SYS_ioctl] {
        on_a_thread_of_its_own(|| {
            forbid(&[call]);
            let area = Area::anonymous(10);
            let tracker = Tracker::new(None).unwrap();
            assert_eq!(tracker.tracking(), Compare);
            tracker.register(area.at, area.len).unwrap();
            area.write(4);
            assert_eq!(area.scan(&tracker), [4]);
        });
    }
    on_a_thread_of_its_own(|| {
        forbid(&[libc::SYS_ioctl, libc::SYS_pread64]);
        assert!(Tracker::new(None).is_err(), "nothing works");
    });
}

#[test]
fn calls_forbidden_later_make_a_tracker_compare() {
    let area = Area::anonymous(10);
    let Some(tracker) = registered(WriteProtect, &area) else { return };
    area.write(2);
    area.write(3);
    assert_eq!(area.scan(&tracker), [2, 3]);
    on_a_thread_of_its_own(|| {
        forbid(&[libc::SYS_ioctl]);
        area.write(3);
        assert_eq!(area.scan(&tracker), [2, 3]);
        assert!(!tracker.sees_exactly());
        assert_eq!(tracker.tracking(), Compare);
        area.write(4);
        assert_eq!(area.scan(&tracker), [2, 3, 4]);
    });
    assert_eq!(area.scan(&tracker), [2, 3, 4]);
}

#[test]
fn the_end_of_a_tracker_frees_the_range_for_the_next() {
    let area = Area::anonymous(10);
    let Some(first) = registered(WriteProtect, &area) else { return };
    area.write(2);
    assert_eq!(area.scan(&first), [2]);
    let second = tracker(WriteProtect).unwrap();
    assert!(second.register(area.at, area.len).is_err(), "a page has one protector");
    drop(first);
    // A child that another test has just forked may still hold the descriptor.
    let taken = (0..1_000_000).any(|_| {
        std::thread::yield_now();
        second.register(area.at, area.len).is_ok()
    });
    assert!(taken);
    assert_eq!(area.scan(&second), [2], "what was armed is no more");
    assert!(area.scan(&second).is_empty());
}

/// What is sealed may be made read-only and writable again, between any two scans.
#[test]
fn making_pages_read_only_and_writable_again_neither_loses_nor_invents_writes() {
    for tracking in [WriteProtect, Compare] {
        for area in [Area::anonymous(4 * HUGE), Area::huge(4 * HUGE), Area::half_a_file(4 * HUGE)] {
            let Some(tracker) = registered(tracking, &area) else { continue };
            let mut random = Random::seeded(0x5EA1);
            let protect = |access| {
                // SAFETY: nobody else writes to the area.
                unsafe { mapping::protect(area.at + HUGE * PAGE, 2 * HUGE * PAGE, access).unwrap() };
            };
            (0..area.pages()).for_each(|page| area.write(page));
            let mut ever: BTreeSet<usize> = (0..area.pages()).collect();
            let mut written: BTreeSet<usize> = ever.clone();
            for round in 0..40 {
                // Written, read-only, scanned; or read-only and writable again before the scan.
                protect(Access::Read);
                if round % 3 == 1 {
                    protect(Access::ReadWrite);
                }
                let found: BTreeSet<usize> = area.scan(&tracker).into_iter().collect();
                if tracking == WriteProtect && round > 0 {
                    assert_eq!(found, written, "{round}");
                } else {
                    assert!(found.is_superset(&written), "{round}");
                }
                if round % 3 == 2 {
                    assert!(tracking == Compare || area.scan(&tracker).is_empty(), "{round}");
                }
                protect(Access::ReadWrite);
                written = (0..random.below(20)).map(|_| random.below(area.pages())).collect();
                written.iter().for_each(|&page| area.write(page));
                ever.extend(&written);
            }
            let private: BTreeSet<usize> = area.private(&tracker).into_iter().collect();
            assert!(private.is_superset(&ever));
        }
    }
}
