//! Power cuts at every moment of histories in which values are moved, replaced and dropped.
//!
//! `SAL_CRASH_SCENARIOS` and `SAL_CRASH_SEED` as in `crash.rs`.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::testing::{CrashReport, CrashTester, Scenario};
use sal::{CompactOptions, Handle, HeapOptions, Movable, Order, Recovery, SalMovable, SyncLevel};
use std::collections::BTreeMap;
use support::{Random, power_cuts};

#[derive(Persist, Movable)]
#[repr(C)]
struct Record {
    key: u64,
    text: SalString,
    /// What replaced it last.
    round: u64,
}

const RECORDS: Root<SalBTreeMap<u64, Handle<Record>>> = Root::new("records");
/// Handles of the same values, by other ways.
const SHARED: Root<SalVec<Handle<Record>>> = Root::new("shared");
const TEXTS: Root<SalVec<Handle<str>>> = Root::new("texts");

#[derive(Clone, Debug, Default)]
struct Model {
    records: BTreeMap<u64, u64>,
    /// Keys and rounds of values that were shared; what is replaced is so for both, and what is removed stays here.
    shared: Vec<(u64, u64)>,
    texts: Vec<usize>,
}

fn record(key: u64, round: u64) -> Record {
    Record { key, text: format!("{key}: {}", "round ".repeat((key + round) as usize % 40)).as_str().into(), round }
}

fn is_record(found: &Record, key: u64, round: u64) -> bool {
    let wanted = record(key, round);
    found.key == key && found.round == round && found.text == wanted.text
}

fn check(heap: &Heap, model: &Model) {
    let session = heap.read().unwrap();
    let pin = heap.pin();
    if let Ok(records) = session.root(RECORDS) {
        assert_eq!(records.len(), model.records.len());
        for (found, (&key, &round)) in records.iter().zip(&model.records) {
            assert!(*found.0 == key && is_record(found.1.get(&pin), key, round), "record {key}");
        }
        let shared = session.root(SHARED).unwrap();
        assert_eq!(shared.len(), model.shared.len());
        for (found, &(key, round)) in shared.iter().zip(&model.shared) {
            assert!(is_record(found.get(&pin), key, round), "shared {key}");
        }
        let texts = session.root(TEXTS).unwrap();
        assert!(texts.iter().map(|text| text.get(&pin).len()).eq(model.texts.iter().copied()));
    } else {
        assert!(model.records.is_empty());
    }
}

fn change(tx: &sal::Write<'_>, model: &mut Model, random: &mut Random) {
    let heap = tx.alloc();
    let records = tx.root_or_default(RECORDS).unwrap();
    let shared = tx.root_or_default(SHARED).unwrap();
    let texts = tx.root_or_default(TEXTS).unwrap();
    for _ in 0..1 + random.below(60) {
        let key = random.next() % 200;
        match random.below(12) {
            0..=3 => {
                assert_eq!(records.remove(&key).is_some(), model.records.remove(&key).is_some());
            }
            4 | 5 => {
                if let Some(handle) = records.get(&key) {
                    let round = random.next() % 1_000;
                    handle.update(record(key, round)).unwrap();
                    let old = model.records.insert(key, round).unwrap();
                    for (at, handle_too) in shared.iter().enumerate() {
                        if handle_too.ptr_eq(handle) {
                            assert_eq!(model.shared[at], (key, old));
                            model.shared[at] = (key, round);
                        }
                    }
                }
            }
            6 => {
                if let Some(handle) = records.get(&key) {
                    shared.push(handle.clone());
                    model.shared.push((key, model.records[&key]));
                }
            }
            7 => {
                let len = random.below(model.shared.len() + 1);
                shared.truncate(len);
                model.shared.truncate(len);
            }
            8 => {
                let text = "x".repeat(random.below(3_000));
                texts.push(heap.handle_str(&text));
                model.texts.push(text.len());
                if model.texts.len() > 60 {
                    texts.remove(7);
                    model.texts.remove(7);
                }
            }
            _ => {
                let round = random.next() % 1_000;
                records.insert(key, heap.handle(record(key, round)));
                model.records.insert(key, round);
            }
        }
    }
}

fn compact(heap: &Heap, random: &mut Random) {
    let sparse = [0.5, 0.9, 1.0, 1.0][random.below(4)];
    let order = [Order::Address, Order::Entry][random.below(2)];
    heap.compact_with(CompactOptions::new().sparse(sparse).order(order)).unwrap();
}

fn history(scenario: &mut Scenario<'_, Model>, random: &mut Random, steps: usize) {
    for _ in 0..steps {
        scenario.change(|tx, model| change(tx, model, random));
        if random.below(2) == 0 {
            compact(scenario.heap(), random);
        }
        match random.below(10) {
            0..=5 => drop(scenario.sync()),
            6 => drop(scenario.sync_with(SyncLevel::Async)),
            7 => scenario.reopen(),
            8 => scenario.kill(),
            _ => {}
        }
        if random.below(3) == 0 {
            compact(scenario.heap(), random);
        }
    }
}

fn run_all(usual: std::ops::Range<u64>) -> CrashReport {
    let mut report = CrashReport::default();
    for seed in power_cuts::seeds(usual) {
        println!("seed {seed}");
        let mut random = Random(seed);
        let options = HeapOptions::new()
            .recovery([Recovery::Eager, Recovery::Background][random.below(2)])
            .fold_at([20_000, 100_000, 1 << 30][random.below(3)])
            .huge_pages(false);
        let tester = CrashTester::new().options(options).seed(seed).images(3);
        // SAFETY: nothing that lies in the heap leaves these closures.
        report += unsafe { tester.run(Model::default(), |scenario| history(scenario, &mut random, 12), check) };
    }
    report
}

#[test]
fn a_power_cut_while_values_are_moved_leaves_each_at_its_last_commit() {
    let report = run_all(1..4);
    println!("{report}");
    assert!(report.images > 300 && report.in_flight > 5, "{report}");
}
