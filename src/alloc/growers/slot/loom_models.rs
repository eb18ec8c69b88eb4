//! A slot's word, taken through all interleavings of those who want the slot, its owner, and purges.
//!
//! The slot has two pages, each a loom cell: an owner writes to those that it claims, a purge to those that it drops. So two that
//! have the same page, or one that does not see what the last one did to it, are reported. What a page holds is a number, and
//! zero when it was dropped, so that the word's word about what is held can be checked, too. Each model also says what must
//! happen in some of the interleavings, so that none passes because nothing met.
//!
//! Each ordering and each check of the protocol, left out, makes one of these fail.

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::{AtomicBool as PlainBool, Ordering::SeqCst};

const PAGES: usize = 2;

/// What a slot was when it was taken.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// Pages that it held: all until a purge.
    held: usize,
}

struct Model {
    word: Word,
    pages: [UnsafeCell<u32>; PAGES],
}

impl Model {
    /// A slot with a block of so many pages, after one that had all of them.
    fn with_block(pages: usize) -> Arc<Self> {
        let model = Self::free();
        assert!(model.take(pages).is_some());
        model
    }

    /// A free slot that holds all its pages.
    fn free() -> Arc<Self> {
        let word = Word(AtomicU64::new(State::new(0, 0, PAGES * PAGE).0));
        Arc::new(Self { word, pages: [UnsafeCell::new(1), UnsafeCell::new(1)] })
    }

    fn take(&self, pages: usize) -> Option<Before> {
        let state = self.word.look();
        (state.is_free() && self.word.take(state, pages * PAGE)).then_some(Before { held: state.held() / PAGE })
    }

    /// Uses the first pages, as the owner of a block that claims them.
    fn touch(&self, pages: usize) {
        for page in &self.pages[..pages] {
            // SAFETY: that nobody else has it is what loom checks.
            page.with_mut(|page| unsafe { *page += 1 });
        }
    }

    /// Takes a block, uses it and frees it, if the slot can be had.
    fn use_once(&self, pages: usize) -> Option<Before> {
        let taken = self.take(pages);
        if taken.is_some() {
            self.touch(pages);
            self.word.give();
        }
        taken
    }

    /// Gives back what nobody needs; says how many pages.
    fn purge(&self) -> usize {
        let Some(state) = self.word.begin_purge(PAGE) else { return 0 };
        let unneeded = &self.pages[state.claimed() / PAGE..state.held() / PAGE];
        for page in unneeded {
            // SAFETY: as in `touch`.
            page.with_mut(|page| unsafe { *page = 0 });
        }
        self.word.end_purge(state.claimed());
        unneeded.len()
    }

    /// What must hold when all threads are done (Z3), the block freed or not.
    fn check(&self, is_live: bool) {
        let state = self.word.look();
        assert!(state.is_free() != is_live && state.0 & PURGING == 0 && state.held() >= state.claimed());
        for page in &self.pages[state.held() / PAGE..] {
            // SAFETY: all threads are done.
            assert_eq!(page.with(|page| unsafe { *page }), 0, "touched and not held");
        }
    }
}

/// Something that must happen in some interleavings of a model.
struct Sometimes(&'static str, PlainBool);

impl Sometimes {
    const fn new(what: &'static str) -> Self {
        Self(what, PlainBool::new(false))
    }

    fn note(&self, happened: bool) {
        self.1.fetch_or(happened, SeqCst);
    }
}

fn all_have_happened(all: &[&Sometimes]) {
    for sometimes in all {
        assert!(sometimes.1.load(SeqCst), "never: {}", sometimes.0);
    }
}

#[test]
fn a_slot_that_two_threads_want_and_a_third_purges_is_had_by_one_at_a_time() {
    static BOTH: Sometimes = Sometimes::new("both had it");
    static NEITHER: Sometimes = Sometimes::new("the purge was in the way of both");
    static PURGED_BEFORE: Sometimes = Sometimes::new("it was purged before a block came");
    static PURGED_AFTER: Sometimes = Sometimes::new("it was purged after a block");
    loom::model(|| {
        let model = Model::free();
        let threads = [1, 2].map(|pages| {
            let model = Arc::clone(&model);
            thread::spawn(move || model.use_once(pages))
        });
        let purged = model.purge();
        let used = threads.map(|thread| thread.join().unwrap());
        model.check(false);
        BOTH.note(used.iter().all(Option::is_some));
        NEITHER.note(used.iter().all(Option::is_none));
        PURGED_BEFORE.note(used.iter().flatten().any(|before| before.held < PAGES));
        PURGED_AFTER.note(purged > 0 && used.iter().flatten().any(|before| before.held == PAGES));
    });
    all_have_happened(&[&BOTH, &NEITHER, &PURGED_BEFORE, &PURGED_AFTER]);
}

#[test]
fn a_raised_claim_has_what_it_claims_whoever_purges_behind_the_old_one() {
    static RAISED: Sometimes = Sometimes::new("the claim was raised first");
    static RAISED_AFTER: Sometimes = Sometimes::new("the claim was raised after the purge");
    static REFUSED: Sometimes = Sometimes::new("the purge was in the way");
    loom::model(|| {
        let model = Model::with_block(1);
        let purger = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.purge())
        };
        model.touch(1);
        let is_raised = model.word.set_claim(2 * PAGE);
        let claimed = model.word.look().claimed() / PAGE;
        assert_eq!(claimed, if is_raised { 2 } else { 1 });
        model.touch(claimed);
        let purged = purger.join().unwrap();
        model.check(true);
        RAISED.note(is_raised && purged == 0);
        RAISED_AFTER.note(is_raised && purged == 1);
        REFUSED.note(!is_raised);
    });
    all_have_happened(&[&RAISED, &RAISED_AFTER, &REFUSED]);
}

#[test]
fn a_slot_that_is_freed_during_a_purge_is_whole_for_the_next_owner() {
    static BEHIND: Sometimes = Sometimes::new("what lies behind the block was purged, and the next one came");
    static ALL: Sometimes = Sometimes::new("all was purged, and the next one came");
    static LATER: Sometimes = Sometimes::new("the next one came, and then all was purged");
    static FOUND: Sometimes = Sometimes::new("the next one found the slot in use");
    loom::model(|| {
        let model = Model::with_block(1);
        let purger = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.purge())
        };
        let next = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.use_once(2))
        };
        model.touch(1);
        model.word.give();
        let (purged, next) = (purger.join().unwrap(), next.join().unwrap());
        model.check(false);
        let held = next.map(|before| before.held);
        BEHIND.note(purged == 1 && held == Some(1));
        ALL.note(purged == 2 && held == Some(0));
        LATER.note(purged == 2 && held == Some(2));
        FOUND.note(held.is_none());
    });
    all_have_happened(&[&BEHIND, &ALL, &LATER, &FOUND]);
}

#[test]
fn what_a_lowered_claim_gives_up_is_purged_after_its_last_use() {
    static PURGED: Sometimes = Sometimes::new("what was given up was purged");
    static RAISED: Sometimes = Sometimes::new("and the claim was raised again after it");
    static REFUSED: Sometimes = Sometimes::new("or was not, as the purge was under way");
    loom::model(|| {
        let model = Model::with_block(2);
        let purger = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.purge())
        };
        model.touch(2);
        assert!(model.word.set_claim(PAGE), "nothing can be purged before");
        model.touch(1);
        let is_raised = model.word.set_claim(2 * PAGE);
        model.touch(if is_raised { 2 } else { 1 });
        let purged = purger.join().unwrap();
        model.check(true);
        PURGED.note(purged == 1);
        RAISED.note(purged == 1 && is_raised);
        REFUSED.note(!is_raised);
    });
    all_have_happened(&[&PURGED, &RAISED, &REFUSED]);
}

#[test]
fn of_two_purges_one_has_what_the_next_owner_then_gets() {
    static ONE: Sometimes = Sometimes::new("a purge was in the way of the other one");
    static BEFORE: Sometimes = Sometimes::new("the slot was taken after a purge");
    static AFTER: Sometimes = Sometimes::new("the slot was purged after a block");
    loom::model(|| {
        let model = Model::free();
        let purger = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.purge())
        };
        let next = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.use_once(2))
        };
        let purged = [model.purge(), purger.join().unwrap()];
        let held = next.join().unwrap().map(|before| before.held);
        model.check(false);
        ONE.note(held.is_none() && purged.contains(&0));
        BEFORE.note(held == Some(0));
        AFTER.note(held == Some(2) && purged.contains(&2));
    });
    all_have_happened(&[&ONE, &BEFORE, &AFTER]);
}
