//! A number that knows how many of its kind are alive and aborts the test if one dies twice.
#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};

std::thread_local! {
    static ALIVE: RefCell<HashSet<u64>> = RefCell::new(HashSet::new());
    static NEXT_ID: Cell<u64> = const { Cell::new(0) };
    static FUEL: Cell<Option<u32>> = const { Cell::new(None) };
}

/// How many are alive on this thread.
pub(crate) fn alive() -> usize {
    ALIVE.with_borrow(HashSet::len)
}

/// Lets the call after `fuel` more comparisons, hashes and clones panic.
pub(crate) fn panic_after(fuel: u32) {
    FUEL.set(Some(fuel));
}

/// Ends what [`panic_after`] began.
pub(crate) fn never_panic() {
    FUEL.set(None);
}

fn burn() {
    match FUEL.get() {
        Some(0) => {
            FUEL.set(None);
            panic!("out of fuel");
        }
        Some(left) => FUEL.set(Some(left - 1)),
        None => {}
    }
}

/// Counted, with a hash of only `HASHES` different values (0: as many as there are).
#[derive(Debug)]
pub(crate) struct Counted<const HASHES: u64 = 0> {
    pub(crate) number: u64,
    id: u64,
}

impl<const HASHES: u64> Counted<HASHES> {
    pub(crate) fn new(number: u64) -> Self {
        let id = NEXT_ID.get();
        NEXT_ID.set(id + 1);
        ALIVE.with_borrow_mut(|alive| alive.insert(id));
        Self { number, id }
    }
}

impl<const HASHES: u64> From<&u64> for Counted<HASHES> {
    fn from(number: &u64) -> Self {
        burn();
        Self::new(*number)
    }
}

impl<const HASHES: u64> Drop for Counted<HASHES> {
    fn drop(&mut self) {
        if !ALIVE.with_borrow_mut(|alive| alive.remove(&self.id)) {
            eprintln!("dropped twice, or never made: {}", self.number);
            std::process::abort();
        }
    }
}

impl<const HASHES: u64> Clone for Counted<HASHES> {
    fn clone(&self) -> Self {
        burn();
        Self::new(self.number)
    }
}

impl<const HASHES: u64> PartialEq for Counted<HASHES> {
    fn eq(&self, other: &Self) -> bool {
        burn();
        self.number == other.number
    }
}

impl<const HASHES: u64> Eq for Counted<HASHES> {}

impl<const HASHES: u64> PartialOrd for Counted<HASHES> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const HASHES: u64> Ord for Counted<HASHES> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        burn();
        self.number.cmp(&other.number)
    }
}

impl<const HASHES: u64> Hash for Counted<HASHES> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        burn();
        (if HASHES == 0 { self.number } else { self.number % HASHES }).hash(state);
    }
}

/// Only where `HASHES` is 0 the hashes agree, as `Borrow` demands.
impl Borrow<u64> for Counted<0> {
    fn borrow(&self) -> &u64 {
        &self.number
    }
}

/// A number that panics when it is dropped, if it is to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bomb<const HASHES: u64 = 0> {
    pub(crate) counted: Counted<HASHES>,
    pub(crate) armed: bool,
}

impl<const HASHES: u64> Drop for Bomb<HASHES> {
    fn drop(&mut self) {
        if self.armed && !std::thread::panicking() {
            panic!("bomb {}", self.counted.number);
        }
    }
}
