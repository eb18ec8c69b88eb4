//! What a run has to do.

use super::gather::Job;
use super::report::IndexError;
use super::scan::Found;
use super::store::{FileId, FileRecord, FileState, Files, Stamp};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a run has to do.
#[derive(Default)]
pub(crate) struct Plan {
    /// Files to read, by number.
    pub(crate) jobs: Vec<Job>,
    /// By number: files whose postings go.
    pub(crate) is_dead: Vec<bool>,
    /// Files whose numbers become free once their postings are gone.
    pub(crate) vanished: Vec<FileId>,
    /// How many files of the index are not there any more.
    pub(crate) removed: u64,
    /// How many files need not be read.
    pub(crate) unchanged: u64,
}

impl Plan {
    pub(crate) fn is_nothing(&self) -> bool {
        self.jobs.is_empty() && self.vanished.is_empty()
    }
}

/// Compares the files of the index that lie in `directories` with those that were found there, which are ordered by path.
///
/// Files that are to be read or taken out are pending from now on (I2).
///
/// # Errors
/// When the heap has no room for the records of the new files.
pub(crate) fn plan(files: &mut Files, directories: &[PathBuf], found: &[Found]) -> Result<Plan, IndexError> {
    let mut plan = Plan { is_dead: vec![false; files.len()], ..Plan::default() };
    let mut unmatched: HashMap<&Path, Stamp> = found.iter().map(|file| (file.path.as_path(), file.stamp)).collect();
    let mut free = Vec::new();
    for (id, record) in files.iter_mut().enumerate() {
        if record.state == FileState::Free {
            free.push(id as FileId);
            continue;
        }
        let is_settled = record.state != FileState::Pending;
        match unmatched.remove(record.path()) {
            Some(stamp) if is_settled && stamp == record.stamp => {
                plan.unchanged += 1;
                continue;
            }
            Some(stamp) => {
                plan.jobs.push(Job { id: id as FileId, path: record.path().to_path_buf(), size: stamp.size });
            }
            None if is_settled && !directories.iter().any(|directory| record.path().starts_with(directory)) => continue,
            None => {
                plan.vanished.push(id as FileId);
                plan.removed += u64::from(is_settled);
            }
        }
        plan.is_dead[id] = record.state != FileState::Binary;
        record.state = FileState::Pending;
    }
    // The lowest is taken first, so that numbers are ordered as paths are, as far as possible: that keeps I1 cheap.
    free.reverse();
    for file in found.iter().filter(|file| unmatched.contains_key(file.path.as_path())) {
        let record = FileRecord::pending(&file.path, file.stamp)?;
        let id = match free.pop() {
            Some(id) => {
                files[id as usize] = record;
                id
            }
            None => {
                files.try_push(record)?;
                (files.len() - 1) as FileId
            }
        };
        plan.jobs.push(Job { id, path: file.path.clone(), size: file.stamp.size });
    }
    plan.jobs.sort_unstable_by_key(|job| job.id);
    Ok(plan)
}
