//! Large objects that were freed: what is given back of them, and when.

mod support;

use sal::{HeapOptions, Mode, Purge, Tuning};
use std::time::Duration;
use support::heaps::{opened, resident, unmap};
use support::tagged::{MIB, Tagged, volatile};
use support::{alone, bytes, fresh_path};

#[test]
fn after_everything_is_freed_and_purged_next_to_nothing_stays_in_memory_or_on_the_disk() {
    let heap = volatile(1 << 30, Tuning::new());
    let fill = |handle| (0..40).map(|tag| Tagged::new(handle, 3 * MIB + 7, 8, tag).unwrap()).collect::<Vec<_>>();
    let blocks = fill(heap.alloc());
    let peak = resident(&heap);
    assert!(peak >= 40 * 3 * MIB);
    drop(blocks);
    assert!(heap.purge() >= 40 * 3 * MIB);
    assert!(resident(&heap) <= peak / 20, "{} of {peak}", resident(&heap));
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new().mode(Mode::Shared), &path);
    let blocks = fill(heap.alloc());
    let peak = bytes::disk(&path);
    assert!(peak >= 40 * 3 * MIB as u64);
    drop(blocks);
    heap.purge();
    assert!(bytes::disk(&path) <= peak / 20, "{} of {peak}", bytes::disk(&path));
    // What has lost its space gets it again before it is handed out.
    drop(fill(heap.alloc()));
    unmap(heap);
}

#[test]
fn what_is_idle_for_a_period_goes_and_what_is_used_in_turns_stays() {
    let heap = volatile(1 << 30, Tuning::new());
    let handle = heap.alloc();
    let fill = |count| (0..count).map(|tag| Tagged::new(handle, 8 * MIB, 8, tag).unwrap()).collect::<Vec<_>>();
    drop(fill(10));
    heap.purge_idle();
    for _ in 0..4 {
        drop(fill(4));
        heap.purge_idle();
    }
    let kept = resident(&heap);
    assert!((4 * 8 * MIB..6 * 8 * MIB).contains(&kept), "{kept}");
    let given: usize = (0..3).map(|_| heap.purge_idle()).sum();
    assert!(given >= 4 * 8 * MIB && resident(&heap) < 2 * MIB, "{given}, {}", resident(&heap));
}

#[test]
fn each_policy_gives_back_when_it_says() {
    let heap = volatile(1 << 30, Tuning::new().purge(Purge::Retain));
    let handle = heap.alloc();
    let use_some = || drop(Tagged::new(handle, 16 * MIB, 8, 1).unwrap());
    use_some();
    assert_eq!(heap.purge_if_due(), 0);
    assert!(resident(&heap) >= 16 * MIB, "retained");
    assert!(handle.tune(&Tuning::new().purge(Purge::Eager)));
    use_some();
    assert!(resident(&heap) < 2 * MIB, "given back at once");
    assert!(handle.tune(&Tuning::new().purge(Purge::Background(Duration::from_millis(1)))));
    use_some();
    let mut given = 0;
    // A period is as long as the clock is coarse; three have to pass.
    while given < 16 * MIB {
        given += heap.purge_if_due();
        std::thread::yield_now();
    }
    assert!(resident(&heap) < 2 * MIB, "given back in the background");
    assert!(handle.tune(&Tuning::new().purge(Purge::Decay(Duration::from_millis(1)))));
    use_some();
    while resident(&heap) >= 16 * MIB {
        // Whoever comes to the heap's units looks after it.
        drop(Tagged::new(handle, MIB / 2, 8, 1).unwrap());
        drop(Tagged::new(handle, MIB, 8, 1).unwrap());
        handle.tune(&Tuning::new().thread_cache_bytes(0));
    }
}
