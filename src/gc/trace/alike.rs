//! Whether two plans say the same.
//!
//! Each description is compiled by itself, so what two roots share may have a plan from each. Following it by the one does the same
//! as by the other if their operations are the same, and the plans that these lead to are alike in turn.

use super::{Op, Ops, Otherwise, Plan, PlanId, Program};
use std::collections::{HashMap, HashSet};

/// Pairs of plans that have been compared, and whether they are alike.
#[derive(Debug, Default)]
pub(crate) struct Alike {
    known: HashMap<Pair, bool>,
}

type Pair = (PlanId, PlanId);

impl Alike {
    /// Whether two plans of a program say the same, or both that nothing leads on.
    pub(crate) fn are(&mut self, program: &Program, first: PlanId, second: PlanId) -> bool {
        let leads_nowhere = |&(first, second): &Pair| program.is_plain(first) && program.is_plain(second);
        if first == second || leads_nowhere(&(first, second)) {
            return true;
        }
        if let Some(&known) = self.known.get(&(first, second)) {
            return known;
        }
        // Types may be recursive: pairs on the way count as alike until they are found not to be.
        let mut assumed = HashSet::from([(first, second)]);
        let mut open = vec![(first, second)];
        let mut pairs = Vec::new();
        while let Some((one, other)) = open.pop() {
            let is_same = program.compare_plans(program.plan(one), program.plan(other), &mut pairs);
            if !is_same || pairs.iter().any(|pair| self.known.get(pair) == Some(&false)) {
                self.known.insert((first, second), false);
                return false;
            }
            for pair in pairs.drain(..) {
                let is_known = pair.0 == pair.1 || leads_nowhere(&pair) || self.known.contains_key(&pair);
                if !is_known && assumed.insert(pair) {
                    open.push(pair);
                }
            }
        }
        self.known.extend(assumed.into_iter().map(|pair| (pair, true)));
        true
    }
}

impl Program {
    /// Whether two plans are the same but for the plans that they lead to, which are added to `pairs`.
    fn compare_plans(&self, one: Plan, other: Plan, pairs: &mut Vec<Pair>) -> bool {
        match (one, other) {
            (
                Plan::Values { size, ops, least },
                Plan::Values { size: other_size, ops: other_ops, least: other_least },
            ) => (size, least) == (other_size, other_least) && self.compare_ops(ops, other_ops, pairs),
            (Plan::Slice { first, values }, Plan::Slice { first: other_first, values: other_values }) => {
                pairs.push((values, other_values));
                first == other_first
            }
            (Plan::Slots { align, values }, Plan::Slots { align: other_align, values: other_values }) => {
                pairs.push((values, other_values));
                align == other_align
            }
            // Of words nothing is known.
            _ => false,
        }
    }

    /// The same of operations. How deep it calls itself is bounded as the nesting of operations is (O2).
    fn compare_ops(&self, one: Ops, other: Ops, pairs: &mut Vec<Pair>) -> bool {
        let (one, other) = (self.ops(one), self.ops(other));
        one.len() == other.len() && one.iter().zip(other).all(|(&one, &other)| self.compare_op(one, other, pairs))
    }

    fn compare_op(&self, one: Op, other: Op, pairs: &mut Vec<Pair>) -> bool {
        match (one, other) {
            (Op::Repeat { ops, .. }, Op::Repeat { ops: other_ops, .. }) => {
                without_ops(one) == without_ops(other) && self.compare_ops(ops, other_ops, pairs)
            }
            (Op::Choice { arms, otherwise, .. }, Op::Choice { arms: other_arms, otherwise: other_otherwise, .. }) => {
                let rest = match (otherwise, other_otherwise) {
                    (Otherwise::Refuse, Otherwise::Refuse) => true,
                    (Otherwise::Ops(ops), Otherwise::Ops(other_ops)) => self.compare_ops(ops, other_ops, pairs),
                    _ => false,
                };
                let arms = [arms, other_arms].map(|arms| self.arms.get(arms.range()).unwrap_or_default());
                rest && without_ops(one) == without_ops(other)
                    && arms[0].len() == arms[1].len()
                    && arms[0]
                        .iter()
                        .zip(arms[1])
                        .all(|(arm, other)| arm.value == other.value && self.compare_ops(arm.ops, other.ops, pairs))
            }
            _ => {
                let ((one, to), (other, other_to)) = (without_target(one), without_target(other));
                pairs.extend(to.zip(other_to));
                one == other
            }
        }
    }
}

/// An operation with others within it, without these.
fn without_ops(op: Op) -> Op {
    match op {
        Op::Repeat { at, size, count, .. } => Op::Repeat { at, size, count, ops: Ops::default() },
        Op::Choice { at, width, mask, .. } => {
            Op::Choice { at, width, mask, arms: Ops::default(), otherwise: Otherwise::Refuse }
        }
        other => other,
    }
}

/// Any other operation without the plan that it leads to, and that plan.
fn without_target(mut op: Op) -> (Op, Option<PlanId>) {
    let to = match &mut op {
        Op::Counted { to, .. }
        | Op::Owned { to, .. }
        | Op::Movable { to, .. }
        | Op::Vector { values: to, .. }
        | Op::Table { to, .. }
        | Op::Tree { to, .. }
        | Op::Children { to, .. } => Some(std::mem::take(to)),
        Op::Words { .. } | Op::Handle { .. } | Op::Hidden | Op::Repeat { .. } | Op::Choice { .. } => None,
    };
    (op, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::{CowHashMap, CowMap, CowVec, SalBTreeMap, SalHashMap, SalString, SalVec};
    use crate::persist::{Persist, TypeDescription};
    use crate::ptr::SalRc;

    /// The plans of values of two types, and of what shared pointers to them lead to.
    fn plans<A: Persist, B: Persist>() -> (Program, PlanId, PlanId) {
        let mut program = Program::default();
        program.add(0, &TypeDescription::of::<A>()).unwrap();
        program.add(8, &TypeDescription::of::<B>()).unwrap();
        let (first, second) = (program.root(0).unwrap().0, program.root(8).unwrap().0);
        (program, first, second)
    }

    fn alike<A: Persist, B: Persist>() -> bool {
        let (program, first, second) = plans::<A, B>();
        let mut alike = Alike::default();
        let answer = alike.are(&program, first, second);
        assert_eq!(alike.are(&program, first, second), answer, "remembered");
        assert!(first != second && alike.are(&program, first, first));
        answer
    }

    #[test]
    fn a_type_is_alike_to_itself_in_another_description() {
        type Everything = (
            SalVec<SalRc<[SalString]>>,
            SalHashMap<u64, SalBTreeMap<SalString, SalRc<u8>>>,
            CowMap<u64, CowVec<SalRc<str>>>,
            CowHashMap<SalString, SalVec<SalString>>,
        );
        assert!(alike::<Everything, Everything>());
        assert!(alike::<SalRc<str>, SalRc<[u8]>>());
        assert!(alike::<(u64, u64), [u8; 5]>());
    }

    #[test]
    fn types_that_are_followed_otherwise_are_not_alike() {
        assert!(!alike::<SalRc<SalRc<u64>>, SalRc<u64>>());
        assert!(!alike::<SalVec<SalVec<u64>>, SalVec<SalVec<SalString>>>());
        assert!(!alike::<(SalRc<u8>, u64), (u64, SalRc<u8>)>());
        assert!(!alike::<[SalRc<u8>; 9], [SalRc<u8>; 10]>());
        assert!(!alike::<SalHashMap<u64, SalRc<SalString>>, SalHashMap<u64, SalRc<u64>>>());
        assert!(!alike::<CowVec<SalString>, CowVec<SalVec<SalString>>>());
    }
}
