//! Foreign code that panics leaves a valid vector, and neither a leak nor a double drop.

use crate::ledger::{Element, Ledger, values};
use sal::collections::SalVec;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `act` on eight elements and on an armed ledger, with fuses of all lengths, and checks that nothing
/// is lost or dropped twice. Returns how many runs panicked.
fn panics_of(arm: impl Fn(&Ledger, usize), act: impl Fn(&mut SalVec<Element>, &Ledger, usize)) -> usize {
    (0..10)
        .filter(|&fuse| {
            let ledger = Ledger::default();
            let mut vec: SalVec<_> = [1, 1, 2, 2, 3, 3, 4, 4].into_iter().map(|v| ledger.element(v)).collect();
            arm(&ledger, fuse);
            let result = catch_unwind(AssertUnwindSafe(|| act(&mut vec, &ledger, fuse)));
            ledger.disarm();
            assert_eq!(values(&vec).len(), ledger.alive(), "fuse {fuse}");
            vec.push(ledger.element(9));
            drop(vec);
            assert_eq!(ledger.alive(), 0, "fuse {fuse}");
            result.is_err()
        })
        .count()
}

#[test]
fn a_panic_in_a_drop_drops_the_rest_once() {
    let armed = |act: fn(&mut SalVec<Element>)| panics_of(Ledger::arm_drop, |vec, _, _| act(vec));
    assert_eq!(armed(|vec| vec.truncate(3)), 5);
    assert_eq!(armed(SalVec::clear), 8);
    assert_eq!(armed(|vec| vec.retain(|e| e.value() % 2 == 0)), 4);
    assert_eq!(armed(SalVec::dedup), 4);
    assert_eq!(armed(|vec| drop(vec.drain(1..7))), 6);
    assert_eq!(armed(|vec| vec.drain(1..7).for_each(drop)), 6);
    assert_eq!(armed(|vec| drop(mem::take(vec))), 8);
    assert_eq!(armed(|vec| drop(mem::take(vec).into_iter())), 8);
    assert_eq!(armed(|vec| drop(mem::take(vec).into_iter().nth(2))), 8);
    assert_eq!(armed(|vec| drop(vec.split_off(2))), 6);
}

#[test]
fn a_panic_in_a_clone_keeps_what_was_cloned_before_it() {
    let armed =
        |act: fn(&mut SalVec<Element>, &Ledger)| panics_of(Ledger::arm_clone, |vec, ledger, _| act(vec, ledger));
    let three = |ledger: &Ledger| [7, 8, 9].map(|v| ledger.element(v));
    assert_eq!(armed(|vec, _| drop(vec.clone())), 8);
    assert_eq!(armed(|vec, _| vec.extend_from_within(2..5)), 3);
    assert_eq!(armed(|vec, ledger| vec.resize(12, ledger.element(5))), 3);
    let extend = |vec: &mut SalVec<Element>, ledger: &Ledger, _| {
        vec.extend_from_slice(&three(ledger));
    };
    assert_eq!(panics_of(Ledger::arm_clone, extend), 3);
    let clone_from = |vec: &mut SalVec<Element>, ledger: &Ledger, _| {
        vec.clone_from(&SalVec::from(three(ledger)));
    };
    assert_eq!(panics_of(Ledger::arm_clone, clone_from), 3);
}

#[test]
fn a_panic_in_a_closure_keeps_what_it_has_not_judged() {
    let unarmed = |_: &Ledger, _| {};
    let judge = |fuse: usize| {
        let mut judged = 0;
        move || {
            judged += 1;
            assert!(judged <= fuse, "the closure panics");
        }
    };
    let retain = |vec: &mut SalVec<Element>, _: &Ledger, fuse| {
        let mut judge = judge(fuse);
        vec.retain(|e| {
            judge();
            e.value() % 2 == 0
        });
    };
    assert_eq!(panics_of(unarmed, retain), 8);
    let dedup = |vec: &mut SalVec<Element>, _: &Ledger, fuse| {
        let mut judge = judge(fuse);
        vec.dedup_by_key(|e| {
            judge();
            e.value()
        });
    };
    assert_eq!(panics_of(unarmed, dedup), 10);
    let extend = |vec: &mut SalVec<Element>, ledger: &Ledger, fuse| {
        let mut judge = judge(fuse);
        vec.extend((0..5).map(|v| {
            judge();
            ledger.element(v)
        }));
    };
    assert_eq!(panics_of(unarmed, extend), 5);
    let resize = |vec: &mut SalVec<Element>, ledger: &Ledger, fuse| {
        let mut judge = judge(fuse);
        vec.resize_with(12, || {
            judge();
            ledger.element(5)
        });
    };
    assert_eq!(panics_of(unarmed, resize), 4);
}

#[test]
fn retain_that_panics_leaves_kept_and_unjudged_elements_in_order() {
    let mut vec = SalVec::from([1, 2, 3, 4, 5, 6]);
    let result = catch_unwind(AssertUnwindSafe(|| {
        vec.retain(|&n| {
            assert_ne!(n, 4, "the closure panics");
            n % 2 == 1
        });
    }));
    assert!(result.is_err());
    assert_eq!(vec, [1, 3, 4, 5, 6]);
}
