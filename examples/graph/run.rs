//! What can be done with the graph, and what it costs.

use crate::WEB;
use crate::web::Known;
use ignore::WalkBuilder;
use sal::pool::Step;
use sal::prelude::*;
use sal::{Collector, CompactOptions, Order, SalMovable};
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Done = Result<(), Box<dyn Error>>;

/// Files that are added between two commits.
const COMMIT: usize = 500;

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What the heap takes.
fn memory(heap: &Heap) -> Result<String, Box<dyn Error>> {
    let live = heap.stats().live_bytes;
    Ok(format!("{:.1} MiB in use, {:.1} MiB resident", mib(live), mib(heap.residency()?.resident)))
}

pub(crate) fn build(heap: &Heap, directories: &[PathBuf], most: u64) -> Done {
    let began = Instant::now();
    let mut known = {
        let tx = heap.write()?;
        Known::of(tx.root_or_default(WEB)?, heap)
    };
    let mut files = directories.iter().flat_map(|directory| WalkBuilder::new(directory).build()).peekable();
    let mut nodes = 0;
    while files.peek().is_some() && nodes < most {
        let tx = heap.write()?;
        let web = tx.root_mut(WEB)?;
        for entry in files.by_ref().take(COMMIT) {
            let path = entry?.into_path();
            // What is no text is passed over.
            if let Some(text) = path.is_file().then(|| std::fs::read_to_string(&path).ok()).flatten() {
                web.add(heap, &mut known, &path.to_string_lossy(), &text);
            }
            if web.nodes() >= most {
                break;
            }
        }
        nodes = web.nodes();
        tx.sync()?;
    }
    println!("build: {nodes} nodes in {:.1?}; {}", began.elapsed(), memory(heap)?);
    Ok(())
}

/// Numbers that look like random ones.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % end.max(1)
    }
}

pub(crate) fn walk(heap: &Heap, steps: u64) -> Done {
    let session = heap.read()?;
    let web = session.root(WEB)?;
    let began = Instant::now();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut at, mut bytes) = (None, 0);
    for _ in 0..steps {
        let pin = heap.pin();
        let Some(place) = at else {
            let Some(&file) = web.shelf.get(random.below(web.shelf.len())) else { break };
            at = web.files[file].first;
            continue;
        };
        bytes += web.words[web.places[place].word].text.get(&pin).len();
        at = web.places[place].next.filter(|_| random.below(200) > 0);
    }
    let each = began.elapsed().as_nanos() as f64 / steps as f64;
    println!("walk: {steps} steps, {bytes} bytes of text, {each:.1} ns each");
    Ok(())
}

pub(crate) fn forget(heap: &Heap, percent: u64) -> Done {
    let tx = heap.write()?;
    let web = tx.root_mut(WEB)?;
    let mut random = Random(88_172_645_463_325_252);
    let before = web.shelf.len();
    web.shelf.retain(|_| random.below(100) as u64 >= percent);
    println!("forget: {} of {before} files", before - web.shelf.len());
    tx.sync()?;
    Ok(())
}

pub(crate) fn collect(heap: &Heap, budget: u64) -> Done {
    let began = Instant::now();
    let collector = Collector::new();
    let (mut pauses, mut report) = (Vec::new(), None);
    while report.is_none() {
        // Others may change the graph between two steps.
        let tx = heap.write()?;
        let web = tx.root_mut(WEB)?;
        let step_began = Instant::now();
        if let Step::Done(done) = collector.step(web, Duration::from_micros(budget))? {
            report = Some(done);
        }
        pauses.push(step_began.elapsed());
    }
    heap.sync()?;
    let report = report.ok_or("there was no report")?;
    pauses.sort_unstable();
    let at = |part: usize| pauses[(pauses.len() - 1) * part / 100];
    println!(
        "collect: {} freed, {} left, {:.1?} marking and {:.1?} sweeping; {} steps, the median {:.1?}, one in a hundred above {:.1?}, the longest {:.1?}",
        report.freed,
        report.live,
        report.marking,
        report.sweeping,
        pauses.len(),
        at(50),
        at(99),
        at(100)
    );
    println!("  {:.1?} with commits; {}", began.elapsed(), memory(heap)?);
    Ok(())
}

pub(crate) fn compact(heap: &Heap) -> Done {
    let report = heap.compact_with(CompactOptions::new().sparse(0.9).order(Order::Entry))?;
    heap.sync()?;
    println!("compact: {report}; longest step {:.1?}", report.longest_step);
    // The memory of what was freed goes with what the log holds.
    heap.maintain(Duration::from_secs(10));
    println!("  {}", memory(heap)?);
    Ok(())
}

pub(crate) fn info(heap: &Heap) -> Done {
    let session = heap.read()?;
    let web = session.root(WEB)?;
    let places = web.check()?;
    println!(
        "info: {} files on the shelf, {places} places in them, {} words; {} nodes in all; {}",
        web.shelf.len(),
        web.words.len(),
        web.nodes(),
        memory(heap)?
    );
    Ok(())
}
