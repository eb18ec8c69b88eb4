//! A heap of many objects that are replaced in random order, of which most are dropped at random then, compacted while two threads read.
#![allow(unsafe_code)]

use crate::times::Times;
use sal::prelude::*;
use sal::{CompactOptions, CompactReport, Handle, Heap, HeapOptions, Movable, Order, SalMovable};
use std::hint::black_box;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

pub(crate) fn run() {
    run_with::<12>();
    run_with::<32>();
}

/// The same in a heap file.
pub(crate) fn run_file() {
    run_file_with::<12>();
    run_file_with::<32>();
}

fn run_file_with<const WORDS: usize>()
where
    [u64; WORDS]: Movable + Persist + Copy,
{
    let objects = objects();
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("heap");
    // SAFETY: nobody else has the file.
    let heap = unsafe { HeapOptions::new().create(&path) }.expect("a new heap");
    let root = || Root::<SalVec<Handle<[u64; WORDS]>>>::new("all");
    let mut random = Random(88_172_645_463_325_252);
    heap.write().expect("it is open").set_root(root(), SalVec::new()).expect("there is room");
    // In parts: what is written to is in the log, too, and free only when it has been committed.
    for part in 0..10 {
        let session = heap.write().expect("it is open");
        let all = session.root_mut(root()).expect("it is there");
        (0..objects / 10).for_each(|n| all.push(heap.handle([(part + n) as u64; WORDS])));
        drop(session);
        heap.sync().expect("there is room");
    }
    let session = heap.write().expect("it is open");
    let all = session.root_mut(root()).expect("it is there");
    for _ in 0..objects {
        let at = random.next() as usize % all.len();
        all[at].update([at as u64; WORDS]).expect("there is room");
    }
    all.retain(|_| random.next() % 10 < 4);
    all.shrink_to_fit();
    let left = all.len();
    drop(session);
    heap.sync().expect("there is room");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let live = (left * size_of::<[u64; WORDS]>()) as u64;
    let show = |when: &str| {
        let file = std::fs::metadata(&path).expect("it is there");
        let on_disk = file.blocks() * 512;
        println!(
            "  {when}: {:.0} MiB long, {:.0} on the disk: {:.2} of what is alive",
            mib(file.len()),
            mib(on_disk),
            on_disk as f64 / live as f64
        );
    };
    println!("compact_file: {objects} objects of {} B, {left} left: {:.0} MiB", size_of::<[u64; WORDS]>(), mib(live));
    heap.maintain(Duration::from_secs(60));
    show("before");
    let report = heap.compact_with(CompactOptions::new().sparse(1.0).order(Order::Entry)).expect("open");
    println!("  {report}");
    heap.compact().expect("open");
    // What objects had before is in the commit until the next.
    heap.sync().expect("there is room");
    heap.purge();
    show("purged");
    // SAFETY: nothing of it is used any more.
    unsafe { heap.close_and_unmap() }.expect("it can be closed");
    show("closed");
}

/// How many objects a heap has at first.
fn objects() -> usize {
    std::env::var("SAL_BENCH_OBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000_000)
}

fn run_with<const WORDS: usize>()
where
    [u64; WORDS]: Movable + Copy,
{
    type Value<const WORDS: usize> = [u64; WORDS];
    let objects = objects();
    let heap = HeapOptions::new().volatile().expect("there is memory");
    let mut random = Random(88_172_645_463_325_252);
    let mut handles: Vec<Handle<Value<WORDS>>> = (0..objects as u64).map(|n| heap.handle([n; WORDS])).collect();
    for _ in 0..objects {
        let at = random.next() as usize % handles.len();
        handles[at].update([at as u64; WORDS]).expect("there is room");
    }
    handles.retain(|_| random.next() % 10 < 4);
    let size = size_of::<Value<WORDS>>();
    let live = handles.len() * size;
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let resident = || mib(heap.residency().expect("it can be asked").resident as usize);
    println!("compact: {objects} objects of {size} B, {} left: {:.0} MiB", handles.len(), mib(live));
    let before = (resident(), scans(&heap, &handles));
    let report = beside_readers(&heap, &handles);
    println!("  {report}; longest step {:.1?}", report.longest_step);
    heap.compact().expect("open");
    heap.purge();
    let after = (resident(), scans(&heap, &handles));
    println!(
        "  resident: {:.0} MiB before, {:.0} after: {:.2} of what is alive",
        before.0,
        after.0,
        after.0 / mib(live)
    );
    for (at, name) in ["a word of each", "all words", "a word of each in a box"].iter().enumerate() {
        let (before, after) = (before.1[at], after.1[at]);
        println!("  scan, {name}: {before:.1} ns before, {after:.1} after: {:.1} times as fast", before / after);
    }
}

/// How long it takes for each object to read a word of it, in the order in which they were made, all words of it, and a word of a copy of
/// it in a box: the boxes are made one after the other, so that is what memory can do.
fn scans<const WORDS: usize>(heap: &Heap, handles: &[Handle<[u64; WORDS]>]) -> [f64; 3]
where
    [u64; WORDS]: Movable + Copy,
{
    let pin = heap.pin();
    let boxes: Vec<Box<[u64; WORDS]>> = handles.iter().map(|handle| Box::new(*handle.get(&pin))).collect();
    let word = || handles.iter().map(|handle| handle.get(&pin)[5]).sum::<u64>();
    let all = || handles.iter().map(|handle| handle.get(&pin).iter().sum::<u64>()).sum::<u64>();
    let boxed = || boxes.iter().map(|value| value[5]).sum::<u64>();
    let works: [&dyn Fn() -> u64; 3] = [&word, &all, &boxed];
    let mut least = [f64::MAX; 3];
    for _ in 0..5 {
        for (least, work) in least.iter_mut().zip(works) {
            let began = Instant::now();
            black_box(work());
            *least = least.min(began.elapsed().as_nanos() as f64 / handles.len() as f64);
        }
    }
    least
}

/// What readers do beside, in turn.
const PHASES: [&str; 4] =
    ["alone", "beside a thread that copies", "beside the compactor", "beside the compactor, 200 MB a second"];
/// How long they do it, but for the compactor's.
const PHASE: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;
const RATE: u64 = 200_000_000;

/// Compacts a heap while two threads read; before that, they read while a third one does nothing, and while it copies values of that size
/// within memory that is no heap's, from random places to one behind the other: what that costs readers is none of the heap's doing. All
/// that again and again, as what is read at the same time on the same machine can be compared; the heap is sparse only at first, and all its
/// values are moved each time. Returns what was done first.
fn beside_readers<const WORDS: usize>(heap: &Heap, handles: &[Handle<[u64; WORDS]>]) -> CompactReport
where
    [u64; WORDS]: Movable + Copy,
{
    let (from, mut to) = (vec![[1_u64; WORDS]; handles.len()], vec![[2_u64; WORDS]; handles.len()]);
    let all = || (0..ROUNDS * PHASES.len()).map(|_| Times::new()).collect::<Vec<_>>();
    let phase = &AtomicUsize::new(0);
    let read = &|seed: u64| {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 + seed);
        let mut times = all();
        loop {
            let at = random.next() as usize % handles.len();
            let began = Instant::now();
            let value = *handles[at].get(&heap.pin());
            let took = began.elapsed().as_nanos() as u64;
            assert!(value.iter().all(|n| *n == value[0]));
            match times.get_mut(phase.load(Ordering::Relaxed)) {
                Some(times) => times.note(took),
                None => return times,
            }
        }
    };
    let options = CompactOptions::new().sparse(1.0).order(Order::Entry);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|seed| scope.spawn(move || read(seed))).collect();
        let mut random = Random(1);
        let mut reports = Vec::new();
        for _ in 0..ROUNDS {
            std::thread::sleep(PHASE);
            let began = Instant::now();
            phase.fetch_add(1, Ordering::Relaxed);
            while began.elapsed() < PHASE {
                for to in &mut to {
                    *to = from[random.next() as usize % from.len()];
                }
                black_box(&mut to);
            }
            for options in [options, options.rate(RATE)] {
                phase.fetch_add(1, Ordering::Relaxed);
                reports.push(heap.compact_with(options).expect("open"));
            }
            phase.fetch_add(1, Ordering::Relaxed);
        }
        let mut times = all();
        for reader in readers {
            let own = reader.join().expect("it found what it should");
            times.iter_mut().zip(own).for_each(|(all, own)| all.add(&own));
        }
        let rarer = |round: usize, phase: usize| times[round * PHASES.len() + phase].at(0.999) as f64;
        for (phase, name) in PHASES.iter().enumerate() {
            let mut sum = Times::new();
            (0..ROUNDS).for_each(|round| sum.add(&times[round * PHASES.len() + phase]));
            let mut ratios: Vec<f64> = (0..ROUNDS).map(|round| rarer(round, phase) / rarer(round, 0)).collect();
            ratios.sort_by(f64::total_cmp);
            println!(
                "  readers {name}: median {} ns, p99 {}, p99.9 {}, {:.2} times as long as alone in the middle round ({:.2} to {:.2}), of {}",
                sum.at(0.5),
                sum.at(0.99),
                sum.at(0.999),
                ratios[ROUNDS / 2],
                ratios[0],
                ratios[ROUNDS - 1],
                sum.len()
            );
        }
        reports.swap_remove(0)
    })
}
