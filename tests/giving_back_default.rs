//! The default heap, which nobody opened, gives back what it was told to when it is no longer needed.
//!
//! A program of its own: it looks at all that the heap holds.

mod support;

use sal::{Purge, SalAlloc, Tuning};
use std::time::{Duration, Instant};
use support::heaps::resident_in;

#[global_allocator]
static GLOBAL: SalAlloc = SalAlloc::new();

const MIB: usize = 1 << 20;

/// Bytes of the default heap that are in memory: of the 64 GiB that its blocks lie in.
fn resident() -> usize {
    const WINDOW: usize = 64 << 30;
    let start = (&raw const *Box::new(0)).addr() / WINDOW * WINDOW;
    resident_in(&(start..start + WINDOW))
}

/// About as many bytes, by a thread that ends.
fn filled(bytes: usize, size: impl Fn(usize) -> usize + Send + 'static) -> Vec<Vec<u8>> {
    let fill = move || {
        let (mut blocks, mut taken) = (Vec::new(), 0);
        while taken < bytes {
            blocks.push(vec![1_u8; size(blocks.len())]);
            taken += blocks.last().map_or(0, Vec::len);
        }
        blocks
    };
    std::thread::spawn(fill).join().unwrap()
}

#[test]
fn what_is_idle_goes_though_only_those_who_pass_by_look_after_it() {
    assert!(SalAlloc::new().tune(&Tuning::new().purge(Purge::Decay(Duration::from_millis(10)))));
    let before = resident();
    for (what, size) in [
        ("small", (|at| 1 + at * 7 % 3000) as fn(usize) -> usize),
        ("large", |at| 300_000 + at * 7919 % (5 * MIB)),
        ("mixed", |at| if at % 500 == 0 { 2 * MIB } else { 1 + at * 13 % 900 }),
    ] {
        // Who frees them was there before, so that it has not taken over what the other thread had.
        let (sender, receiver) = std::sync::mpsc::channel::<Vec<Vec<u8>>>();
        let (there, is_there) = std::sync::mpsc::channel();
        let freer = std::thread::spawn(move || {
            there.send(vec![1_u8; 500]).unwrap();
            drop(receiver.recv().unwrap());
        });
        drop(is_there.recv().unwrap());
        let blocks = filled(400 * MIB, size);
        let peak = resident();
        assert!(peak - before >= 400 * MIB);
        sender.send(blocks).unwrap();
        freer.join().unwrap();
        let began = Instant::now();
        let left = || resident().saturating_sub(before);
        while left() > (peak - before) / 20 && began.elapsed() < Duration::from_secs(20) {
            // Whoever takes units of the heap, because it has none of the length at hand.
            drop(vec![1_u8; 270_000 + began.elapsed().as_millis() as usize % 100 * 40_000]);
        }
        println!("{what}: {} of {} KiB are left", left() >> 10, (peak - before) >> 10);
        assert!(left() <= (peak - before) / 20, "{what}: {} of {}", left(), peak - before);
    }
}
