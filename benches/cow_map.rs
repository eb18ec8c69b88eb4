//! `CowMap` beside `imbl::OrdMap`, `rpds::RedBlackTreeMap` and the standard library's map, `u64` to `u64`.
//!
//! `cow_map/OPERATION/100k/1t`: one line for each, with the median nanoseconds for an entry, the spread between the quartiles, and
//! what that is of the best of `imbl` and `rpds`. All kinds are measured in turn, so that a disturbance hits all of them.
//! `cargo bench --bench cow_map -- [ROUNDS] [PART OF A NAME]`.
#![allow(unsafe_code)]

use sal::HeapOptions;
use sal::collections::CowMap;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

const LEN: u64 = 100_000;

type Rpds = rpds::RedBlackTreeMapSync<u64, u64>;
type Imbl = imbl::OrdMap<u64, u64>;

/// A number that looks like any other (splitmix64).
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// As many keys as there are entries, in random order.
fn keys() -> impl Iterator<Item = u64> {
    (0..LEN).map(scattered)
}

/// The same in another order.
fn other_keys() -> impl Iterator<Item = u64> {
    (0..LEN).map(|at| scattered(at * 48271 % LEN))
}

/// What is measured of one kind of map: how long so many operations took.
type Measure<'a> = Box<dyn FnMut() -> (Duration, u64) + 'a>;

fn timed<T>(operations: u64, act: impl FnOnce() -> T) -> (Duration, u64) {
    let start = Instant::now();
    let result = black_box(act());
    let took = start.elapsed();
    drop(result);
    (took, operations)
}

fn report(rounds: usize, filter: &str, name: &str, mut kinds: Vec<(&str, Measure<'_>)>) {
    let name = format!("cow_map/{name}/100k/1t");
    if !name.contains(filter) {
        return;
    }
    let mut samples = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for ((_, measure), samples) in kinds.iter_mut().zip(&mut samples) {
            let (took, operations) = measure();
            samples.push(took.as_nanos() as f64 / operations as f64);
        }
    }
    let quartiles: Vec<[f64; 3]> = samples
        .into_iter()
        .map(|mut samples| {
            samples.sort_by(f64::total_cmp);
            [1, 2, 3].map(|quarter| samples[samples.len() * quarter / 4])
        })
        .collect();
    let of = |wanted: &str| kinds.iter().position(|(kind, _)| *kind == wanted).map(|at| quartiles[at][1]);
    let best = [of("imbl"), of("rpds")].into_iter().flatten().fold(f64::INFINITY, f64::min);
    for ((kind, _), [low, median, high]) in kinds.iter().zip(&quartiles) {
        println!("{name:<36} {kind:<6} {median:>9.1} ns  [{low:.1} .. {high:.1}]  {:.2} of the best", median / best);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(25).max(4);
    let filter = arguments.iter().find(|argument| argument.parse::<usize>().is_err()).map_or("", String::as_str);
    let directory = tempfile::tempdir_in(".").expect("a directory for the heap");
    // SAFETY: the file is this program's own.
    let heap = unsafe { HeapOptions::new().create(directory.path().join("map.sal")) }.expect("a new heap");

    let filled = || {
        let mut map = CowMap::new();
        keys().for_each(|key| {
            map.insert(key, key);
        });
        map
    };
    let imbl_filled = || {
        let mut map = Imbl::new();
        keys().for_each(|key| {
            map.insert(key, key);
        });
        map
    };
    let rpds_filled = || {
        let mut map = Rpds::new_sync();
        keys().for_each(|key| map.insert_mut(key, key));
        map
    };
    let std_filled = || {
        let mut map = BTreeMap::new();
        keys().for_each(|key| {
            map.insert(key, key);
        });
        map
    };

    report(
        rounds,
        filter,
        "insert",
        vec![
            ("sal", Box::new(|| timed(LEN, filled))),
            (
                "file",
                Box::new(|| {
                    let _session = heap.write().expect("a session");
                    timed(LEN, filled)
                }),
            ),
            ("imbl", Box::new(|| timed(LEN, imbl_filled))),
            ("rpds", Box::new(|| timed(LEN, rpds_filled))),
            ("std", Box::new(|| timed(LEN, std_filled))),
        ],
    );

    let ascending = |at: u64| at * 3;
    report(
        rounds,
        filter,
        "insert_ascending",
        vec![
            (
                "sal",
                Box::new(|| {
                    timed(LEN, || {
                        let mut map = CowMap::new();
                        (0..LEN).map(ascending).for_each(|key| {
                            map.insert(key, key);
                        });
                        map
                    })
                }),
            ),
            (
                "imbl",
                Box::new(|| {
                    timed(LEN, || {
                        let mut map = Imbl::new();
                        (0..LEN).map(ascending).for_each(|key| {
                            map.insert(key, key);
                        });
                        map
                    })
                }),
            ),
            (
                "rpds",
                Box::new(|| {
                    timed(LEN, || {
                        let mut map = Rpds::new_sync();
                        (0..LEN).map(ascending).for_each(|key| map.insert_mut(key, key));
                        map
                    })
                }),
            ),
            (
                "std",
                Box::new(|| {
                    timed(LEN, || {
                        let mut map = BTreeMap::new();
                        (0..LEN).map(ascending).for_each(|key| {
                            map.insert(key, key);
                        });
                        map
                    })
                }),
            ),
        ],
    );

    let sal = filled();
    let imbl = imbl_filled();
    let rpds = rpds_filled();
    let std = std_filled();
    let session = heap.write().expect("a session");
    let file = filled();
    drop(session);

    report(
        rounds,
        filter,
        "get",
        vec![
            ("sal", Box::new(|| timed(LEN, || other_keys().filter_map(|key| sal.get(&key)).sum::<u64>()))),
            ("file", Box::new(|| timed(LEN, || other_keys().filter_map(|key| file.get(&key)).sum::<u64>()))),
            ("imbl", Box::new(|| timed(LEN, || other_keys().filter_map(|key| imbl.get(&key)).sum::<u64>()))),
            ("rpds", Box::new(|| timed(LEN, || other_keys().filter_map(|key| rpds.get(&key)).sum::<u64>()))),
            ("std", Box::new(|| timed(LEN, || other_keys().filter_map(|key| std.get(&key)).sum::<u64>()))),
        ],
    );

    report(
        rounds,
        filter,
        "iterate",
        vec![
            ("sal", Box::new(|| timed(LEN, || sal.iter().map(|(key, value)| key ^ value).fold(0, u64::wrapping_add)))),
            (
                "imbl",
                Box::new(|| timed(LEN, || imbl.iter().map(|(key, value)| key ^ value).fold(0, u64::wrapping_add))),
            ),
            (
                "rpds",
                Box::new(|| timed(LEN, || rpds.iter().map(|(key, value)| key ^ value).fold(0, u64::wrapping_add))),
            ),
            ("std", Box::new(|| timed(LEN, || std.iter().map(|(key, value)| key ^ value).fold(0, u64::wrapping_add)))),
        ],
    );

    // A version is made, one entry changed, and the version before dropped.
    const CHANGES: u64 = 2000;
    let mut versions = (sal.clone(), imbl.clone(), rpds.clone(), file.clone());
    report(
        rounds,
        filter,
        "clone_and_change",
        vec![
            (
                "sal",
                Box::new(|| {
                    timed(CHANGES, || {
                        for key in other_keys().take(CHANGES as usize) {
                            let mut next = versions.0.clone();
                            next.insert(key, 1);
                            versions.0 = next;
                        }
                    })
                }),
            ),
            (
                "file",
                Box::new(|| {
                    let _session = heap.write().expect("a session");
                    timed(CHANGES, || {
                        for key in other_keys().take(CHANGES as usize) {
                            let mut next = versions.3.clone();
                            next.insert(key, 1);
                            versions.3 = next;
                        }
                    })
                }),
            ),
            (
                "imbl",
                Box::new(|| {
                    timed(CHANGES, || {
                        for key in other_keys().take(CHANGES as usize) {
                            let mut next = versions.1.clone();
                            next.insert(key, 1);
                            versions.1 = next;
                        }
                    })
                }),
            ),
            (
                "rpds",
                Box::new(|| {
                    timed(CHANGES, || {
                        for key in other_keys().take(CHANGES as usize) {
                            let mut next = versions.2.clone();
                            next.insert_mut(key, 1);
                            versions.2 = next;
                        }
                    })
                }),
            ),
        ],
    );

    report(
        rounds,
        filter,
        "remove",
        vec![
            (
                "sal",
                Box::new(|| {
                    let mut map = filled();
                    timed(LEN, || {
                        other_keys().for_each(|key| {
                            map.remove(&key);
                        })
                    })
                }),
            ),
            (
                "imbl",
                Box::new(|| {
                    let mut map = imbl_filled();
                    timed(LEN, || {
                        other_keys().for_each(|key| {
                            map.remove(&key);
                        })
                    })
                }),
            ),
            (
                "rpds",
                Box::new(|| {
                    let mut map = rpds_filled();
                    timed(LEN, || {
                        other_keys().for_each(|key| {
                            map.remove_mut(&key);
                        })
                    })
                }),
            ),
            (
                "std",
                Box::new(|| {
                    let mut map = std_filled();
                    timed(LEN, || {
                        other_keys().for_each(|key| {
                            map.remove(&key);
                        })
                    })
                }),
            ),
        ],
    );

    let mut sorted: Vec<(u64, u64)> = keys().map(|key| (key, key)).collect();
    sorted.sort_unstable();
    let sorted = || sorted.iter().copied();
    report(
        rounds,
        filter,
        "build",
        vec![
            ("sal", Box::new(|| timed(LEN, || CowMap::from_sorted(sorted())))),
            ("imbl", Box::new(|| timed(LEN, || sorted().collect::<Imbl>()))),
            ("rpds", Box::new(|| timed(LEN, || sorted().collect::<Rpds>()))),
            ("std", Box::new(|| timed(LEN, || sorted().collect::<BTreeMap<_, _>>()))),
        ],
    );

    // Ten entries differ.
    const DIFFS: u64 = 100;
    let (mut sal_later, mut imbl_later) = (sal.clone(), imbl.clone());
    for key in other_keys().take(10) {
        sal_later.insert(key, 1);
        imbl_later.insert(key, 1);
    }
    report(
        rounds,
        filter,
        "diff_of_10",
        vec![
            ("sal", Box::new(|| timed(DIFFS, || (0..DIFFS).map(|_| sal.diff(&sal_later).count()).sum::<usize>()))),
            ("imbl", Box::new(|| timed(DIFFS, || (0..DIFFS).map(|_| imbl.diff(&imbl_later).count()).sum::<usize>()))),
        ],
    );
}
