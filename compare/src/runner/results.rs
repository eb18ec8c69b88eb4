//! What was measured, and what follows from it.

use super::arguments::Arguments;
use super::libraries::Libraries;
use super::machine::{self, Machine};
use super::peers::{BASE, OURS, Peer};
use compare::measure::Spread;
use compare::workloads::{Unit, Workload};
use serde_json::{Value, json};

/// What one process reported.
#[derive(Debug)]
pub(crate) struct Sample {
    value: f64,
    wall_ns: f64,
    peak_kib: f64,
    line: Value,
}

impl Sample {
    /// Reads the line a worker printed.
    pub(crate) fn parse(line: &[u8], no_huge_pages: bool) -> Result<Self, String> {
        let line: Value = serde_json::from_slice(line).map_err(|error| format!("it printed no JSON: {error}"))?;
        if no_huge_pages && line["huge_pages_forbidden"] != true {
            return Err("huge pages were not forbidden to it".to_owned());
        }
        let number = |key: &str| line[key].as_f64().ok_or_else(|| format!("its line lacks {key}"));
        let (value, wall_ns, peak_kib) = (number("value")?, number("wall_ns")?, number("peak_rss_kib")?);
        Ok(Self { value, wall_ns, peak_kib, line })
    }
}

/// One allocator under one workload.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<String>,
}

impl Cell {
    /// Of the processes' values; none if there is no value or any process failed.
    pub(crate) fn value(&self) -> Option<Spread> {
        if self.failures.is_empty() { Spread::of(self.samples.iter().map(|sample| sample.value)) } else { None }
    }

    /// Median of the processes' peak resident memory in MiB.
    pub(crate) fn peak_mib(&self) -> Option<f64> {
        Some(Spread::of(self.samples.iter().map(|sample| sample.peak_kib))?.median / 1024.0)
    }

    /// What the processes printed.
    pub(crate) fn lines(&self) -> Vec<&Value> {
        self.samples.iter().map(|sample| &sample.line).collect()
    }

    pub(crate) fn wall_ns(&self) -> Option<f64> {
        Some(Spread::of(self.samples.iter().map(|sample| sample.wall_ns))?.median)
    }
}

/// One workload under all allocators.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static Workload,
    /// One for each peer, in their order.
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    /// One without samples.
    pub(crate) fn new(workload: &'static Workload, peers: usize) -> Self {
        Self { workload, cells: (0..peers).map(|_| Cell::default()).collect() }
    }

    /// Median of the peer `which` divided by that of the peer `base`.
    pub(crate) fn ratio(&self, which: usize, base: usize) -> Option<f64> {
        let (mine, other) = (self.cells[which].value()?.median, self.cells[base].value()?.median);
        (mine > 0.0 && other > 0.0).then(|| mine / other)
    }

    /// The peer with the least median.
    pub(crate) fn best(&self) -> Option<usize> {
        let median = |which: usize| Some((self.cells[which].value()?.median, which));
        let best = (0..self.cells.len()).filter_map(median).min_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, which)| which)
    }
}

/// All that a comparison found.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) peers: Vec<Peer>,
    pub(crate) rows: Vec<Row>,
    /// The peer that ratios are relative to.
    pub(crate) base: usize,
    pub(crate) machine: Machine,
    /// How it was run, in words.
    pub(crate) method: String,
    /// Commit, compiler, command.
    pub(crate) build: String,
    pub(crate) no_huge_pages: bool,
    /// What the run with the other setting of huge pages found.
    pub(crate) other: Option<OtherRun>,
    /// The allocators that are no global ones.
    pub(crate) libraries: Libraries,
    pub(crate) load_at_start: String,
    pub(crate) load_at_end: String,
}

impl Results {
    pub(crate) fn new(
        arguments: &Arguments,
        peers: Vec<Peer>,
        rows: Vec<Row>,
        libraries: Libraries,
        load_at_start: String,
    ) -> Self {
        let base = peers.iter().position(|peer| peer.source.name == BASE).unwrap_or(0);
        let method = format!(
            "{} rounds, interleaved{}{}{}; CPU time, median of processes, each the median of its repetitions",
            arguments.rounds,
            if arguments.quick { ", quick" } else { "" },
            if arguments.no_huge_pages { ", huge pages forbidden" } else { "" },
            if arguments.lto { ", fat LTO" } else { "" },
        );
        Self {
            peers,
            rows,
            base,
            machine: Machine::this(),
            build: machine::build(),
            no_huge_pages: arguments.no_huge_pages,
            other: None,
            libraries,
            method,
            load_at_start,
            load_at_end: machine::load(),
        }
    }

    /// The name that ratios are relative to.
    pub(crate) fn base_name(&self) -> &'static str {
        self.peers[self.base].source.name
    }

    /// Geometric mean of the peer's ratios, and the number of rows.
    pub(crate) fn mean(&self, of: Mean, which: usize) -> Option<(f64, usize)> {
        let rows = self.rows.iter().filter(|row| of.includes(row.workload));
        geometric_mean(rows.filter_map(|row| match of {
            Mean::SmallObjects | Mean::Time => row.ratio(which, self.base),
            Mean::PeakMemory => Some(row.cells[which].peak_mib()? / row.cells[self.base].peak_mib()?),
        }))
    }

    /// The rows in which [`OURS`] takes more than a quarter more than the best, and how much of it, worst first.
    pub(crate) fn losses(&self) -> Vec<(&Row, usize, f64)> {
        let Some(ours) = self.peers.iter().position(|peer| peer.source.name == OURS) else { return Vec::new() };
        let loss = |row: &'_ Row| {
            let best = row.best()?;
            Some((best, row.ratio(ours, best)?))
        };
        let lost = self.rows.iter().filter_map(|row| loss(row).map(|(best, ratio)| (row, best, ratio)));
        let mut lost: Vec<_> = lost.filter(|lost| lost.2 > 1.25).collect();
        lost.sort_by(|one, other| other.2.total_cmp(&one.2));
        lost
    }

    /// Names of peer and workload and the reason, of every process that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for row in &self.rows {
            for (peer, cell) in self.peers.iter().zip(&row.cells) {
                let line = |message| format!("{} under {}: {message}", row.workload.name, peer.source.name);
                failures.extend(cell.failures.iter().map(line));
            }
        }
        failures.extend(self.libraries.failures());
        failures
    }

    /// The contents of results.json: everything above and every line of every process.
    pub(crate) fn json(&self) -> String {
        let peers = self.peers.iter().enumerate().map(|(which, peer)| {
            json!({
                "name": peer.source.name,
                "version": peer.version,
                "means": Value::from_iter(MEANS.map(|of| {
                    let mean = self.mean(of, which);
                    (of.label(), json!({ "ratio": mean.map(|mean| mean.0), "rows": mean.map(|mean| mean.1) }))
                })),
            })
        });
        let rows = self.rows.iter().map(|row| {
            let cells = self.peers.iter().zip(&row.cells).enumerate().map(|(which, (peer, cell))| {
                let spread = cell.value();
                json!({
                    "allocator": peer.source.name,
                    "median": spread.map(|spread| spread.median),
                    "min": spread.map(|spread| spread.min),
                    "max": spread.map(|spread| spread.max),
                    "ratio": row.ratio(which, self.base),
                    "wall_ns": cell.wall_ns(),
                    "peak_rss_mib": cell.peak_mib(),
                    "failures": cell.failures,
                    "processes": cell.lines(),
                })
            });
            json!({
                "workload": row.workload.name,
                "unit": row.workload.unit.label(),
                "cold": row.workload.cold,
                "small_objects": row.workload.small_objects,
                "cells": cells.collect::<Vec<_>>(),
            })
        });
        let all = json!({
            "machine": self.machine.json(),
            "method": self.method,
            "build": self.build,
            "commit": machine::commit(),
            "load_at_start": self.load_at_start,
            "load_at_end": self.load_at_end,
            "base": self.base_name(),
            "allocators": peers.collect::<Vec<_>>(),
            "workloads": rows.collect::<Vec<_>>(),
            "libraries": self.libraries.json(),
        });
        format!("{all:#}\n")
    }
}

/// What a geometric mean is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mean {
    /// CPU time of the rows that allocate nothing above 1 KiB again and again.
    SmallObjects,
    /// CPU time of all rows.
    Time,
    /// Peak resident memory of all rows.
    PeakMemory,
}

/// All of them in the order of the tables.
pub(crate) const MEANS: [Mean; 3] = [Mean::SmallObjects, Mean::Time, Mean::PeakMemory];

impl Mean {
    /// How tables name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::SmallObjects => "mean, time, small objects",
            Self::Time => "mean, time, all",
            Self::PeakMemory => "mean, peak memory, all",
        }
    }

    fn includes(self, workload: &Workload) -> bool {
        let timed = matches!(workload.unit, Unit::Nanoseconds { .. });
        match self {
            Self::SmallObjects => timed && workload.small_objects,
            Self::Time => timed,
            Self::PeakMemory => true,
        }
    }
}

/// The means of an earlier run of the same commit that differs in whether processes got huge pages.
#[derive(Debug)]
pub(crate) struct OtherRun {
    /// How it was run, and with what command.
    pub(crate) method: String,
    allocators: Value,
}

impl OtherRun {
    /// From the contents of its results.json; none if they are of another commit or relative to another allocator.
    pub(crate) fn parse(text: &str, of: &Results) -> Option<Self> {
        let all: Value = serde_json::from_str(text).ok()?;
        let same = all["commit"] == machine::commit().as_str() && all["base"] == of.base_name();
        let method = format!("{}; {}", all["method"].as_str()?, all["build"].as_str()?);
        same.then(|| Self { method, allocators: all["allocators"].clone() })
    }

    /// The mean of a peer's ratios, and the number of rows.
    pub(crate) fn mean(&self, of: Mean, peer: &str) -> Option<(f64, usize)> {
        let peer = self.allocators.as_array()?.iter().find(|found| found["name"] == peer)?;
        let mean = &peer["means"][of.label()];
        Some((mean["ratio"].as_f64()?, mean["rows"].as_u64()? as usize))
    }
}

/// The mean of ratios, in which 2 and 1/2 cancel; and how many there were.
fn geometric_mean(ratios: impl Iterator<Item = f64>) -> Option<(f64, usize)> {
    let (sum, count) = ratios.fold((0.0, 0), |(sum, count), ratio| (sum + ratio.ln(), count + 1));
    (count > 0).then(|| ((sum / count as f64).exp(), count))
}

#[cfg(test)]
mod tests {
    use super::{Cell, Mean, Sample, geometric_mean};
    use compare::workloads;

    fn sample(value: f64) -> Sample {
        Sample::parse(format!(r#"{{"value":{value},"wall_ns":1,"peak_rss_kib":2048}}"#).as_bytes(), false).unwrap()
    }

    #[test]
    fn twice_and_half_cancel_in_the_mean() {
        let (mean, count) = geometric_mean([2.0, 0.5, 1.0].into_iter()).unwrap();
        assert!((mean - 1.0).abs() < 1e-12 && count == 3);
        assert!(geometric_mean([].into_iter()).is_none());
    }

    #[test]
    fn the_mean_of_small_objects_leaves_out_large_ones_and_what_is_no_cpu_time() {
        let includes = |mean: Mean, name: &str| mean.includes(workloads::named(name).unwrap());
        assert!(includes(Mean::SmallObjects, "pair/1KiB/const") && includes(Mean::Time, "pair/4KiB/const"));
        for name in ["pair/4KiB/const", "large/1MiB", "realloc/64B..1MiB", "fresh_memory/256B", "resident_at_start"] {
            assert!(!includes(Mean::SmallObjects, name), "{name}");
        }
        assert!(!includes(Mean::Time, "fresh_memory/256B") && includes(Mean::PeakMemory, "fresh_memory/256B"));
    }

    #[test]
    fn a_cell_with_a_failure_has_no_value() {
        let mut cell = Cell { samples: vec![sample(3.0), sample(5.0), sample(4.0)], failures: Vec::new() };
        assert_eq!(cell.value().unwrap().median, 4.0);
        assert_eq!(cell.peak_mib(), Some(2.0));
        cell.failures.push("killed".to_owned());
        assert!(cell.value().is_none());
    }

    #[test]
    fn a_line_without_its_numbers_is_an_error() {
        assert!(Sample::parse(b"{}", false).is_err() && Sample::parse(b"panicked", false).is_err());
    }

    #[test]
    fn a_process_with_huge_pages_does_not_count_where_they_are_forbidden() {
        let line =
            |forbidden| format!(r#"{{"value":1,"wall_ns":1,"peak_rss_kib":1,"huge_pages_forbidden":{forbidden}}}"#);
        assert!(Sample::parse(line(false).as_bytes(), true).is_err());
        assert!(Sample::parse(line(true).as_bytes(), true).is_ok());
    }
}
