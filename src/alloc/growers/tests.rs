use super::*;
use crate::alloc::heap_core::testing::TestHeap;
use crate::alloc::size_class::{MAX_SMALL, class_of, class_size};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Growers of their own, of a heap that stays, as they demand it.
fn growers() -> &'static Growers {
    let heap = std::mem::ManuallyDrop::new(TestHeap::new(64 << 20));
    let growers = Box::leak(Box::new(Growers::new()));
    // SAFETY: nobody else knows of the heap, which stays.
    unsafe { Core::begin_growers(heap.0, growers, None) };
    growers
}

/// They take many addresses, of which there is no end in sight only for a few at once.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hints() -> Hints {
    Hints::of_thread(1)
}

fn core(growers: &Growers) -> &Core {
    // SAFETY: the test's heap stays.
    unsafe { &*growers.core.load(Ordering::Relaxed) }
}

fn purge(growers: &Growers, what: Unneeded) -> usize {
    let _guard = core(growers).lock.lock();
    // SAFETY: under the lock.
    unsafe { growers.purge(what) }
}

fn fill(block: *mut u8, range: core::ops::Range<usize>, tag: u8) {
    // SAFETY: within a block of the test's.
    unsafe { block.add(range.start).write_bytes(tag, range.len()) };
}

fn all_are(block: *mut u8, range: core::ops::Range<usize>, tag: u8) -> bool {
    // SAFETY: as in `fill`; all of it has been written, or is fresh memory.
    unsafe { core::slice::from_raw_parts(block.add(range.start), range.len()) }.iter().all(|&byte| byte == tag)
}

fn free(growers: &Growers, block: *mut u8) {
    // SAFETY: the test's block, which it does not use again.
    unsafe { growers.free(block.addr(), &mut hints()) };
}

#[test]
fn a_claim_has_all_that_a_shorter_layout_may_expect() {
    let claims = (0..31).flat_map(|power| [0, 1, 77].map(|more| (1_usize << power) + more));
    for size in claims.filter(|&size| size > LEAST) {
        for number in [0, NEAR] {
            if size > if number < NEAR { MOST_NEAR } else { MOST } {
                continue;
            }
            let claim = claim_for(number, size);
            assert!(claim >= size && claim % PAGE == 0);
            let word = slot::Word::new();
            assert!(word.take(word.look(), claim) && word.look().claimed() == claim);
            assert!(claim > MAX_SMALL || class_size(class_of(claim)) == claim, "{size} of {claim}");
        }
    }
}

#[test]
fn a_block_grows_to_the_end_of_its_slot_and_no_further() {
    let (_alone, growers) = (alone(), growers());
    let block = growers.take(3000, &hints()).unwrap();
    fill(block, 0..3000, 1);
    let mut size = 3000;
    while growers.resize(block.addr(), size * 2) {
        fill(block, size..size * 2, 1);
        size *= 2;
    }
    assert!(size * 2 > MOST_NEAR && all_are(block, 0..size, 1));
    assert_eq!(growers.len_of(block.addr()), Some(size));
    assert!(growers.resize(block.addr(), MOST_NEAR) && !growers.resize(block.addr(), MOST_NEAR + 1));
    let far = growers.take(MOST_NEAR + 1, &hints()).unwrap();
    assert!(
        growers.resize(far.addr(), 1 << 30)
            && growers.resize(far.addr(), MOST)
            && !growers.resize(far.addr(), MOST + 1)
    );
    for at in [0, MOST_NEAR, 1 << 30, MOST - 1] {
        fill(far, at..at + 1, 7);
    }
    assert_eq!(growers.take(MOST + 1, &hints()), None);
    for block in [block, far] {
        free(growers, block);
        assert_eq!(growers.len_of(block.addr()), None);
    }
}

#[test]
fn slots_are_few_for_short_blocks_apart_and_had_by_one() {
    let (_alone, growers) = (alone(), growers());
    let mut blocks = Vec::new();
    for (size, most) in [(3000, GROUP), (100 << 10, 2 * GROUP), (1 << 20, NEAR), (2 << 20, NEAR + FAR)] {
        while let Some(block) = growers.take(size, &hints()) {
            assert!(block.addr() % ALIGN == 0 && growers.has(block.addr()));
            blocks.push((block.addr(), size));
        }
        assert_eq!(blocks.len(), most, "of {size} bytes or less");
    }
    blocks.sort_unstable();
    for pair in blocks.windows(2) {
        assert!(pair[0].0 + MOST_NEAR <= pair[1].0);
    }
    assert_eq!(growers.count().live, (NEAR + FAR) as u64);
    for &(address, size) in &blocks {
        assert_eq!(growers.len_of(address), Some(size));
        assert_eq!(growers.len_of(address + 64), None, "no block begins there");
        free(growers, ptr::with_exposed_provenance_mut(address));
    }
    let grown = growers.count();
    assert_eq!((grown.live, grown.bytes, grown.taken), (0, 0, (NEAR + FAR) as u64));
    assert!(growers.take(3000, &hints()).is_some(), "a group that was full is so no more");
}

#[test]
fn without_room_there_are_no_growers_and_nothing_is_one() {
    let growers = Growers::new();
    assert_eq!(growers.take(1 << 20, &hints()), None);
    let own = (&raw const growers).addr();
    for address in [0, 1, 0x40_0000, own, 0x1040_0000_0000, 0x4FFF_FFFF_FFFF, 0x7FFF_FFFF_FFFF] {
        assert!(!growers.has(address) && growers.len_of(address).is_none(), "{address:#x}");
    }
}

#[test]
fn a_free_slot_keeps_its_memory_until_a_purge() {
    let (_alone, growers) = (alone(), growers());
    let block = growers.take(1 << 20, &hints()).unwrap();
    fill(block, 0..1 << 20, 9);
    free(growers, block);
    assert_eq!(growers.take(1 << 20, &hints()), Some(block), "the last one that was freed comes first");
    assert!(all_are(block, 0..1 << 20, 9), "as it was");
    free(growers, block);
    assert!(growers.holds_some());
    assert!(purge(growers, Unneeded::All) >= 1 << 20);
    assert!(!growers.holds_some() && purge(growers, Unneeded::All) == 0);
    assert_eq!(growers.take(1 << 20, &hints()), Some(block));
    assert!(all_are(block, PAGE..1 << 20, 0), "gone");
}

#[test]
fn what_lies_behind_a_claim_goes_and_the_block_stays() {
    let (_alone, growers) = (alone(), growers());
    let block = growers.take(1 << 20, &hints()).unwrap();
    fill(block, 0..1 << 20, 9);
    free(growers, block);
    // The next block there is short, and lives on.
    let mut hints = hints();
    hints.freed[0] = 0;
    let block = growers.take(3000, &hints).unwrap();
    fill(block, 0..1 << 14, 9);
    assert!(growers.resize(block.addr(), 1 << 20));
    fill(block, 0..1 << 20, 5);
    growers.shrink(block.addr(), 3000);
    let claim = claim_for(0, 3000);
    let bytes = purge(growers, Unneeded::All);
    assert!(bytes >= (1 << 20) - claim - PAGE, "{bytes}");
    assert!(all_are(block, 0..claim, 5), "claimed");
    assert!(growers.resize(block.addr(), 1 << 20));
    assert!(all_are(block, claim + PAGE..1 << 20, 0), "was nobody's");
    free(growers, block);
}

#[test]
fn what_was_not_taken_for_a_period_goes_at_its_end() {
    let (_alone, growers) = (alone(), growers());
    let blocks: Vec<*mut u8> = (0..2).map(|_| growers.take(1 << 20, &hints()).unwrap()).collect();
    blocks.iter().for_each(|&block| free(growers, block));
    assert_eq!(purge(growers, Unneeded::SinceLast), 0, "both were taken");
    let again = growers.take(1 << 20, &hints()).unwrap();
    free(growers, again);
    let bytes = purge(growers, Unneeded::SinceLast);
    assert!((1 << 20..3 << 20).contains(&bytes), "one was not: {bytes}");
    assert!(purge(growers, Unneeded::SinceLast) >= 1 << 20);
    assert_eq!(purge(growers, Unneeded::SinceLast), 0);
}

#[test]
fn paused_growers_get_no_more_than_they_have() {
    let (_alone, growers) = (alone(), growers());
    let block = growers.take(3000, &hints()).unwrap();
    growers.pause(true);
    assert_eq!(growers.take(3000, &hints()), None);
    assert!(growers.resize(block.addr(), claim_for(0, 3000)), "what is claimed");
    assert!(!growers.resize(block.addr(), claim_for(0, 3000) + 1));
    growers.pause(false);
    assert!(growers.resize(block.addr(), 1 << 20));
    free(growers, block);
}

#[test]
fn who_claims_much_has_others_give_back_what_they_hold() {
    let (_alone, growers) = (alone(), growers());
    let idle = growers.take(8 << 20, &hints()).unwrap();
    fill(idle, 0..8 << 20, 3);
    let block = growers.take(3 << 20, &hints()).unwrap();
    free(growers, idle);
    assert!(growers.holds_some());
    // Within its claim nothing is asked of anybody.
    assert!(growers.resize(block.addr(), 4 << 20) && growers.holds_some());
    fill(block, 0..4 << 20, 4);
    assert!(growers.resize(block.addr(), 256 << 20) && !growers.holds_some());
    assert!(all_are(block, 0..4 << 20, 4));
    free(growers, block);
}

#[test]
fn threads_that_grow_beside_a_purge_keep_every_byte() {
    let (_alone, growers) = (alone(), growers());
    let is_done = AtomicBool::new(false);
    let seed = 0x5EED_0077_u64;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=3_u8)
            .map(|number| {
                scope.spawn(move || {
                    let mut state = seed + u64::from(number);
                    let mut hints = Hints::of_thread(1);
                    let mut refused = 0;
                    for round in 0..400 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let most = 4096 << (state >> 60);
                        let Some(block) = growers.take(2100, &hints) else { continue };
                        let mut size = 2100;
                        fill(block, 0..size, number);
                        while size * 2 < most.min(MOST_NEAR) {
                            if !growers.resize(block.addr(), size * 2) {
                                // A purge is at it.
                                refused += 1;
                                break;
                            }
                            fill(block, size..size * 2, number);
                            size *= 2;
                        }
                        assert!(all_are(block, 0..size, number), "seed {seed:#x} round {round}");
                        if round % 3 == 0 {
                            growers.shrink(block.addr(), 2100);
                        }
                        assert!(all_are(block, 0..2100, number));
                        // SAFETY: the thread's block, which it does not use again.
                        unsafe { growers.free(block.addr(), &mut hints) };
                    }
                    refused
                })
            })
            .collect();
        let purger = scope.spawn(|| {
            let mut bytes = 0;
            while !is_done.load(Ordering::Relaxed) {
                bytes += purge(growers, Unneeded::All);
            }
            bytes
        });
        let outcomes: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_done.store(true, Ordering::Relaxed);
        let refused: Vec<u32> = outcomes.into_iter().map(|outcome| outcome.unwrap()).collect();
        assert!(purger.join().unwrap() > 0, "nothing was tried: {refused:?}");
    });
    assert_eq!(growers.count().live, 0);
    purge(growers, Unneeded::All);
    assert!(!growers.holds_some(), "no slot is left in the middle of a purge");
}

#[test]
fn pages_move_into_a_far_slot_and_leave_zeros_as_often_as_one_likes() {
    let (_alone, growers) = (alone(), growers());
    const LEN: usize = 8 << 20;
    for round in 1..4 {
        let run = core(growers).allocate_large(LEN, 1, false);
        fill(run, 0..LEN, round);
        let near = growers.take(100_000, &hints()).unwrap();
        let far = growers.take(2 * LEN, &hints()).unwrap();
        fill(far, LEN..2 * LEN, 77);
        // SAFETY: all of them are the test's, in anonymous memory.
        unsafe {
            assert_eq!(growers.move_in(near.addr(), run.addr(), LEN), Moved::No, "it has no room");
            assert_eq!(growers.move_in(far.addr(), run.addr(), PAGE), Moved::No, "a copy costs less");
            assert_eq!(growers.move_in(far.addr(), run.addr(), LEN), Moved::Yes);
        }
        assert!(all_are(far, 0..LEN, round) && all_are(far, LEN..2 * LEN, 77) && all_are(run, 0..LEN, 0));
        assert!(growers.resize(far.addr(), 1 << 30));
        fill(far, (1 << 30) - PAGE..1 << 30, 9);
        fill(run, 0..LEN, 1);
        free(growers, far);
        free(growers, near);
        core(growers).free_large(run.addr());
    }
    assert!(purge(growers, Unneeded::All) >= LEN);
    let far = growers.take(2 * LEN, &hints()).unwrap();
    assert!(all_are(far, 0..2 * LEN, 0));
}

#[test]
fn where_pages_cannot_be_moved_a_slot_is_lost_once_and_nothing_else() {
    let (_alone, growers) = (alone(), growers());
    let [first, second] = [0; 2].map(|_| growers.take(16 << 20, &hints()).unwrap());
    // SAFETY: nothing is mapped there, and nobody relies on what the blocks hold.
    unsafe {
        assert_eq!(growers.move_in(first.addr(), PAGE, 8 << 20), Moved::Lost);
        assert_eq!(growers.move_in(second.addr(), PAGE, 8 << 20), Moved::No, "it is not tried again");
    }
    assert_eq!(growers.len_of(first.addr()), None);
    assert_eq!(growers.count().live, 1);
    fill(second, 0..16 << 20, 4);
    free(growers, second);
    purge(growers, Unneeded::All);
    let blocks: Vec<_> = std::iter::from_fn(|| growers.take(16 << 20, &hints())).collect();
    assert!(blocks.len() == FAR - 1 && !blocks.contains(&first));
}
