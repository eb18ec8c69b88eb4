//! Allocators that a program calls by name, beside SAL: for large objects, as an arena, as a `Vec`'s, and heaps in files.
//!
//! They are no global allocators, so they share one binary (`src/bin/libraries.rs`), whose global allocator is mimalloc 3. A
//! [`Contest`] is one thing to do, and each [`Contender`] does it its own way; a process runs one contender.

mod arena;
mod fresh;
mod heaps;
mod large;
mod vectors;

use crate::measure::Meter;
use crate::worker::{self, Measured};
use serde_json::{Value, json};
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Something that several do.
#[derive(Debug)]
struct Contest {
    name: &'static str,
    /// One operation.
    per: &'static str,
    /// Who does it; the others are compared with the first.
    contenders: &'static [Contender],
}

/// Somebody who does it.
#[derive(Debug)]
struct Contender {
    name: &'static str,
    /// Its package in the lock file, and which of those with that name: a version begins so.
    package: (&'static str, &'static str),
    run: fn(&mut Setting<'_>),
}

/// What a contender is given.
struct Setting<'a> {
    meter: &'a mut Meter,
    /// An empty directory for files.
    directory: &'a Path,
}

const fn contender(name: &'static str, package: (&'static str, &'static str), run: fn(&mut Setting<'_>)) -> Contender {
    Contender { name, package, run }
}

const MIMALLOC: (&str, &str) = ("libmimalloc-sys", "");
const JEMALLOC: (&str, &str) = ("tikv-jemalloc-sys", "");
const SAL: (&str, &str) = ("sal", "");

/// All of them, in the order of the tables.
const GROUPS: [&[Contest]; 5] = [large::CONTESTS, arena::CONTESTS, vectors::CONTESTS, heaps::CONTESTS, fresh::CONTESTS];

fn all() -> impl Iterator<Item = &'static Contest> {
    GROUPS.iter().flat_map(|group| group.iter())
}

/// Does what the command line asks: `--list`, or `--contest NAME --contender NAME --directory DIR [--quick]`.
pub fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("libraries: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let (mut list, mut quick, mut allow_debug) = (false, false, false);
    let (mut contest, mut name, mut directory) = (String::new(), String::new(), PathBuf::new());
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--list" => list = true,
            "--quick" => quick = true,
            "--allow-debug" => allow_debug = true,
            "--contest" => contest = value()?,
            "--contender" => name = value()?,
            "--directory" => directory = value()?.into(),
            _ => return Err(format!("unknown argument {argument}")),
        }
    }
    worker::refuse_debug(allow_debug)?;
    if list {
        return Ok(Value::from_iter(all().map(described)).to_string());
    }
    let found = all().find(|found| found.name == contest).ok_or_else(|| format!("there is no contest {contest}"))?;
    let contender = found.contenders.iter().find(|found| found.name == name);
    let contender = contender.ok_or_else(|| format!("{name} takes no part in {contest}"))?;
    let place = tempfile::Builder::new().prefix("contest").tempdir_in(&directory);
    let place = place.map_err(|error| format!("no directory can be made in {}: {error}", directory.display()))?;
    let run = |meter: &mut Meter| (contender.run)(&mut Setting { meter, directory: place.path() });
    let measured = Measured::of(run, quick);
    let mut line = measured.line(measured.value().ok_or("nothing was measured")?);
    line["contest"] = found.name.into();
    line["contender"] = contender.name.into();
    Ok(line.to_string())
}

fn described(contest: &Contest) -> Value {
    let contenders = contest.contenders.iter().map(|contender| {
        json!({
            "name": contender.name,
            "package": contender.package.0,
            "version": contender.package.1,
        })
    });
    json!({
        "name": contest.name,
        "unit": format!("ns/{}", contest.per),
        "contenders": contenders.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::HashSet;

    #[test]
    fn no_two_contests_share_a_name_and_no_two_contenders_of_one() {
        let mut names = HashSet::new();
        for contest in all() {
            assert!(names.insert((contest.name, "")));
            assert!(contest.contenders.iter().all(|contender| names.insert((contest.name, contender.name))));
        }
    }
}
