//! Counting pointers, taken through all interleavings.
//!
//! What is pointed to is a loom cell: if the last pointer is dropped without all that was done through the others being seen,
//! loom reports a race. Each ordering, weakened, makes one of these fail.

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Mutex};
use loom::thread;

struct Block {
    count: RefCount,
    value: UnsafeCell<u32>,
    /// Whether it was freed: no pointer may find it so.
    is_freed: AtomicBool,
}

impl Block {
    fn new(pointers: u32) -> Arc<Self> {
        let (value, is_freed) = (UnsafeCell::new(0), AtomicBool::new(false));
        Arc::new(Self { count: RefCount::of(pointers), value, is_freed })
    }

    fn read(&self) -> u32 {
        assert!(!self.is_freed.load(Ordering::Relaxed), "N1: freed under a pointer");
        // SAFETY: that nobody changes it meanwhile is what loom checks.
        self.value.with(|value| unsafe { *value })
    }

    fn write(&self) {
        // SAFETY: that nobody else has it is what loom checks.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    /// Drops a pointer, and with the last one the value; whether it was that.
    fn drop_pointer(&self) -> bool {
        let dropped = self.count.release();
        assert_ne!(dropped, Dropped::Unknown);
        self.end_if_last(dropped)
    }

    fn end_if_last(&self, dropped: Dropped) -> bool {
        let is_last = matches!(dropped, Dropped::Last { .. });
        if is_last {
            self.write();
            assert!(!self.is_freed.swap(true, Ordering::Relaxed), "N2: freed twice");
        }
        is_last
    }

    /// Drops a pointer, or lets it wait as long as the list is there.
    fn drop_or_wait(&self, waiting: &Mutex<Option<u32>>) -> bool {
        let dropped = self.count.release();
        if dropped != Dropped::Unknown {
            return self.end_if_last(dropped);
        }
        if let Some(waiting) = &mut *waiting.lock().unwrap() {
            *waiting += 1;
            return false;
        }
        self.end_if_last(self.count.release_noted())
    }
}

#[test]
fn loom_the_last_of_two_pointers_sees_what_was_done_through_the_other() {
    loom::model(|| {
        let block = Block::new(2);
        let other = Arc::clone(&block);
        let thread = thread::spawn(move || {
            other.read();
            other.drop_pointer()
        });
        block.read();
        let mine = block.drop_pointer();
        assert!(mine != thread.join().unwrap());
    });
}

#[test]
fn loom_a_value_that_is_changed_in_place_is_nobody_elses() {
    loom::model(|| {
        let block = Block::new(2);
        let other = Arc::clone(&block);
        let thread = thread::spawn(move || {
            other.read();
            other.drop_pointer()
        });
        if block.count.is_only() {
            block.write();
        }
        block.read();
        let mine = block.drop_pointer();
        assert!(mine != thread.join().unwrap());
    });
}

#[test]
fn loom_a_pointer_that_is_cloned_and_dropped_elsewhere_keeps_the_value() {
    loom::model(|| {
        let block = Block::new(1);
        block.count.retain();
        let other = Arc::clone(&block);
        let thread = thread::spawn(move || {
            other.count.retain();
            other.read();
            u32::from(other.drop_pointer()) + u32::from(other.drop_pointer())
        });
        let mine = u32::from(block.drop_pointer());
        assert_eq!(mine + thread.join().unwrap(), 1);
    });
}

#[test]
fn loom_a_weak_pointer_gets_the_value_or_finds_it_gone() {
    loom::model(|| {
        let block = Block::new(1);
        block.count.note_weak();
        let weak = Arc::clone(&block);
        let thread = thread::spawn(move || {
            if weak.count.try_retain() {
                weak.read();
                u32::from(weak.drop_pointer())
            } else {
                0
            }
        });
        let mine = u32::from(block.drop_pointer());
        assert_eq!(mine + thread.join().unwrap(), 1);
    });
}

#[test]
fn loom_the_last_of_two_that_take_the_value_out_gets_it_alone() {
    loom::model(|| {
        let block = Block::new(2);
        let other = Arc::clone(&block);
        let take = |block: &Block| match block.count.release_if_last() {
            Dropped::Shared | Dropped::Unknown => u32::from(block.drop_pointer()),
            Dropped::Last { .. } => {
                block.write();
                1
            }
        };
        let thread = thread::spawn(move || take(&other));
        assert_eq!(take(&block) + thread.join().unwrap(), 1);
    });
}

#[test]
fn loom_differences_and_what_is_counted_meanwhile_come_to_the_number() {
    loom::model(|| {
        // Nothing is known, and there are two pointers in the heap.
        let block = Arc::new(Block {
            count: RefCount(AtomicU32::new(0)),
            value: UnsafeCell::new(0),
            is_freed: AtomicBool::new(false),
        });
        let waiting = Arc::new(Mutex::new(Some(0)));
        let (other, list) = (Arc::clone(&block), Arc::clone(&waiting));
        let thread = thread::spawn(move || {
            // One more, and all three are dropped.
            other.count.retain();
            other.read();
            (0..3).map(|_| u32::from(other.drop_or_wait(&list))).sum::<u32>()
        });
        block.count.join(2, false);
        let waited = waiting.lock().unwrap().take().unwrap();
        let last: u32 = (0..waited).map(|_| u32::from(block.drop_or_wait(&waiting))).sum();
        assert_eq!(last + thread.join().unwrap(), 1);
        assert!(block.is_freed.load(Ordering::Relaxed));
    });
}
