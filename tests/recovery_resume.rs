//! Recoveries that are broken off and resumed: whatever the program does in between, exactly that is given back which an
//! undisturbed recovery gives back.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{CollectReport, HeapOptions, Recovery, RecoveryPhase, RecoveryProgress, SalCollect, SyncLevel};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use support::heaps::{log_of, opened, run_and_kill, unmap};
use support::{Random, alone, bytes, fresh_path, process, seed};

const OUTER: Root<SalVec<SalVec<u64>>> = Root::new("outer");
const COUNT: u64 = 30_000;

/// Within a session of its heap.
fn vector(number: u64) -> SalVec<u64> {
    let mut vector = SalVec::with_capacity(8);
    vector.extend((0..4 + number % 5).map(|at| number ^ at << 40));
    vector
}

fn is_right(vector: &SalVec<u64>, number: u64) -> bool {
    vector.iter().copied().eq((0..4 + number % 5).map(|at| number ^ at << 40))
}

/// A heap of a process that was killed: a wide block with numbered vectors, and as many vectors that nothing leads to.
struct Killed {
    _directory: tempfile::TempDir,
    path: PathBuf,
    copy: PathBuf,
    /// What an undisturbed recovery does.
    expected: CollectReport,
}

fn figures(report: &CollectReport) -> [u64; 6] {
    [
        report.marked_blocks,
        report.marked_bytes,
        report.reclaimed_blocks,
        report.reclaimed_bytes,
        report.reclaimed_large,
        report.reclaimed_large_bytes,
    ]
}

impl Killed {
    fn of(test: &str) -> Self {
        let (directory, path) = fresh_path();
        run_and_kill(test, "fill", &path);
        let copy = directory.path().join("copy.sal");
        let mut killed = Self { _directory: directory, path, copy, expected: CollectReport::default() };
        let heap = killed.open(&HeapOptions::new().recovery(Recovery::Eager));
        killed.expected = heap.wait_for_recovery().unwrap().collected;
        assert!(killed.expected.reclaimed_blocks >= COUNT / 2 && killed.expected.marked_blocks > COUNT);
        assert!(killed.expected.reclaimed_large >= 2);
        unmap(heap);
        killed
    }

    fn open(&self, options: &HeapOptions) -> Heap {
        bytes::copy(&self.path, &self.copy);
        bytes::copy(&log_of(&self.path), &log_of(&self.copy));
        opened(options, &self.copy)
    }
}

fn fill(path: &Path) {
    let heap = opened(&HeapOptions::new(), path);
    let tx = heap.write().unwrap();
    let outer = tx.root_or_default(OUTER).unwrap();
    for number in 0..COUNT {
        outer.push(vector(number));
        if number % 2 == 0 {
            std::mem::forget(vector(number));
        }
        // In slabs of a few blocks each, so that there is a lot to sweep.
        if number % 10 == 0 {
            std::mem::forget(SalVec::<u64>::with_capacity(512));
        }
        if number % (COUNT / 4) == 0 {
            let mut large = vector(number);
            large.resize(100_000, outer.as_ptr().addr() as u64);
            std::mem::forget(large);
        }
    }
    tx.sync().unwrap();
    process::say("done");
    process::hear();
}

/// A program that goes on: what it holds besides its roots, each with its number.
struct Program {
    held: Vec<(u64, SalVec<u64>)>,
    next: u64,
    random: Random,
}

impl Program {
    /// Takes a part of the vectors out of the root, frees some, makes others, and commits all that.
    fn work(&mut self, heap: &Heap, level: SyncLevel) {
        let tx = heap.write().unwrap();
        let outer = tx.root_mut(OUTER).unwrap();
        // The block that led to all of them is freed, and soon used again.
        let before = std::mem::take(outer);
        let mut numbered: Vec<(u64, SalVec<u64>)> = Vec::new();
        for vector in before {
            let number = vector[0];
            assert!(is_right(&vector, number));
            numbered.push((number, vector));
        }
        for (number, mut vector) in numbered {
            match self.random.below(4) {
                0 => self.held.push((number, vector)),
                1 => drop(vector),
                2 => {
                    vector.shrink_to_fit();
                    outer.push(vector);
                }
                _ => outer.push(vector),
            }
        }
        for _ in 0..COUNT / 4 {
            self.next += 1;
            let made = vector(self.next);
            if self.random.below(2) == 0 {
                outer.push(made);
            } else {
                self.held.push((self.next, made));
            }
        }
        let mut large = vector(1);
        large.resize(150_000, 7);
        drop(large);
        for _ in 0..COUNT / 10 {
            let at = self.random.below(self.held.len());
            drop(self.held.swap_remove(at));
        }
        drop(tx);
        heap.sync_with(level).unwrap();
        heap.purge();
    }

    fn check(self, heap: &Heap, what: &str) {
        assert!(self.held.iter().all(|(number, vector)| is_right(vector, *number)), "{what}");
        let read = heap.read().unwrap();
        assert!(read.root(OUTER).unwrap().iter().all(|vector| is_right(vector, vector[0])), "{what}");
        drop(read);
        // SAFETY: no other thread uses the heap.
        let report = unsafe { heap.verify_quiet() };
        assert!(report.is_good(), "{what}: {report}");
        let held = self.held.len() as u64;
        // Behind the end of a vector in the root stands what leads to some of them, and does not count.
        // SAFETY: as above.
        assert_eq!(unsafe { heap.leak_report() }.unwrap().blocks, held, "{what}");
        drop(self.held);
        // SAFETY: as above.
        assert_eq!(unsafe { heap.leak_report() }.unwrap().blocks, 0, "{what}");
    }
}

/// Breaks the recovery off when this part of it is done, marking or sweeping; whether it was not over by then.
fn abort_at(heap: &Heap, marked: f64, reclaimed: f64, expected: &CollectReport) -> bool {
    let reaches = |part: u64, of: u64, least: f64| part as f64 >= of as f64 * least;
    while let Some(progress) = heap.recovery_progress() {
        if progress.phase == RecoveryPhase::Done
            || reaches(progress.marked_bytes, expected.marked_bytes, marked)
                && reaches(progress.reclaimed_bytes, expected.reclaimed_bytes, reclaimed)
        {
            break;
        }
        std::hint::spin_loop();
    }
    heap.abort_recovery();
    let was_aborted = heap.wait_for_recovery().is_none();
    let phase = heap.recovery_progress().map(|progress| progress.phase);
    assert_eq!(phase, was_aborted.then_some(RecoveryPhase::Aborted));
    was_aborted
}

/// Opens the heap with a recovery that is broken off in a phase: when it has just begun to sweep, or when it has marked
/// something.
fn broken_off(killed: &Killed, phase: RecoveryPhase) -> Heap {
    let tell = move |progress: &RecoveryProgress| match progress.phase == phase {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let heap = killed.open(&HeapOptions::new().recovery(Recovery::Eager).on_recovery(tell));
    assert!(heap.wait_for_recovery().is_none());
    let progress = heap.recovery_progress().unwrap();
    assert_eq!(progress.phase, RecoveryPhase::Aborted);
    if phase == RecoveryPhase::Sweeping {
        assert!((1..killed.expected.reclaimed_blocks).contains(&progress.reclaimed_blocks), "{progress}");
    } else {
        assert_eq!(progress.reclaimed_blocks, 0);
    }
    heap
}

/// Where a recovery is broken off.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// In the phase.
    In(RecoveryPhase),
    /// In the background, when these parts are marked and reclaimed, if it is not over by then.
    At(f64, f64),
}

#[test]
fn a_resumed_recovery_gives_back_exactly_what_an_undisturbed_one_does() {
    let name = "a_resumed_recovery_gives_back_exactly_what_an_undisturbed_one_does";
    if let Some((_, path)) = process::role() {
        return fill(&path);
    }
    let _alone = alone();
    let killed = Killed::of(name);
    let seed = seed(0x0E5A_4E11);
    println!("SAL_TEST_SEED={seed}");
    let parts = [(0.0, 0.0), (0.1, 0.0), (0.5, 0.0), (1.0, 0.001), (1.0, 0.1), (1.0, 0.5)];
    let phases = [RecoveryPhase::Marking, RecoveryPhase::Sweeping].map(Stop::In);
    let stops = phases.into_iter().chain(parts.map(|(marked, reclaimed)| Stop::At(marked, reclaimed)));
    for (round, stop) in stops.enumerate() {
        for level in [SyncLevel::Data, SyncLevel::Full] {
            let what = format!("{stop:?}, {level:?}");
            let (heap, is_broken_off, marked) = match stop {
                Stop::In(phase) => (broken_off(&killed, phase), true, 0.5),
                Stop::At(marked, reclaimed) => {
                    let heap = killed.open(&HeapOptions::new());
                    let is_broken_off = abort_at(&heap, marked, reclaimed, &killed.expected);
                    (heap, is_broken_off, marked)
                }
            };
            let random = Random(seed + round as u64);
            let mut program = Program { held: Vec::new(), next: 1 << 20, random };
            if is_broken_off {
                program.work(&heap, level);
                program.work(&heap, level);
                // Once more, and what lies between is short now.
                assert!(heap.resume_recovery(), "{what}");
                if abort_at(&heap, marked / 2.0, 0.0, &killed.expected) {
                    program.work(&heap, level);
                    assert!(heap.resume_recovery(), "{what}");
                    assert!(heap.resume_recovery(), "it is under way, {what}");
                    program.work(&heap, level);
                }
            }
            let report = heap.wait_for_recovery().unwrap().collected;
            assert_eq!(figures(&report), figures(&killed.expected), "{what}");
            assert!(!heap.resume_recovery(), "it is over, {what}");
            program.work(&heap, level);
            program.check(&heap, &what);
            unmap(heap);
            // Its state is good: there is nothing to recover.
            let heap = opened(&HeapOptions::new(), &killed.copy);
            assert!(heap.recovery_progress().is_none() && heap.wait_for_recovery().is_none(), "{what}");
            // SAFETY: no other thread uses the heap.
            assert_eq!(unsafe { heap.leak_report() }.unwrap().blocks, 0, "{what}");
            unmap(heap);
        }
    }
}

#[test]
fn an_eager_recovery_that_was_broken_off_is_resumed_in_the_background() {
    let name = "an_eager_recovery_that_was_broken_off_is_resumed_in_the_background";
    if let Some((_, path)) = process::role() {
        return fill(&path);
    }
    let _alone = alone();
    let killed = Killed::of(name);
    for phase in [RecoveryPhase::Marking, RecoveryPhase::Sweeping] {
        let heap = broken_off(&killed, phase);
        let mut program = Program { held: Vec::new(), next: 1 << 20, random: Random(7) };
        program.work(&heap, SyncLevel::Full);
        assert!(heap.resume_recovery());
        let report = heap.wait_for_recovery().unwrap().collected;
        assert_eq!(figures(&report), figures(&killed.expected));
        program.check(&heap, "eager");
        unmap(heap);
    }
}

#[test]
fn collecting_does_what_a_recovery_that_was_broken_off_would_have_done() {
    let name = "collecting_does_what_a_recovery_that_was_broken_off_would_have_done";
    if let Some((_, path)) = process::role() {
        return fill(&path);
    }
    let _alone = alone();
    let killed = Killed::of(name);
    for phase in [RecoveryPhase::Marking, RecoveryPhase::Sweeping] {
        let heap = broken_off(&killed, phase);
        let before = heap.recovery_progress().unwrap().reclaimed_blocks;
        // SAFETY: no other thread uses the heap, and only roots hold anything.
        let report = unsafe { heap.collect() }.unwrap();
        assert_eq!(before + report.reclaimed_blocks, killed.expected.reclaimed_blocks);
        assert!(!heap.resume_recovery() && heap.recovery_progress().is_none());
        // SAFETY: as above.
        assert!(unsafe { heap.verify_quiet() }.is_good());
        unmap(heap);
    }
}

#[test]
fn closing_a_heap_whose_recovery_was_broken_off_leaves_it_to_the_next_opening() {
    let name = "closing_a_heap_whose_recovery_was_broken_off_leaves_it_to_the_next_opening";
    if let Some((_, path)) = process::role() {
        return fill(&path);
    }
    let _alone = alone();
    let killed = Killed::of(name);
    let expected = &killed.expected;
    for phase in [RecoveryPhase::Marking, RecoveryPhase::Sweeping] {
        unmap(broken_off(&killed, phase));
        let heap = opened(&HeapOptions::new(), &killed.copy);
        let report = heap.wait_for_recovery().unwrap().collected;
        assert_eq!(report.marked_blocks, expected.marked_blocks);
        if phase == RecoveryPhase::Marking {
            assert_eq!(figures(&report), figures(expected));
        } else {
            // Of what was swept, slabs without a live block are gone, and the others count as full again.
            assert!((1..=expected.reclaimed_blocks).contains(&report.reclaimed_blocks), "{report}");
        }
        // SAFETY: no other thread uses the heap.
        assert_eq!(unsafe { heap.leak_report() }.unwrap().blocks, 0);
        unmap(heap);
    }
}
