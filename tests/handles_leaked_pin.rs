//! A pin that is leaked; nothing that handles lead to is given back in this process from then on, so it has no other tests.

use sal::prelude::*;
use sal::{Movable, SalMovable};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[derive(Movable)]
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_pin_that_is_leaked_keeps_what_it_has_seen_when_its_thread_has_ended() {
    let heap: &'static SalAlloc = Box::leak(Box::new(SalAlloc::new()));
    let is_dropped = Arc::new(AtomicBool::new(false));
    let handle = heap.handle(Flag(Arc::clone(&is_dropped)));
    let other = handle.clone();
    let value: &'static Flag = thread::spawn(move || {
        let pin: &'static sal::Pinned<'static> = Box::leak(Box::new(heap.pin()));
        other.get(pin)
    })
    .join()
    .unwrap();
    drop(handle);
    for _ in 0..10 {
        heap.compact().unwrap();
    }
    assert!(!is_dropped.load(Ordering::SeqCst) && !value.0.load(Ordering::SeqCst));
}
