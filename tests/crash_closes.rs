//! Power cuts at every moment while heaps with counted objects are closed, which gives back what is free, and opened again.
//!
//! `SAL_CRASH_SCENARIOS` and `SAL_CRASH_SEED` as in `crash.rs`.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::testing::{CrashReport, CrashTester, Scenario};
use sal::{HeapOptions, Recovery, SalRc, SyncLevel};
use support::{Random, power_cuts};

const COUNTED: Root<SalVec<SalRc<u64>>> = Root::new("counted");
/// Arrays of some megabytes, so that closing finds free runs to give back, and a tail to cut off.
const LARGE: [&str; 4] = ["first", "second", "third", "fourth"];

#[derive(Clone, Debug, Default)]
struct Model {
    counted: Vec<u64>,
    /// Of each, its first number and how many there are.
    large: [Option<(u64, u64)>; LARGE.len()],
}

fn check(heap: &Heap, model: &Model) {
    let session = heap.read().unwrap();
    match session.root(COUNTED) {
        Ok(found) => assert!(found.iter().map(|one| **one).eq(model.counted.iter().copied())),
        Err(_) => assert!(model.counted.is_empty()),
    }
    for (name, wanted) in LARGE.into_iter().zip(model.large) {
        match (session.root(Root::<SalVec<u64>>::new(name)), wanted) {
            (Ok(found), Some((first, len))) => assert!(found.iter().copied().eq(first..first + len)),
            (found, wanted) => assert!(found.is_err() && wanted.is_none(), "{wanted:?}"),
        }
    }
}

fn change(scenario: &mut Scenario<'_, Model>, random: &mut Random) {
    let heap = scenario.heap().alloc();
    let (what, at, first) = (random.below(8), random.below(LARGE.len()), random.below(1 << 40) as u64);
    let large = Root::<SalVec<u64>>::new(LARGE[at]);
    let len = [200_000, 300_000, 420_000, 30_000][random.below(4)];
    scenario.change(|session, model| match what {
        0..=3 => {
            let numbers: Vec<u64> = (first..first + len).collect();
            session.set_root(large, SalVec::from(numbers.as_slice())).unwrap();
            model.large[at] = Some((first, len));
        }
        4 | 5 => assert_eq!(session.take_root(large).is_ok(), model.large[at].take().is_some()),
        _ => {
            let all = session.root_or_default(COUNTED).unwrap();
            for number in first..first + 3 {
                all.push(SalRc::new_in(number, heap));
                model.counted.push(number);
            }
            if what == 7 && model.counted.len() > 4 {
                all.remove(0);
                model.counted.remove(0);
            }
        }
    });
}

fn history(scenario: &mut Scenario<'_, Model>, random: &mut Random) {
    for _ in 0..8 {
        change(scenario, random);
        match random.below(6) {
            0 => {
                scenario.sync_with(SyncLevel::Full);
            }
            1 | 2 => {
                scenario.sync();
            }
            3 | 4 => {
                if random.below(2) == 0 {
                    scenario.heap().wait_for_recovery();
                }
                scenario.reopen();
            }
            _ => scenario.kill(),
        }
    }
}

#[test]
fn a_power_cut_while_a_heap_with_counted_objects_is_closed_leaves_it_at_its_last_commit() {
    let mut report = CrashReport::default();
    for seed in power_cuts::seeds(1..3) {
        println!("seed {seed}");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let options = HeapOptions::new()
            .recovery([Recovery::Eager, Recovery::Background][random.below(2)])
            .fold_at([20_000, 100_000, 1 << 30][random.below(3)])
            .huge_pages(false);
        let tester = CrashTester::new().options(options).seed(seed).images(2);
        // SAFETY: nothing that lies in the heap leaves these closures.
        report += unsafe { tester.run(Model::default(), |scenario| history(scenario, &mut random), check) };
    }
    println!("{report}");
    assert!(report.images > 100, "{report}");
}

/// What is given back may have been written to the file directly by a commit that is still in the log: recovery would look for it there.
#[test]
fn a_power_cut_while_new_memory_of_a_commit_is_given_back_leaves_the_heap_at_its_last_commit() {
    for has_counted in [false, true] {
        let options = HeapOptions::new().recovery(Recovery::Eager).fold_at(1 << 30).huge_pages(false);
        let history = |scenario: &mut Scenario<'_, Model>| {
            let heap = scenario.heap().alloc();
            scenario.change(|session, model| {
                if has_counted {
                    session.root_or_default(COUNTED).unwrap().push(SalRc::new_in(5, heap));
                    model.counted.push(5);
                }
                // The second one is not cut off.
                for (name, large) in LARGE.into_iter().zip(&mut model.large).take(2) {
                    let numbers: Vec<u64> = (0..1_000_000).collect();
                    session.set_root(Root::new(name), SalVec::from(numbers.as_slice())).unwrap();
                    *large = Some((0, 1_000_000));
                }
            });
            scenario.sync();
            scenario.change(|session, model| {
                drop(session.take_root(Root::<SalVec<u64>>::new(LARGE[0])).unwrap());
                model.large[0] = None;
            });
            scenario.reopen();
        };
        let tester = CrashTester::new().options(options).images(4);
        // SAFETY: nothing that lies in the heap leaves these closures.
        let report = unsafe { tester.run(Model::default(), history, check) };
        println!("{report}");
        assert!(report.images > 20, "{report}");
    }
}
