//! Any sequence of operations does what it does to a [`Vec`], and drops each element once.

use crate::ledger::{Element, Ledger, values};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use sal::collections::SalVec;
use std::mem;
use std::ops::Range;

/// One step of the model test. Indices are taken modulo what is there.
#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Pop,
    Insert(usize, u8),
    Remove(usize),
    SwapRemove(usize),
    Truncate(usize),
    Clear,
    Retain(u8),
    RetainMut(u8),
    Dedup,
    Drain(usize, usize, usize, usize),
    Extend(Vec<u8>),
    ExtendFromSlice(Vec<u8>),
    ExtendFromWithin(usize, usize),
    Append(Vec<u8>),
    SplitOff(usize),
    Resize(usize, u8),
    Reserve(usize),
    ReserveExact(usize),
    ShrinkTo(usize),
    Clone,
    CloneFrom(Vec<u8>),
    IntoIter(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || any::<usize>();
    let few = || prop::collection::vec(0..4u8, 0..20);
    let step = prop_oneof![
        8 => (0..4u8).prop_map(Step::Push),
        2 => Just(Step::Pop),
        3 => (at(), 0..4u8).prop_map(|(at, value)| Step::Insert(at, value)),
        3 => at().prop_map(Step::Remove),
        2 => at().prop_map(Step::SwapRemove),
        1 => at().prop_map(Step::Truncate),
        1 => Just(Step::Clear),
        1 => (0..4u8).prop_map(Step::Retain),
        1 => (0..4u8).prop_map(Step::RetainMut),
        1 => Just(Step::Dedup),
        3 => (at(), at(), 0..5usize, 0..5usize).prop_map(|(a, b, c, d)| Step::Drain(a, b, c, d)),
        3 => few().prop_map(Step::Extend),
        3 => few().prop_map(Step::ExtendFromSlice),
        1 => (at(), at()).prop_map(|(a, b)| Step::ExtendFromWithin(a, b)),
        2 => few().prop_map(Step::Append),
        1 => at().prop_map(Step::SplitOff),
        2 => (0..40usize, 0..4u8).prop_map(|(len, value)| Step::Resize(len, value)),
        1 => (0..100usize).prop_map(Step::Reserve),
        1 => (0..100usize).prop_map(Step::ReserveExact),
        2 => (0..50usize).prop_map(Step::ShrinkTo),
        1 => Just(Step::Clone),
        1 => few().prop_map(Step::CloneFrom),
        1 => (0..5usize, 0..5usize).prop_map(|(front, back)| Step::IntoIter(front, back)),
    ];
    prop::collection::vec(step, 0..60)
}

fn range(a: usize, b: usize, len: usize) -> Range<usize> {
    let (a, b) = (a % (len + 1), b % (len + 1));
    a.min(b)..a.max(b)
}

fn apply(step: Step, ours: &mut SalVec<Element>, model: &mut Vec<u8>, ledger: &Ledger) {
    let new = |value| ledger.element(value);
    let len = model.len();
    match step {
        Step::Push(value) => {
            ours.push(new(value));
            model.push(value);
        }
        Step::Pop => assert_eq!(ours.pop().map(|e| e.value()), model.pop()),
        Step::Insert(at, value) => {
            ours.insert(at % (len + 1), new(value));
            model.insert(at % (len + 1), value);
        }
        Step::Remove(at) if len > 0 => {
            assert_eq!(ours.remove(at % len).value(), model.remove(at % len));
        }
        Step::SwapRemove(at) if len > 0 => {
            assert_eq!(ours.swap_remove(at % len).value(), model.swap_remove(at % len));
        }
        Step::Remove(_) | Step::SwapRemove(_) => {}
        Step::Truncate(at) => {
            ours.truncate(at % (len + 2));
            model.truncate(at % (len + 2));
        }
        Step::Clear => {
            ours.clear();
            model.clear();
        }
        Step::Retain(value) => {
            ours.retain(|e| e.value() != value);
            model.retain(|&v| v != value);
        }
        Step::RetainMut(value) => {
            ours.retain_mut(|e| {
                e.set(e.value() / 2);
                e.value() != value
            });
            model.retain_mut(|v| {
                *v /= 2;
                *v != value
            });
        }
        Step::Dedup => {
            ours.dedup();
            model.dedup();
        }
        Step::Drain(a, b, front, back) => {
            let range = range(a, b, len);
            let mut drained = ours.drain(range.clone());
            let mut expected = model.drain(range);
            for _ in 0..front {
                assert_eq!(drained.next().map(|e| e.value()), expected.next());
            }
            for _ in 0..back {
                assert_eq!(drained.next_back().map(|e| e.value()), expected.next_back());
            }
            assert_eq!(values(drained.as_slice()), expected.as_slice());
            assert_eq!(drained.len(), expected.len());
        }
        Step::Extend(items) => {
            ours.extend(items.iter().map(|&v| new(v)).filter(|e| e.value() != 3));
            model.extend(items.iter().filter(|&&v| v != 3));
        }
        Step::ExtendFromSlice(items) => {
            ours.extend_from_slice(&items.iter().map(|&v| new(v)).collect::<Vec<_>>());
            model.extend_from_slice(&items);
        }
        Step::ExtendFromWithin(a, b) => {
            let range = range(a, b, len);
            ours.extend_from_within(range.clone());
            model.extend_from_within(range);
        }
        Step::Append(mut items) => {
            let mut other: SalVec<_> = items.iter().map(|&v| new(v)).collect();
            ours.append(&mut other);
            assert!(other.is_empty());
            model.append(&mut items);
        }
        Step::SplitOff(at) => {
            let tail = ours.split_off(at % (len + 1));
            assert_eq!(values(&tail), model.split_off(at % (len + 1)));
        }
        Step::Resize(to, value) => {
            ours.resize(to, new(value));
            model.resize(to, value);
        }
        Step::Reserve(additional) => {
            ours.reserve(additional);
            assert!(ours.capacity() >= len + additional);
        }
        Step::ReserveExact(additional) => {
            ours.reserve_exact(additional);
            assert!(ours.capacity() >= len + additional);
        }
        Step::ShrinkTo(min) => {
            let before = ours.capacity();
            ours.shrink_to(min);
            assert!(ours.capacity() >= before.min(min));
        }
        Step::Clone => *ours = ours.clone(),
        Step::CloneFrom(items) => {
            ours.clone_from(&items.iter().map(|&v| new(v)).collect());
            *model = items;
        }
        Step::IntoIter(front, back) => {
            let mut items = mem::take(ours).into_iter();
            let mut expected = mem::take(model).into_iter();
            for _ in 0..front {
                assert_eq!(items.next().map(|e| e.value()), expected.next());
            }
            for _ in 0..back {
                assert_eq!(items.next_back().map(|e| e.value()), expected.next_back());
            }
            assert_eq!(values(items.as_slice()), expected.as_slice());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_steps_do_what_they_do_to_a_std_vec(steps in steps()) {
        let ledger = Ledger::default();
        let mut ours = SalVec::new();
        let mut model = Vec::new();
        for step in steps {
            apply(step, &mut ours, &mut model, &ledger);
            assert_eq!(values(&ours), model);
            assert_eq!(ledger.alive(), model.len());
            assert!(ours.capacity() >= ours.len());
        }
        drop(ours);
        assert_eq!(ledger.alive(), 0);
    }
}
