//! How long writers are shut out.

use sal::Heap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Does `body` while another thread opens and ends write sessions without a break; returns the longest that one took.
///
/// It is at least the time in which the gate is closed, and more where the machine has the thread wait for a core.
pub(crate) fn longest(heap: &Heap, body: impl FnOnce()) -> Duration {
    let (is_ready, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            // Relaxed: the flags say nothing about other memory, here and below.
            while !is_over.load(Ordering::Relaxed) {
                let start = Instant::now();
                drop(heap.write().expect("a session"));
                longest = longest.max(start.elapsed());
                is_ready.store(true, Ordering::Relaxed);
            }
            longest
        });
        while !is_ready.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        body();
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("beginning sessions does not panic")
    })
}
