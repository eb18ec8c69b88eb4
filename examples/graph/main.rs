//! A cyclic graph of millions of nodes in a heap file: built from files, changed, collected, compacted.
//!
//! ```text
//! cargo run --release --example graph -- build src        # a node for each word of each file, and each place where it stands
//! cargo run --release --example graph -- walk             # follows pointers at random
//! cargo run --release --example graph -- forget 60        # leaves 60 % of the files out: their nodes lead to each other still
//! cargo run --release --example graph -- collect          # frees them, in steps of a millisecond
//! cargo run --release --example graph -- compact          # moves what is left of the texts together
//! cargo run --release --example graph -- all src          # one after the other
//! ```
//!
//! Each place leads to its word, its file and the next place, each word to one that followed it: so there are cycles everywhere, and no count of
//! pointers would tell what nothing needs any more. Nodes lie in pools, which a collector frees; the texts of words are values that
//! may be moved. Each command commits what it did.

mod run;
mod web;

use clap::{Parser, Subcommand};
use sal::{Heap, HeapOptions, Root};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use web::Web;

const WEB: Root<Web> = Root::new("web");

/// A cyclic graph in a heap file.
#[derive(Debug, Parser)]
struct Arguments {
    /// The heap file; it is made if it does not exist.
    #[arg(long, default_value = "graph.sal")]
    heap: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Adds the words of all files in directories.
    Build {
        directories: Vec<PathBuf>,
        /// Reads no more files when there are so many nodes.
        #[arg(long, default_value_t = 20_000_000)]
        most: u64,
    },
    /// Follows pointers at random, and reads the texts of the words.
    Walk {
        #[arg(long, default_value_t = 2_000_000)]
        steps: u64,
    },
    /// Leaves out so many of a hundred files.
    Forget {
        #[arg(value_parser = clap::value_parser!(u64).range(0..=100))]
        percent: u64,
    },
    /// Frees what nothing leads to.
    Collect {
        /// How long a step takes, in microseconds.
        #[arg(long, default_value_t = 1_000)]
        budget: u64,
    },
    /// Moves texts together.
    Compact,
    /// Says how much there is, and looks whether each pointer leads somewhere.
    Info,
    /// All of it, one after the other.
    All {
        directories: Vec<PathBuf>,
        #[arg(long, default_value_t = 20_000_000)]
        most: u64,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("graph: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // SAFETY: the file is written only through SAL, by this program; nothing else changes it while it is open.
    #[allow(unsafe_code)]
    let heap: Heap = unsafe { HeapOptions::new().open_or_create(&arguments.heap)? };
    match arguments.command {
        Command::Build { directories, most } => run::build(&heap, &directories, most)?,
        Command::Walk { steps } => run::walk(&heap, steps)?,
        Command::Forget { percent } => run::forget(&heap, percent)?,
        Command::Collect { budget } => run::collect(&heap, budget)?,
        Command::Compact => run::compact(&heap)?,
        Command::Info => run::info(&heap)?,
        Command::All { directories, most } => {
            run::build(&heap, &directories, most)?;
            run::walk(&heap, 2_000_000)?;
            run::forget(&heap, 60)?;
            run::collect(&heap, 1_000)?;
            run::compact(&heap)?;
            run::walk(&heap, 2_000_000)?;
            run::info(&heap)?;
        }
    }
    Ok(heap.close()?)
}
