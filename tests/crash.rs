//! Power cuts at every moment of random histories of whole heaps, held against collections of the standard library.
//!
//! `SAL_CRASH_SCENARIOS` says how many times as many histories as usual are tried, `SAL_CRASH_IMAGES` how many images
//! of each moment, `SAL_CRASH_SEED` that it is to be just this history.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use allocator_api2::vec::Vec as HeapVec;
use sal::collections::CowMap;
use sal::prelude::*;
use sal::testing::{CrashReport, CrashTester, Effect, Scenario};
use sal::{DirtyTracking, HeapOptions, Recovery, RootError, SizeClasses, SyncError, SyncLevel};
use std::alloc::Layout;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Instant;
use support::{Random, SetAtEnd, power_cuts};

const WORDS: Root<SalHashMap<u64, SalString>> = Root::new("words");
const TREE: Root<SalBTreeMap<SalString, SalVec<u64>>> = Root::new("tree");
const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");
const TEXT: Root<SalString> = Root::new("text");
/// So large that its pages go straight to the heap file.
const LARGE: Root<SalVec<u64>> = Root::new("large");

/// Has versions, which share nodes with it.
const SHARED: Root<CowMap<u64, SalString>> = Root::new("shared");

/// Roots that threads without sessions build the values of.
const BUILT: u64 = 6;

fn built(class: u64) -> Root<HeapVec<u64, SalAlloc>> {
    Root::class(class)
}

/// What the roots hold; none where there is no such root.
#[derive(Clone, Debug, Default)]
struct Model {
    words: Option<HashMap<u64, String>>,
    tree: Option<BTreeMap<String, Vec<u64>>>,
    numbers: Option<Vec<u64>>,
    text: Option<String>,
    large: Option<Arc<Vec<u64>>>,
    shared: Option<BTreeMap<u64, String>>,
    /// Of `shared`, by their names.
    versions: BTreeMap<String, BTreeMap<u64, String>>,
    /// What was built outside of sessions, by the root's class: the first of its numbers.
    built: BTreeMap<u64, u64>,
}

/// What a root holds has to be what the model says.
fn compare<T: sal::Persist, M>(heap: &Heap, root: Root<T>, model: Option<&M>, is_same: impl Fn(&T, &M) -> bool) {
    let name = root.to_string();
    match (heap.read().unwrap().root(root), model) {
        (Ok(found), Some(model)) => assert!(is_same(found, model), "{name} holds something else"),
        (Err(RootError::NotFound { .. }), None) => {}
        (found, model) => panic!("{name}: {:?}, expected it: {}", found.map(drop), model.is_some()),
    }
}

fn check(heap: &Heap, model: &Model) {
    compare(heap, WORDS, model.words.as_ref(), |found, words: &HashMap<u64, String>| {
        found.len() == words.len() && words.iter().all(|(key, word)| found.get(key).is_some_and(|found| found == word))
    });
    compare(heap, TREE, model.tree.as_ref(), |found, tree: &BTreeMap<String, Vec<u64>>| {
        found.len() == tree.len()
            && found
                .iter()
                .zip(tree)
                .all(|(found, (key, list))| found.0 == key && found.1.as_slice() == list.as_slice())
    });
    compare(heap, NUMBERS, model.numbers.as_ref(), |found, numbers: &Vec<u64>| found.as_slice() == numbers.as_slice());
    compare(heap, TEXT, model.text.as_ref(), |found, text: &String| found.as_str() == text);
    for class in 0..BUILT {
        compare(heap, built(class), model.built.get(&class), |found, first: &u64| {
            found.iter().copied().eq(*first..first + found.len() as u64) && !found.is_empty()
        });
    }
    compare(heap, LARGE, model.large.as_ref(), |found, large: &Arc<Vec<u64>>| found.as_slice() == large.as_slice());
    compare(heap, SHARED, model.shared.as_ref(), is_same_shared);
    let mut names = heap.versions(SHARED).unwrap();
    names.sort();
    assert!(names.iter().eq(model.versions.keys()), "{names:?}");
    for (name, version) in &model.versions {
        assert!(is_same_shared(&heap.open_version(SHARED, name).unwrap(), version), "version {name}");
    }
}

fn is_same_shared(found: &CowMap<u64, SalString>, model: &BTreeMap<u64, String>) -> bool {
    found.len() == model.len()
        && found.iter().zip(model).all(|(found, (key, text))| found.0 == key && found.1.as_str() == text)
}

/// Changes a map of which others have versions, or the versions.
fn change_shared(tx: &sal::Write<'_>, model: &mut Model, random: &mut Random) {
    let name = format!("version {}", random.below(4));
    match random.below(6) {
        0 if model.shared.is_some() => {
            tx.keep_version(SHARED, &name).unwrap();
            model.versions.insert(name, model.shared.clone().unwrap());
        }
        1 if model.versions.contains_key(&name) => {
            tx.roll_back(SHARED, &name).unwrap();
            model.shared = model.versions.get(&name).cloned();
        }
        2 => assert_eq!(tx.drop_version(SHARED, &name).is_ok(), model.versions.remove(&name).is_some()),
        3 if random.below(4) == 0 => assert_eq!(tx.take_root(SHARED).is_ok(), model.shared.take().is_some()),
        _ => {
            let (shared, mirror) = (tx.root_or_default(SHARED).unwrap(), model.shared.get_or_insert_default());
            for _ in 0..1 + random.below(30) {
                let key = random.next() % 300;
                if random.below(3) == 0 {
                    assert_eq!(shared.remove(&key).is_some(), mirror.remove(&key).is_some());
                } else {
                    let text = "shared ".repeat(random.below(20)) + &key.to_string();
                    shared.insert(key, SalString::from(text.as_str()));
                    mirror.insert(key, text);
                }
            }
        }
    }
}

/// One change of one root, or of two.
fn change(tx: &sal::Write<'_>, model: &mut Model, random: &mut Random) {
    match random.below(25) {
        20.. => change_shared(tx, model, random),
        0..=6 => {
            let (words, mirror) = (tx.root_or_default(WORDS).unwrap(), model.words.get_or_insert_default());
            for _ in 0..1 + random.below(40) {
                let key = random.next() % 200;
                if random.below(3) == 0 {
                    assert_eq!(words.remove(&key).is_some(), mirror.remove(&key).is_some());
                } else {
                    let word = "sal ".repeat(random.below(60)) + &key.to_string();
                    words.insert(key, SalString::from(word.as_str()));
                    mirror.insert(key, word);
                }
            }
        }
        7..=10 => {
            let (tree, mirror) = (tx.root_or_default(TREE).unwrap(), model.tree.get_or_insert_default());
            for _ in 0..1 + random.below(20) {
                let key = format!("key {}", random.next() % 100);
                match random.below(4) {
                    0 => assert_eq!(tree.remove(key.as_str()).is_some(), mirror.remove(&key).is_some()),
                    _ => {
                        let number = random.next();
                        tree.entry_ref(key.as_str()).or_default().push(number);
                        mirror.entry(key).or_default().push(number);
                    }
                }
            }
        }
        11..=14 => {
            let (numbers, mirror) = (tx.root_or_default(NUMBERS).unwrap(), model.numbers.get_or_insert_default());
            match random.below(4) {
                0 => {
                    let len = random.below(mirror.len() + 1);
                    numbers.truncate(len);
                    mirror.truncate(len);
                    numbers.shrink_to_fit();
                }
                // Past the border of a unit now and then.
                _ => {
                    for _ in 0..[3, 100, 6000][random.below(9) / 4] {
                        let number = random.next();
                        numbers.push(number);
                        mirror.push(number);
                    }
                }
            }
        }
        15 | 16 => {
            let (text, mirror) = (tx.root_or_default(TEXT).unwrap(), model.text.get_or_insert_default());
            let more = "a page of its own ".repeat(random.below(300));
            text.push_str(&more);
            mirror.push_str(&more);
            if mirror.len() > 20_000 {
                text.clear();
                mirror.clear();
            }
        }
        17 => match random.below(4) {
            0 => assert_eq!(tx.take_root(WORDS).is_ok(), model.words.take().is_some()),
            1 => assert_eq!(tx.take_root(TREE).is_ok(), model.tree.take().is_some()),
            2 => assert_eq!(tx.take_root(NUMBERS).is_ok(), model.numbers.take().is_some()),
            _ => assert_eq!(tx.take_root(TEXT).is_ok(), model.text.take().is_some()),
        },
        _ => {
            if model.large.take().is_some() {
                drop(tx.take_root(LARGE).unwrap());
            } else {
                let first = random.next() >> 20;
                let len = [20_000, 140_000, 150_000][random.below(3)];
                let numbers: Vec<u64> = (first..first + len).collect();
                tx.set_root(LARGE, SalVec::from(numbers.as_slice())).unwrap();
                model.large = Some(Arc::new(numbers));
            }
        }
    }
}

fn change_some(scenario: &mut Scenario<'_, Model>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        scenario.change(|tx, model| change(tx, model, random));
    }
}

/// A history of random steps.
fn history(scenario: &mut Scenario<'_, Model>, random: &mut Random, steps: usize) {
    for _ in 0..steps {
        match random.below(16) {
            0..=4 => change_some(scenario, random),
            5..=9 => {
                change_some(scenario, random);
                scenario.sync();
            }
            10 | 11 => {
                change_some(scenario, random);
                scenario.sync_with(SyncLevel::Async);
                if random.below(3) == 0 {
                    // What was only written is read, and has to be made durable before anything rests on it.
                    scenario.kill();
                }
            }
            12 => {
                scenario.sync_with(SyncLevel::Full);
            }
            13 => scenario.reopen(),
            14 => scenario.kill(),
            _ => {
                scenario.sync();
            }
        }
    }
}

/// Options of every kind, small logs above all.
fn options(random: &mut Random) -> HeapOptions {
    let tracking = [DirtyTracking::WriteProtect, DirtyTracking::WriteProtect, DirtyTracking::Compare][random.below(3)];
    HeapOptions::new()
        .recovery([Recovery::Eager, Recovery::Eager, Recovery::Background][random.below(3)])
        .dirty_tracking(tracking)
        .fold_at([20_000, 100_000, 1 << 30][random.below(3)])
        .scrub_freed(random.below(4) == 0)
        // Huge ones are reported as a whole: large commits, slow tests.
        .huge_pages(random.below(8) == 0)
}

fn run_all(name: &str, classes: SizeClasses, usual: std::ops::Range<u64>, images: usize, steps: usize) -> CrashReport {
    let (mut report, start) = (CrashReport::default(), Instant::now());
    for seed in power_cuts::seeds(usual) {
        let mut random = Random(seed);
        let options = options(&mut random).size_classes(classes);
        let tester = CrashTester::new().options(options).seed(seed).images(images);
        // SAFETY: nothing that lies in the heap leaves these closures.
        report += unsafe { tester.run(Model::default(), |scenario| history(scenario, &mut random, steps), check) };
    }
    println!("{name}: {report}, in {:?}", start.elapsed());
    report
}

#[test]
fn a_power_cut_at_any_moment_leaves_a_whole_heap_at_its_last_commit() {
    let report = run_all("one half", SizeClasses::default(), 1..3, 4, 14);
    assert!(report.images > 500 && report.second_images > 10 && report.in_flight > 10, "{report}");
}

#[test]
fn so_it_does_in_other_histories_at_the_same_time() {
    let report = run_all("the other half", SizeClasses::default(), 1_000_001..1_000_003, 4, 14);
    assert!(report.images > 500 && report.second_images > 10 && report.in_flight > 10, "{report}");
}

#[test]
fn so_it_does_with_the_fine_ladder_of_block_sizes() {
    let report = run_all("the fine ladder", SizeClasses::fine(), 3_000_001..3_000_002, 4, 14);
    assert!(report.images > 200 && report.second_images > 5 && report.in_flight > 5, "{report}");
}

/// What a run of the same changes met on a disk that failed.
#[derive(Debug, Default)]
struct Met {
    errors: u64,
    broken: u64,
    calls: u64,
}

/// Changes and syncs on a disk whose calls fail from the one after `skip` more on; whatever is reported, the heap stays
/// usable or says that it is broken, for good.
fn work_on_a_failing_disk(seed: u64, skip: u64, errno: i32, effect: Effect, lasts: bool) -> Met {
    let mut random = Random(seed);
    let options = options(&mut random);
    let mut met = Met::default();
    let tester = CrashTester::new().options(options).seed(seed ^ skip).images(3).at_end_only(true);
    let scenario = |scenario: &mut Scenario<'_, Model>| {
        change_some(scenario, &mut random);
        scenario.sync();
        let before = scenario.disk().calls();
        if lasts {
            scenario.disk().fail_from(skip, errno, effect);
        } else {
            scenario.disk().fail_at(skip, errno, effect);
        }
        for step in 0..6 {
            change_some(scenario, &mut random);
            let level = [SyncLevel::Data, SyncLevel::Async, SyncLevel::Full][step % 3];
            let was_broken = is_broken(scenario.heap());
            match scenario.try_sync_with(level) {
                Ok(_) => assert!(!was_broken, "a broken heap synced"),
                Err(SyncError::Broken) => assert!(is_broken(scenario.heap())),
                Err(SyncError::Os { .. }) => assert!(!was_broken),
                Err(error) => panic!("{error}"),
            }
        }
        met.calls = scenario.disk().calls() - before;
        let failed = scenario.disk().heal();
        met.errors = failed;
        if is_broken(scenario.heap()) {
            met.broken += 1;
            assert!(failed > 0);
            // Also now that the disk is well again.
            assert!(matches!(scenario.try_sync_with(SyncLevel::Data), Err(SyncError::Broken)));
            assert!(matches!(scenario.try_sync_with(SyncLevel::Full), Err(SyncError::Broken)));
            if seed % 2 == 0 {
                assert!(scenario.try_reopen().is_err(), "a broken heap was closed");
            }
        } else {
            scenario.sync();
            scenario.sync_with(SyncLevel::Full);
        }
        if seed % 2 == 0 {
            scenario.kill();
            change_some(scenario, &mut random);
            scenario.sync();
        }
    };
    // SAFETY: nothing that lies in the heap leaves these closures.
    unsafe { tester.run(Model::default(), scenario, check) };
    met
}

fn is_broken(heap: &Heap) -> bool {
    heap.stats().commits.unwrap().is_broken
}

/// Lets each call fail; in a short run only some of them.
fn every_call_fails(seed: u64, errno: i32, effects: &[Effect], step: usize) {
    for &effect in effects {
        for lasts in [false, true] {
            let mut skip = seed % step as u64;
            let (mut failed, mut broken) = (0, 0);
            loop {
                println!("seed {seed}, call {skip}, error {errno}, {effect:?}, lasts: {lasts}");
                let met = work_on_a_failing_disk(seed, skip, errno, effect, lasts);
                if met.errors == 0 {
                    break;
                }
                failed += 1;
                broken += met.broken;
                skip += step as u64;
            }
            println!("{failed} runs, {broken} broken");
            assert!(failed > 5);
        }
    }
}

/// Every so manieth call fails in a run of usual length.
fn every() -> usize {
    if std::env::var_os("SAL_CRASH_SCENARIOS").is_some() { 1 } else { 11 }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[test]
fn an_input_output_error_of_any_call_is_reported_and_loses_nothing_that_was_acknowledged() {
    every_call_fails(1, EIO, &[Effect::Nothing, Effect::Half, Effect::Whole], every());
    every_call_fails(2, EIO, &[Effect::Nothing, Effect::Half, Effect::Whole], every());
}

#[test]
fn a_disk_that_is_full_at_any_call_loses_nothing_and_works_on_once_there_is_room() {
    every_call_fails(3, ENOSPC, &[Effect::Nothing, Effect::Half], every());
    every_call_fails(4, ENOSPC, &[Effect::Nothing, Effect::Half], every());
}

#[test]
fn what_a_failed_commit_held_is_in_the_next_one() {
    let options = HeapOptions::new().dirty_tracking(DirtyTracking::WriteProtect).huge_pages(false);
    let mut failed = 0;
    for skip in 0..40 {
        println!("call {skip}");
        let tester = CrashTester::new().options(options.clone()).images(1).at_end_only(true);
        let scenario = |scenario: &mut Scenario<'_, Model>| {
            let mut random = Random(1);
            change_some(scenario, &mut random);
            scenario.sync();
            // A root each, whose pages nobody else writes to.
            scenario.change(|tx, model| {
                tx.root_or_default(TEXT).unwrap().push_str(&"x".repeat(10_000));
                model.text.get_or_insert_default().push_str(&"x".repeat(10_000));
            });
            scenario.disk().fail_from(skip, ENOSPC, Effect::Half);
            let first = scenario.try_sync_with(SyncLevel::Data);
            failed += u64::from(first.is_err());
            scenario.disk().heal();
            if !is_broken(scenario.heap()) {
                scenario.change(|tx, model| {
                    tx.root_or_default(NUMBERS).unwrap().push(1);
                    model.numbers.get_or_insert_default().push(1);
                });
                scenario.sync();
            }
        };
        // SAFETY: nothing that lies in the heap leaves these closures.
        unsafe { tester.run(Model::default(), scenario, check) };
    }
    assert!(failed > 2, "{failed}");
}

/// Zeros that nobody has written: as the heap hands them out.
const ZEROS: Root<HeapVec<u64, SalAlloc>> = Root::new("zeros");

fn zeros(heap: SalAlloc, len: usize) -> HeapVec<u64, SalAlloc> {
    let block = heap.allocate_zeroed(Layout::array::<u64>(len).unwrap()).unwrap();
    // SAFETY: as long as that, from that allocator, and zeros are numbers.
    unsafe { HeapVec::from_raw_parts_in(block.cast().as_ptr(), len, len, heap) }
}

#[test]
fn what_a_failed_commit_wrote_to_the_heap_file_never_shows() {
    let options = HeapOptions::new().recovery(Recovery::Eager).huge_pages(false);
    for skip in 0..16 {
        println!("call {skip}");
        let tester = CrashTester::new().options(options.clone()).images(2).at_end_only(true);
        let scenario = |scenario: &mut Scenario<'_, Model>| {
            let set = |tx: &sal::Write<'_>, model: &mut Model, len: u64| {
                let numbers: Vec<u64> = (1..=len).collect();
                tx.set_root(LARGE, SalVec::from(numbers.as_slice())).unwrap();
                model.large = Some(Arc::new(numbers));
            };
            change_some(scenario, &mut Random(1));
            scenario.sync();
            // Three segments, straight to the heap file.
            scenario.change(|tx, model| set(tx, model, 800_000));
            scenario.disk().fail_from(skip, EIO, Effect::Nothing);
            let _ = scenario.try_sync_with(SyncLevel::Data);
            scenario.kill();
            let heap = scenario.heap().alloc();
            scenario.change(|tx, _| drop(tx.set_root(ZEROS, zeros(heap, 700_000)).unwrap()));
            scenario.sync();
            scenario.reopen();
            scenario.kill();
        };
        let check = |heap: &Heap, model: &Model| {
            check(heap, model);
            if let Ok(zeros) = heap.read().unwrap().root(ZEROS) {
                assert!(zeros.iter().all(|&number| number == 0), "zeros are zeros no more");
            }
        };
        // SAFETY: nothing that lies in the heap leaves these closures.
        unsafe { tester.run(Model::default(), scenario, check) };
    }
}

#[test]
fn the_allocators_state_of_an_earlier_close_does_not_come_back() {
    let tester = CrashTester::new()
        .options(HeapOptions::new().recovery(Recovery::Eager).huge_pages(false))
        .images(1)
        .at_end_only(true);
    let scenario = |scenario: &mut Scenario<'_, Model>| {
        scenario.change(|tx, model| {
            let words = tx.root_or_default(WORDS).unwrap();
            for key in 0..30_000 {
                words.insert(key, SalString::from("neither short nor long, but a block of its own"));
            }
            words.retain(|key, _| key % 3 == 0);
            let left = words.iter().map(|(&key, word)| (key, word.to_string())).collect();
            model.words = Some(left);
        });
        // Behind them, so that all of it stays within the heap.
        scenario.change(|tx, model| {
            tx.set_root(LARGE, (0..400_000).collect()).unwrap();
            model.large = Some(Arc::new((0..400_000).collect()));
        });
        // With half-empty slabs: their free bits are in the file.
        scenario.reopen();
        scenario.change(|tx, model| {
            drop(tx.take_root(WORDS).unwrap());
            model.words = None;
        });
        scenario.sync();
        scenario.kill();
        // Rebuilt without these slabs, whose bits must not be there any more.
        scenario.reopen();
        scenario.reopen();
    };
    // SAFETY: nothing that lies in the heap leaves these closures.
    unsafe { tester.run(Model::default(), scenario, check) };
}

/// Allocates and frees without a session until it is told to stop.
fn churn(handle: SalAlloc, is_over: &AtomicBool, seed: u64) {
    let mut random = Random(seed);
    let mut blocks = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        if blocks.len() < 30 {
            let len = [24, 24, 24, 700, 700, 700, 9_000, 9_000, 70_000, 3 << 20][random.below(10)];
            let layout = Layout::from_size_align(len, 8).unwrap();
            let block = handle.allocate(layout).unwrap();
            // SAFETY: allocated just now, and as long.
            unsafe { block.cast::<u64>().write(random.next()) };
            blocks.push((block, layout));
        } else {
            for _ in 0..random.below(blocks.len()) {
                let (block, layout) = blocks.swap_remove(random.below(blocks.len()));
                // SAFETY: allocated above with this layout.
                unsafe { handle.deallocate(block.cast(), layout) };
            }
        }
        // The threads take turns, as far as they like.
        std::thread::yield_now();
    }
    for (block, layout) in blocks {
        // SAFETY: as above.
        unsafe { handle.deallocate(block.cast(), layout) };
    }
}

/// Builds values without a session until nobody wants them any more. What is handed over is some time old.
fn build(handle: SalAlloc, give: &SyncSender<HeapVec<u64, SalAlloc>>, seed: u64) {
    let mut random = Random(seed);
    let mut waiting = VecDeque::new();
    loop {
        let (first, len) = (random.next() >> 20, 1 + random.below(600) as u64);
        let mut numbers = HeapVec::new_in(handle);
        numbers.extend(first..first + len);
        waiting.push_back(numbers);
        if waiting.len() > 20 {
            match give.try_send(waiting.swap_remove_front(random.below(8)).unwrap()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => std::thread::yield_now(),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

#[test]
fn threads_without_sessions_may_allocate_build_and_free_while_commits_are_captured() {
    let start = Instant::now();
    // It takes longest.
    let report = power_cuts::by_two(power_cuts::seeds(2_000_001..2_000_002), |seed| {
        let mut random = Random(seed);
        // Scrubbing and huge pages would have megabytes in each commit.
        let options = options(&mut random).scrub_freed(false).huge_pages(false);
        let tester = CrashTester::new().options(options).seed(seed).images(2);
        let scenario = |scenario: &mut Scenario<'_, Model>| {
            scenario.wait_for_folds(false);
            for round in 0..2 {
                let (handle, is_over) = (scenario.heap().alloc(), AtomicBool::new(false));
                std::thread::scope(|scope| {
                    let _over = SetAtEnd(&is_over);
                    let is_over = &is_over;
                    let (give, take) = sync_channel(2);
                    scope.spawn(move || build(handle, &give, seed));
                    scope.spawn(move || churn(handle, is_over, seed));
                    for _ in 0..4 {
                        change_some(scenario, &mut random);
                        for numbers in [take.recv().unwrap(), take.recv().unwrap(), take.recv().unwrap()] {
                            let class = random.next() % BUILT;
                            scenario.change(|tx, model| {
                                model.built.insert(class, numbers[0]);
                                drop(tx.set_root(built(class), numbers).unwrap());
                            });
                        }
                        scenario.sync_with([SyncLevel::Data, SyncLevel::Data, SyncLevel::Async][random.below(3)]);
                    }
                });
                if round == 0 {
                    scenario.kill();
                }
            }
        };
        // SAFETY: nothing that lies in the heap leaves these closures; the threads free what they have.
        unsafe { tester.run(Model::default(), scenario, check) }
    });
    println!("threads: {report}, in {:?}", start.elapsed());
    assert!(report.images > 100, "{report}");
}
