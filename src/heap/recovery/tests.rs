//! Recoveries before and beside a program's work, and recoveries that are given up.

use super::*;
use crate::alloc::size_class::{class_of, class_size};
use crate::alloc::thread_heap::ThreadHeap;
use crate::format::UNIT;
use crate::gc::testing::{Graph, Node, Stopped};
use crate::gc::zeroed::Zeroed;
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

const SEED: u64 = 0x0EC0_7E12;

/// A list of `kept` nodes under a root and as many that are lost, of several sizes; the kept ones.
fn half_lost(seed: u64, kept: usize) -> (Stopped, Vec<Node>) {
    let mut graph = Graph::new(512 << 20, seed);
    let mut nodes = Vec::new();
    for at in 0..kept {
        let size = [24, 64, 200, 1500][graph.below(4)];
        let (node, lost) = (graph.node(size), graph.node(size));
        lost.put(0, node.address);
        nodes.push(node);
        if at % 500 == 0 {
            let (large, lost) = (graph.node(400_000), graph.node(700_000));
            lost.put(7, large.address);
            nodes.push(large);
        }
    }
    for pair in nodes.windows(2) {
        pair[0].put(1, pair[1].address);
    }
    graph.root(nodes[0], None);
    (graph.stop(), nodes)
}

fn total_blocks(stopped: &Stopped) -> u64 {
    stopped.rebuilt.blocks + stopped.rebuilt.large_count
}

fn is_well(stopped: &Stopped) {
    // SAFETY: nobody else is in the heap any more.
    unsafe {
        stopped.heap.retire_all_threads();
        assert_eq!(stopped.heap.check(), Ok(()));
    }
}

#[test]
fn an_eager_recovery_keeps_what_is_reached_and_reports_the_rest() {
    let (stopped, nodes) = half_lost(SEED, 3000);
    // SAFETY: nobody else is there.
    let report = unsafe { recover_eagerly(&stopped.heap, stopped.image(), 2) }.unwrap().collected;
    assert_eq!(report.marked_blocks, nodes.len() as u64);
    assert_eq!(report.marked_bytes, nodes.iter().map(|node| node.len as u64).sum::<u64>());
    assert_eq!(report.reclaimed_blocks, total_blocks(&stopped) - report.marked_blocks);
    assert_eq!(report.reclaimed_large, 6);
    assert!(report.workers <= 2);
    is_well(&stopped);
    assert!(RecoveryReport { collected: report, ..RecoveryReport::default() }.to_string().contains("gave back"));
}

#[test]
fn progress_is_told_and_can_end_it() {
    let (stopped, _) = half_lost(SEED, 30_000);
    let told = Cell::new(0);
    // SAFETY: nobody else is there.
    let recovery = unsafe { Recovery::prepare(&stopped.heap, stopped.image()) }.unwrap();
    recovery.abort();
    let on_progress = |_: &RecoveryProgress| {
        told.set(told.get() + 1);
        ControlFlow::Continue(())
    };
    // SAFETY: as above.
    let outcome = unsafe { recovery.run(&stopped.heap, 1, Some(&on_progress), || true) };
    assert_eq!(outcome, Err(RecoveryError::Aborted));
    let progress = recovery.progress();
    assert_eq!((progress.phase, progress.reclaimed_blocks), (RecoveryPhase::Aborted, 0));
    assert_eq!(told.get(), 0, "it was over before there was anything to tell");
    is_well(&stopped);
    // The next one finds all of it.
    // SAFETY: as above.
    let report = unsafe { recover_eagerly(&stopped.heap, stopped.image(), 1) }.unwrap().collected;
    assert_eq!(report.marked_blocks + report.reclaimed_blocks, total_blocks(&stopped));
}

/// A stopped heap with a copy of its bytes, which stands for the file of the last commit.
struct Opened {
    stopped: Stopped,
    image: Image<'static>,
    _bytes: Zeroed<u8>,
}

// SAFETY: nothing in it belongs to one thread.
unsafe impl Send for Opened {}
// SAFETY: the tests use the core only, as several threads may.
unsafe impl Sync for Opened {}

impl Keeper for Opened {
    fn core(&self) -> &Core {
        &self.stopped.heap
    }
}

fn open(stopped: Stopped) -> Opened {
    let layout = stopped.heap.layout;
    let len = layout.segments.offset as usize + stopped.rebuilt.units * UNIT;
    let mut bytes = Zeroed::<u8>::new(len).unwrap();
    let roots = layout.roots.offset as usize;
    for range in [roots..roots + crate::format::PAGE, layout.segments.offset as usize..len] {
        let start = std::ptr::with_exposed_provenance::<u8>(stopped.heap.base + range.start);
        // SAFETY: usable memory of the heap.
        bytes[range.clone()].copy_from_slice(unsafe { std::slice::from_raw_parts(start, range.len()) });
    }
    // SAFETY: the copy lives as long as the image, and nobody changes it.
    let image = unsafe { Image::new(bytes.as_ptr(), stopped.heap.window, layout, stopped.rebuilt.units) };
    Opened { stopped, image, _bytes: bytes }
}

/// What a program does meanwhile: it follows its list, frees every third node of it, and makes new blocks, which it
/// fills and looks at again.
fn work(core: &Core, nodes: &[Node], seed: u64) -> HashSet<usize> {
    let thread = core.take_thread_heap();
    let mut kept: HashSet<usize> = nodes.iter().map(|node| node.address).collect();
    let mut made: Vec<(*mut u64, usize, u64)> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        for round in 0..4 {
            let size = [24, 64, 200, 1500][(at + round) % 4];
            let class = class_of(size);
            // SAFETY: the calling thread's own.
            let block = unsafe {
                ThreadHeap::allocate(thread, class).unwrap_or_else(|| ThreadHeap::allocate_slow(thread, class))
            };
            assert!(!block.is_null());
            assert!(!kept.contains(&block.addr()), "seed {seed:#x}: a kept block was handed out");
            let words: *mut u64 = block.cast();
            let value = seed ^ block.addr() as u64;
            for word in 0..class_size(class) / 8 {
                // SAFETY: a new block of that size.
                unsafe { words.add(word).write(value) };
            }
            made.push((words, class, value));
        }
        if at % 3 == 0 {
            let block = std::ptr::with_exposed_provenance_mut::<u8>(node.address);
            kept.remove(&node.address);
            if node.len > crate::alloc::size_class::MAX_SMALL {
                core.free_large(node.address);
            } else {
                let class = class_of(node.len);
                // SAFETY: the program has the block from its roots.
                unsafe {
                    if !ThreadHeap::free(thread, class, block) {
                        ThreadHeap::free_slow(thread, class, block);
                    }
                }
            }
        }
        if made.len() > 2000 {
            for (words, class, value) in made.drain(500..) {
                for word in 0..class_size(class) / 8 {
                    // SAFETY: made above.
                    assert_eq!(unsafe { words.add(word).read() }, value, "seed {seed:#x}: two holders of a block");
                }
                // SAFETY: as above; freed once.
                unsafe {
                    if !ThreadHeap::free(thread, class, words.cast()) {
                        ThreadHeap::free_slow(thread, class, words.cast());
                    }
                }
            }
        }
    }
    for (words, class, value) in made {
        for word in 0..class_size(class) / 8 {
            // SAFETY: as above.
            assert_eq!(unsafe { words.add(word).read() }, value, "seed {seed:#x}: two holders of a block");
        }
        // SAFETY: as above.
        unsafe {
            if !ThreadHeap::free(thread, class, words.cast()) {
                ThreadHeap::free_slow(thread, class, words.cast());
            }
        }
    }
    // SAFETY: the thread is through with it.
    unsafe { ThreadHeap::retire(thread) };
    kept
}

fn live_blocks(opened: &Opened) -> u64 {
    // SAFETY: nobody else is there.
    unsafe {
        let locked = &(*opened.stopped.heap.soft()).locked;
        locked.live.iter().map(|live| live.load(Ordering::Relaxed)).sum::<i64>() as u64
            + locked.large_count.load(Ordering::Relaxed)
    }
}

#[test]
fn a_recovery_in_the_background_lets_the_program_work_and_finds_the_same() {
    for round in 0..6 {
        let seed = SEED + round;
        let (stopped, nodes) = half_lost(seed, 4000);
        let opened = Arc::new(open(stopped));
        let total = total_blocks(&opened.stopped);
        // SAFETY: nobody else is there.
        let recovery = unsafe { Recovery::prepare(opened.core(), opened.image) }.unwrap();
        // SAFETY: the program below uses what it has from its list.
        let background = unsafe { start_background(Arc::clone(&opened), Arc::new(recovery), 2) }.unwrap();
        let kept: usize = std::thread::scope(|scope| {
            let halves = nodes.chunks(nodes.len() / 2 + 1);
            let threads: Vec<_> = halves.map(|half| scope.spawn(|| work(opened.core(), half, seed).len())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let report = background.wait().unwrap().collected;
        assert!(background.is_done());
        assert_eq!(report.marked_blocks, nodes.len() as u64);
        assert_eq!(report.marked_blocks + report.reclaimed_blocks, total);
        drop(background);
        is_well(&opened.stopped);
        assert_eq!(live_blocks(&opened), kept as u64, "seed {seed:#x}");
    }
}

#[test]
fn an_aborted_one_leaves_the_heap_right_at_any_point() {
    for round in 0..12 {
        let (stopped, nodes) = half_lost(SEED, 2000);
        let opened = Arc::new(open(stopped));
        let total = total_blocks(&opened.stopped);
        // SAFETY: nobody else is there.
        let recovery = unsafe { Recovery::prepare(opened.core(), opened.image) }.unwrap();
        // SAFETY: the program holds nothing.
        let background = unsafe { start_background(Arc::clone(&opened), Arc::new(recovery), 1) }.unwrap();
        while round % 3 != 0 && background.recovery().progress().marked_blocks == 0 && !background.is_done() {
            std::hint::spin_loop();
        }
        while round % 3 == 2 && background.recovery().progress().reclaimed_blocks == 0 && !background.is_done() {
            std::hint::spin_loop();
        }
        let outcome = background.abort();
        let progress = background.recovery().progress();
        drop(background);
        is_well(&opened.stopped);
        assert_eq!(live_blocks(&opened), total - progress.reclaimed_blocks);
        match outcome {
            Ok(report) => assert_eq!(report.collected.marked_blocks, nodes.len() as u64),
            Err(error) => assert_eq!((error, progress.phase), (RecoveryError::Aborted, RecoveryPhase::Aborted)),
        }
        assert_eq!(Arc::strong_count(&opened), 1, "the thread has not let go");
    }
}

/// Aborts a recovery that has marked everything, which stops when it has swept a little, or one that has not begun.
fn given_up(opened: &Opened, recovery: &Recovery, in_marking: bool) {
    if in_marking {
        recovery.abort();
    }
    let end_of_marking = || {
        recovery.abort();
        true
    };
    // SAFETY: the programs of the tests use what they have from their lists.
    let outcome = unsafe { recovery.run(opened.core(), 1, None, end_of_marking) };
    assert_eq!(outcome, Err(RecoveryError::Aborted));
    assert_eq!((recovery.progress().phase, recovery.is_marked()), (RecoveryPhase::Aborted, !in_marking));
}

#[test]
fn one_that_is_taken_up_again_and_again_frees_exactly_what_an_undisturbed_one_does() {
    for round in [0, 3, 6] {
        let seed = SEED + round;
        let (stopped, nodes) = half_lost(seed, 14_000);
        let opened = Arc::new(open(stopped));
        let total = total_blocks(&opened.stopped);
        // SAFETY: nobody else is there.
        let mut recovery = unsafe { Recovery::prepare(opened.core(), opened.image) }.unwrap();
        let parts: Vec<&[Node]> = nodes.chunks(nodes.len() / 3 + 1).collect();
        let mut kept = 0;
        for (step, part) in parts.iter().enumerate() {
            // Bits of the round say when it is in marking; once it is marked it stays so.
            let in_marking = round >> step & 1 == 1 && !recovery.is_marked();
            let before = recovery.progress().reclaimed_blocks;
            if recovery.is_marked() {
                // There is no other moment to tell: before it begins, which lets it sweep a little.
                recovery.abort();
                // SAFETY: as in `given_up`.
                let outcome = unsafe { recovery.run(opened.core(), 1, None, || unreachable!()) };
                assert_eq!(outcome, Err(RecoveryError::Aborted));
            } else {
                given_up(&opened, &recovery, in_marking);
            }
            let swept = recovery.progress().reclaimed_blocks;
            assert_eq!(in_marking, swept == before, "seed {seed:#x}, step {step}");
            kept += work(opened.core(), part, seed).len();
            recovery = recovery.again().unwrap();
            assert_eq!(recovery.progress().reclaimed_blocks, swept);
        }
        // SAFETY: as in `given_up`.
        let background = unsafe { start_background(Arc::clone(&opened), Arc::new(recovery), 2) }.unwrap();
        let report = background.wait().unwrap().collected;
        assert_eq!(report.marked_blocks, nodes.len() as u64, "seed {seed:#x}");
        assert_eq!(report.marked_blocks + report.reclaimed_blocks, total, "seed {seed:#x}");
        drop(background);
        is_well(&opened.stopped);
        assert_eq!(live_blocks(&opened), kept as u64, "seed {seed:#x}");
    }
}

#[test]
fn nothing_is_swept_if_the_image_did_not_last() {
    let (stopped, _) = half_lost(SEED, 3000);
    let opened = open(stopped);
    // SAFETY: nobody else is there.
    let recovery = unsafe { Recovery::prepare(opened.core(), opened.image) }.unwrap();
    // SAFETY: as above.
    let outcome = unsafe { recovery.run(opened.core(), 2, None, || false) };
    assert_eq!(outcome, Err(RecoveryError::Aborted));
    assert!(!recovery.is_marked());
    assert_eq!(recovery.progress().reclaimed_blocks, 0);
    assert_eq!(live_blocks(&opened), total_blocks(&opened.stopped));
}

/// A heap of its own whose recovery waits for a word, or the end of whoever would say it, before it begins.
struct Gated {
    opened: Opened,
    word: Mutex<Receiver<()>>,
}

impl Keeper for Gated {
    fn core(&self) -> &Core {
        let _ = self.word.lock().unwrap().recv();
        self.opened.core()
    }
}

/// A recovery of some other heap, which begins when the sender has sent something or is dropped.
pub(in crate::heap) fn gated() -> (Sender<()>, Background) {
    let opened = open(half_lost(SEED, 100).0);
    // SAFETY: nobody else is there.
    let recovery = unsafe { Recovery::prepare(opened.core(), opened.image) }.unwrap();
    let (sender, word) = channel();
    let keeper = Arc::new(Gated { opened, word: Mutex::new(word) });
    // SAFETY: nobody uses that heap.
    (sender, unsafe { start_background(keeper, Arc::new(recovery), 1) }.unwrap())
}
