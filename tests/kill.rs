//! Processes that are killed while they commit: nothing that was acknowledged is lost, nothing is there by half.
//!
//! A child has two writers with a root each and one that they share, and a thread that takes and frees blocks without
//! sessions. What step `n` of a writer does follows from a seed, so all that has to be reported is how far it was when a
//! sync was acknowledged. The child is killed at any moment: while it opens the heap, recovers, works, syncs, folds or
//! closes. The parent then looks at the file, sometimes opens it for writing, and starts the next child on it.
//!
//! `SAL_KILLS=200 cargo test --test kill` kills so often; ten times is usual. `SAL_TEST_SEED` repeats a run's decisions,
//! though not its timing.
#![allow(unsafe_code)]

mod support;

use allocator_api2::alloc::Allocator;
use sal::prelude::*;
use sal::{DirtyTracking, HeapOptions, OpenError, Recovery, SyncError, SyncLevel};
use std::alloc::Layout;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use support::heaps::{open_with, unmap};
use support::{Random, SetAtEnd, all_are, alone, fresh_path, process, seed};

/// What a writer keeps.
#[derive(Persist, Default)]
#[repr(C)]
struct Ledger {
    steps: u64,
    /// How many of the steps are counted in [`SHARED`].
    shared: u64,
    words: SalHashMap<u64, SalString>,
    tree: SalBTreeMap<u64, u64>,
    /// Large enough to go to the heap file past the log.
    bulk: SalVec<u64>,
}

fn ledger_of(writer: usize) -> Root<Ledger> {
    Root::new(["first", "second"][writer])
}

/// Steps of both writers that changed this root together with their own.
const SHARED: Root<u64> = Root::new("shared");

/// What the forking test keeps.
const NUMBERS: Root<SalVec<u64>> = Root::new("numbers");

/// What a step does to a ledger.
enum Change {
    Insert(u64, String),
    Remove(u64),
    Count(u64),
    Bulk(usize, u64),
}

/// What step `step` of a writer does, and whether it counts in [`SHARED`].
fn step(seed: u64, writer: usize, step: u64) -> (Vec<Change>, bool) {
    let mut random = Random(seed ^ step.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (writer as u64) << 62);
    random.next();
    let mut changes = Vec::new();
    for _ in 0..1 + random.below(12) {
        let key = random.next() % 1500;
        changes.push(match random.below(8) {
            0..=3 => {
                let len = if random.below(100) == 0 { random.below(30_000) } else { random.below(150) };
                Change::Insert(key, format!("{step} {}", "x".repeat(len)))
            }
            4 | 5 => Change::Remove(key),
            _ => Change::Count(key),
        });
    }
    if random.below(40) == 0 {
        changes.push(Change::Bulk(random.below(300_000), random.next()));
    }
    (changes, random.below(4) == 0)
}

impl Ledger {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Insert(key, word) => drop(self.words.insert(key, SalString::from(word.as_str()))),
                Change::Remove(key) => drop(self.words.remove(&key)),
                Change::Count(key) => *self.tree.entry(key).or_default() += 1,
                Change::Bulk(len, first) => self.bulk = (0..len as u64).map(|at| first.wrapping_add(at)).collect(),
            }
        }
        self.steps += 1;
    }
}

/// A ledger as it must be.
#[derive(Default)]
struct Model {
    steps: u64,
    shared: u64,
    words: HashMap<u64, String>,
    tree: BTreeMap<u64, u64>,
    bulk: (usize, u64),
}

impl Model {
    /// Brings the model to where the ledger is, and compares.
    fn follow(&mut self, seed: u64, writer: usize, ledger: &Ledger) {
        assert!(ledger.steps >= self.steps, "{} steps, but there were {} before", ledger.steps, self.steps);
        while self.steps < ledger.steps {
            let (changes, is_shared) = step(seed, writer, self.steps);
            for change in changes {
                match change {
                    Change::Insert(key, word) => drop(self.words.insert(key, word)),
                    Change::Remove(key) => drop(self.words.remove(&key)),
                    Change::Count(key) => *self.tree.entry(key).or_default() += 1,
                    Change::Bulk(len, first) => self.bulk = (len, first),
                }
            }
            self.steps += 1;
            self.shared += u64::from(is_shared);
        }
        assert_eq!(ledger.shared, self.shared);
        assert_eq!(ledger.words.len(), self.words.len());
        assert!(ledger.words.iter().all(|(key, word)| self.words.get(key).is_some_and(|other| word.as_str() == other)));
        assert!(ledger.tree.iter().eq(self.tree.iter()));
        assert_eq!(ledger.bulk.len(), self.bulk.0);
        assert!(ledger.bulk.iter().zip(0..).all(|(&word, at)| word == self.bulk.1.wrapping_add(at)));
    }
}

fn options(role: &str) -> HeapOptions {
    let tracking = if role.starts_with("compare") { DirtyTracking::Compare } else { DirtyTracking::WriteProtect };
    HeapOptions::new().dirty_tracking(tracking).fold_at(128 << 10)
}

/// Says a line in one piece. The end tells the reader that it has all of it.
fn tell(words: &[u64]) {
    let words: Vec<_> = words.iter().map(u64::to_string).collect();
    std::io::stdout().lock().write_all(format!("\nack {} .\n", words.join(" ")).as_bytes()).unwrap();
}

/// What the child does: it goes on where the file is, until it is told to close, or killed.
fn work(role: &str, path: &Path) {
    let seed: u64 = role.rsplit(' ').next().unwrap().parse().unwrap();
    let heap = open_with(&options(role), path).unwrap();
    process::say("opened");
    let stop = AtomicBool::new(false);
    let sharing = Mutex::new(());
    let ends = std::thread::scope(|scope| {
        let stops = SetAtEnd(&stop);
        let (heap, stop, sharing) = (&heap, &stop, &sharing);
        let writers = [0, 1].map(|writer| scope.spawn(move || write(heap, seed, writer, stop, sharing)));
        scope.spawn(move || churn(heap, stop));
        process::hear();
        drop(stops);
        writers.map(|writer| writer.join().unwrap())
    });
    process::say("closing");
    heap.close().unwrap();
    ends.iter().zip(0..).for_each(|(&steps, writer)| tell(&[writer, 0, steps]));
}

/// Takes steps in sessions and syncs at random; returns how many steps were taken in all.
fn write(heap: &Heap, seed: u64, writer: usize, stop: &AtomicBool, sharing: &Mutex<()>) -> u64 {
    let mut random = Random(seed ^ u64::from(std::process::id()) << 20 ^ writer as u64);
    let mut steps = heap.with_session(|tx| Ok(tx.root_or_default(ledger_of(writer))?.steps)).unwrap();
    // Relaxed: nothing else is told by it.
    while !stop.load(Ordering::Relaxed) {
        let (mut todo, mut shared) = (Vec::new(), 0);
        for _ in 0..1 + random.below(4) {
            let (changes, is_shared) = step(seed, writer, steps + todo.len() as u64);
            todo.push(changes);
            shared += u64::from(is_shared);
        }
        // A root belongs to one session at a time.
        let turn = (shared > 0).then(|| sharing.lock().unwrap());
        let tx = heap.write().unwrap();
        if shared > 0 {
            *tx.root_or_default(SHARED).unwrap() += shared;
        }
        let ledger = tx.root_mut(ledger_of(writer)).unwrap();
        todo.into_iter().for_each(|changes| ledger.apply(changes));
        ledger.shared += shared;
        steps = ledger.steps;
        drop(tx);
        drop(turn);
        // Mostly not, so that others sync in the middle of sessions.
        let level = match random.below(40) {
            0 | 1 => SyncLevel::Async,
            2 => SyncLevel::Full,
            3..=14 => SyncLevel::Data,
            _ => continue,
        };
        let commit = heap.sync_with(level).unwrap();
        tell(&[writer as u64, commit, steps]);
    }
    steps
}

/// Takes and frees blocks that no root knows of, and syncs now and then.
fn churn(heap: &Heap, stop: &AtomicBool) {
    let mut random = Random(u64::from(std::process::id()));
    let mut blocks = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if blocks.len() < 100 || blocks.len() < 300 && random.below(2) == 0 {
            let size = 1 + if random.below(40) == 0 { random.below(300_000) } else { random.below(900) };
            let layout = Layout::from_size_align(size, 8).unwrap();
            let block = heap.alloc().allocate(layout).unwrap().cast::<u8>();
            let tag = random.below(256) as u8;
            // SAFETY: a new block of that size.
            unsafe { block.write_bytes(tag, size) };
            blocks.push((block, layout, tag));
        } else {
            let (block, layout, tag) = blocks.swap_remove(random.below(blocks.len()));
            // SAFETY: ours, all of it written, and freed once.
            unsafe {
                let bytes = std::slice::from_raw_parts(block.as_ptr(), layout.size());
                assert!(all_are(bytes, tag));
                heap.alloc().deallocate(block, layout);
            }
        }
        if random.below(200) == 0 {
            heap.sync().unwrap();
        }
    }
}

/// What a child has acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    /// The last commit.
    commit: u64,
    /// How far each writer was, and the commit that it was told of then.
    writers: [(u64, u64); 2],
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        let Some(words) = line.strip_prefix("ack ").and_then(|line| line.strip_suffix(" .\n")) else { return };
        let words: Vec<u64> = words.split(' ').map(|word| word.parse().unwrap()).collect();
        let [writer, commit, steps] = words[..] else { panic!("{line}") };
        self.commit = self.commit.max(commit);
        self.writers[writer as usize] = (steps, commit);
    }

    /// Hears until a line has been said, or for as long as it takes.
    fn hear_until(&mut self, lines: &Receiver<String>, end: Option<&str>, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if end.is_some_and(|end| line.trim_end() == end) => return,
                Ok(line) => self.hear(&line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Compares a heap that was opened again.
    fn check(&self, heap: &Heap, seed: u64, models: &mut [Model; 2]) {
        let commit = heap.last_commit().unwrap();
        assert!(commit >= self.commit, "commit {commit} is the last, {self:?}");
        let read = heap.read().unwrap();
        let mut shared = 0;
        for (writer, model) in models.iter_mut().enumerate() {
            let (steps, at) = self.writers[writer];
            // A child that got no further than opening has made no roots.
            let Ok(ledger) = read.root(ledger_of(writer)) else {
                assert!(steps == 0 && model.steps == 0, "writer {writer} has lost all of {steps}, {}", model.steps);
                continue;
            };
            assert!(ledger.steps >= steps, "writer {writer} is at {}: {self:?}", ledger.steps);
            // It waited for that commit, so the commit holds no more of it.
            assert!(
                ledger.steps == steps || commit != at,
                "writer {writer} is at {} in {commit}: {self:?}",
                ledger.steps
            );
            model.follow(seed, writer, ledger);
            shared += ledger.shared;
        }
        assert_eq!(read.root(SHARED).copied().unwrap_or(0), shared, "half of a session");
    }
}

/// Kills children on one file, one after the other.
fn kill_again_and_again(test: &str, tracking: &str) {
    let kills = std::env::var("SAL_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    let seed = seed(0x00C0_FFEE);
    println!("seed {seed}");
    let mut random = Random(seed);
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let role = format!("{tracking} {seed}");
    let mut models = [Model::default(), Model::default()];
    let long = Duration::from_secs(60);
    for kill in 0..kills {
        let mut known = Acknowledged::default();
        let mut child = process::start(test, &role, &path);
        let lines = child.listen();
        let a_moment = Duration::from_micros(random.next() % 300_000);
        match random.below(5) {
            // While it opens and recovers.
            0 => known.hear_until(&lines, None, a_moment / 3),
            // While it closes.
            1 => {
                known.hear_until(&lines, Some("opened"), long);
                known.hear_until(&lines, None, a_moment);
                child.tell("close");
                known.hear_until(&lines, Some("closing"), long);
                known.hear_until(&lines, None, a_moment / 5);
            }
            // Not at all.
            2 => {
                known.hear_until(&lines, Some("opened"), long);
                known.hear_until(&lines, None, a_moment);
                child.tell("close");
                known.hear_until(&lines, Some("closing"), long);
                known.hear_until(&lines, None, long);
            }
            _ => {
                known.hear_until(&lines, Some("opened"), long);
                known.hear_until(&lines, None, a_moment);
            }
        }
        child.kill_unless_done();
        known.hear_until(&lines, None, long);
        println!("kill {kill}: {known:?}");
        if !path.exists() {
            continue;
        }
        match open_with(&options(&role).read_only(true), &path) {
            Ok(heap) => {
                known.check(&heap, seed, &mut models);
                println!("  found commit {}", heap.last_commit().unwrap());
                unmap(heap);
            }
            // It never got its first header, and is begun again.
            Err(OpenError::NotAHeap) => assert!(known.commit == 0 && models[0].steps == 0),
            Err(error) => panic!("kill {kill}: {error:?}"),
        }
        let recovery = [Recovery::Background, Recovery::Eager][random.below(2)];
        match random.below(4) {
            // The next child recovers.
            0 | 1 => {}
            2 => {
                let heap = open_with(&options(&role).recovery(recovery), &path).unwrap();
                known.check(&heap, seed, &mut models);
                unmap(heap);
            }
            _ => {
                let heap = open_with(&options(&role).recovery(recovery).discard(true), &path).unwrap();
                known.check(&heap, seed, &mut models);
                unmap(heap);
            }
        }
    }
    println!("{} and {} steps", models[0].steps, models[1].steps);
    assert!(models.iter().all(|model| model.steps > kills));
}

#[test]
fn kills_lose_nothing_that_was_acknowledged_when_writes_are_tracked() {
    let name = "kills_lose_nothing_that_was_acknowledged_when_writes_are_tracked";
    match process::role() {
        Some((role, path)) => work(&role, &path),
        None => kill_again_and_again(name, "protect"),
    }
}

#[test]
fn kills_lose_nothing_that_was_acknowledged_when_pages_are_compared() {
    let name = "kills_lose_nothing_that_was_acknowledged_when_pages_are_compared";
    match process::role() {
        Some((role, path)) => work(&role, &path),
        None => kill_again_and_again(name, "compare"),
    }
}

#[test]
fn a_commit_beside_long_sessions_holds_each_as_a_whole_or_not_at_all() {
    let name = "a_commit_beside_long_sessions_holds_each_as_a_whole_or_not_at_all";
    if let Some((role, path)) = process::role() {
        let heap = open_with(&options(&role), &path).unwrap();
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..100_000).map(|_| 0).collect())).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let tx = heap.write().unwrap();
                    tx.root_mut(NUMBERS).unwrap().iter_mut().for_each(|number| *number += 1);
                }
            });
            for _ in 0..10 {
                heap.sync().unwrap();
            }
            process::say("committed");
            loop {
                heap.sync().unwrap();
            }
        });
    }
    let _alone = alone();
    for tracking in ["protect", "compare"] {
        for _ in 0..3 {
            let (_directory, path) = fresh_path();
            let mut child = process::start(name, tracking, &path);
            child.wait_for("committed");
            child.kill();
            let heap = open_with(&options(tracking), &path).unwrap();
            let read = heap.read().unwrap();
            let numbers = read.root(NUMBERS).unwrap();
            assert!(
                numbers.len() == 100_000 && numbers.iter().all(|number| *number == numbers[0]),
                "half of a session"
            );
            drop(read);
            unmap(heap);
        }
    }
}

#[test]
fn a_forked_process_that_outlives_the_owner_keeps_no_lock_and_cannot_sync() {
    let name = "a_forked_process_that_outlives_the_owner_keeps_no_lock_and_cannot_sync";
    if let Some((_, path)) = process::role() {
        let heap = open_with(&HeapOptions::new(), &path).unwrap();
        heap.with_session(|tx| tx.set_root(NUMBERS, (0..10_000).collect())).unwrap();
        heap.sync().unwrap();
        let tx = heap.write().unwrap();
        let changed = tx.root_mut(NUMBERS).unwrap();
        // SAFETY: the child uses what it was given, and ends.
        if unsafe { libc::fork() } == 0 {
            changed.iter_mut().for_each(|number| *number = 7);
            assert!(matches!(heap.sync(), Err(SyncError::Forked)));
            process::say("forked");
            while process::hear() == "sync" {
                assert!(matches!(heap.sync(), Err(SyncError::Forked)));
                assert!(matches!(heap.snapshot_to(path.with_extension("copy")), Err(SyncError::Forked)));
                changed.iter_mut().for_each(|number| *number += 1);
                process::say("still here");
            }
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) };
        }
        loop {
            std::thread::park();
        }
    }
    let _alone = alone();
    let (_directory, path) = fresh_path();
    let mut child = process::start(name, "fork", &path);
    child.wait_for("forked");
    assert!(matches!(open_with(&HeapOptions::new(), &path), Err(OpenError::Locked { .. })));
    child.kill_but_keep_its_pipes();
    for round in 0..3 {
        let heap = open_with(&HeapOptions::new(), &path).unwrap();
        child.tell("sync");
        child.wait_for("still here");
        let tx = heap.write().unwrap();
        let found = tx.root_mut(NUMBERS).unwrap();
        assert!(found.iter().copied().eq(0..10_000 + round));
        found.push(10_000 + round);
        tx.sync().unwrap();
        child.tell("sync");
        child.wait_for("still here");
        unmap(heap);
    }
    child.tell("end");
}
