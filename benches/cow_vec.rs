//! `CowVec` beside `imbl::Vector`, `rpds::Vector` and `Vec`, all in memory.
//!
//! Each round runs every kind once, in turns, so that what else the machine does hits all alike. A line tells the median
//! of each kind in nanoseconds per operation, and ours divided by the better one of `imbl` and `rpds`: the median of what that is
//! in each round, and its quartiles. `cargo bench --bench cow_vec -- FILTER` runs the lines that contain the filter.
//!
//! `push` adds 10^5 numbers one by one, `build` all at once; `get` looks up all, in random order; `scan` sums them up by an
//! iterator in a `for` loop, `fold` by `sum`; `set` changes one of a vector without other versions; `clone_set` makes
//! a version, changes one element of the old one at random, and drops the older version; `versions` keeps the last
//! hundred; `pop` builds one and takes all away; `diff` makes versions as `clone_set` does and tells what differs. `strings` are texts of 16 bytes in blocks of their own.

use sal::collections::{CowVec, SalString};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

const LEN: u64 = 100_000;
const ROUNDS: usize = 41;

/// All numbers below `LEN` in an order that no cache likes.
fn order() -> Vec<usize> {
    let mut order: Vec<usize> = (0..LEN as usize).collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for at in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (state >> 33) as usize % (at + 1));
    }
    order
}

type Run<'r> = (&'static str, Box<dyn FnMut() -> u64 + 'r>);

/// Runs the kinds in turns; the first is ours.
fn line(name: &str, filter: &str, operations: u64, mut kinds: Vec<Run<'_>>) {
    if !name.contains(filter) {
        return;
    }
    let mut times = vec![Vec::new(); kinds.len()];
    for round in 0..ROUNDS + 3 {
        for (kind, times) in kinds.iter_mut().zip(&mut times) {
            let start = Instant::now();
            black_box(kind.1());
            let time = start.elapsed().as_nanos() as f64 / operations as f64;
            if round >= 3 {
                times.push(time);
            }
        }
    }
    let peers: Vec<usize> = (1..kinds.len()).filter(|kind| kinds[*kind].0 != "std").collect();
    let best = peers.into_iter().min_by(|a, b| median(&times[*a]).total_cmp(&median(&times[*b])));
    print!("{name:<22}");
    for ((kind, _), times) in kinds.iter().zip(&times) {
        print!(" {kind} {:>9.2}", median(times));
    }
    if let Some(best) = best {
        let mut ratios: Vec<f64> = times[0].iter().zip(&times[best]).map(|(ours, theirs)| ours / theirs).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |share: usize| ratios[(ratios.len() - 1) * share / 4];
        print!("   ratio to {} {:.2} ({:.2} to {:.2})", kinds[best].0, at(2), at(1), at(3));
    }
    println!();
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

macro_rules! kinds {
    ($($name:literal: $run:expr),* $(,)?) => { vec![$(($name, Box::new($run) as Box<dyn FnMut() -> u64>)),*] };
}

/// Pushes all, one by one.
macro_rules! pushed {
    ($new:expr, $push:ident, $elements:expr) => {{
        let mut vec = $new;
        for element in $elements {
            vec.$push(black_box(element));
        }
        vec.len() as u64
    }};
}

/// Makes a version, changes an element, and keeps so many versions.
macro_rules! clone_set {
    ($vec:expr, $order:expr, $kept:expr, |$one:ident, $at:ident| $set:expr) => {{
        let mut versions = VecDeque::new();
        for at in &$order[..1000] {
            versions.push_back($vec.clone());
            if versions.len() > $kept {
                versions.pop_front();
            }
            let ($one, $at) = (&mut $vec, *at);
            $set;
        }
        versions.len() as u64
    }};
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let order = order();
    let ours: CowVec<u64> = (0..LEN).collect();
    let imbl: imbl::Vector<u64> = (0..LEN).collect();
    let rpds: rpds::VectorSync<u64> = (0..LEN).collect();
    let plain: Vec<u64> = (0..LEN).collect();

    line(
        "push/1e5",
        &filter,
        LEN,
        kinds! {
            "sal": || pushed!(CowVec::new(), push, 0..LEN),
            "imbl": || pushed!(imbl::Vector::new(), push_back, 0..LEN),
            "rpds": || pushed!(rpds::VectorSync::new_sync(), push_back_mut, 0..LEN),
            "std": || pushed!(Vec::new(), push, 0..LEN),
        },
    );
    line(
        "build/1e5",
        &filter,
        LEN,
        kinds! {
            "sal": || CowVec::from(&plain[..]).len() as u64,
            "imbl": || imbl::Vector::from(&plain[..]).len() as u64,
            "rpds": || plain.iter().copied().collect::<rpds::VectorSync<u64>>().len() as u64,
            "std": || plain.clone().len() as u64,
        },
    );
    line(
        "get/1e5",
        &filter,
        LEN,
        kinds! {
            "sal": || order.iter().map(|at| ours[*at]).sum(),
            "imbl": || order.iter().map(|at| imbl[*at]).sum(),
            "rpds": || order.iter().map(|at| rpds[*at]).sum(),
            "std": || order.iter().map(|at| plain[*at]).sum(),
        },
    );
    macro_rules! scanned {
        ($vec:expr) => {{
            let mut sum = 0_u64;
            for element in &$vec {
                sum = sum.wrapping_mul(3) ^ element;
            }
            sum
        }};
    }
    line(
        "scan/1e5",
        &filter,
        LEN,
        kinds! {
            "sal": || scanned!(ours),
            "imbl": || scanned!(imbl),
            "rpds": || scanned!(rpds),
            "std": || scanned!(plain),
        },
    );
    line(
        "fold/1e5",
        &filter,
        LEN,
        kinds! {
            "sal": || ours.iter().sum(),
            "imbl": || imbl.iter().sum(),
            "rpds": || rpds.iter().sum(),
            "std": || plain.iter().sum(),
        },
    );
    line(
        "fold_back/1e5",
        &filter,
        LEN,
        kinds! {
            "sal": || ours.iter().rev().sum(),
            "imbl": || imbl.iter().rev().sum(),
            "rpds": || rpds.iter().rev().sum(),
            "std": || plain.iter().rev().sum(),
        },
    );
    {
        let (mut ours, mut imbl, mut rpds, mut plain) = (ours.clone(), imbl.clone(), rpds.clone(), plain.clone());
        line(
            "set/1e5",
            &filter,
            LEN,
            kinds! {
                "sal": || { order.iter().for_each(|at| ours[*at] += 1); ours[7] },
                "imbl": || { order.iter().for_each(|at| imbl[*at] += 1); imbl[7] },
                "rpds": || { order.iter().for_each(|at| *rpds.get_mut(*at).unwrap() += 1); rpds[7] },
                "std": || { order.iter().for_each(|at| plain[*at] += 1); plain[7] },
            },
        );
    }
    for (name, kept) in [("clone_set/1e5", 0), ("versions/1e5", 100)] {
        let (mut ours, mut imbl, mut rpds) = (ours.clone(), imbl.clone(), rpds.clone());
        line(
            name,
            &filter,
            1000,
            kinds! {
                "sal": || clone_set!(ours, order, kept + 1, |one, at| one[at] += 1),
                "imbl": || clone_set!(imbl, order, kept + 1, |one, at| one[at] += 1),
                "rpds": || clone_set!(rpds, order, kept + 1, |one, at| *one.get_mut(at).unwrap() += 1),
            },
        );
    }
    {
        let (mut ours, mut imbl, mut rpds) = (ours.clone(), imbl.clone(), rpds.clone());
        line(
            "clone_push/1e5",
            &filter,
            1000,
            kinds! {
                "sal": || clone_set!(ours, order, 1, |one, at| one.push(at as u64)),
                "imbl": || clone_set!(imbl, order, 1, |one, at| one.push_back(at as u64)),
                "rpds": || clone_set!(rpds, order, 1, |one, at| one.push_back_mut(at as u64)),
            },
        );
    }
    line(
        "clone/1e5",
        &filter,
        1000,
        kinds! {
            "sal": || (0..1000).map(|_| black_box(&ours).clone().len() as u64).sum(),
            "imbl": || (0..1000).map(|_| black_box(&imbl).clone().len() as u64).sum(),
            "rpds": || (0..1000).map(|_| black_box(&rpds).clone().len() as u64).sum(),
        },
    );
    macro_rules! popped {
        ($type:ty, $pop:ident, $is_done:expr) => {{
            let mut vec: $type = plain.iter().copied().collect();
            while !$is_done(black_box(vec.$pop())) {}
            vec.len() as u64
        }};
    }
    let is_none = |last: Option<u64>| last.is_none();
    line(
        "pop/1e5",
        &filter,
        LEN,
        kinds! {
            "sal": || popped!(CowVec<u64>, pop, is_none),
            "imbl": || popped!(imbl::Vector<u64>, pop_back, is_none),
            "rpds": || popped!(rpds::VectorSync<u64>, drop_last_mut, |is_dropped: bool| !is_dropped),
            "std": || popped!(Vec<u64>, pop, is_none),
        },
    );
    line(
        "diff/1e5",
        &filter,
        1000,
        kinds! {
            "sal": || {
                let mut vec = ours.clone();
                order[..1000].iter().map(|at| { let old = vec.clone(); vec[*at] += 1; old.diff(&vec).count() as u64 }).sum()
            },
        },
    );

    // A smaller and a larger one.
    for (size, len) in [("1e3", 1000_u64), ("1e7", 10_000_000)] {
        let (get, clone_set) = (format!("get/{size}"), format!("clone_set/{size}"));
        if !get.contains(&filter) && !clone_set.contains(&filter) {
            continue;
        }
        let ours: CowVec<u64> = (0..len).collect();
        let imbl: imbl::Vector<u64> = (0..len).collect();
        let rpds: rpds::VectorSync<u64> =
            if len < 1_000_000 { (0..len).collect() } else { rpds::VectorSync::new_sync() };
        let order: Vec<usize> = order.iter().map(|at| *at * 99_991 % len as usize).collect();
        let mut kinds = kinds! {
            "sal": || order.iter().map(|at| ours[*at]).sum(),
            "imbl": || order.iter().map(|at| imbl[*at]).sum(),
        };
        if !rpds.is_empty() {
            kinds.push(("rpds", Box::new(|| order.iter().map(|at| rpds[*at]).sum())));
        }
        line(&get, &filter, LEN, kinds);
        let (mut ours, mut imbl) = (ours.clone(), imbl.clone());
        line(
            &clone_set,
            &filter,
            1000,
            kinds! {
                "sal": || clone_set!(ours, order, 1, |one, at| one[at] += 1),
                "imbl": || clone_set!(imbl, order, 1, |one, at| one[at] += 1),
            },
        );
    }

    // Ten elements.
    line(
        "small/10",
        &filter,
        1000 * 10,
        kinds! {
            "sal": || (0..1000_u64).map(|n| pushed!(CowVec::new(), push, n..n + 10)).sum(),
            "imbl": || (0..1000_u64).map(|n| pushed!(imbl::Vector::new(), push_back, n..n + 10)).sum(),
            "rpds": || (0..1000_u64).map(|n| pushed!(rpds::VectorSync::new_sync(), push_back_mut, n..n + 10)).sum(),
            "std": || (0..1000_u64).map(|n| pushed!(Vec::new(), push, n..n + 10)).sum(),
        },
    );

    // Elements with blocks of their own.
    let texts: Vec<SalString> = (0..20_000_u64).map(|n| SalString::from(format!("{n:016}").as_str())).collect();
    let order: Vec<usize> = order.into_iter().filter(|at| *at < texts.len()).collect();
    let ours: CowVec<SalString> = texts.iter().cloned().collect();
    let imbl: imbl::Vector<SalString> = texts.iter().cloned().collect();
    let rpds: rpds::VectorSync<SalString> = texts.iter().cloned().collect();
    line(
        "strings/get",
        &filter,
        order.len() as u64,
        kinds! {
            "sal": || order.iter().map(|at| ours[*at].len() as u64).sum(),
            "imbl": || order.iter().map(|at| imbl[*at].len() as u64).sum(),
            "rpds": || order.iter().map(|at| rpds[*at].len() as u64).sum(),
        },
    );
    let (mut ours, mut imbl, mut rpds) = (ours.clone(), imbl.clone(), rpds.clone());
    line(
        "strings/clone_set",
        &filter,
        1000,
        kinds! {
            "sal": || clone_set!(ours, order, 1, |one, at| one[at].clone_from(&texts[at])),
            "imbl": || clone_set!(imbl, order, 1, |one, at| one[at].clone_from(&texts[at])),
            "rpds": || clone_set!(rpds, order, 1, |one, at| one.get_mut(at).unwrap().clone_from(&texts[at])),
        },
    );
}
