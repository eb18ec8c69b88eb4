//! Taking and replacing a pointer at once, taken through all interleavings.
//!
//! Blocks are freed by a flag, and their values are loom cells: a pointer to a block that was freed, a value that is not seen
//! whole, and a block that is freed twice or never, are found. Without the first step of [`SplitCount::hold`], or with the last
//! one left out, these fail.

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

struct Block {
    count: RefCount,
    value: UnsafeCell<u64>,
    is_freed: AtomicBool,
}

struct Model {
    blocks: [Block; 2],
    cell: SplitCount,
}

impl Model {
    /// The cell has the first block; the second is somebody's.
    fn new() -> Arc<Self> {
        let block = || Block { count: RefCount::of(1), value: UnsafeCell::new(0), is_freed: AtomicBool::new(false) };
        let blocks = [block(), block()];
        let cell = SplitCount::new(1, |_| &blocks[0].count);
        Arc::new(Self { blocks, cell })
    }

    fn block(&self, pointer: u64) -> &Block {
        &self.blocks[pointer as usize - 1]
    }

    fn read(&self) {
        let Held(pointer) = self.cell.hold(|pointer| &self.block(pointer).count);
        let block = self.block(pointer);
        assert!(!block.is_freed.load(Ordering::Relaxed), "E1");
        // SAFETY: that nobody changes it meanwhile is what loom checks.
        block.value.with(|value| unsafe { assert_eq!(*value, pointer - 1) });
        self.drop_pointer(pointer);
    }

    fn drop_pointer(&self, pointer: u64) {
        let block = self.block(pointer);
        if block.count.release() != Dropped::Shared {
            // SAFETY: that nobody else has it is what loom checks.
            block.value.with_mut(|value| unsafe { *value = 99 });
            assert!(!block.is_freed.swap(true, Ordering::Relaxed), "freed twice");
        }
    }

    /// Puts the second block there, whose value is written just before.
    fn replace(&self) {
        // SAFETY: that nobody else has it is what loom checks.
        self.block(2).value.with_mut(|value| unsafe { *value = 1 });
        let old = self.cell.swap(2, |pointer| &self.block(pointer).count);
        self.drop_pointer(old);
    }

    fn end(&self) {
        self.drop_pointer(self.cell.end(|pointer| &self.block(pointer).count));
        assert!(self.blocks.iter().any(|block| block.is_freed.load(Ordering::Relaxed)));
    }
}

#[test]
fn loom_a_reader_gets_one_of_two_pointers_while_one_is_replaced() {
    loom::model(|| {
        let model = Model::new();
        let other = Arc::clone(&model);
        let reader = thread::spawn(move || other.read());
        model.replace();
        reader.join().unwrap();
        model.end();
        assert!(model.blocks.iter().all(|block| block.is_freed.load(Ordering::Relaxed)));
    });
}

#[test]
fn loom_two_readers_and_a_writer_lose_no_pointer_and_free_none_too_soon() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let model = Model::new();
        let [one, two] = [Arc::clone(&model), Arc::clone(&model)];
        let readers = [thread::spawn(move || one.read()), thread::spawn(move || two.read())];
        model.replace();
        for reader in readers {
            reader.join().unwrap();
        }
        model.end();
        assert!(model.blocks.iter().all(|block| block.is_freed.load(Ordering::Relaxed)));
    });
}

#[test]
fn loom_a_reader_and_an_exchange_leave_the_cell_one_pointer() {
    loom::model(|| {
        let model = Model::new();
        let other = Arc::clone(&model);
        let rival = thread::spawn(move || {
            let old = other.cell.compare_exchange(1, 2, |pointer| &other.block(pointer).count);
            if let Some(old) = old {
                other.drop_pointer(old);
            } else {
                other.drop_pointer(2);
            }
            old.is_some()
        });
        model.read_any();
        assert!(rival.join().unwrap());
        model.end();
    });
}

impl Model {
    /// As [`Model::read`], where the second block's value was never written.
    fn read_any(&self) {
        let Held(pointer) = self.cell.hold(|pointer| &self.block(pointer).count);
        let block = self.block(pointer);
        assert!(!block.is_freed.load(Ordering::Relaxed), "E1");
        // SAFETY: that nobody changes it meanwhile is what loom checks.
        block.value.with(|value| unsafe { assert_eq!(*value, 0) });
        self.drop_pointer(pointer);
    }
}
