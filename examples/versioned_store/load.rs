//! A writer that commits, and readers that look at old versions meanwhile.
//!
//! Each commit writes its number under `commit`, and under as many keys as a batch has; and a sum of them all. So whoever has a
//! version can tell whether it is a whole one.

use crate::store::{Map, Store};
use sal::prelude::*;
use sal::{Error, SalArcCell};
use std::fmt;
use std::ops::Bound::{Excluded, Included};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) seconds: u64,
    pub(crate) readers: usize,
    pub(crate) batch: u64,
    pub(crate) keys: u64,
}

/// What was done.
#[derive(Debug)]
pub(crate) struct Report {
    commits: u64,
    longest: Duration,
    lookups: u64,
    versions: u64,
    took: Duration,
    len: usize,
    live_bytes: u64,
}

/// Versions that are kept under names while there is load.
const KEPT: u64 = 10;

fn number(map: &Map, key: &str) -> u64 {
    map.get(key).and_then(|text| text.as_str().parse().ok()).unwrap_or(0)
}

fn key_of(number: u64) -> String {
    format!("key {number:08}")
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// One commit's changes.
fn commit(map: &mut Map, keys: impl Iterator<Item = u64>) {
    let number_of_commit = number(map, "commit") + 1;
    let mut sum = number(map, "sum");
    for key in keys {
        let key = key_of(key);
        sum = sum - number(map, &key) + number_of_commit;
        map.insert(key.as_str(), number_of_commit.to_string().as_str().into());
    }
    map.insert("commit", number_of_commit.to_string().as_str().into());
    map.insert("sum", sum.to_string().as_str().into());
}

/// Whether a version is whole; how many commits it has.
fn check_version(map: &Map) -> Result<u64, String> {
    let sum: u64 = map
        .range::<str, _>((Included("key "), Excluded("key!")))
        .map(|(_, value)| value.as_str().parse::<u64>().unwrap_or(0))
        .sum();
    let expected = number(map, "sum");
    if sum == expected { Ok(number(map, "commit")) } else { Err(format!("the sum is {sum} and should be {expected}")) }
}

impl Load {
    pub(crate) fn run(&self, store: &Store) -> Result<Report, Error> {
        let mut first = store.map(None)?;
        if first.is_empty() {
            first = store.change(|map| commit(map, 0..self.keys))?.1;
        }
        let newest = SalArcCell::new(SalRc::new(first));
        let (ends, lookups, versions) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let began = Instant::now();
        let written = thread::scope(|threads| {
            for reader in 0..self.readers {
                let (newest, ends, lookups, versions) = (&newest, &ends, &lookups, &versions);
                threads.spawn(move || {
                    let mut random = Random(reader as u64 + 1);
                    while !ends.load(Ordering::Relaxed) {
                        // One version, which stays as it is whatever the writer does.
                        let map = newest.load();
                        let before = number(&map, "commit");
                        for _ in 0..10_000 {
                            let found = number(&map, &key_of(random.below(self.keys)));
                            assert!(found <= before, "a value of commit {found} in version {before}");
                        }
                        lookups.fetch_add(10_000, Ordering::Relaxed);
                        versions.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let written = self.write(store, &newest, began);
            ends.store(true, Ordering::Relaxed);
            written
        });
        let (commits, longest) = written?;
        let map = store.map(None)?;
        Ok(Report {
            commits,
            longest,
            lookups: lookups.into_inner(),
            versions: versions.into_inner(),
            took: began.elapsed(),
            len: map.len(),
            live_bytes: store.live_bytes(),
        })
    }

    /// Commits until the time is over; how often, and how long the longest took.
    fn write(&self, store: &Store, newest: &SalArcCell<Map>, began: Instant) -> Result<(u64, Duration), Error> {
        let mut random = Random(began.elapsed().as_nanos() as u64 | 1);
        let (mut commits, mut longest) = (0, Duration::ZERO);
        while began.elapsed() < Duration::from_secs(self.seconds) {
            let started = Instant::now();
            let ((), version) = store.change(|map| commit(map, (0..self.batch).map(|_| random.below(self.keys))))?;
            longest = longest.max(started.elapsed());
            newest.store(SalRc::new(version));
            commits += 1;
            if commits % 100 == 0 {
                store.snapshot(&format!("load {}", commits / 100 % KEPT))?;
            }
        }
        Ok((commits, longest))
    }
}

/// Whether the store and all its snapshots are whole.
pub(crate) fn check(store: &Store) -> Result<String, Box<dyn std::error::Error>> {
    let newest = check_version(&store.map(None)?)?;
    let snapshots = store.snapshots()?;
    for name in &snapshots {
        let of_snapshot =
            check_version(&store.map(Some(name))?).map_err(|error| format!("snapshot {name}: {error}"))?;
        if of_snapshot > newest {
            return Err(format!("snapshot {name} has commit {of_snapshot}, the store only {newest}").into());
        }
    }
    Ok(format!("{newest} commits and {} snapshots, all whole", snapshots.len()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        writeln!(f, "{} keys, {:.1} MB", self.len, self.live_bytes as f64 / 1e6)?;
        writeln!(
            f,
            "{:.0} durable commits a second, the longest took {:.1?}",
            self.commits as f64 / seconds,
            self.longest
        )?;
        write!(f, "{:.0} lookups a second, in {} versions", self.lookups as f64 / seconds, self.versions)
    }
}
