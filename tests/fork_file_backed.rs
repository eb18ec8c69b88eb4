//! The default heap over a temporary file as the global allocator, in a parent and its forked children.
//!
//! The file is mapped shared, so after a fork both would write to the same pages. Whatever the child has must be its
//! own: what was in use at the fork, and what it takes into use afterwards, which the parent may take too.
#![allow(unsafe_code)]

use sal::SalAlloc;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

mod support;
use support::all_are;

#[global_allocator]
static GLOBAL: SalAlloc = SalAlloc::file_backed();

fn fork(work: impl FnOnce()) -> i32 {
    // SAFETY: the child runs `work` and ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(work));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if outcome.is_ok() { 7 } else { 1 }) };
    }
    child
}

fn wait(child: i32) {
    let mut status = 0;
    // SAFETY: our child, waited for once.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "status {status:#x}");
}

/// Takes and gives back memory of many sizes; what is asked for as zeros must be zeros.
fn churn(tag: u8, rounds: usize) -> Vec<Vec<u8>> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for round in 0..rounds {
        let size = [24, 700, 9_000, 33_000, 300_000, 2_500_000][round % 6] + round;
        let mut block = vec![0_u8; size];
        assert!(all_are(&block, 0), "{size} bytes are not fresh");
        block.fill(tag);
        held.push(block);
        if round % 3 == 0 {
            let at = round * 7 % held.len();
            let old = held.swap_remove(at);
            assert!(all_are(&old, tag));
        }
    }
    held
}

#[test]
fn parent_and_child_do_not_see_each_others_writes() {
    let mut before = vec![1_u8; 3 << 20];
    let mut map: HashMap<u64, String> = (0..2000).map(|key| (key, key.to_string())).collect();
    let held = churn(2, 60);
    let child = fork(|| {
        before.fill(3);
        map.retain(|key, _| key % 2 == 0);
        let mine = churn(4, 300);
        assert!(held.iter().all(|block| all_are(block, 2)));
        assert!(mine.iter().all(|block| all_are(block, 4)));
        assert!(all_are(&before, 3));
        assert!(map.iter().all(|(key, value)| *value == key.to_string()) && map.len() == 1000);
    });
    // Meanwhile the parent takes the same memory into use.
    let mine = churn(5, 300);
    assert!(all_are(&before, 1) && map.len() == 2000);
    wait(child);
    assert!(held.iter().all(|block| all_are(block, 2)));
    assert!(mine.iter().all(|block| all_are(block, 5)));
    assert!(all_are(&before, 1));
    map.insert(0, String::from("changed"));
}

#[test]
fn a_child_of_a_child_has_what_its_parent_wrote() {
    let mut words = vec![1_u64; 500_000];
    let child = fork(|| {
        words.fill(2);
        let more = churn(6, 100);
        let grandchild = fork(|| {
            assert!(words.iter().all(|&word| word == 2) && more.iter().flatten().all(|&byte| byte == 6));
            words.fill(3);
            let mine = churn(7, 100);
            assert!(mine.iter().flatten().all(|&byte| byte == 7));
        });
        let mine = churn(8, 100);
        wait(grandchild);
        assert!(mine.iter().flatten().all(|&byte| byte == 8));
        assert!(words.iter().all(|&word| word == 2) && more.iter().flatten().all(|&byte| byte == 6));
    });
    wait(child);
    assert!(words.iter().all(|&word| word == 1));
}

#[test]
fn children_of_a_threaded_parent_work() {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|thread| scope.spawn(move || drop(churn(20 + thread, 250)))).collect();
        for _ in 0..5 {
            let child = fork(|| drop(churn(30, 60)));
            wait(child);
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
