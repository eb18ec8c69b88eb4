//! The example of a cyclic graph in a heap file: what the shelf leads to stays, the rest goes, and it is all there again.
#![allow(unsafe_code)]

mod support;
#[path = "../examples/graph/web.rs"]
mod web;

use sal::pool::Step;
use sal::prelude::*;
use sal::{Collector, CompactOptions, HeapOptions, SalMovable};
use std::time::Duration;
use support::heaps::{opened, unmap};
use support::{Random, alone, fresh_path, seed};
use web::{Known, Web};

const WEB: Root<Web> = Root::new("web");

#[test]
fn files_that_are_left_out_go_with_all_that_only_they_lead_to() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let options = HeapOptions::new();
    let mut random = Random(seed(3));
    let mut heap = opened(&options, &path);
    let mut known = Known::default();
    let mut kept = 0;
    for round in 0..4 {
        {
            let tx = heap.write().unwrap();
            let web = tx.root_or_default(WEB).unwrap();
            for file in 0..40 {
                let line = |_| (0..8).map(|_| format!("word{} ", random.below(3_000))).collect::<String>() + "\n";
                let text: String = (0..25).map(line).collect();
                web.add(&heap, &mut known, &format!("{round}/{file}"), &text);
            }
            assert_eq!(web.check().unwrap(), web.places.len() as u64);
            web.shelf.retain(|_| random.below(3) > 0);
            tx.sync().unwrap();
        }
        let collector = Collector::new();
        let report = loop {
            let tx = heap.write().unwrap();
            let web = tx.root_mut(WEB).unwrap();
            if let Step::Done(report) = collector.step(web, Duration::from_micros(200)).unwrap() {
                break report;
            }
        };
        assert!(report.freed >= 200, "{report:?}");
        heap.compact_with(CompactOptions::new().sparse(1.0)).unwrap();
        {
            let tx = heap.write().unwrap();
            let web = tx.root_mut(WEB).unwrap();
            kept = web.check().unwrap();
            // A place, its file and its word lead to each other: whatever is not left out is reached.
            assert_eq!((web.places.len() as u64, web.files.len()), (kept, web.shelf.len()));
            assert_eq!(report.live, web.nodes());
            tx.sync().unwrap();
        }
        unmap(heap);
        heap = opened(&options, &path);
        known = {
            let session = heap.read().unwrap();
            let web = session.root(WEB).unwrap();
            assert_eq!(web.check().unwrap(), kept);
            Known::of(web, &heap)
        };
    }
    assert!(kept > 1_000);
    unmap(heap);
}
