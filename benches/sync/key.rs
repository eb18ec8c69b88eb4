//! Syncs of a hash map that fills the heap, of which one value changed.

use super::options::Size;
use super::raw::Raw;
use super::report::{Aim, Report};
use super::{Bench, Random, close, remove};
use sal::Root;
use sal::collections::SalHashMap;
use std::time::Instant;

const MAP: Root<SalHashMap<u64, u64>> = Root::new("map");

/// Bytes that a slot of the map takes: key, value and a control byte.
const SLOT: u64 = 17;

pub(crate) fn run(bench: &Bench, size: Size, report: &mut Report) {
    let path = bench.heap_path("key");
    let heap = bench.create(&path);
    // Slots come in powers of two, of which seven in eight may be taken.
    let len = (1 << (size.bytes / SLOT).ilog2()) / 8 * 7;
    eprintln!("filling a map of {len} entries");
    let tx = heap.write().expect("a session");
    let map = tx.root_or_insert_with(MAP, || SalHashMap::with_capacity(len as usize)).expect("the root");
    for key in 0..len {
        map.insert(key, key);
    }
    tx.sync().expect("the disk works");

    let mut raw = Raw::new(&bench.directory, 1);
    let mut random = Random(2);
    let (mut base, mut times) = (vec![], vec![]);
    // The first round is not kept. They are short, so there are more of them.
    for round in 0..=bench.options.rounds * 10 {
        base.push(raw.write());
        let tx = heap.write().expect("a session");
        let value = tx.root_mut(MAP).expect("the root").get_mut(&random.below(len));
        *value.expect("every key is there") += 1;
        let start = Instant::now();
        tx.sync().expect("the disk works");
        times.push(start.elapsed());
        if round == 0 {
            [&mut base, &mut times].into_iter().for_each(Vec::clear);
        }
    }
    report.add_times(format!("sync/1key/{size}"), &times, Some(&base), Some(Aim::Ratio(1.3)));
    close(heap);
    remove(&path);
}
