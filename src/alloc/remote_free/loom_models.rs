//! The protocol of remote frees, taken through all its interleavings.
//!
//! A model's slabs have a handful of blocks, whose contents are a loom cell: whoever holds a block writes to it, so two
//! holders, or a holder that does not see the last one's writes, are reported as a race. What a real slab keeps in its
//! owner's part is a loom cell too, so that nobody touches it without the owner's rights. Everything that belongs to the
//! test and not to the protocol sits in plain atomics, which add no interleavings.
//!
//! Each ordering of the protocol, weakened to `Relaxed` or by half, makes one of these fail, but for the `Release` half
//! of [`RemoteSlab::take_count`]: loom never lets a read take place after a later write, which is what that half forbids.

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::sync::atomic::{AtomicBool as PlainBool, AtomicU32 as PlainU32, Ordering::SeqCst};

const WORDS: usize = 2;

/// The owner's part.
#[derive(Default)]
struct Local {
    free: [u64; WORDS],
    early: u32,
}

struct ModelSlab {
    bits: [AtomicU64; WORDS],
    count: AtomicU32,
    next: AtomicU32,
    owner: AtomicU32,
    local: UnsafeCell<Local>,
    /// Contents of the blocks; which they are is said by `blocks`.
    contents: [UnsafeCell<u32>; 2],
    /// Word and bit of each block.
    blocks: [(usize, u64); 2],
    /// For R1: whether somebody has to push it, has pushed it, or has not taken its count since.
    is_pushed: PlainBool,
    /// How often it was given up.
    life: PlainU32,
}

impl ModelSlab {
    fn new(blocks: [(usize, u64); 2], owner: u32) -> Self {
        Self {
            bits: [AtomicU64::new(0), AtomicU64::new(0)],
            count: AtomicU32::new(0),
            next: AtomicU32::new(0),
            owner: AtomicU32::new(owner),
            local: UnsafeCell::new(Local::default()),
            contents: [UnsafeCell::new(0), UnsafeCell::new(0)],
            blocks,
            is_pushed: PlainBool::new(false),
            life: PlainU32::new(0),
        }
    }

    fn remote(&self) -> RemoteSlab<'_> {
        RemoteSlab { bits: &self.bits, count: &self.count }
    }

    /// Uses a block, as whoever holds it may.
    fn touch(&self, block: usize) {
        // SAFETY: that nobody else holds it is what loom checks.
        self.contents[block].with_mut(|contents| unsafe { *contents += 1 });
    }

    /// Runs `work` with the owner's part.
    fn local<R>(&self, work: impl FnOnce(&mut Local) -> R) -> R {
        // SAFETY: that nobody else has the owner's rights is what loom checks.
        self.local.with_mut(|local| work(unsafe { &mut *local }))
    }

    /// A remote free of some blocks: sets their bits, and says whether the slab must be pushed.
    fn free_remotely(&self, blocks: &[usize]) -> bool {
        let life = self.life.load(SeqCst);
        for &block in blocks {
            let (word, bit) = self.blocks[block];
            assert_eq!(self.remote().set(word, bit) & bit, 0, "R2: the bit was set already");
        }
        let must_push = self.remote().count(blocks.len() as u32);
        assert_eq!(self.life.load(SeqCst), life, "R4: counted in the slab's next life");
        if must_push {
            assert!(!self.is_pushed.swap(true, SeqCst), "R1: on two stacks");
        }
        must_push
    }

    /// As `Slab::collect`: takes over what others freed, once popped.
    fn collect(&self) {
        assert!(self.is_pushed.swap(false, SeqCst), "R1: popped twice");
        let counted = self.remote().take_count();
        assert!(counted > 0, "pushed without frees");
        self.local(|local| {
            let mut taken = 0;
            for word in 0..WORDS {
                let bits = self.remote().take_word(word);
                assert_eq!(local.free[word] & bits, 0, "a block came back twice");
                local.free[word] |= bits;
                taken += bits.count_ones();
            }
            assert!(local.early + taken >= counted, "R3: more counted than taken");
            local.early = local.early + taken - counted;
        });
    }

    /// Takes a free block, if there is one.
    fn take(&self) -> Option<usize> {
        self.local(|local| {
            let block = (0..2).find(|&block| local.free[self.blocks[block].0] & self.blocks[block].1 != 0)?;
            local.free[self.blocks[block].0] &= !self.blocks[block].1;
            Some(block)
        })
    }

    fn is_all_free(&self) -> bool {
        self.local(|local| self.blocks.iter().all(|&(word, bit)| local.free[word] & bit != 0))
    }
}

const SAME_WORD: [(usize, u64); 2] = [(0, 1), (0, 2)];
const TWO_WORDS: [(usize, u64); 2] = [(0, 1), (1, 1)];

fn model(preemptions: Option<usize>, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(run);
}

/// Two threads free a block each while the owner collects and reuses.
fn two_remote_threads(blocks: [(usize, u64); 2]) {
    model(None, move || {
        let shared = Arc::new((ModelSlab::new(blocks, 1), AtomicU32::new(0)));
        let threads: Vec<_> = (0..2)
            .map(|block| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (slab, stack) = &*shared;
                    slab.touch(block);
                    if slab.free_remotely(&[block]) {
                        push(stack, 0, &slab.next);
                    }
                })
            })
            .collect();
        let (slab, stack) = &*shared;
        let mut held = Vec::new();
        let mut collect_and_reuse = || {
            for_each_taken(stack, |_| &slab.next, |_| slab.collect());
            while let Some(block) = slab.take() {
                slab.touch(block);
                held.push(block);
            }
        };
        collect_and_reuse();
        for thread in threads {
            thread.join().unwrap();
        }
        collect_and_reuse();
        held.sort_unstable();
        assert_eq!(held, [0, 1], "a block was lost or handed out twice");
        slab.local(|local| assert_eq!(local.early, 0));
    });
}

#[test]
fn blocks_of_one_word_freed_by_two_threads_are_reused_once_each() {
    two_remote_threads(SAME_WORD);
}

#[test]
fn blocks_of_two_words_freed_by_two_threads_are_reused_once_each() {
    two_remote_threads(TWO_WORDS);
}

/// A thread that frees several words of a slab counts them together.
#[test]
fn a_run_over_two_words_is_counted_once_and_lost_never() {
    model(None, || {
        let shared = Arc::new((ModelSlab::new(TWO_WORDS, 1), AtomicU32::new(0)));
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (slab, stack) = &*shared;
                slab.touch(0);
                slab.touch(1);
                if slab.free_remotely(&[0, 1]) {
                    push(stack, 0, &slab.next);
                }
            })
        };
        let (slab, stack) = &*shared;
        let collect = || for_each_taken(stack, |_| &slab.next, |_| slab.collect());
        collect();
        other.join().unwrap();
        collect();
        assert!(slab.is_all_free());
        slab.touch(0);
        slab.touch(1);
    });
}

/// Two slabs on one stack: links of pushes that meet lead to both.
#[test]
fn two_slabs_pushed_at_once_are_both_found() {
    model(None, || {
        let slabs = [ModelSlab::new(SAME_WORD, 1), ModelSlab::new(SAME_WORD, 1)];
        let shared = Arc::new((slabs, AtomicU32::new(0)));
        let free_both = |shared: &([ModelSlab; 2], AtomicU32), block: usize| {
            for (index, slab) in shared.0.iter().enumerate() {
                slab.touch(block);
                if slab.free_remotely(&[block]) {
                    push(&shared.1, index as u32, &slab.next);
                }
            }
        };
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || free_both(&shared, 0))
        };
        let (slabs, stack) = &*shared;
        let collect =
            || for_each_taken(stack, |index| &slabs[index as usize].next, |index| slabs[index as usize].collect());
        collect();
        free_both(&shared, 1);
        other.join().unwrap();
        collect();
        assert!(slabs.iter().all(|slab| slab.is_all_free()));
    });
}

/// The owner gives the slab up when all its blocks are back, and makes another of its units. Two threads free the
/// blocks of the first life.
fn a_slab_is_given_up(keeps_the_rule: bool) {
    model(None, move || {
        let shared = Arc::new((ModelSlab::new(SAME_WORD, 1), AtomicU32::new(0)));
        let threads: Vec<_> = (0..2)
            .map(|block| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (slab, stack) = &*shared;
                    if slab.free_remotely(&[block]) {
                        push(stack, 0, &slab.next);
                        assert_eq!(slab.life.load(SeqCst), 0, "R4: pushed in the slab's next life");
                    }
                })
            })
            .collect();
        let (slab, stack) = &*shared;
        for round in 0..2 {
            for_each_taken(stack, |_| &slab.next, |_| slab.collect());
            let early = slab.local(|local| local.early);
            if slab.life.load(SeqCst) == 0 && slab.is_all_free() && (early == 0 || !keeps_the_rule) {
                slab.life.store(1, SeqCst);
                assert_eq!(slab.count.load(Ordering::Relaxed), 0, "the next life begins with a count");
            }
            if round == 0 {
                thread::yield_now();
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        for_each_taken(stack, |_| &slab.next, |_| slab.collect());
        assert!(slab.is_all_free(), "a block was lost");
        slab.local(|local| assert_eq!(local.early, 0));
    });
}

#[test]
fn a_slab_without_early_frees_is_given_up_safely() {
    a_slab_is_given_up(true);
}

/// Early frees are why R4 holds: without looking at them the model finds a thread that counts, or pushes, when the slab
/// has begun its next life.
#[test]
#[should_panic(expected = "R4")]
fn a_slab_with_early_frees_that_is_given_up_is_counted_in_its_next_life() {
    a_slab_is_given_up(false);
}

/// Thread heaps 1 and 2 of a heap with one slab; the lock guards who is alive and the orphans, as the heap's does.
struct HandOver {
    slab: ModelSlab,
    /// Of ownerless slabs, and of each thread heap.
    pending: [AtomicU32; 3],
    locked: Mutex<Locked>,
}

struct Locked {
    is_live: [bool; 3],
    orphans: Vec<u32>,
}

impl HandOver {
    /// As `push_to_owner`.
    fn push_to(&self, owner: u32) {
        push(&self.pending[owner as usize], 0, &self.slab.next);
    }

    /// A remote free by a thread that owns nothing.
    fn free_remotely(&self, block: usize) {
        self.slab.touch(block);
        if self.slab.free_remotely(&[block]) {
            self.push_to(self.slab.owner.load(Ordering::Relaxed));
        }
    }

    /// As `ThreadHeap::collect_pending`.
    fn collect_pending(&self, number: u32) {
        for_each_taken(
            &self.pending[number as usize],
            |_| &self.slab.next,
            |_| {
                let owner = self.slab.owner.load(Ordering::Relaxed);
                if owner == number { self.slab.collect() } else { self.push_to(owner) }
            },
        );
    }

    /// As `ThreadHeap::retire`, of a thread whose only slab has a block to give.
    fn retire(&self, number: u32) {
        self.collect_pending(number);
        let mut locked = self.locked.lock().unwrap();
        self.slab.owner.store(0, Ordering::Relaxed);
        locked.orphans.push(0);
        locked.is_live[number as usize] = false;
    }

    /// As `Core::collect_orphans`: takes over what was freed of slabs without a live owner.
    fn collect_orphans(&self, locked: &mut Locked) {
        for number in 0..3 {
            if number == 0 || !locked.is_live[number] {
                for_each_taken(
                    &self.pending[number],
                    |_| &self.slab.next,
                    |_| {
                        let owner = self.slab.owner.load(Ordering::Relaxed);
                        if owner != 0 && locked.is_live[owner as usize] {
                            return self.push_to(owner);
                        }
                        self.slab.owner.store(0, Ordering::Relaxed);
                        self.slab.collect();
                        if locked.orphans.is_empty() {
                            locked.orphans.push(0);
                        }
                    },
                );
            }
        }
    }

    /// As `ThreadHeap::adopt`.
    fn adopt(&self, number: u32) -> bool {
        let mut locked = self.locked.lock().unwrap();
        self.collect_orphans(&mut locked);
        let found = locked.orphans.pop().is_some();
        if found {
            self.slab.owner.store(number, Ordering::Relaxed);
        }
        found
    }
}

/// A thread ends and another adopts its slab while a third frees the block that is out.
#[test]
fn a_free_between_two_owners_reaches_the_second_in_the_end() {
    model(Some(4), || {
        let shared = Arc::new(HandOver {
            slab: ModelSlab::new(SAME_WORD, 1),
            pending: [AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0)],
            locked: Mutex::new(Locked { is_live: [false, true, true], orphans: Vec::new() }),
        });
        shared.slab.local(|local| local.free[0] = 2);
        let freeing = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.free_remotely(0))
        };
        let ending = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.retire(1))
        };
        let adopted = shared.adopt(2);
        if adopted {
            shared.collect_pending(2);
        }
        freeing.join().unwrap();
        ending.join().unwrap();
        // Now the second thread looks once more: where slabs are adopted, and at its own stack.
        let adopted = shared.adopt(2) || adopted;
        assert!(adopted, "the slab was lost");
        shared.collect_pending(2);
        assert!(shared.slab.is_all_free(), "the block was lost");
        shared.slab.touch(0);
    });
}

/// The number of the thread that ended has its next thread at once, which finds the slab on its stack though another
/// thread has adopted it.
#[test]
fn a_slab_on_the_stack_of_a_reused_number_is_passed_on_untouched() {
    model(Some(4), || {
        let shared = Arc::new(HandOver {
            slab: ModelSlab::new(SAME_WORD, 1),
            pending: [AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0)],
            locked: Mutex::new(Locked { is_live: [false, true, true], orphans: Vec::new() }),
        });
        shared.slab.local(|local| local.free[0] = 2);
        let freeing = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.free_remotely(0))
        };
        let ending_and_next = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.retire(1);
                shared.locked.lock().unwrap().is_live[1] = true;
                shared.collect_pending(1);
            })
        };
        let mut adopted = shared.adopt(2);
        if adopted {
            let block = shared.slab.take().expect("one was free all the time");
            shared.slab.touch(block);
            shared.slab.local(|local| local.free[0] |= SAME_WORD[block].1);
        }
        freeing.join().unwrap();
        ending_and_next.join().unwrap();
        adopted |= shared.adopt(2);
        assert!(adopted, "the slab was lost");
        // What still lies on the first stack is passed on by whoever has the number.
        shared.collect_pending(1);
        shared.collect_pending(2);
        assert!(shared.slab.is_all_free(), "the block was lost");
        shared.slab.touch(0);
    });
}

/// The slab has no free block when its thread ends, so it keeps its dead owner until the block that is out comes back.
#[test]
fn a_full_slab_of_a_thread_that_ended_is_found_through_its_idle_stack() {
    model(Some(4), || {
        let shared = Arc::new(HandOver {
            slab: ModelSlab::new(SAME_WORD, 1),
            pending: [AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0)],
            locked: Mutex::new(Locked { is_live: [false, true, true], orphans: Vec::new() }),
        });
        let threads: Vec<_> = (0..2)
            .map(|block| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.free_remotely(block))
            })
            .collect();
        // As `retire`, which leaves full slabs alone.
        shared.locked.lock().unwrap().is_live[1] = false;
        let adopted = shared.adopt(2);
        if adopted {
            shared.collect_pending(2);
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let adopted = shared.adopt(2) || adopted;
        assert!(adopted, "the slab was lost");
        shared.collect_pending(2);
        assert!(shared.slab.is_all_free(), "a block was lost");
    });
}
