//! Shared values in heap files: after a restart, and after a crash, each has as many pointers as there are in the file.
#![allow(unsafe_code)]

mod support;

use sal::prelude::*;
use sal::{HeapOptions, Mode, Recovery, SalBox, SalCollect, SalRc, SealPolicy};
use std::path::Path;
use support::heaps::{opened, run_and_kill, unmap};
use support::{alone, fresh_path, process};

/// A node that others share.
#[derive(Clone, Persist)]
#[repr(C)]
struct Node {
    number: u64,
    children: SalVec<SalRc<Node>>,
    text: SalString,
}

const TREE: Root<SalVec<SalRc<Node>>> = Root::new("tree");

/// Levels of nodes; each node of a level has the next two of the level below, so that all but the outermost are shared by two.
const WIDTH: u64 = 50;
const LEVELS: u64 = 20;

fn build(heap: &Heap) {
    let tx = heap.write().unwrap();
    let tree = tx.root_or_default(TREE).unwrap();
    let mut below: Vec<SalRc<Node>> = Vec::new();
    for level in 0..LEVELS {
        below = (0..WIDTH)
            .map(|at| {
                let mut children = SalVec::new();
                if level > 0 {
                    children.push(below[at as usize].clone());
                    children.push(below[(at as usize + 1) % WIDTH as usize].clone());
                }
                let number = level * WIDTH + at;
                heap.rc(Node { number, children, text: SalString::from(&*format!("node {number}")) })
            })
            .collect();
    }
    tree.extend(below);
    drop(tx);
}

/// Whether all nodes are there, as they were built, with so many pointers each.
fn check(tree: &SalVec<SalRc<Node>>, pointers_at_top: usize) {
    assert_eq!(tree.len() as u64, WIDTH);
    let mut level: Vec<SalRc<Node>> = tree.iter().cloned().collect();
    let mut at_top = true;
    while !level.is_empty() {
        for node in &level {
            // The one in `level`, and those in the heap.
            let expected = 1 + if at_top { pointers_at_top } else { 2 };
            assert_eq!(SalRc::strong_count(node), expected, "{}", node.number);
            assert_eq!(node.text.as_str(), format!("node {}", node.number));
        }
        let next = level.iter().filter_map(|node| node.children.first().cloned()).collect();
        (level, at_top) = (next, false);
    }
}

/// All that there is can be changed and dropped, and leaves nothing.
fn change_and_drop(heap: &Heap) {
    let tx = heap.write().unwrap();
    let tree = tx.root_mut(TREE).unwrap();
    let place = SalRc::as_ptr(&tree[0]);
    SalRc::make_mut(&mut tree[0]).number = 7;
    assert_eq!(SalRc::as_ptr(&tree[0]), place, "nobody else has it");
    let version = tree[1].clone();
    SalRc::make_mut(&mut tree[1]).number = 8;
    assert!(!SalRc::ptr_eq(&version, &tree[1]) && version.number == (LEVELS - 1) * WIDTH + 1);
    assert_eq!(SalRc::strong_count(&version.children[0]), 3);
    drop(version);
    tree.clear();
    tree.shrink_to_fit();
    drop(tx);
    let left = heap.stats().live_bytes;
    // The root's own block.
    assert!(left < 256, "{left} bytes are left");
}

fn round(mode: Mode) {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    // What is sealed would be copied though nobody else has it.
    let options = HeapOptions::new().mode(mode).recovery(Recovery::Eager).seal_policy(SealPolicy::Off);
    let heap = opened(&options, &path);
    build(&heap);
    check(heap.read().unwrap().root(TREE).unwrap(), 1);
    // One that the file keeps and nobody will drop.
    std::mem::forget(heap.read().unwrap().root(TREE).unwrap()[0].clone());
    unmap(heap);
    for _ in 0..2 {
        let heap = opened(&options, &path);
        check(heap.read().unwrap().root(TREE).unwrap(), 1);
        unmap(heap);
    }
    let heap = opened(&options, &path);
    change_and_drop(&heap);
    unmap(heap);
    let heap = opened(&options, &path);
    assert!(heap.read().unwrap().root(TREE).unwrap().is_empty());
    unmap(heap);
}

#[test]
fn pointers_of_an_atomic_heap_are_as_many_after_it_was_closed() {
    round(Mode::Atomic);
}

#[test]
fn pointers_of_a_shared_heap_are_as_many_after_it_was_closed() {
    round(Mode::Shared);
}

fn fill_and_wait(path: &Path) {
    let heap = opened(&HeapOptions::new(), path);
    build(&heap);
    heap.sync().unwrap();
    // Nodes that no commit has, and pointers that none has.
    let _more: Vec<_> = (0..1000).map(|number| heap.rc([number; 20])).collect();
    let _again: Vec<_> = heap.read().unwrap().root(TREE).unwrap().iter().cloned().collect();
    support::heaps::wait_for_the_kill();
}

#[test]
fn after_a_crash_pointers_are_counted_and_what_has_none_is_free() {
    if let Some((_, path)) = process::role() {
        return fill_and_wait(&path);
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill("after_a_crash_pointers_are_counted_and_what_has_none_is_free", "writer", &path);
    let heap = opened(&HeapOptions::new().recovery(Recovery::Eager), &path);
    check(heap.read().unwrap().root(TREE).unwrap(), 1);
    change_and_drop(&heap);
    unmap(heap);
}

#[test]
fn what_is_cloned_and_dropped_while_pointers_are_counted_is_counted_too() {
    if let Some((_, path)) = process::role() {
        return fill_and_wait(&path);
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill("what_is_cloned_and_dropped_while_pointers_are_counted_is_counted_too", "writer", &path);
    // The recovery stands still until the other side is done with its changes.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let options = HeapOptions::new().recovery(Recovery::Background).on_recovery(move |_| {
        let _ = wait.lock().unwrap().recv();
        std::ops::ControlFlow::Continue(())
    });
    let heap = opened(&options, &path);
    let kept = {
        let tx = heap.write().unwrap();
        let tree = tx.root_mut(TREE).unwrap();
        let kept: Vec<_> = tree.iter().map(|node| (node.clone(), node.clone())).collect();
        // Nothing is known of it, so it may be shared.
        let place = SalRc::as_ptr(&tree[0]);
        SalRc::make_mut(&mut tree[0]).number = 99;
        assert_ne!(SalRc::as_ptr(&tree[0]), place);
        tree.pop();
        kept
    };
    assert_eq!(SalRc::strong_count(&kept[1].0), usize::MAX);
    drop(go);
    heap.wait_for_recovery().unwrap();
    for (at, (node, again)) in kept.iter().enumerate() {
        let in_tree = if at == 0 || at as u64 == WIDTH - 1 { 0 } else { 1 };
        assert_eq!(SalRc::strong_count(node), 2 + in_tree, "{at}");
        assert!(SalRc::ptr_eq(node, again));
        // The copy of the first node has the first two of the level below as well.
        assert_eq!(SalRc::strong_count(&node.children[0]), if at < 2 { 3 } else { 2 }, "{at}");
    }
    drop(kept);
    let tx = heap.write().unwrap();
    let tree = tx.root_mut(TREE).unwrap();
    tree.clear();
    tree.shrink_to_fit();
    drop(tx);
    assert!(heap.stats().live_bytes < 256, "{}", heap.stats());
    unmap(heap);
}

#[test]
fn collecting_makes_numbers_right_that_were_too_high() {
    let heap = HeapOptions::new().volatile().unwrap();
    build(&heap);
    let forgotten: Vec<_> = heap.read().unwrap().root(TREE).unwrap().iter().cloned().collect();
    forgotten.into_iter().for_each(std::mem::forget);
    check(heap.read().unwrap().root(TREE).unwrap(), 2);
    // SAFETY: only the roots hold anything in the heap, and no other thread uses it.
    unsafe { heap.collect() }.unwrap();
    check(heap.read().unwrap().root(TREE).unwrap(), 1);
    change_and_drop(&heap);
}

const BOXES: Root<SalVec<SalBox<SalString>>> = Root::new("boxes");
const TEXTS: Root<SalVec<SalRc<str>>> = Root::new("texts");

fn fill_boxes(path: &Path) {
    let heap = opened(&HeapOptions::new(), path);
    build(&heap);
    let tx = heap.write().unwrap();
    let boxes = tx.root_or_default(BOXES).unwrap();
    boxes.extend((0..100).map(|number| heap.boxed(SalString::from(&*format!("a text of its own, number {number}")))));
    let texts = tx.root_or_default(TEXTS).unwrap();
    let text = heap.rc_str("one for all");
    texts.extend((0..10).map(|_| text.clone()));
    drop(text);
    tx.sync().unwrap();
    support::heaps::wait_for_the_kill();
}

#[test]
fn what_is_dropped_and_taken_out_before_pointers_are_counted_is_given_back_then() {
    let name = "what_is_dropped_and_taken_out_before_pointers_are_counted_is_given_back_then";
    if let Some((_, path)) = process::role() {
        return fill_boxes(&path);
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    run_and_kill(name, "writer", &path);
    let heap = opened(&HeapOptions::new().recovery(Recovery::Background), &path);
    let tx = heap.write().unwrap();
    // Whatever recovery has come to: all of it goes, a part of it out of the heap first.
    let tree = tx.take_root(TREE).unwrap();
    let first = tree[0].clone();
    drop(tree);
    let boxes = tx.take_root(BOXES).unwrap();
    assert_eq!(boxes.into_iter().map(SalBox::into_inner).filter(|text| text.contains("of its own")).count(), 100);
    let texts = tx.take_root(TEXTS).unwrap();
    assert!(texts.iter().all(|text| &**text == "one for all" && SalRc::ptr_eq(text, &texts[0])));
    drop(texts);
    drop(tx);
    heap.wait_for_recovery().unwrap();
    assert_eq!(SalRc::strong_count(&first), 1);
    drop(first);
    assert_eq!(heap.stats().live_bytes, 0, "{}", heap.stats());
    unmap(heap);
}

#[test]
fn values_stay_readable_when_a_heap_is_closed_of_which_they_were_only_cloned() {
    let _alone = alone();
    for mode in [Mode::Atomic, Mode::Shared] {
        for read_only in [false, true] {
            let (_directory, path) = fresh_path();
            let options = HeapOptions::new().mode(mode);
            let heap = opened(&options, &path);
            build(&heap);
            unmap(heap);
            // SAFETY: the tests write these files through this crate only.
            let heap = unsafe { options.read_only(read_only).open(&path) }.unwrap();
            let kept = heap.read().unwrap().root(TREE).unwrap()[0].clone();
            heap.close().unwrap();
            assert_eq!(kept.number, (LEVELS - 1) * WIDTH, "{mode:?}, read only: {read_only}");
            assert_eq!(kept.children[0].text.as_str(), format!("node {}", (LEVELS - 2) * WIDTH));
            drop(kept);
        }
    }
}

#[test]
fn a_value_of_a_heap_that_is_only_read_is_not_copied_there() {
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let heap = opened(&HeapOptions::new(), &path);
    build(&heap);
    unmap(heap);
    // SAFETY: as above.
    let heap = unsafe { HeapOptions::new().read_only(true).open(&path) }.unwrap();
    let mut node = heap.read().unwrap().root(TREE).unwrap()[0].clone();
    assert!(SalRc::try_make_mut(&mut node).is_err());
    assert_eq!(node.number, (LEVELS - 1) * WIDTH);
    drop(node);
    unmap(heap);
}
