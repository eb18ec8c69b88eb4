//! How far a heap reaches after memory has come and gone.
//!
//! The addresses depend on everything that the process allocates, so these tests are a program of their own and run one
//! after the other.

use sal::SalAlloc;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;

#[global_allocator]
static GLOBAL: SalAlloc = SalAlloc::new();

static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn batches_freed_in_reverse_order_do_not_grow_the_heap() {
    let _alone = ALONE.lock();
    let mut extent = Vec::new();
    for _ in 0..12 {
        let batch: Vec<Vec<u8>> = (0..400).map(|at| vec![1; 1_000 + at * 97]).collect();
        let addresses = batch.iter().map(|block| block.as_ptr().addr());
        extent.push(addresses.clone().max().unwrap() - addresses.min().unwrap());
        for block in batch.into_iter().rev() {
            drop(block);
        }
    }
    assert!(extent[11] <= extent[2] + (8 << 20), "{extent:?}");
}

struct FreesLate(RefCell<Vec<Vec<u8>>>);

impl Drop for FreesLate {
    fn drop(&mut self) {
        // Both a free and an allocation, while other destructors of the thread may have run already.
        self.0.borrow_mut().pop();
        self.0.borrow_mut().push(vec![7; 3000]);
    }
}

thread_local! {
    static LATE: FreesLate = FreesLate(RefCell::new(vec![vec![1; 100], vec![2; 200_000]]));
}

#[test]
fn a_thousand_short_lived_threads_reuse_what_the_earlier_ones_had() {
    let _alone = ALONE.lock();
    let mut extents = Vec::new();
    for round in 0..50 {
        let handles: Vec<_> = (0..20)
            .map(|thread| {
                std::thread::spawn(move || {
                    LATE.with(|late| late.0.borrow_mut().push(vec![3; 50]));
                    let mut map = HashMap::new();
                    for key in 0..200_u64 {
                        map.insert(key, format!("{thread} {key}"));
                    }
                    map
                })
            })
            .collect();
        let maps: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        let highest = maps.iter().flat_map(|map| map.values()).map(|value| value.as_ptr().addr()).max();
        extents.push(highest.unwrap());
        assert!(maps.iter().enumerate().all(|(thread, map)| map[&7] == format!("{thread} 7")), "{round}");
    }
    assert!(extents[49] <= extents[9] + (64 << 20), "the heap keeps growing: {extents:x?}");
}
