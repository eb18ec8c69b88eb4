//! An index of all words in directories, kept in a heap file.
//!
//! ```sh
//! cargo run --release --example word_index -- index .          # read what is new or has changed
//! cargo run --release --example word_index -- query heap sync  # files with both words, most frequent first
//! cargo run --release --example word_index -- stats
//! ```
//!
//! The index is a hash map of vectors, as a program would have it in memory. Nothing is serialised, and nothing is read
//! when it is opened: a query touches the few pages that it looks at.
//!
//! While it indexes, it syncs every few seconds, and whatever ends a run (Ctrl-C, a kill, a power cut), the heap file holds
//! the last of these commits and nothing else: the next run goes on there, and reads no file again that was indexed by
//! then. Nothing has to be repaired or deleted. A full disk ends a run, but not the index: the last commit stays, and the
//! next run goes on. Beside the heap file lies its log (`words.sal-log`) until it is closed; the two belong together.
//!
//! # Modules
//! [`index`] makes and asks the index; [`progress`] shows how indexing goes on; [`stats`] prints numbers.

mod index;
mod progress;
mod stats;

use clap::{Parser, Subcommand};
use sal::{Heap, HeapOptions, OpenError, RootError};
use std::error::Error;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Everything else that the program allocates comes from SAL too, from a heap that ends with the process.
#[global_allocator]
static GLOBAL: sal::SalAlloc = sal::SalAlloc::new();

/// Indexes the words of files in a heap file, and finds files by their words.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The heap file.
    #[arg(long, global = true, default_value = "words.sal")]
    heap: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Brings the index in line with directories: reads new and changed files, forgets vanished ones.
    Index {
        /// The directories (or files).
        #[arg(required = true)]
        directories: Vec<PathBuf>,
        /// Threads that read; as many as there are processors unless said otherwise.
        #[arg(long)]
        threads: Option<NonZero<usize>>,
        /// Also hidden files and those that .gitignore and the like exclude.
        #[arg(long)]
        all: bool,
        /// Seconds from one sync to the next.
        #[arg(long, default_value_t = 5)]
        sync_every: u64,
        /// Most bytes that the index may take.
        #[arg(long)]
        capacity: Option<u64>,
        /// Names the files too that are no text.
        #[arg(long)]
        verbose: bool,
    },
    /// Names the files in which all words occur, most frequent first.
    Query {
        /// The words; upper and lower case are one.
        #[arg(required = true)]
        words: Vec<String>,
        /// How many files are named.
        #[arg(long, default_value_t = 10)]
        top: usize,
    },
    /// Prints how large the index is.
    Stats,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let heap = arguments.heap.as_path();
    let outcome = match arguments.command {
        Command::Index { directories, threads, all, sync_every, capacity, verbose } => {
            let threads = threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
            let options = index::Options { threads, all, sync_every: Duration::from_secs(sync_every) };
            run_index(heap, &directories, &options, capacity, verbose)
        }
        Command::Query { words, top } => run_query(heap, &words, top),
        Command::Stats => stats::run(heap),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `head` and the like have read enough.
        Err(error)
            if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("word_index: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            if let Some(advice) = advice(&*error, heap) {
                eprintln!("{advice}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What to do about an error.
fn advice(error: &(dyn Error + 'static), heap: &Path) -> Option<String> {
    let heap = heap.display();
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::LogMissing | OpenError::ForeignLog) => {
            return Some(format!(
                "The last run was interrupted, and what it had committed is in {heap}-log: put that back beside {heap}, or \
                 delete both and index again"
            ));
        }
        Some(OpenError::Os { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Some(format!(
                "There is no {heap} yet: make it with  word_index index DIRECTORY  or name it with --heap"
            ));
        }
        Some(OpenError::Locked { .. }) => return Some("Wait until it is done, or use another file with --heap".into()),
        _ => {}
    }
    if let Some(index::IndexError::Full(_)) = error.downcast_ref() {
        return Some("Make room on the disk, or allow more with --capacity; then run it again and it goes on".into());
    }
    match error.downcast_ref::<RootError>() {
        Some(RootError::NotFound { .. }) => Some(format!("Nothing was ever indexed in {heap}")),
        Some(RootError::OtherType { .. }) => {
            Some(format!("Another version of this program made {heap}; delete it and index again"))
        }
        _ => None,
    }
}

fn run_index(
    path: &Path,
    directories: &[PathBuf],
    options: &index::Options,
    capacity: Option<u64>,
    names_binary: bool,
) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let heap_options = capacity.map_or(HeapOptions::new(), |bytes| HeapOptions::new().capacity(bytes));
    let heap = open(heap_options, path)?;
    let bar = progress::Bar::new();
    let outcome = index::update(&heap, directories, options, &bar);
    bar.finish();
    let indexed_in = started.elapsed();
    let commit = heap.last_commit()?;
    heap.close()?;
    let report = outcome?;
    let mut binary = 0;
    for problem in &report.problems {
        match problem.kind {
            index::ProblemKind::Binary if !names_binary => binary += 1,
            ref kind => eprintln!("{}: {kind}", problem.path.display()),
        }
    }
    if binary > 0 {
        eprintln!("{binary} files skipped that are no text; --verbose names them");
    }
    println!(
        "{} files indexed ({:.1} MB), {} unchanged, {} removed, {} syncs, commit {}: {:.2} s, {:.2} s with closing",
        report.indexed,
        report.bytes as f64 / 1e6,
        report.unchanged,
        report.removed,
        report.syncs,
        commit,
        indexed_in.as_secs_f64(),
        started.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn run_query(path: &Path, words: &[String], top: usize) -> Result<(), Box<dyn Error>> {
    let words = index::words_of_query(words);
    let started = Instant::now();
    let heap = open_to_read(path)?;
    let opened = started.elapsed();
    let started = Instant::now();
    let answer = index::query(&heap.read()?, &words, top)?;
    let answered = started.elapsed();
    let mut out = io::stdout().lock();
    for (count, path) in &answer.best {
        writeln!(out, "{count:8}  {}", path.display())?;
    }
    writeln!(
        out,
        "{} of {} files; opened in {} µs, answered in {} µs",
        answer.best.len(),
        answer.files,
        opened.as_micros(),
        answered.as_micros(),
    )?;
    Ok(())
}

/// Opens the heap to read it; others may do the same meanwhile.
fn open_to_read(path: &Path) -> Result<Heap, OpenError> {
    open(HeapOptions::new().read_only(true), path)
}

#[expect(unsafe_code, reason = "opening vouches for the bytes of the file")]
fn open(options: HeapOptions, path: &Path) -> Result<Heap, OpenError> {
    // SAFETY: the user says that it is a file of this program, which wrote it through SAL only; the program never stores
    // blocks of another heap in it, and others are told by the lock that it is in use.
    unsafe { options.open_or_create(path) }
}
