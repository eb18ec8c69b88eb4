use super::*;
use crate::HeapOptions;
use crate::alloc::size_class::CLASSES;
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;

const SIXTY_FOUR: Layout = Layout::new::<[u64; 8]>();

#[test]
fn counts_are_exact_when_nobody_else_is_there() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    let blocks: Vec<_> = (0..5000).map(|_| handle.allocate(SIXTY_FOUR).unwrap()).collect();
    let large = Layout::from_size_align(3 << 20, 8).unwrap();
    let big = handle.allocate(large).unwrap();
    let stats = heap.stats();
    assert_eq!((stats.large_objects, stats.large_bytes), (1, 3 << 20));
    assert_eq!(stats.classes.len(), 1);
    let class = &stats.classes[0];
    assert_eq!((class.size, class.live, class.slabs), (64, 5000, 5));
    assert_eq!((class.allocations, class.frees), (5000, 0));
    // Each refill brings half of a magazine's 128, but for the first three and those at the end of a slab.
    let refills = 5000_u64.div_ceil(64);
    assert!((refills..=refills + 3 + class.slabs).contains(&class.slow_paths), "{}", class.slow_paths);
    assert_eq!(stats.live_bytes, 5000 * 64 + (3 << 20));
    assert_eq!((stats.allocations(), stats.frees(), stats.remote_frees), (5001, 0, 0));
    // SAFETY: allocated above with these layouts, freed once.
    unsafe {
        for block in blocks {
            handle.deallocate(block.cast(), SIXTY_FOUR);
        }
        handle.deallocate(big.cast(), large);
    }
    let stats = heap.stats();
    assert_eq!((stats.large_objects, stats.live_bytes), (0, 0));
    assert_eq!((stats.allocations(), stats.frees()), (5001, 5001));
    assert_eq!(handle.stats(), Some(stats));
}

#[test]
fn zeroed_blocks_from_slabs_and_blocks_that_come_and_go_are_counted_too() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    let layouts = [SIXTY_FOUR, Layout::from_size_align(32 << 10, 8).unwrap()];
    for round in 1..=1000_u64 {
        for layout in layouts {
            let block = handle.allocate_zeroed(layout).unwrap();
            // SAFETY: allocated just now.
            unsafe { handle.deallocate(block.cast(), layout) };
        }
        let stats = heap.stats();
        let counted: Vec<_> = stats.classes.iter().map(|class| (class.allocations, class.frees, class.live)).collect();
        assert_eq!(counted, [(round, round, 0); 2]);
    }
}

#[test]
fn what_ended_threads_have_done_stays_counted() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    let mine: Vec<usize> =
        (0..1000).map(|_| handle.allocate(SIXTY_FOUR).unwrap().cast::<u8>().as_ptr().expose_provenance()).collect();
    let cached_before = heap.stats().cached_bytes;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for address in mine {
                let block = std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap();
                // SAFETY: allocated above, freed once.
                unsafe { handle.deallocate(block, SIXTY_FOUR) };
            }
            let block = handle.allocate(SIXTY_FOUR).unwrap();
            // SAFETY: allocated just now.
            unsafe { handle.deallocate(block.cast(), SIXTY_FOUR) };
        });
    });
    // The thread gives its part back when it has ended, which may be a moment after it was joined.
    let counted = || {
        let stats = heap.stats();
        (stats.allocations(), stats.frees(), stats.remote_frees, stats.live_bytes, stats.cached_bytes)
    };
    while counted().4 > cached_before {
        std::thread::yield_now();
    }
    let (allocations, frees, remote, live, _) = counted();
    assert_eq!((allocations, frees, live), (1001, 1001, 0));
    assert_eq!(remote, 1000);
}

#[test]
fn large_objects_that_are_kept_and_taken_again_are_counted_whoever_frees_them() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    let layout = Layout::from_size_align(3 << 20, 8).unwrap();
    let allocate = || handle.allocate(layout).unwrap().cast::<u8>().as_ptr().expose_provenance();
    let free = |address: usize| {
        let block = std::ptr::NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap();
        // SAFETY: allocated by `allocate`, freed once.
        unsafe { handle.deallocate(block, layout) }
    };
    // The second time they were kept at hand, and are this thread's to count.
    for _ in 0..2 {
        let mine = [allocate(), allocate()];
        mine.into_iter().for_each(free);
    }
    let mine = [allocate(), allocate()];
    let counted = || {
        let stats = heap.stats();
        (stats.large_objects, stats.large_bytes, stats.large_allocations, stats.large_frees)
    };
    assert_eq!(counted(), (2, 6 << 20, 6, 4));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            mine.into_iter().for_each(free);
            assert_eq!(counted(), (0, 0, 6, 6));
            let block = allocate();
            assert_eq!(counted(), (1, 3 << 20, 7, 6));
            free(block);
        });
    });
    // While that thread gives its part back it may be counted twice.
    let has_ended = || {
        let _guard = heap.inner().core().lock.lock();
        // SAFETY: under the lock.
        unsafe { (*heap.inner().core().threads.get()).has_idle() }
    };
    while !has_ended() {
        std::thread::yield_now();
    }
    assert_eq!(counted(), (0, 0, 7, 7));
    heap.close().unwrap();
}

#[test]
fn counts_never_go_wrong_while_threads_come_and_go() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let handle = heap.alloc();
    std::thread::scope(|scope| {
        let workers = [(); 2].map(|()| {
            scope.spawn(|| {
                for _ in 0..200 {
                    std::thread::spawn(move || {
                        let blocks: Vec<_> = (0..300).map(|_| handle.allocate(SIXTY_FOUR).unwrap()).collect();
                        // SAFETY: allocated just now.
                        blocks.iter().for_each(|block| unsafe { handle.deallocate(block.cast(), SIXTY_FOUR) });
                    })
                    .join()
                    .unwrap();
                }
            })
        });
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let stats = heap.stats();
            // Each thread has 300 at most; one that ends may be counted twice.
            assert!(stats.live_bytes <= 8 * 300 * 64 && stats.allocations() <= 2 * 2 * 200 * 300, "{stats}");
        }
    });
}

#[test]
fn counts_that_a_damaged_file_could_have_do_not_overflow() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    // SAFETY: nobody else uses the heap.
    let locked = unsafe { &(*heap.inner().core().soft()).locked };
    let set = |live: i64, slabs: u32, large: u64| {
        locked.live.iter().for_each(|class| class.store(live, Ordering::Relaxed));
        locked.slabs.iter().for_each(|class| class.store(slabs, Ordering::Relaxed));
        locked.large_bytes.store(large, Ordering::Relaxed);
    };
    set(i64::MAX, u32::MAX, i64::MAX as u64);
    let stats = heap.stats();
    assert_eq!((stats.live_bytes, stats.classes.len()), (u64::MAX, CLASSES));
    assert!(stats.utilisation() <= 1.0 && !stats.to_string().is_empty());
    let block = heap.alloc().allocate(SIXTY_FOUR).unwrap();
    assert_eq!(heap.stats().live_bytes, u64::MAX);
    // SAFETY: allocated just now.
    unsafe { heap.alloc().deallocate(block.cast(), SIXTY_FOUR) };
    // The sum over threads may be below zero for a moment, which shows as nothing.
    set(i64::MIN, u32::MAX, u64::MAX);
    assert!(heap.stats().classes.iter().all(|class| class.live == 0));
    assert_eq!((heap.stats().large_bytes, heap.stats().live_bytes), (0, 0));
    let used = locked.used_units.swap(u64::MAX, Ordering::Relaxed);
    assert_eq!((heap.stats().used, heap.stats().overhead()), (u64::MAX, u64::MAX));
    locked.used_units.store(used, Ordering::Relaxed);
    set(0, 0, 0);
}

#[test]
fn nobody_is_waited_for() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let core = heap.inner().core();
    let _held = core.lock.lock();
    assert_eq!(heap.stats().live_bytes, 0);
    assert_eq!(heap.capacity(), 1 << 30);
}

#[test]
fn purges_are_counted() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let large = Layout::from_size_align(3 << 20, 8).unwrap();
    let block = heap.alloc().allocate(large).unwrap();
    // SAFETY: allocated just now.
    unsafe { heap.alloc().deallocate(block.cast(), large) };
    let bytes = heap.purge() as u64;
    assert!(bytes >= 3 << 20);
    let stats = heap.stats();
    assert_eq!((stats.purges, stats.purged_bytes), (1, bytes));
}

#[test]
fn a_table_has_a_line_for_each_class() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let blocks = [16, 64, 1000].map(|size| allocator_api2::vec![in heap.alloc(); 1_u8; size]);
    let table = heap.stats().to_string();
    let lines: Vec<&str> = table.lines().skip_while(|line| !line.trim_start().starts_with("block")).collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{table}");
    assert!(table.contains("3 allocations, 0 frees (0 remote), 3 slow paths"), "{table}");
    drop(blocks);
}

#[test]
fn bytes_are_shown_with_a_fitting_unit() {
    let shown: Vec<String> = [0, 1023, 1536, 200 << 20, u64::MAX].iter().map(|&n| Bytes(n).to_string()).collect();
    assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "200 MiB", "16384 PiB"]);
}

#[cfg(feature = "prometheus")]
#[test]
fn the_exposition_has_help_type_and_samples_of_each_metric_and_escapes_labels() {
    let heap = HeapOptions::new().capacity(1 << 30).volatile().unwrap();
    let block = allocator_api2::vec![in heap.alloc(); 1_u8; 64];
    let mut text = String::new();
    heap.stats().write_prometheus(&mut text, &[("heap", "a \"b\"\\\n")]).unwrap();
    assert!(text.contains("sal_class_allocations_total{heap=\"a \\\"b\\\"\\\\\\n\",size=\"64\"} 1\n"), "{text}");
    let mut described = std::collections::HashSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "HELP", name, ..] => assert!(described.insert(name), "described twice: {name}"),
            ["#", "TYPE", name, kind] => {
                assert!(described.contains(name) && name.ends_with("_total") == (kind == "counter"), "{line}");
            }
            _ => {
                assert!(described.contains(line.split('{').next().unwrap()), "{line}");
                assert!(words[words.len() - 1].parse::<f64>().is_ok(), "{line}");
            }
        }
    }
    drop(block);
}
