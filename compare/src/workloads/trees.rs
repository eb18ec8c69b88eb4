//! Binary trees of boxes: a long-lived one stays while many of several depths are built, counted and dropped.

use super::Workload;
use crate::measure::Meter;
use std::hint::black_box;

const MAX_DEPTH: u32 = 16;

pub(super) const WORKLOADS: &[Workload] = &[Workload::new("binary_trees/depth16", "node", binary_trees).quick()];

#[derive(Default)]
struct Tree {
    children: Option<(Box<Tree>, Box<Tree>)>,
}

impl Tree {
    fn of_depth(depth: u32) -> Self {
        let child = || Box::new(Self::of_depth(depth - 1));
        Self { children: (depth > 0).then(|| (child(), child())) }
    }

    fn count(&self) -> usize {
        1 + self.children.as_ref().map_or(0, |(left, right)| left.count() + right.count())
    }
}

fn binary_trees(meter: &mut Meter) {
    let long_lived = Tree::of_depth(MAX_DEPTH);
    let per_depth = meter.scaled(1 << MAX_DEPTH);
    let depths = (4..=MAX_DEPTH).step_by(4);
    let trees_of = |depth: u32| (per_depth >> depth).max(1);
    let nodes: usize = depths.clone().map(|depth| trees_of(depth) * ((2 << depth) - 1)).sum();
    meter.repeat(5, nodes, || {
        let mut counted = 0;
        for depth in depths.clone() {
            for _ in 0..trees_of(depth) {
                counted += black_box(Tree::of_depth(depth)).count();
            }
        }
        assert_eq!(counted, nodes);
    });
    assert_eq!(black_box(long_lived).count(), (2 << MAX_DEPTH) - 1);
}
