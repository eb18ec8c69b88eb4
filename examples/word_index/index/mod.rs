//! A persistent inverted index: which words occur in which files, and how often.
//!
//! [`update`] brings the index in line with the directories: it [scans](scan) them, [plans](plan) what is to be read and
//! what is to be taken out, and [gathers](gather) the words of new and changed files in rounds of a few seconds, each in
//! a session of its own that ends with a sync. [`query`] answers from the heap as it lies in the file.

mod gather;
mod plan;
mod query;
mod report;
mod scan;
mod store;
mod words;

pub(crate) use query::{query, words_of_query};
pub(crate) use report::{IndexError, Observer, ProblemKind, Report};
pub(crate) use store::{FILES, FileState, Files, WORDS};

use gather::Round;
use sal::{Heap, Write};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use store::{SHARDS, Shard};

/// How to index.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Threads that read files.
    pub(crate) threads: usize,
    /// Whether hidden and ignored files are indexed too.
    pub(crate) all: bool,
    /// Time from one sync to the next.
    pub(crate) sync_every: Duration,
}

/// The roots of a session, made if they are missing.
fn roots<'s>(tx: &'s Write<'_>) -> Result<(&'s mut Files, &'s mut [Shard; SHARDS]), IndexError> {
    let files = tx.root_or_default(FILES)?;
    let shards = tx.root_or_insert_with(WORDS, || std::array::from_fn(|_| Shard::default()))?;
    Ok((files, shards))
}

/// Device and inode of the heap's own files: itself, and its log if it has one.
fn files_of(heap: &Heap) -> Vec<(u64, u64)> {
    let Some(path) = heap.path() else { return Vec::new() };
    let mut log = path.as_os_str().to_owned();
    log.push("-log");
    let existing = [path.metadata(), fs::metadata(log)].into_iter().flatten();
    existing.map(|metadata| (metadata.dev(), metadata.ino())).collect()
}

/// Brings the index in line with `directories`; what it knows of files elsewhere stays.
///
/// # Errors
/// See [`IndexError`]. The index is usable all the same, and the next run goes on where this one ended; if this one
/// panicked or the process was killed, where it last synced.
pub(crate) fn update(
    heap: &Heap,
    directories: &[PathBuf],
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, IndexError> {
    let canonical =
        |path: &PathBuf| path.canonicalize().map_err(|source| IndexError::Directory { path: path.clone(), source });
    let directories = directories.iter().map(canonical).collect::<Result<Vec<_>, _>>()?;
    let (found, problems) = scan::scan(&directories, options.all, options.threads, &files_of(heap), observer);

    let tx = heap.write()?;
    let (files, shards) = roots(&tx)?;
    let plan = plan::plan(files, &directories, &found)?;
    let mut report = Report { unchanged: plan.unchanged, removed: plan.removed, problems, ..Report::default() };
    if plan.is_nothing() {
        return Ok(report);
    }
    gather::sweep(shards, &plan.is_dead, options.threads);
    plan.vanished.iter().for_each(|&id| files[id as usize].free());
    drop(tx);

    observer.planned(plan.jobs.len() as u64, plan.jobs.iter().map(|job| job.size).sum());
    let next = AtomicUsize::new(0);
    loop {
        let tx = heap.write()?;
        let (files, shards) = roots(&tx)?;
        let deadline = Instant::now() + options.sync_every;
        let round = Round { jobs: &plan.jobs, next: &next, threads: options.threads, deadline, observer };
        let (done, outcome) = round.run(&tx, shards);
        for job in done {
            gather::note(files, job, &mut report);
        }
        let commit = tx.sync()?;
        report.syncs += 1;
        observer.synced(commit);
        outcome?;
        // Relaxed: all that took jobs have been joined.
        if next.load(Ordering::Relaxed) >= plan.jobs.len() {
            return Ok(report);
        }
    }
}
