//! What a hot set is worth when memory is short, and what it costs.
//!
//! `get/INTERVAL/1t` is one read of a handle of values that are all in the cache: without a hot set, and with one.
//!
//! Then a table. A heap over a temporary file has four times as much as may be in memory; values of 64 and of 256 bytes are read as
//! Zipf's law says, with two exponents. Every 250 reads it is looked how much of the heap is in memory, and if that is more than its part and a megabyte,
//! it is paged out (`MADV_PAGEOUT`), which spares what is locked. So with a hot set little else stays, and without one as much as with
//! one. The system does not read ahead (`MADV_RANDOM`, no huge pages): it would bring whole neighbourhoods back for each value.
//!
//! For each there is one run without a hot set, and one with: major faults, the longest times, and the hit rate beside that of the values
//! that are really read most often. `--quick` takes a quarter of everything.
#![allow(unsafe_code)]

mod common;

use sal::{Handle, HeapOptions, HotSetOptions, SalHotSet, SalMovable};
use std::hint::black_box;
use std::time::Instant;

const BETWEEN_LOOKS: usize = 250;

fn main() {
    let mut criterion = common::criterion();
    bench_get(&mut criterion);
    criterion.final_summary();
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let budget = if is_quick { 8 << 20 } else { 32 << 20 };
    println!("| bytes | exponent | hot set | reads | major faults | p99 µs | p99.9 µs | hit rate | ideal |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for exponent in [1.0, 1.2] {
        compare::<7>(exponent, budget);
        compare::<31>(exponent, budget);
    }
}

fn bench_get(criterion: &mut criterion::Criterion) {
    let heap = HeapOptions::new().volatile().expect("a heap");
    let all: Vec<Handle<u64>> = (0..1_000).map(|n| heap.handle(n)).collect();
    let mut bench = |name: &str| {
        criterion.bench_function(&format!("get/{name}/1t"), |bencher| {
            let mut at = 0;
            let pin = heap.pin();
            bencher.iter(|| {
                at = if at == 999 { 0 } else { at + 1 };
                black_box(*all[at].get(&pin))
            });
        });
    };
    bench("off");
    for interval in [1024, 64, 16] {
        heap.hot_set(HotSetOptions::new(2 << 20).sample_every(interval)).expect("a hot set");
        bench(&format!("1_of_{interval}"));
    }
}

/// Draws ranks by Zipf's law.
struct Zipf {
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn draw(&mut self) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (self.state >> 11) as f64 / (1_u64 << 53) as f64 * self.sums[self.sums.len() - 1];
        // Neighbours in rank do not lie side by side.
        self.sums.partition_point(|&sum| sum <= at) * 7_919 % self.sums.len()
    }
}

fn major_faults() -> u64 {
    // SAFETY: plain data, which the call fills.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_majflt as u64
    }
}

const PIECE: usize = 2 << 20;

/// Pages of pieces that are in memory.
fn resident(pieces: &[usize]) -> usize {
    let mut pages = [0_u8; PIECE / 4096];
    let count = |&start: &usize| {
        // SAFETY: a byte for each page of the piece.
        unsafe { libc::mincore(std::ptr::with_exposed_provenance_mut(start), PIECE, pages.as_mut_ptr()) };
        pages.iter().filter(|&&page| page & 1 != 0).count()
    };
    pieces.iter().map(count).sum()
}

fn advise(pieces: &[usize], advice: i32) {
    // Piece by piece: it ends at what is locked.
    for &start in pieces {
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: neither changes contents. Pages that are dirty would stay.
        unsafe {
            libc::msync(start, PIECE, libc::MS_SYNC);
            libc::madvise(start, PIECE, advice);
        }
    }
}

fn compare<const NUMBERS: usize>(exponent: f64, budget: usize) {
    let faults = [false, true].map(|is_hot| under_pressure::<NUMBERS>(exponent, budget, is_hot));
    println!("{:.1} times fewer major faults", faults[0] as f64 / faults[1].max(1) as f64);
}

/// With values of so many numbers; there is a word before each.
fn under_pressure<const NUMBERS: usize>(exponent: f64, budget: usize, is_hot: bool) -> u64 {
    let bytes = (NUMBERS + 1) * 8;
    let heap = HeapOptions::new().huge_pages(false).temporary_in(std::env::temp_dir()).volatile().expect("a heap");
    let number = budget * 4 / bytes;
    let all: Vec<Handle<[u64; NUMBERS]>> = (0..number as u64).map(|n| heap.handle([n; NUMBERS])).collect();
    let mut sum = 0.0;
    let sums = (1..=number).map(|rank| {
        sum += (rank as f64).powf(-exponent);
        sum
    });
    let mut zipf = Zipf { sums: sums.collect(), state: 42 };
    let ideal = zipf.sums[budget / bytes] / sum;
    if is_hot {
        heap.hot_set(HotSetOptions::new(budget as u64).sample_every(4)).expect("a hot set");
        for _ in 0..8 {
            (0..number * 8).for_each(|_| {
                black_box(all[zipf.draw()].get(&heap.pin())[6]);
            });
            heap.adjust_hot_set().expect("adjusted");
        }
    }
    let piece_of = |value: &Handle<[u64; NUMBERS]>| std::ptr::from_ref(value.get(&heap.pin())).addr() / PIECE * PIECE;
    let mut pieces: Vec<usize> = all.iter().map(piece_of).collect();
    pieces.sort_unstable();
    pieces.dedup();
    advise(&pieces, libc::MADV_RANDOM);
    advise(&pieces, libc::MADV_PAGEOUT);
    let stats_before = heap.hot_set_stats();
    let reads = budget / 128;
    let mut times = Vec::with_capacity(reads);
    let before = major_faults();
    for at in 0..reads {
        if at % BETWEEN_LOOKS == 0 && resident(&pieces) * 4096 > budget + (1 << 20) {
            advise(&pieces, libc::MADV_PAGEOUT);
        }
        let at = zipf.draw();
        let start = Instant::now();
        black_box(all[at].get(&heap.pin())[6]);
        times.push(start.elapsed().as_nanos() as u64);
    }
    let faults = major_faults() - before;
    times.sort_unstable();
    let part = |part: f64| times[(times.len() as f64 * part) as usize] as f64 / 1e3;
    let stats = heap.hot_set_stats();
    println!(
        "| {bytes} | {exponent} | {} | {reads} | {faults} | {:.1} | {:.1} | {} | {ideal:.3} |",
        stats.map_or("no".into(), |stats| stats.to_string()),
        part(0.99),
        part(0.999),
        stats.map_or("-".into(), |stats| format!("{:.3}", stats.hit_rate(stats_before.as_ref()))),
    );
    faults
}
