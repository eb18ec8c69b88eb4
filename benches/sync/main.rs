//! What a sync costs, beside what the disk asks for the same bytes, and what an atomic heap costs between syncs.
//!
//! `cargo bench --bench sync -- --help` tells the options. Each round first writes plainly to a file beside the heap and
//! then syncs the heap, so both meet the same disk at the same time; the table gives medians, least and greatest. SIZE is
//! the size of the heap:
//!
//! - `sync/Npages/SIZE`: N pages at random, others each round, beside N pages written in a row and `fdatasync`. `/pause` is
//!   the longest that a thread had to wait for a write session meanwhile, `/closed` for how long the heap says it let none
//!   begin, `/held` the pages in the commit, `/written` what the process wrote to the disk, `/touch` the CPU time to change a
//!   page, `/fold` the time to bring the heap file up to date afterwards.
//! - `sync/1key/SIZE`: one value of a hash map, beside one page written and `fdatasync`.
//! - `sync/quiet/SIZE`: nothing changed; `quiet_reopened` after the heap was closed, opened and read, `first_reopened` the
//!   first sync then. The limit is meant for each GiB of heap, and for the whole of a smaller one.
//! - `bulk_load/SIZE/sync`: a vector of that size filled in a new heap and synced once, beside a new file written in a row
//!   and `fdatasync`; `/load` is the filling.
//! - `ops/OPERATION`: CPU time of ordinary operations in a fresh atomic heap that was synced once, beside a volatile one.
#![allow(unsafe_code)]

mod bulk;
mod key;
mod machine;
mod operations;
mod options;
mod pages;
mod pause;
mod raw;
mod report;

use options::{Options, Part};
use report::Report;
use sal::{Heap, HeapOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("sync: {message}");
            return ExitCode::FAILURE;
        }
    };
    if options.help {
        print!("{}", options::HELP);
        return ExitCode::SUCCESS;
    }
    let directory = tempfile::Builder::new().prefix("sync-bench").tempdir_in(&options.directory);
    let directory = directory.expect("a directory for the files");
    let bench = Bench { options, directory: directory.path().to_owned() };
    println!("{}", machine::line(&bench.directory));

    let mut report = Report::default();
    for &size in &bench.options.sizes {
        if bench.options.wants(Part::Pages) {
            pages::run(&bench, size, &mut report);
        }
        if bench.options.wants(Part::Key) {
            key::run(&bench, size, &mut report);
        }
        if bench.options.wants(Part::Bulk) && size.bytes <= 1 << 30 {
            bulk::run(&bench, size, &mut report);
        }
    }
    if bench.options.wants(Part::Operations) {
        operations::run(&bench, &mut report);
    }
    print!("\n{}", report.table());
    ExitCode::SUCCESS
}

/// What all parts need to know.
struct Bench {
    options: Options,
    directory: PathBuf,
}

impl Bench {
    /// Where a heap with this name lies.
    fn heap_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.sal"))
    }

    fn heap_options(&self) -> HeapOptions {
        let options = HeapOptions::new().mode(self.options.mode);
        let options = self.options.fold_at.map_or(options.clone(), |bytes| options.fold_at(bytes));
        self.options.tracking.map_or(options.clone(), |tracking| options.dirty_tracking(tracking))
    }

    /// A new heap, whatever was there before.
    fn create(&self, path: &Path) -> Heap {
        remove(path);
        // SAFETY: the file is this program's own.
        unsafe { self.heap_options().create(path) }.expect("a new heap")
    }

    /// The heap again that was closed.
    fn open(&self, path: &Path) -> Heap {
        // SAFETY: the file is this program's own.
        unsafe { self.heap_options().open(path) }.expect("the heap opens")
    }
}

/// Closes a heap of which nothing is used any more.
fn close(heap: Heap) {
    // SAFETY: what borrows the heap has ended with its sessions, and no part keeps anything else that lies in it.
    unsafe { heap.close_and_unmap() }.expect("the heap closes");
}

/// Removes a heap's files, as far as they are there.
fn remove(path: &Path) {
    for path in [path.to_owned(), log_path(path)] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
            _ => {}
        }
    }
}

/// Where a heap's commit log lies.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-log");
    name.into()
}

/// Random numbers that are the same in every run: xorshift64* (Marsaglia 2003, Vigna 2016).
struct Random(u64);

impl Random {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((u128::from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)) * u128::from(end)) >> 64) as u64
    }
}
