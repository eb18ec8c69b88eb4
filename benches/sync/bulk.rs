//! A new heap filled and synced once, beside a new file of the same length.

use super::options::Size;
use super::report::{Aim, Report};
use super::{Bench, close, raw, remove};
use sal::Root;
use sal::collections::SalVec;
use std::time::Instant;

const WORDS: Root<SalVec<u64>> = Root::new("words");

pub(crate) fn run(bench: &Bench, size: Size, report: &mut Report) {
    let path = bench.heap_path("bulk");
    let bytes: Vec<u8> = (0..size.bytes).map(|at| at as u8).collect();
    let (mut base, mut loads, mut syncs) = (vec![], vec![], vec![]);
    for _ in 0..bench.options.rounds.div_ceil(3) {
        base.push(raw::write_new(&bench.directory, &bytes));
        let heap = bench.create(&path);
        let len = size.bytes / 8;
        let tx = heap.write().expect("a session");
        let start = Instant::now();
        let words = tx.root_or_default(WORDS).expect("the root");
        words.try_reserve_exact(len as usize).expect("room for the vector");
        words.extend(0..len);
        loads.push(start.elapsed());
        let start = Instant::now();
        tx.sync().expect("the disk works");
        syncs.push(start.elapsed());
        close(heap);
        remove(&path);
    }
    report.add_times(format!("bulk_load/{size}/sync"), &syncs, Some(&base), Some(Aim::Ratio(1.3)));
    report.add_times(format!("bulk_load/{size}/load"), &loads, None, None);
}
