//! Marking with hardly any stack.

use super::*;
use crate::collections::SalVec;
use crate::{Persist, Pool};
use std::collections::HashSet;

#[derive(Persist)]
#[persist(crate = "crate")]
#[repr(C)]
struct Node {
    number: usize,
    to: SalVec<Gc<Node>>,
}

#[test]
fn whatever_room_the_stack_has_each_object_that_is_reached_is_visited_once() {
    let mut state = 0x57AC_u64;
    let mut below = move |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % end
    };
    for room in [1, 2, 3, 7, 64, 1000] {
        let collector = Collector { cycle: Mutex::new(Cycle::with_room(room)), ..Collector::new() };
        let mut pool = Pool::new();
        // In two chunks, so that objects wait in both.
        let all: Vec<Gc<Node>> = (0..10_000).map(|number| pool.insert(Node { number, to: SalVec::new() })).collect();
        let mut edges = vec![Vec::new(); all.len()];
        for _ in 0..6_000 {
            let (from, to) = (below(all.len()), below(all.len()));
            edges[from].push(to);
            pool[all[from]].to.push(all[to]);
        }
        let wide = below(all.len());
        (0..2_000).for_each(|to| {
            edges[wide].push(to * 3);
            pool[all[wide]].to.push(all[to * 3]);
        });
        let guards = [wide, below(all.len())].map(|number| collector.root(all[number]));
        let mut left: Vec<usize> = guards.iter().map(|guard| pool[guard.gc()].number).collect();
        let mut reached = HashSet::new();
        while let Some(number) = left.pop() {
            if reached.insert(number) {
                left.extend(&edges[number]);
            }
        }
        let report = collector.collect(&mut pool).unwrap();
        assert_eq!(report.visited, reached.len() as u64, "{room}");
        assert_eq!(pool.objects().map(|(_, node)| node.number).collect::<HashSet<_>>(), reached, "{room}");
        drop(guards);
    }
}
