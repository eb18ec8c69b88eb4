//! Syncs of a vector that fills the heap: with nothing changed, and with pages changed here and there.

use super::options::Size;
use super::raw::{PAGE, Raw};
use super::report::{Aim, Report};
use super::{Bench, Random, close, machine, pause, remove};
use sal::collections::SalVec;
use sal::{Heap, Root, SyncLevel};
use std::hint::black_box;
use std::time::{Duration, Instant};

const WORDS: Root<SalVec<u64>> = Root::new("words");
const WORDS_PER_PAGE: u64 = PAGE as u64 / 8;

/// Milliseconds for each GiB in which nothing changed, where memory is mapped by huge pages and where it is not.
const QUIET: [f64; 2] = [0.1, 0.5];

/// From so many pages on, the log is folded between the rounds, so that it is not while something is timed.
const MANY: usize = 1_000;

pub(crate) fn run(bench: &Bench, size: Size, report: &mut Report) {
    let path = bench.heap_path("pages");
    let heap = bench.create(&path);
    eprintln!("filling a heap of {size}");
    fill(&heap, size.bytes / 8);
    heap.sync().expect("the disk works");

    quiet(bench, &heap, size, "quiet", report);
    let mut order = Order::new(size.bytes / PAGE as u64);
    for count in [1, 16, 1_000, 10_000] {
        if count as u64 <= order.pages.len() as u64 / 2 {
            changed(bench, &heap, size, count, &mut order, report);
        }
    }

    close(heap);
    let heap = bench.open(&path);
    black_box(heap.read().expect("a session").root(WORDS).expect("the root").iter().sum::<u64>());
    let start = Instant::now();
    heap.sync().expect("the disk works");
    report.add_times(format!("sync/first_reopened/{size}"), &[start.elapsed()], None, None);
    quiet(bench, &heap, size, "quiet_reopened", report);
    close(heap);
    remove(&path);
}

fn fill(heap: &Heap, len: u64) {
    let tx = heap.write().expect("a session");
    let words = tx.root_or_default(WORDS).expect("the root");
    words.try_reserve_exact(len as usize).expect("room for the vector");
    words.extend(0..len);
}

/// Nothing changes.
fn quiet(bench: &Bench, heap: &Heap, size: Size, name: &str, report: &mut Report) {
    let sync = || {
        let start = Instant::now();
        heap.sync().expect("the disk works");
        start.elapsed()
    };
    sync();
    let times: Vec<Duration> = (0..bench.options.rounds).map(|_| sync()).collect();
    let huge = machine::huge_share(&heap.address_range());
    eprintln!("{:.0} % of the heap's resident memory is in huge pages", huge * 100.0);
    let limit = QUIET[usize::from(huge < 0.5)] * size.gib_at_least_one();
    report.add_times(format!("sync/{name}/{size}"), &times, None, Some(Aim::Limit(limit)));
}

/// `count` pages change each round, beside as many written in a row.
fn changed(bench: &Bench, heap: &Heap, size: Size, count: usize, order: &mut Order, report: &mut Report) {
    let mut raw = Raw::new(&bench.directory, count);
    let (mut base, mut times, mut pauses, mut closed, mut folds) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut held, mut written, mut touches) = (vec![], vec![], vec![]);
    // The first round is not kept.
    for round in 0..=bench.options.rounds {
        if count >= MANY {
            let start = Instant::now();
            heap.sync_with(SyncLevel::Full).expect("the disk works");
            folds.push(start.elapsed());
            // What the log needs when it begins is not measured either.
            order.change(heap, 16);
            heap.sync().expect("the disk works");
        }
        base.push(raw.write());

        let touched = machine::thread_cpu_ns();
        order.change(heap, count);
        touches.push((machine::thread_cpu_ns() - touched) as f64 / count as f64);
        let (held_before, written_before) = (pages_held(heap), machine::written_bytes());
        let start = Instant::now();
        heap.sync().expect("the disk works");
        times.push(start.elapsed());
        written.push((machine::written_bytes() - written_before) as f64 / 1024.0);
        held.push((pages_held(heap) - held_before) as f64);
        closed.extend(heap.stats().commits.map(|commits| commits.last_pause));

        order.change(heap, count);
        pauses.push(pause::longest(heap, || _ = heap.sync().expect("the disk works")));
        if round == 0 {
            [&mut base, &mut times, &mut pauses, &mut closed, &mut folds].into_iter().for_each(Vec::clear);
            [&mut held, &mut written, &mut touches].into_iter().for_each(Vec::clear);
        }
    }
    let name = format!("sync/{count}page{}/{size}", if count == 1 { "" } else { "s" });
    let (aim, pause_aim) = match count {
        1 => (Some(Aim::Ratio(1.3)), None),
        10_000 => (Some(Aim::Ratio(2.2)), Some(Aim::Limit(10.0))),
        _ => (None, None),
    };
    report.add_times(name.clone(), &times, Some(&base), aim);
    report.add_times(format!("{name}/pause"), &pauses, None, pause_aim);
    if !closed.is_empty() {
        report.add_times(format!("{name}/closed"), &closed, None, None);
        report.add(format!("{name}/held"), "page", held, Some(vec![count as f64]), None);
    }
    let dirty = vec![(count * PAGE) as f64 / 1024.0];
    report.add(format!("{name}/written"), "KiB", written, Some(dirty), None);
    if count >= MANY {
        report.add(format!("{name}/touch"), "ns", touches, None, None);
        report.add_times(format!("{name}/fold"), &folds, None, None);
    }
}

/// Pages that all commits of the heap held so far.
fn pages_held(heap: &Heap) -> u64 {
    heap.stats().commits.map_or(0, |commits| commits.pages)
}

/// The pages of the vector in a random order, gone through again and again.
struct Order {
    pages: Vec<u32>,
    next: usize,
}

impl Order {
    fn new(len: u64) -> Self {
        let mut pages: Vec<u32> = (0..len as u32).collect();
        let mut random = Random(1);
        for at in (1..pages.len()).rev() {
            pages.swap(at, random.below(at as u64 + 1) as usize);
        }
        Self { pages, next: 0 }
    }

    /// Changes a word in each of the next `count` pages.
    fn change(&mut self, heap: &Heap, count: usize) {
        let tx = heap.write().expect("a session");
        let words = tx.root_mut(WORDS).expect("the root");
        for _ in 0..count {
            let at = self.next % self.pages.len();
            let page = u64::from(self.pages[at]) * WORDS_PER_PAGE;
            words[(page + at as u64 % WORDS_PER_PAGE) as usize] += 1;
            self.next += 1;
        }
    }
}
