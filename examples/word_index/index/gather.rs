//! Reading files on several threads and adding their words to the index.
//!
//! Each thread takes the next file, counts its words into an index of its own in memory, and adds that to the shards
//! when it has become large and at the end of the round. Shards are behind one lock each, and the threads begin with
//! different ones, so they seldom wait. A file is [noted](note) only when all its postings have been added (I2).

use super::report::{Observer, Problem, ProblemKind, Report};
use super::store::{FileId, FileState, Files, Posting, SHARDS, Shard, Stamp, shard_of};
use super::words::{Content, Reader};
use sal::Write;
use sal::collections::{SalHashMap, SalString, SalVec, TryReserveError};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Bytes, roughly, that a thread's own index may take before it is added to the shards.
const LARGE: usize = 64 << 20;

/// A file to read.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: FileId,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// A job that is done: its postings, if any, are in the shards.
pub(crate) struct Done<'j> {
    job: &'j Job,
    outcome: io::Result<(Content, Stamp)>,
}

/// As many jobs as are done until a point in time, and at least one.
pub(crate) struct Round<'a> {
    pub(crate) jobs: &'a [Job],
    /// The first job that nobody has taken.
    pub(crate) next: &'a AtomicUsize,
    pub(crate) threads: usize,
    pub(crate) deadline: Instant,
    pub(crate) observer: &'a dyn Observer,
}

impl<'a> Round<'a> {
    /// Runs the round; returns what was done, also when the heap became full.
    pub(crate) fn run(&self, tx: &Write<'_>, shards: &mut [Shard]) -> (Vec<Done<'a>>, Result<(), TryReserveError>) {
        let shards: Vec<_> = shards.iter_mut().map(Mutex::new).collect();
        let is_full = AtomicBool::new(false);
        let (mut done, mut outcome) = (Vec::new(), Ok(()));
        thread::scope(|scope| {
            let work = |number| self.work(tx, &shards, number * shards.len() / self.threads, &is_full);
            let workers: Vec<_> = (0..self.threads).map(|number| scope.spawn(move || work(number))).collect();
            for worker in workers {
                let (some, result) = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                done.extend(some);
                outcome = outcome.and(result);
            }
        });
        (done, outcome)
    }

    /// What one thread does.
    fn work(
        &self,
        tx: &Write<'_>,
        shards: &[Mutex<&mut Shard>],
        first_shard: usize,
        is_full: &AtomicBool,
    ) -> (Vec<Done<'a>>, Result<(), TryReserveError>) {
        let (mut reader, mut local) = (Reader::new(), Local::default());
        let (mut done, mut in_hand) = (Vec::new(), Vec::new());
        loop {
            // Relaxed, here and for the flag: nothing else is told by them.
            let job = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed));
            if let Some(job) = job {
                let outcome = local.read(job, &mut reader);
                self.observer.read(job.size);
                in_hand.push(Done { job, outcome });
            }
            let is_last = job.is_none() || Instant::now() >= self.deadline || is_full.load(Ordering::Relaxed);
            if is_last || local.bytes >= LARGE {
                if let Err(error) = local.add_to(shards, first_shard, tx) {
                    is_full.store(true, Ordering::Relaxed);
                    return (done, Err(error));
                }
                done.append(&mut in_hand);
            }
            if is_last {
                return (done, Ok(()));
            }
        }
    }
}

/// The index of the files that one thread has read. The collections are those of the heap file; here they lie in the
/// process's default heap.
#[derive(Default)]
struct Local {
    words: SalHashMap<SalString, SalVec<Posting>>,
    bytes: usize,
}

impl Local {
    fn read(&mut self, job: &Job, reader: &mut Reader) -> io::Result<(Content, Stamp)> {
        let mut file = File::open(&job.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let content =
            reader.read_words(&mut file, |word| self.count(word, job.id)).inspect_err(|_| self.forget(job.id))?;
        // As it was before reading: if it has changed meanwhile, the next run notices.
        Ok((content, Stamp::of(&metadata)))
    }

    fn count(&mut self, word: &str, file: FileId) {
        let list = self.words.entry_ref(word).or_default();
        match list.last_mut() {
            Some(posting) if posting.file == file => posting.count = posting.count.saturating_add(1),
            last => {
                // What a word takes that is new, and what a posting takes.
                self.bytes += if last.is_none() { 100 + word.len() } else { size_of::<Posting>() };
                list.push(Posting { file, count: 1 });
            }
        }
    }

    /// Takes out the newest file, of which not all could be read.
    fn forget(&mut self, file: FileId) {
        self.words.retain(|_, list| {
            if list.last().is_some_and(|posting| posting.file == file) {
                list.pop();
            }
            !list.is_empty()
        });
    }

    /// Moves everything to the shards.
    fn add_to(
        &mut self,
        shards: &[Mutex<&mut Shard>],
        first_shard: usize,
        tx: &Write<'_>,
    ) -> Result<(), TryReserveError> {
        let mut by_shard: [Vec<(&str, &[Posting])>; SHARDS] = std::array::from_fn(|_| Vec::new());
        for (word, list) in &self.words {
            by_shard[shard_of(word)].push((word, list));
        }
        let attached = tx.attach();
        for number in (first_shard..shards.len()).chain(0..first_shard) {
            // A panic in another thread ends the run; until then its files are pending, whatever it left.
            let mut shard = shards[number].lock().unwrap_or_else(PoisonError::into_inner);
            by_shard[number].iter().try_for_each(|(word, list)| shard.add(word, list))?;
        }
        drop(attached);
        self.words.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// Enters a file that is done in the list of files.
pub(crate) fn note(files: &mut Files, done: Done<'_>, report: &mut Report) {
    let Done { job, outcome } = done;
    let record = &mut files[job.id as usize];
    let problem = |kind| Problem { path: job.path.clone(), kind };
    let (state, stamp) = match outcome {
        Ok((Content::Text { is_utf8 }, stamp)) => {
            report.indexed += 1;
            report.bytes += stamp.size;
            if !is_utf8 {
                report.problems.push(problem(ProblemKind::NotUtf8));
            }
            (FileState::Text, stamp)
        }
        Ok((Content::Binary, stamp)) => {
            report.problems.push(problem(ProblemKind::Binary));
            (FileState::Binary, stamp)
        }
        Err(error) => {
            report.problems.push(Problem::of_io(job.path.clone(), &error));
            return record.free();
        }
    };
    (record.state, record.stamp) = (state, stamp);
}

/// Takes the postings of dead files out of all shards.
pub(crate) fn sweep(shards: &mut [Shard], is_dead: &[bool], threads: usize) {
    if !is_dead.contains(&true) {
        return;
    }
    let of_each = shards.len().div_ceil(threads);
    thread::scope(|scope| {
        for some in shards.chunks_mut(of_each) {
            scope.spawn(move || some.iter_mut().for_each(|shard| shard.sweep(is_dead)));
        }
    });
}
