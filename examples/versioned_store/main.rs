//! A key-value store with versions, in one heap file.
//!
//! ```text
//! cargo run --release --example versioned_store -- put colour blue
//! cargo run --release --example versioned_store -- snapshot monday
//! cargo run --release --example versioned_store -- put colour red
//! cargo run --release --example versioned_store -- get colour --at monday
//! cargo run --release --example versioned_store -- diff monday
//! cargo run --release --example versioned_store -- roll-back monday
//! cargo run --release --example versioned_store -- load --seconds 5 --readers 2
//! ```
//!
//! The store is a copy-on-write map: a snapshot is a clone of the map under a name, which takes the same time whatever the map
//! holds, and costs what has changed since. `load` lets a writer commit while readers look at old versions, and says how much
//! of both was done; killed at any moment, the store is as of its last commit, which `check` proves.

mod load;
mod store;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::ops::Bound::{Included, Unbounded};
use std::path::PathBuf;
use std::process::ExitCode;
use store::Store;

/// A key-value store with versions, in one heap file.
#[derive(Debug, Parser)]
struct Arguments {
    /// The heap file; it is made if it does not exist.
    #[arg(long, default_value = "versioned.sal")]
    store: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts a value under a key.
    Put { key: String, value: String },
    /// Prints the value of a key.
    Get {
        key: String,
        /// The version to look at, instead of what is there now.
        #[arg(long)]
        at: Option<String>,
    },
    /// Removes a key.
    Delete { key: String },
    /// Lists keys and values, those from one key on.
    List {
        #[arg(default_value = "")]
        from: String,
        #[arg(long, default_value_t = 20)]
        most: usize,
        #[arg(long)]
        at: Option<String>,
    },
    /// Keeps what is there now under a name.
    Snapshot { name: String },
    /// Lists the snapshots.
    Snapshots,
    /// Lists what has changed since a snapshot.
    Diff { name: String },
    /// Makes a snapshot what is there now.
    RollBack { name: String },
    /// Drops a snapshot.
    Drop { name: String },
    /// Commits random changes while readers look at old versions.
    Load {
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        #[arg(long, default_value_t = 2)]
        readers: usize,
        /// Keys that each commit changes.
        #[arg(long, default_value_t = 10)]
        batch: u64,
        /// Keys that the store has.
        #[arg(long, default_value_t = 100_000)]
        keys: u64,
    },
    /// Looks whether all that `load` has committed is there, whole.
    Check,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("because {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let store = Store::open(&arguments.store)?;
    match &arguments.command {
        Command::Put { key, value } => {
            if let Some(old) = store.put(key, value)? {
                println!("in place of {old}");
            }
        }
        Command::Get { key, at } => match store.map(at.as_deref())?.get(key.as_str()) {
            Some(value) => println!("{value}"),
            None => return Err(format!("there is no key {key}").into()),
        },
        Command::Delete { key } => match store.delete(key)? {
            Some(old) => println!("it was {old}"),
            None => return Err(format!("there is no key {key}").into()),
        },
        Command::List { from, most, at } => {
            for (key, value) in
                store.map(at.as_deref())?.range::<str, _>((Included(from.as_str()), Unbounded)).take(*most)
            {
                println!("{key}\t{value}");
            }
        }
        Command::Snapshot { name } => store.snapshot(name)?,
        Command::Snapshots => store.snapshots()?.iter().for_each(|name| println!("{name}")),
        Command::Diff { name } => store.print_changes_since(name)?,
        Command::RollBack { name } => store.roll_back(name)?,
        Command::Drop { name } => store.drop_snapshot(name)?,
        Command::Load { seconds, readers, batch, keys } => {
            let load = load::Load { seconds: *seconds, readers: *readers, batch: *batch, keys: *keys };
            println!("{}", load.run(&store)?);
        }
        Command::Check => println!("{}", load::check(&store)?),
    }
    Ok(store.close()?)
}
