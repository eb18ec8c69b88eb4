//! Maps whose clones are versions, beside those of `imbl` and `rpds` and the map of the standard library.
//!
//! `cow_hash_map/insert_100k`, `get_100k`, `miss_100k`, `iterate_100k`, `change_clone_100k` (a clone, and one value in it changed),
//! `insert_clone_100k`, `remove_100k`, `build_100k` (from an iterator), and the same of `1k` and with texts as keys. All take
//! turns, many times; what is printed is the median of each in nanoseconds per entry (per clone), the quarters beside it, and
//! how many times as long as the fastest of the others `CowHashMap` takes. Options: a part of a name, and `--rounds N`.
//!
//! `imbl` and `rpds_sync` count their pointers atomically, as `CowHashMap` does; `rpds` does not. All three hash as the standard
//! library does; `imbl_sal` and `rpds_sal` are `imbl` and `rpds_sync` with the hash function of `CowHashMap`.

#![allow(unsafe_code)]

use sal::collections::CowHashMap;
use sal::collections::hash::SalHashBuilder;
use std::collections::HashMap;
use std::hash::Hash;
use std::hint::black_box;
use std::time::Duration;

/// Time that this thread has worked: what other programs take meanwhile is not counted.
struct Clock(libc::timespec);

impl Clock {
    fn now() -> libc::timespec {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a clock that there is, and a place for its time.
        let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
        assert_eq!(outcome, 0);
        now
    }

    fn start() -> Self {
        Self(Self::now())
    }

    fn elapsed(&self) -> Duration {
        let now = Self::now();
        let nanoseconds = (now.tv_sec - self.0.tv_sec) * 1_000_000_000 + now.tv_nsec - self.0.tv_nsec;
        Duration::from_nanos(nanoseconds as u64)
    }
}

/// What all maps can do.
trait Map<K, V>: Clone {
    fn new() -> Self;
    fn put(&mut self, key: K, value: V);
    fn look(&self, key: &K) -> Option<&V>;
    fn take(&mut self, key: &K);
    fn sum(&self, of: impl Fn(&K, &V) -> u64) -> u64;
    fn build(entries: &[(K, V)]) -> Self;
}

macro_rules! maps {
    ($([$($what:tt)*] $map:ident { $insert:ident, $remove:ident })*) => {$(
        impl<K: Eq + Hash + Clone, V: Clone> Map<K, V> for $($what)* {
            fn new() -> Self {
                Self::default()
            }
            fn put(&mut self, key: K, value: V) {
                self.$insert(key, value);
            }
            fn look(&self, key: &K) -> Option<&V> {
                self.get(key)
            }
            fn take(&mut self, key: &K) {
                self.$remove(key);
            }
            fn sum(&self, of: impl Fn(&K, &V) -> u64) -> u64 {
                self.iter().map(|(key, value)| of(key, value)).sum()
            }
            fn build(entries: &[(K, V)]) -> Self {
                entries.iter().cloned().collect()
            }
        }
    )*};
}

maps! {
    [CowHashMap<K, V>] cow { insert, remove }
    [HashMap<K, V>] std { insert, remove }
    [imbl::HashMap<K, V>] imbl { insert, remove }
    [rpds::HashTrieMap<K, V>] rpds { insert_mut, remove_mut }
    [rpds::HashTrieMapSync<K, V>] rpds_sync { insert_mut, remove_mut }
    [imbl::GenericHashMap<K, V, SalHashBuilder, imbl::shared_ptr::DefaultSharedPtr>] imbl_sal { insert, remove }
    [rpds::HashTrieMapSync<K, V, SalHashBuilder>] rpds_sal { insert_mut, remove_mut }
}

fn mixed(n: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 32;
    x.wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

const OPERATIONS: [&str; 9] =
    ["insert", "get", "miss", "iterate", "clone", "change_clone", "insert_clone", "remove", "build"];

/// How long an operation takes, for each entry or clone.
struct Bench<M, K> {
    map: M,
    keys: Vec<K>,
    others: Vec<K>,
    entries: Vec<(K, u64)>,
    at: usize,
}

impl<M: Map<K, u64>, K: Eq + Hash + Clone> Bench<M, K> {
    fn new(len: usize, make: impl Fn(u64) -> K) -> Self {
        let entries: Vec<(K, u64)> = (0..len as u64).map(|n| (make(mixed(n)), n)).collect();
        let mut keys: Vec<K> = entries.iter().map(|entry| entry.0.clone()).collect();
        let mut order = 1;
        for at in (1..len).rev() {
            order = mixed(order + at as u64);
            keys.swap(at, order as usize % (at + 1));
        }
        let others = (0..len as u64).map(|n| make(mixed(n + (1 << 40)))).collect();
        Self { map: M::build(&entries), keys, others, entries, at: 0 }
    }

    fn run(&mut self, operation: &str) -> f64 {
        let len = self.keys.len();
        let clones = 2000.min(len);
        self.at = (self.at + 7919) % len;
        let each = |from: usize| (0..clones).map(move |n| (from + n * 31) % len);
        let (time, number): (Duration, usize) = match operation {
            "insert" => {
                let mut map = M::new();
                let entries = self.entries.clone();
                let start = Clock::start();
                entries.into_iter().for_each(|(key, value)| map.put(key, value));
                (start.elapsed(), len).also(map)
            }
            "get" | "miss" => {
                let keys = if operation == "get" { &self.keys } else { &self.others };
                let start = Clock::start();
                black_box(keys.iter().filter_map(|key| self.map.look(key)).sum::<u64>());
                (start.elapsed(), len)
            }
            "iterate" => {
                let start = Clock::start();
                black_box(self.map.sum(|_, value| *value));
                (start.elapsed(), len)
            }
            "clone" => {
                let start = Clock::start();
                each(self.at).for_each(|_| drop(black_box(self.map.clone())));
                (start.elapsed(), clones)
            }
            "change_clone" | "insert_clone" => {
                let keys = if operation == "change_clone" { &self.keys } else { &self.others };
                let changed: Vec<K> = each(self.at).map(|at| keys[at].clone()).collect();
                let start = Clock::start();
                for key in changed {
                    let mut clone = self.map.clone();
                    clone.put(key, 1);
                    black_box(clone.look(&self.keys[0]));
                }
                (start.elapsed(), clones)
            }
            "remove" => {
                let mut map = M::build(&self.entries);
                let start = Clock::start();
                self.keys.iter().for_each(|key| map.take(key));
                (start.elapsed(), len).also(map)
            }
            _ => {
                let start = Clock::start();
                let map = M::build(&self.entries);
                (start.elapsed(), len).also(map)
            }
        };
        time.as_nanos() as f64 / number as f64
    }
}

trait Also: Sized {
    /// Drops a map after the clock was read.
    fn also<M>(self, map: M) -> Self {
        drop(black_box(map));
        self
    }
}

impl<T> Also for T {}

type Runner<'a> = (&'static str, Box<dyn FnMut(&str) -> f64 + 'a>);

fn compare<K: Eq + Hash + Clone + 'static>(
    name: &str,
    len: usize,
    make: impl Fn(u64) -> K + Copy,
    filter: &str,
    rounds: usize,
) {
    fn runner<'a, M: Map<K, u64> + 'a, K: Eq + Hash + Clone + 'a>(
        name: &'static str,
        len: usize,
        make: impl Fn(u64) -> K,
    ) -> Runner<'a> {
        let mut bench: Bench<M, K> = Bench::new(len, make);
        (name, Box::new(move |operation| bench.run(operation)))
    }
    let wanted: Vec<String> = OPERATIONS.iter().map(|operation| format!("cow_hash_map/{operation}_{name}")).collect();
    if !wanted.iter().any(|name| name.contains(filter)) {
        return;
    }
    let mut runners: Vec<Runner<'_>> = vec![
        runner::<CowHashMap<K, u64>, K>("cow", len, make),
        runner::<imbl::HashMap<K, u64>, K>("imbl", len, make),
        runner::<rpds::HashTrieMapSync<K, u64>, K>("rpds_sync", len, make),
        runner::<rpds::HashTrieMap<K, u64>, K>("rpds", len, make),
        runner::<imbl::GenericHashMap<K, u64, SalHashBuilder, imbl::shared_ptr::DefaultSharedPtr>, K>(
            "imbl_sal", len, make,
        ),
        runner::<rpds::HashTrieMapSync<K, u64, SalHashBuilder>, K>("rpds_sal", len, make),
        runner::<HashMap<K, u64>, K>("std", len, make),
    ];
    for (operation, full) in OPERATIONS.iter().zip(&wanted).filter(|(_, full)| full.contains(filter)) {
        let is_clone = operation.contains("clone");
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); runners.len()];
        for round in 0..rounds {
            for ((name, run), times) in runners.iter_mut().zip(&mut times) {
                // A clone of a map that shares nothing takes as long as all of it.
                if round > 0 && is_clone && *name == "std" && len > 10_000 {
                    continue;
                }
                if !(is_clone && *name == "std" && len > 10_000) {
                    times.push(run(operation));
                }
            }
        }
        print!("{full:<34}");
        let mut medians = Vec::new();
        for ((name, _), times) in runners.iter().zip(&mut times) {
            if times.is_empty() {
                continue;
            }
            times.sort_by(f64::total_cmp);
            let quarter = |n: usize| times[(times.len() - 1) * n / 4];
            medians.push((*name, quarter(2)));
            print!(" {name} {:.1} ({:.1}..{:.1})", quarter(2), quarter(1), quarter(3));
        }
        let best = medians[1..].iter().filter(|(name, _)| *name != "std").map(|entry| entry.1).fold(f64::MAX, f64::min);
        println!("  ratio {:.2}", medians[0].1 / best);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let rounds = arguments.iter().position(|argument| argument == "--rounds").map(|at| arguments[at + 1].parse());
    let rounds = rounds.map_or(21, |rounds| rounds.expect("a number of rounds"));
    let is_name = |argument: &&String| !argument.starts_with("--") && argument.parse::<usize>().is_err();
    let filter = arguments.iter().find(is_name).cloned().unwrap_or_default();
    compare("100k", 100_000, |n| n, &filter, rounds);
    compare("1k", 1000, |n| n, &filter, rounds);
    compare("1m", 1_000_000, |n| n, &filter, rounds / 4 + 1);
    compare("text_20k", 20_000, |n| format!("the word {n:x}"), &filter, rounds);
}
