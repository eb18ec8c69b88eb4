//! The comparison of durable commits: `--durable`.
//!
//! It is apart from that of the allocators: other peers, wall time, and a disk. Each workload runs on each store in a process
//! of its own, which is this program again; rounds are interleaved as for the allocators.

use super::machine::{self, Machine};
use super::page;
use super::tables::number;
use compare::measure::Spread;
use compare::sync_stores::ALL;
use compare::sync_workloads::{self, KEYS};
use compare::worker;
use serde_json::{Value, json};
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first argument of a process that measures.
pub(crate) const WORKER: &str = "--durable-worker";

/// What is aimed at: a row, another store, and how much of its time or space the first store takes at most.
const AIMS: [(&str, &str, f64); 4] = [
    ("commit/1_key", "lmdb", 0.6),
    ("commit/1_key", "redb", 0.7),
    ("commit/1000_keys", "lmdb", 0.6),
    ("commit/1000_keys", "redb", 0.7),
];

/// The store that the ratios are of.
const OURS: usize = 0;

/// A row of the table: for each store the medians of its processes.
#[derive(Debug)]
struct Row {
    name: String,
    unit: String,
    cells: Vec<Vec<f64>>,
}

impl Row {
    fn median(&self, store: usize) -> Option<f64> {
        Some(Spread::of(self.cells[store].iter().copied())?.median)
    }

    /// How many times `store` the first store is.
    fn ratio(&self, store: usize) -> Option<f64> {
        Some(self.median(OURS)? / self.median(store)?)
    }
}

/// Measures, as a process that [`run`] started: store, workload, directory, perhaps `--quick`.
pub(crate) fn work(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut next = || arguments.next().ok_or("a store, a workload and a directory are needed");
    let (store, workload, directory) = (next()?, next()?, next()?);
    let rest: Vec<String> = arguments.collect();
    worker::refuse_debug(rest.iter().any(|word| word == "--allow-debug"))?;
    let quick = rest.iter().any(|word| word == "--quick");
    println!("{}", sync_workloads::run(&store, &workload, Path::new(&directory), quick)?);
    Ok(())
}

/// Runs everything and writes table and page to `target`; the stores' files lie in a directory below `place`.
pub(crate) fn run(rounds: usize, quick: bool, place: Option<&Path>, target: &Path) -> Result<(), String> {
    let directory = target.join("compare");
    let cannot = |error| format!("cannot work in {}: {error}", directory.display());
    fs::create_dir_all(&directory).map_err(cannot)?;
    let place = place.unwrap_or(&directory);
    let load_at_start = machine::load();
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for (index, workload) in sync_workloads::names().enumerate() {
            eprintln!("round {} of {rounds}: {workload}", round + 1);
            for turn in 0..ALL.len() {
                let store = (turn + round + index) % ALL.len();
                match measure(ALL[store].name, workload, quick, place) {
                    Ok(line) => keep(&mut rows, store, &line),
                    Err(message) => failures.push(format!("FAILED: {} {workload}: {message}", ALL[store].name)),
                }
            }
        }
    }
    let stores = ALL.iter().map(|kind| {
        let version = kind.package.map_or_else(String::new, |package| super::peers::version_of(package) + ", ");
        format!("{} = {version}{}", kind.name, (kind.about)())
    });
    let mut about = vec![
        format!("machine: {}", Machine::this().line()),
        format!("disk: {}", machine::file_system(place)),
        format!("build: {}", machine::build()),
        format!(
            "method: {KEYS} keys, u64 to u64, {rounds} rounds, interleaved{}; wall time, median of processes, each the \
             median of its repetitions",
            if quick { ", quick" } else { "" }
        ),
        format!("load average: {load_at_start} at the start, {} at the end", machine::load()),
        format!("stores: {}", stores.collect::<Vec<_>>().join("; ")),
    ];
    about.extend(failures);

    print!("{}\n{}\n", table(&rows), about.join("\n"));
    let write = |name: &str, text: String| fs::write(directory.join(name), text).map_err(cannot);
    write("durable.json", json(&rows, &about))?;
    write("durable.html", html(&rows, &about))?;
    println!("\nwritten: {}/{{durable.json, durable.html}}", directory.display());
    Ok(())
}

/// Runs one process in a directory of its own.
fn measure(store: &str, workload: &str, quick: bool, place: &Path) -> Result<Value, String> {
    let place = tempfile::Builder::new().prefix("durable").tempdir_in(place).map_err(|error| error.to_string())?;
    let executable: PathBuf = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(executable);
    command.args([WORKER, store, workload]).arg(place.path()).args(quick.then_some("--quick"));
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, said.trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("it printed no JSON: {error}"))
}

/// Adds what a process measured to the rows.
fn keep(rows: &mut Vec<Row>, store: usize, line: &Value) {
    for measured in line["rows"].as_array().into_iter().flatten() {
        let (Some(name), Some(median)) = (measured["row"].as_str(), measured["median"].as_f64()) else { continue };
        let at = rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            let unit = measured["unit"].as_str().unwrap_or_default().to_owned();
            rows.push(Row { name: name.to_owned(), unit, cells: vec![Vec::new(); ALL.len()] });
            rows.len() - 1
        });
        rows[at].cells[store].push(median);
    }
}

/// What was aimed at in a row, and whether it was reached.
fn verdicts(row: &Row) -> Vec<String> {
    let of_row = AIMS.iter().filter(|aim| aim.0 == row.name);
    let verdict = |&(_, other, most): &(&str, &str, f64)| {
        let ratio = row.ratio(ALL.iter().position(|kind| kind.name == other)?)?;
        Some(format!("{ratio:.2} of {other} (aim {most}: {})", if ratio <= most { "met" } else { "MISSED" }))
    };
    of_row.filter_map(verdict).collect()
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("median, and how many times that {} takes\n{:<24}", ALL[OURS].name, "");
    for kind in &ALL {
        let _ = write!(text, "{:>17}", kind.name);
    }
    text.push('\n');
    for row in rows {
        let _ = write!(text, "{:<24}", row.name);
        for store in 0..ALL.len() {
            let cell = row.median(store).map_or("-".to_owned(), |median| match row.ratio(store) {
                Some(ratio) if store != OURS => format!("{} {:>6}x", number(median), number(ratio)),
                _ => number(median),
            });
            let _ = write!(text, "{cell:>17}");
        }
        let _ = writeln!(text, "  {}", row.unit);
    }
    text.push_str("\nleast and greatest of the processes\n");
    for row in rows {
        let _ = write!(text, "{:<24}", row.name);
        for cell in &row.cells {
            let cell = Spread::of(cell.iter().copied());
            let cell = cell.map_or("-".to_owned(), |cell| format!("{}..{}", number(cell.min), number(cell.max)));
            let _ = write!(text, "{cell:>17}");
        }
        let _ = writeln!(text, "  {}", row.unit);
    }
    text.push('\n');
    for row in rows {
        for verdict in verdicts(row) {
            let _ = writeln!(text, "{}: {verdict}", row.name);
        }
    }
    text
}

fn html(rows: &[Row], about: &[String]) -> String {
    let mut body = String::new();
    let _ = writeln!(
        body,
        "<p>Each cell: median, how many times that {} takes; least to greatest of the processes. \
         <a href=\"index.html\">Global allocators compared</a></p>\n<table><thead><tr><th></th>",
        ALL[OURS].name
    );
    for kind in &ALL {
        let _ = write!(body, "<th>{}</th>", kind.name);
    }
    body.push_str("<th>aim</th></tr></thead>\n<tbody>\n");
    for row in rows {
        let _ = write!(body, "<tr><th>{} <small>{}</small></th>", row.name, row.unit);
        for (store, cell) in row.cells.iter().enumerate() {
            let Some(spread) = Spread::of(cell.iter().copied()) else {
                body.push_str("<td>-</td>");
                continue;
            };
            let ratio = row.ratio(store).map_or("-".to_owned(), number);
            let _ = write!(
                body,
                "<td>{} <small>{ratio}x</small><br><small>{} to {}</small></td>",
                number(spread.median),
                number(spread.min),
                number(spread.max)
            );
        }
        let _ = writeln!(body, "<td>{}</td></tr>", verdicts(row).join("<br>"));
    }
    body.push_str("</tbody></table>\n");
    page::whole("Durable commits compared", about, &body)
}

fn json(rows: &[Row], about: &[String]) -> String {
    let rows = rows.iter().map(|row| {
        let cells = ALL.iter().enumerate().map(|(store, kind)| {
            json!({
                "store": kind.name,
                "median": row.median(store),
                "sal_ratio": row.ratio(store),
                "processes": row.cells[store],
            })
        });
        json!({ "row": row.name, "unit": row.unit, "cells": cells.collect::<Vec<_>>() })
    });
    format!("{:#}\n", json!({ "about": about, "rows": rows.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::{ALL, keep, table, verdicts};
    use serde_json::json;

    fn store(name: &str) -> usize {
        ALL.iter().position(|kind| kind.name == name).unwrap()
    }

    #[test]
    fn a_ratio_is_of_medians_and_judged_by_its_aim() {
        let mut rows = Vec::new();
        for (name, median) in [("sal", 5.0), ("sal", 7.0), ("sal", 900.0), ("lmdb", 14.0), ("redb", 8.0)] {
            let line = json!({ "rows": [{ "row": "commit/1_key", "unit": "us", "median": median }] });
            keep(&mut rows, store(name), &line);
        }
        assert_eq!(rows[0].ratio(store("lmdb")), Some(0.5));
        assert_eq!(verdicts(&rows[0]), ["0.50 of lmdb (aim 0.6: met)", "0.88 of redb (aim 0.7: MISSED)"]);
        assert_eq!(rows[0].ratio(store("sqlite")), None);
        assert!(table(&rows).contains("5.00..900"));
    }
}
