//! What the heap holds: two roots.
//!
//! [`FILES`] lists the files; a file's number is its place in the list. [`WORDS`] maps each word to its postings, which
//! say in which files it occurs and how often. The map is cut into [`SHARDS`] parts by a hash of the word, so that
//! several threads can add to it at once.
//!
//! # Invariants
//! - **I1** The postings of a word are ordered by file, and a file occurs in them at most once.
//! - **I2** Every posting of a file that is [`FileState::Text`] is there, and every posting belongs to a file that is
//!   `Text` or [`FileState::Pending`].
//!
//! # What survives a crash
//! Each round is one session and ends with a sync, so a commit holds files either with all their postings or as
//! `Pending`, with none or some. The heap is atomic: a process that is killed leaves the last commit. Files that are
//! `Pending` in it are not answered, and the next run indexes them again, and no others. A run that ends by an error or
//! for want of space leaves what it has noted, which closing the heap commits; one that panicked leaves its last sync.

use sal::collections::hash::SalHasher;
use sal::collections::{SalHashMap, SalString, SalVec, TryReserveError};
use sal::{Persist, Root};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::hash::Hasher;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Parts of the map of words.
pub(crate) const SHARDS: usize = 32;

/// The list of files.
pub(crate) type Files = SalVec<FileRecord>;

/// All files that are or were indexed.
pub(crate) const FILES: Root<Files> = Root::new("files");

/// The inverted index.
pub(crate) const WORDS: Root<[Shard; SHARDS]> = Root::new("words");

/// A file's place in the list of files. Numbers of files that vanished are given out again.
pub(crate) type FileId = u32;

/// A file that was indexed.
#[derive(Persist)]
#[repr(C)]
pub(crate) struct FileRecord {
    /// Its absolute path, as bytes: Linux does not ask for UTF-8.
    path: SalVec<u8>,
    pub(crate) stamp: Stamp,
    pub(crate) state: FileState,
}

/// What is known of a file.
#[derive(Persist, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileState {
    /// The number is free.
    Free,
    /// The file is being indexed or taken out. It is not answered, and some postings may be missing.
    Pending,
    /// Its words are in the index.
    Text,
    /// It holds no text, and is not read again until it changes.
    Binary,
}

/// By what a file is recognised as unchanged. Two writes within one tick of the file system's clock look like one.
#[derive(Persist, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    inode: u64,
    /// Seconds and nanoseconds of the last change of its contents.
    modified: [i64; 2],
    /// The same of its inode: it also shows a change that set the time of modification back.
    changed: [i64; 2],
}

/// A word occurs in a file.
#[derive(Persist, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Posting {
    pub(crate) file: FileId,
    /// How often; the largest number stands for itself and all above it.
    pub(crate) count: u32,
}

/// One part of the map of words.
#[derive(Persist, Default)]
#[repr(C)]
pub(crate) struct Shard {
    pub(crate) words: SalHashMap<SalString, SalVec<Posting>>,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            inode: metadata.ino(),
            modified: [metadata.mtime(), metadata.mtime_nsec()],
            changed: [metadata.ctime(), metadata.ctime_nsec()],
        }
    }
}

impl FileRecord {
    /// The record of a file that is about to be indexed.
    pub(crate) fn pending(path: &Path, stamp: Stamp) -> Result<Self, TryReserveError> {
        let mut bytes = SalVec::new();
        bytes.try_extend_from_slice(path.as_os_str().as_bytes())?;
        Ok(Self { path: bytes, stamp, state: FileState::Pending })
    }

    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// Gives the number back.
    pub(crate) fn free(&mut self) {
        self.state = FileState::Free;
        self.path = SalVec::new();
    }
}

/// The part of the map that has a word; the same in every process.
pub(crate) fn shard_of(word: &str) -> usize {
    let mut hasher = SalHasher::with_seed(0);
    // Not `word.hash`, for what that feeds to a hasher may change with the compiler.
    hasher.write(word.as_bytes());
    (hasher.finish() >> (64 - SHARDS.ilog2())) as usize
}

const _: () = assert!(SHARDS.is_power_of_two());

impl Shard {
    /// Adds postings of a word, ordered by file and for files that the word has no postings of.
    ///
    /// The calling thread must be attached to the heap of the shard.
    ///
    /// # Errors
    /// When the heap is full; the shard is as it was, but the word may be new.
    pub(crate) fn add(&mut self, word: &str, postings: &[Posting]) -> Result<(), TryReserveError> {
        if let Some(list) = self.words.get_mut(word) {
            return merge(list, postings);
        }
        let mut list = SalVec::new();
        merge(&mut list, postings)?;
        self.words.try_insert(SalString::try_from_str(word)?, list)?;
        Ok(())
    }

    /// Takes out all postings of the files that `is_dead` marks, and the words that have no others.
    pub(crate) fn sweep(&mut self, is_dead: &[bool]) {
        let is_alive = |posting: &Posting| !is_dead.get(posting.file as usize).copied().unwrap_or(false);
        self.words.retain(|_, list| {
            // A page that is not written to is not synced either.
            if !list.iter().all(is_alive) {
                list.retain(is_alive);
                if list.len() < list.capacity() / 4 {
                    list.shrink_to_fit();
                }
            }
            !list.is_empty()
        });
    }
}

/// Adds to a list of postings and restores I1.
fn merge(list: &mut SalVec<Posting>, postings: &[Posting]) -> Result<(), TryReserveError> {
    let Some(first) = postings.first() else { return Ok(()) };
    let displaced = list.partition_point(|posting| posting.file < first.file);
    let is_in_order = displaced == list.len();
    if list.capacity() - list.len() < postings.len() {
        // Not twice as much as before: what is not used takes space on the disk.
        list.try_reserve_exact(postings.len().max(list.len() / 4))?;
    }
    list.try_extend_from_slice(postings)?;
    if !is_in_order {
        // Two runs, which this sort merges.
        list[displaced..].sort_by_key(|posting| posting.file);
    }
    Ok(())
}
