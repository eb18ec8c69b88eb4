//! What tests of whole heaps share: other processes, bytes of heap files, figures of this process.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unsafe_code)]

pub(crate) mod bytes;
pub(crate) mod heaps;
pub(crate) mod process;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// The seed in `SAL_TEST_SEED`, or the one given.
pub(crate) fn seed(usual: u64) -> u64 {
    std::env::var("SAL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual)
}
