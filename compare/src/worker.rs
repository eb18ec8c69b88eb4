//! The life of one measuring process: one allocator, one workload, one line of JSON on standard output.
//!
//! `BIN --workload NAME [--quick]` measures, `BIN --describe` says which allocator this is. A binary that was not built as a
//! release, or whose allocator is not what its name says, refuses both, so that no wrong number comes out.

use crate::measure::{Meter, Spread};
use crate::process;
use crate::workloads::{self, Unit};
use serde_json::{Value, json};
use std::env;
use std::process::ExitCode;

/// The allocator a binary was linked with.
#[derive(Debug)]
pub struct Peer {
    /// The binary's name.
    pub name: &'static str,
    /// What the allocator itself says of its version, or an error if it is not the one the binary is named for.
    pub version: fn() -> Result<String, String>,
}

/// Longest time one workload may take, in seconds.
const LIMIT_SECONDS: u32 = 120;

/// Does what the command line asks.
pub fn main(peer: Peer) -> ExitCode {
    let start = process::resident();
    match run(&peer, start) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{}: {message}", peer.name);
            ExitCode::FAILURE
        }
    }
}

/// An error if this was not built as a release, unless that is allowed.
pub fn refuse_debug(allow: bool) -> Result<(), String> {
    let (debug, opt_level) = (env!("COMPARE_DEBUG"), env!("COMPARE_OPT_LEVEL"));
    if (debug != "false" || opt_level != "3") && !allow {
        return Err(format!("built with debug = {debug}, opt-level = {opt_level}: its numbers would be false"));
    }
    Ok(())
}

fn run(peer: &Peer, start: process::Resident) -> Result<String, String> {
    let (mut workload, mut quick, mut describe, mut allow_debug) = (None, false, false, false);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--workload" => workload = Some(arguments.next().ok_or("--workload needs a name")?),
            "--quick" => quick = true,
            "--describe" => describe = true,
            "--allow-debug" => allow_debug = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    refuse_debug(allow_debug)?;
    let version = (peer.version)()?;
    if describe {
        return Ok(json!({ "allocator": peer.name, "version": version }).to_string());
    }
    let name = workload.ok_or("one of --workload NAME and --describe is needed")?;
    let workload = workloads::named(&name).ok_or_else(|| format!("no workload is called {name}"))?;

    let measured = Measured::of(workload.run, quick);
    let value = match workload.unit {
        Unit::Nanoseconds { .. } | Unit::Tail { .. } => measured.value(),
        Unit::ResidentAtStart => Spread::of([start.now_kib as f64]),
    };
    let mut line = measured.line(value.ok_or("the workload measured nothing")?);
    line["workload"] = workload.name.into();
    line["allocator"] = peer.name.into();
    line["unit"] = workload.unit.label().into();
    line["start_rss_kib"] = start.now_kib.into();
    Ok(line.to_string())
}

/// What a process found out.
pub(crate) struct Measured {
    meter: Meter,
    end: process::Resident,
    user_and_system_ns: (u64, u64),
}

impl Measured {
    /// Runs what is to be measured.
    pub(crate) fn of(run: impl FnOnce(&mut Meter), quick: bool) -> Self {
        process::end_after_seconds(LIMIT_SECONDS);
        let mut meter = Meter::new(quick);
        run(&mut meter);
        let user_and_system_ns = process::user_and_system_ns();
        Self { meter, end: process::resident(), user_and_system_ns }
    }

    /// CPU time of the repetitions; none if there were none.
    pub(crate) fn value(&self) -> Option<Spread> {
        Spread::of(self.meter.repetitions().iter().map(|one| one.cpu_ns))
    }

    /// The line to print, but for names, with the value that counts.
    pub(crate) fn line(&self, value: Spread) -> Value {
        let wall = Spread::of(self.meter.repetitions().iter().map(|one| one.wall_ns));
        json!({
            "value": value.median,
            "value_min": value.min,
            "value_max": value.max,
            "wall_ns": wall.map_or(0.0, |wall| wall.median),
            "operations": self.meter.operations(),
            "repetitions": self.meter.repetitions().len(),
            "peak_rss_kib": self.end.peak_kib,
            "end_rss_kib": self.end.now_kib,
            "end_huge_kib": self.end.huge_kib,
            "user_ns": self.user_and_system_ns.0,
            "system_ns": self.user_and_system_ns.1,
            "huge_pages_forbidden": process::huge_pages_are_forbidden(),
        })
    }
}
