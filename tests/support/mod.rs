//! What tests of whole heaps share: other processes, bytes of heap files, figures of this process.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unsafe_code)]

pub(crate) mod bytes;
pub(crate) mod golden;
pub(crate) mod heaps;
pub(crate) mod power_cuts;
pub(crate) mod process;
pub(crate) mod tagged;

use sal::persist::{BlockVisitor, Describer, Node, Persist};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;

/// A directory of its own and a path in it that names nothing yet.
pub(crate) fn fresh_path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heap.sal");
    (directory, path)
}

/// Tests that open a file again in one process take turns: another test's heap could lie in its window by then.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the flag when it is dropped, and so at a panic, too: threads that go on until then end, and with them the scope that waits
/// for them.
#[derive(Debug)]
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        // Relaxed: nothing else is told by it.
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for the ends of threads, which a scope by itself does not: only for what they run, and not for what follows, in which
/// they hand over what they have of a heap, and what they have counted.
#[derive(Debug, Default)]
pub(crate) struct Ends<'scope>(Vec<ScopedJoinHandle<'scope, ()>>);

impl<'scope> Ends<'scope> {
    pub(crate) fn of(&mut self, thread: ScopedJoinHandle<'scope, ()>) {
        self.0.push(thread);
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking(), "a thread has panicked");
        }
    }
}

/// A generator that is the same on every machine; tests print its seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 ^ self.0 >> 29) >> 11
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}

/// Whether all of the bytes are that one. Code that is not optimised compares slices a hundred times as fast as it goes through them.
pub(crate) fn all_are(bytes: &[u8], byte: u8) -> bool {
    bytes.first().is_none_or(|&first| first == byte && bytes[1..] == bytes[..bytes.len() - 1])
}

/// The seed in `SAL_TEST_SEED`, or the one given.
pub(crate) fn seed(usual: u64) -> u64 {
    std::env::var("SAL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual)
}

/// The address of a block that tests take by hand, in a root. To whoever follows types it is opaque, so it may be an address; as
/// a plain number it would lead nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Address(pub(crate) u64);

// SAFETY: a number, with an id of its own; the blocks are the tests' own.
unsafe impl Persist for Address {
    const OWNS_BLOCKS: bool = false;

    fn describe(_: &mut Describer) -> Node {
        Node::leaf::<Self>(0x3AD9_1C55_0A4B_7E21, "Address")
    }

    fn visit_blocks(&self, _: &mut BlockVisitor<'_>) {}
}
