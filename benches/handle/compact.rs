//! A heap of many objects that are replaced in random order, of which most are dropped at random then, compacted while two threads read.

use sal::{CompactOptions, Handle, HeapOptions, Movable, Order, SalMovable};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

fn run_with<const WORDS: usize>()
where
    [u64; WORDS]: Movable + Copy,
{
    type Value<const WORDS: usize> = [u64; WORDS];
    let objects = std::env::var("SAL_BENCH_OBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000_000);
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
    let scan = || {
        let began = Instant::now();
        let pin = heap.pin();
        black_box(handles.iter().map(|handle| handle.get(&pin)[5]).sum::<u64>());
        began.elapsed().as_nanos() as f64 / handles.len() as f64
    };
    let before = (resident(), (0..3).map(|_| scan()).fold(f64::MAX, f64::min));
    let phase = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|number| {
                let (heap, handles, phase, is_over) = (&heap, &handles, &phase, &is_over);
                scope.spawn(move || {
                    let mut random = Random(0x9E37_79B9_7F4A_7C15 + number);
                    let mut times = [Vec::new(), Vec::new()];
                    while !is_over.load(Ordering::Relaxed) {
                        let at = random.next() as usize % handles.len();
                        let began = Instant::now();
                        let value = *handles[at].get(&heap.pin());
                        let took = began.elapsed().as_nanos() as u64;
                        assert!(value.iter().all(|n| *n == value[0]));
                        times[phase.load(Ordering::Relaxed) as usize].push(took);
                    }
                    times
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(2));
        phase.store(1, Ordering::Relaxed);
        let report = heap.compact_with(CompactOptions::new().sparse(1.0).order(Order::Entry)).expect("open");
        is_over.store(true, Ordering::Relaxed);
        let mut times = [Vec::new(), Vec::new()];
        for reader in readers {
            let own = reader.join().expect("it found what it should");
            times.iter_mut().zip(own).for_each(|(all, own)| all.extend(own));
        }
        for (name, times) in ["alone", "beside the compactor"].iter().zip(&mut times) {
            times.sort_unstable();
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
            println!(
                "  readers {name}: median {} ns, p99 {}, p99.9 {}, of {}",
                at(0.5),
                at(0.99),
                at(0.999),
                times.len()
            );
        }
        report
    });
    println!("  {report}; longest step {:.1?}", report.longest_step);
    heap.compact().expect("open");
    heap.purge();
    let after = (resident(), (0..3).map(|_| scan()).fold(f64::MAX, f64::min));
    println!(
        "  resident: {:.0} MiB before, {:.0} after: {:.2} of what is alive",
        before.0,
        after.0,
        after.0 / mib(live)
    );
    println!("  scan: {:.1} ns before, {:.1} after: {:.1} times as fast", before.1, after.1, before.1 / after.1);
}
