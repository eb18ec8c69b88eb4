//! What durable commits cost: the workloads that are run on every [`Kind`] of store.
//!
//! A process runs one workload on one store and prints a line of JSON, like those of the allocators. Time is wall time here:
//! a commit waits for the disk. All begin with a map of [`KEYS`] keys, loaded in one commit and closed.

use crate::measure::Spread;
use crate::process;
use crate::random::Random;
use crate::sync_stores::{self, Kind, Outcome};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Keys of the map.
pub const KEYS: usize = 100_000;

/// Longest time one workload may take, in seconds.
const LIMIT_SECONDS: u32 = 300;

/// A workload's name, and what does it.
type Workload = (&'static str, fn(&mut Run<'_>) -> Outcome);

/// All of them, in the order in which they are run.
const WORKLOADS: [Workload; 3] = [("commit", commit), ("open", open), ("many", many)];

/// The names of all workloads, in the order in which they are to be run.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    WORKLOADS.into_iter().map(|workload| workload.0)
}

/// A workload on its way.
struct Run<'a> {
    kind: &'a Kind,
    directory: &'a Path,
    quick: bool,
    random: Random,
    /// The values that the map should have.
    values: Vec<u64>,
    rows: Vec<Value>,
}

/// Runs a workload on a store in an empty directory; returns the line to print.
pub fn run(store: &str, workload: &str, directory: &Path, quick: bool) -> Result<String, String> {
    let kind = sync_stores::named(store).ok_or_else(|| format!("no store is called {store}"))?;
    let found = WORKLOADS.into_iter().find(|found| found.0 == workload);
    let found = found.ok_or_else(|| format!("no workload is called {workload}"))?;
    process::end_after_seconds(LIMIT_SECONDS);
    let values = vec![0; KEYS];
    let mut run = Run { kind, directory, quick, random: Random::new(1), values, rows: Vec::new() };
    let outcome = run.load().and_then(|()| found.1(&mut run)).and_then(|()| run.check());
    outcome.map_err(|error| error.to_string())?;
    Ok(json!({ "store": store, "workload": workload, "rows": run.rows }).to_string())
}

/// Commits of one key and of a thousand, and lookups.
fn commit(run: &mut Run<'_>) -> Outcome {
    let (times, warm_up, lookups) = if run.quick { (100, 10, 50_000) } else { (500, 20, 200_000) };
    let mut rows = Vec::new();
    (run.kind.with)(run.directory, &mut |store| {
        for (name, count, times) in [("commit/1_key", 1, times), ("commit/1000_keys", 1_000, times / 5)] {
            let mut spent = Vec::with_capacity(times);
            for time in 0..warm_up + times {
                let updates = updates(&mut run.random, &mut run.values, count);
                let start = process::wall_ns();
                store.commit(&updates)?;
                if time >= warm_up {
                    spent.push((process::wall_ns() - start) as f64 / 1e3);
                }
            }
            rows.push(row(name, "us", spent)?);
        }
        let mut spent = Vec::new();
        for _ in 0..6 {
            let places: Vec<usize> = (0..lookups).map(|_| run.random.below(KEYS)).collect();
            let keys: Vec<u64> = places.iter().map(|&place| key(place)).collect();
            let start = process::wall_ns();
            let Some(sum) = store.sum(&keys)? else { return Ok(()) };
            spent.push((process::wall_ns() - start) as f64 / lookups as f64);
            let expected = places.iter().fold(0_u64, |sum, &place| sum.wrapping_add(run.values[place]));
            assert_eq!(sum, expected, "the values are those of the last commit");
        }
        // The first of them warmed up.
        rows.push(row("lookup", "ns", spent.split_off(1))?);
        Ok(())
    })?;
    run.rows = rows;
    Ok(())
}

/// Opening a map that was closed, and one lookup.
fn open(run: &mut Run<'_>) -> Outcome {
    let mut spent = Vec::new();
    for _ in 0..if run.quick { 5 } else { 20 } {
        let place = run.random.below(KEYS);
        let start = process::wall_ns();
        (run.kind.with)(run.directory, &mut |store| {
            if store.sum(&[key(place)])?.is_some() {
                spent.push((process::wall_ns() - start) as f64 / 1e3);
            }
            Ok(())
        })?;
    }
    if !spent.is_empty() {
        run.rows.push(row("open", "us", spent)?);
    }
    Ok(())
}

/// Many commits of one key: what each takes with everything that has to be done from time to time, and what they leave.
fn many(run: &mut Run<'_>) -> Outcome {
    let count = if run.quick { 1_000 } else { 5_000 };
    let (mut mean, mut open_kib) = (0.0, 0.0);
    (run.kind.with)(run.directory, &mut |store| {
        let start = process::wall_ns();
        for _ in 0..count {
            store.commit(&updates(&mut run.random, &mut run.values, 1))?;
        }
        mean = (process::wall_ns() - start) as f64 / 1e3 / f64::from(count);
        open_kib = allocated_kib(run.directory)?;
        Ok(())
    })?;
    let closed_kib = allocated_kib(run.directory)?;
    run.rows.push(row("commit/1_key/mean", "us", vec![mean])?);
    if run.kind.package.is_some() {
        run.rows.push(row(&format!("size/{count}_commits/open"), "KiB", vec![open_kib])?);
        run.rows.push(row(&format!("size/{count}_commits/closed"), "KiB", vec![closed_kib])?);
    }
    Ok(())
}

impl Run<'_> {
    fn load(&mut self) -> Outcome {
        let updates: Vec<(u64, u64)> = (0..KEYS).map(|place| (key(place), 0)).collect();
        (self.kind.with)(self.directory, &mut |store| store.commit(&updates))
    }

    /// The map holds what was committed, when opened again.
    fn check(&self) -> Outcome {
        let keys: Vec<u64> = (0..KEYS).map(key).collect();
        let expected = self.values.iter().fold(0_u64, |sum, &value| sum.wrapping_add(value));
        (self.kind.with)(self.directory, &mut |store| match store.sum(&keys)? {
            Some(sum) if sum != expected => Err("the values are not those of the last commit".into()),
            _ => Ok(()),
        })
    }
}

/// The key of a place, in an order that no map likes.
fn key(place: usize) -> u64 {
    (place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// New values for some keys, noted in `values`.
fn updates(random: &mut Random, values: &mut [u64], count: usize) -> Vec<(u64, u64)> {
    let one = |_| {
        let (place, value) = (random.below(KEYS), random.bits());
        values[place] = value;
        (key(place), value)
    };
    (0..count).map(one).collect()
}

/// KiB of disk space that the files in a directory take.
fn allocated_kib(directory: &Path) -> Outcome<f64> {
    let mut blocks = 0;
    for entry in fs::read_dir(directory)? {
        blocks += entry?.metadata()?.blocks();
    }
    Ok(blocks as f64 * 512.0 / 1024.0)
}

fn row(name: &str, unit: &str, values: Vec<f64>) -> Outcome<Value> {
    let count = values.len();
    let spread = Spread::of(values).ok_or("nothing was measured")?;
    Ok(json!({
        "row": name,
        "unit": unit,
        "median": spread.median,
        "min": spread.min,
        "max": spread.max,
        "count": count,
    }))
}
