//! Finding the files.

use super::report::{Observer, Problem};
use super::store::Stamp;
use ignore::{WalkBuilder, WalkState};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

/// A file that was found.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// Walks the trees on several threads; returns the regular files by path, each once. Symbolic links are not followed.
///
/// Unless `all` is set, what `.gitignore` and its kin exclude is left out, and what is hidden. The files with the devices
/// and inodes `except` are left out too: they are the index itself.
pub(crate) fn scan(
    roots: &[PathBuf],
    all: bool,
    threads: usize,
    except: &[(u64, u64)],
    observer: &dyn Observer,
) -> (Vec<Found>, Vec<Problem>) {
    let Some((first, others)) = roots.split_first() else { return (Vec::new(), Vec::new()) };
    let mut builder = WalkBuilder::new(first);
    others.iter().for_each(|root| {
        builder.add(root);
    });
    // Git ignores files only within a repository; here a tree without one counts as well.
    builder.standard_filters(!all).require_git(false).threads(threads);
    let (sender, receiver) = mpsc::channel();
    let count = AtomicU64::new(0);
    builder.build_parallel().run(|| {
        let sender = sender.clone();
        let count = &count;
        Box::new(move |entry| {
            let found = match entry {
                Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => match entry.metadata() {
                    Ok(metadata) if except.contains(&(metadata.dev(), metadata.ino())) => return WalkState::Continue,
                    Ok(metadata) => Ok(Found { stamp: Stamp::of(&metadata), path: entry.into_path() }),
                    Err(error) => Err(Problem::of_walk(entry.into_path(), error)),
                },
                Ok(_) => return WalkState::Continue,
                Err(error) => Err(Problem::of_walk(PathBuf::new(), error)),
            };
            // Relaxed: a number to show.
            observer.found(count.fetch_add(1, Ordering::Relaxed) + 1);
            // The receiver lives until all walkers have ended.
            let _ = sender.send(found);
            WalkState::Continue
        })
    });
    drop(sender);
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for found in receiver {
        match found {
            Ok(found) => files.push(found),
            Err(problem) => problems.push(problem),
        }
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    // Of trees within each other.
    files.dedup_by(|a, b| a.path == b.path);
    (files, problems)
}
