//! Runs everything, interleaved.
//!
//! A round runs each workload under each allocator before the next workload begins, so that a machine that slows down slows
//! all of them, and the allocator that begins moves on by one with every workload and every round.

use super::arguments::Arguments;
use super::peers::Peer;
use super::results::{Cell, Row, Sample};
use compare::workloads::Workload;
use std::process::Command;
use std::time::Instant;

/// Processes per round for what happens only once in a process.
const COLD_PROCESSES: usize = 3;

/// Measures `chosen` under all `peers`.
pub(crate) fn run(arguments: &Arguments, peers: &[Peer], chosen: &[&'static Workload]) -> Vec<Row> {
    let mut rows: Vec<Row> = chosen.iter().map(|&workload| Row::new(workload, peers.len())).collect();
    let start = Instant::now();
    let total = rows.len() * arguments.rounds;
    for round in 0..arguments.rounds {
        for (index, row) in rows.iter_mut().enumerate() {
            let done = round * chosen.len() + index;
            eprintln!(
                "[{:4.0} s] {}/{total} round {} {}",
                start.elapsed().as_secs_f64(),
                done + 1,
                round + 1,
                row.workload.name
            );
            for turn in 0..peers.len() {
                let which = (turn + round + index) % peers.len();
                let processes = if row.workload.cold { COLD_PROCESSES } else { 1 };
                for _ in 0..processes {
                    measure(&peers[which], row.workload, arguments, &mut row.cells[which]);
                }
            }
        }
    }
    rows
}

/// Runs one process of an allocator's binary.
fn measure(peer: &Peer, workload: &Workload, arguments: &Arguments, cell: &mut Cell) {
    let mut command = Command::new(&peer.executable);
    command.args(["--workload", workload.name]);
    let name = format!("{} {}", peer.source.name, workload.name);
    run_one(command, &name, arguments, cell);
}

/// Runs one process and keeps what it measured, or why it did not.
pub(crate) fn run_one(mut command: Command, name: &str, arguments: &Arguments, cell: &mut Cell) {
    command.args(arguments.quick.then_some("--quick"));
    let result = command.output().map_err(|error| error.to_string()).and_then(|output| {
        if output.status.success() {
            Sample::parse(&output.stdout, arguments.no_huge_pages)
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{}: {}", output.status, said.lines().last().unwrap_or("it said nothing")))
        }
    });
    match result {
        Ok(sample) => cell.samples.push(sample),
        Err(message) => {
            eprintln!("FAILED: {name}: {message}");
            cell.failures.push(message);
        }
    }
}
