//! Marking: from the roots, block by block, to all that is reached.
//!
//! A worker takes ranges from its stack into a short queue and asks for their memory; by the time a range comes out of
//! the queue its memory is, with luck, in the cache. Its words are looked up one after the other. Blocks that are found go
//! through a second short queue, until the words of their marks are there too; one that had no mark gets it and goes
//! on the stack. So the order is depth-first, but for the queues, and a list of any length or a
//! tree of any depth needs hardly any stack: a block's range goes on it as a whole, and what comes behind a block in a
//! list is found when nothing else of it is left.
//!
//! A stack that is full drops what is pushed, and notes where the block lies. The block is marked and not looked at, so
//! in the end all marked blocks there are looked at once more, as often as something was dropped ([`Pool`]). Each such
//! round marks at least one block more than the last one, or it is the last.
//!
//! # Invariants
//! - **V1** Only blocks of the image's runs are looked at: positions come from [`Runs::find`] alone.
//! - **V2** When no worker was aborted, every block that a word of a marked block or a root leads to is marked.

use super::image::Image;
use super::marks::Marks;
use super::pool::{Pool, Task};
use super::runs::{Block, Runs};
use super::stack::{Span, Stack};
use super::tallies::Tallies;
use crate::format::UNIT_SHIFT;
use crate::os::CallError;
use core::ops::Range;
use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ranges whose memory is asked for before they are looked at; as many blocks may be found and not yet marked.
const AHEAD: usize = 16;
const _: () = assert!(AHEAD.is_power_of_two());
/// Bytes of a cache line, and how many of a block's are asked for; the rest follow by themselves.
const LINE: usize = 64;
const LINES: usize = 4;
/// Ranges that are looked at between two looks at the clock and the counters.
const TICK: u32 = 4096;
/// Ranges that are given to others at once.
const DONATION: usize = 256;
/// How long a worker without work waits before it lets its caller look around.
const PATIENCE: Duration = Duration::from_millis(20);

/// Entries of a worker's stack, if nobody wants another number: 16 MiB, which are taken as they are used.
pub(crate) const STACK: usize = 1 << 20;

/// What the workers of one marking share, and others may look at meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) pool: Pool,
    pub(crate) counters: Counters,
}

/// How far marking has come.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Blocks that were marked, and bytes of them.
    pub(crate) blocks: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Bytes that were looked at.
    pub(crate) scanned: AtomicU64,
    /// How often blocks had to be looked at again.
    pub(crate) rounds: AtomicU64,
}

impl Counters {
    /// The same once more.
    pub(crate) fn copy(&self) -> Self {
        // Relaxed: nobody counts any more.
        let copy = |counter: &AtomicU64| AtomicU64::new(counter.load(Ordering::Relaxed));
        Self {
            blocks: copy(&self.blocks),
            bytes: copy(&self.bytes),
            scanned: copy(&self.scanned),
            rounds: copy(&self.rounds),
        }
    }
}

/// One marking, by one or more workers.
#[derive(Debug)]
pub(crate) struct Marker<'a> {
    image: Image<'a>,
    runs: &'a Runs,
    marks: &'a Marks,
    /// Blocks with a mark that are not to be looked at: they are free.
    free: Option<&'a Marks>,
    tallies: Option<&'a Tallies>,
    pool: &'a Pool,
    counters: &'a Counters,
    /// Whether there may be more than one worker.
    shared: bool,
    stack: usize,
}

impl<'a> Marker<'a> {
    /// A marking of an image with those runs, which sets `marks`. If a block is free according to `free`, it has its mark
    /// already.
    pub(crate) fn new(
        image: Image<'a>,
        runs: &'a Runs,
        marks: &'a Marks,
        free: Option<&'a Marks>,
        job: &'a Job,
    ) -> Self {
        let (pool, counters) = (&job.pool, &job.counters);
        Self { image, runs, marks, free, tallies: None, pool, counters, shared: true, stack: STACK }
    }

    /// With so many workers, and so many entries on each one's stack.
    pub(crate) fn with(self, workers: usize, stack: usize) -> Self {
        Self { shared: workers > 1, stack, ..self }
    }

    /// Also counts the pointers that are counted; [`Marker::finish`] ends that.
    pub(crate) fn counting(self, tallies: &'a Tallies) -> Self {
        Self { tallies: Some(tallies), ..self }
    }

    /// When all is marked: makes the tallies right if blocks had to be looked at more than once. By one thread.
    pub(crate) fn finish(&self) {
        if let Some(tallies) = self.tallies {
            // Relaxed: the workers have been joined.
            if self.counters.rounds.load(Ordering::Relaxed) > 0 {
                tallies.count_again(&self.image, self.runs, self.marks, self.free);
            }
        }
    }

    /// Works until all is marked or somebody aborts; calls `tick` from time to time. Each worker calls this once.
    ///
    /// # Errors
    /// If there is no memory for its stack. The others do its work, if there are any.
    pub(crate) fn work(&self, mut tick: impl FnMut()) -> Result<(), CallError> {
        let mut worker = Worker {
            marker: self,
            stack: Stack::new(self.stack)?,
            queue: [Span::default(); AHEAD],
            first: 0,
            queued: 0,
            found: [Block::default(); AHEAD],
            first_found: 0,
            found_count: 0,
            dropped: None,
            counts: Counts::default(),
            until_tick: TICK,
            tick: &mut tick,
        };
        let mut had_task = false;
        let _abort = AbortOnPanic(self.pool);
        loop {
            let task = self.pool.next(had_task, worker.dropped.take(), PATIENCE);
            had_task = !matches!(task, Task::Wait | Task::Done);
            match task {
                Task::Roots => self.image.for_each_root(self.runs, |word| worker.visit(word)),
                Task::Spans(spans) => spans.into_iter().for_each(|span| worker.push(span)),
                Task::Again(units) => worker.again(units),
                Task::Wait => (worker.tick)(),
                Task::Done => break,
            }
            worker.drain();
            worker.report();
        }
        Ok(())
    }
}

/// If what it is told by panics, the worker takes no part any more, and the others would wait for it.
struct AbortOnPanic<'a>(&'a Pool);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abort();
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Counts {
    blocks: u64,
    bytes: u64,
    scanned: u64,
}

struct Worker<'m, 'a> {
    marker: &'m Marker<'a>,
    stack: Stack,
    /// A ring of ranges whose memory has been asked for.
    queue: [Span; AHEAD],
    first: usize,
    queued: usize,
    /// A ring of blocks that were found and not yet marked.
    found: [Block; AHEAD],
    first_found: usize,
    found_count: usize,
    dropped: Option<Range<usize>>,
    counts: Counts,
    until_tick: u32,
    tick: &'m mut dyn FnMut(),
}

impl Worker<'_, '_> {
    /// Looks at everything on the stack, and at what that leads to.
    fn drain(&mut self) {
        let image = &self.marker.image;
        loop {
            while self.queued < AHEAD {
                let Some(span) = self.stack.take(|start, end| image.first_part(start, end)) else { break };
                self.prefetch(span);
                self.queue[(self.first + self.queued) % AHEAD] = span;
                self.queued += 1;
            }
            if self.queued == 0 {
                self.mark_found();
                if self.stack.is_empty() {
                    return;
                }
                continue;
            }
            let span = self.queue[self.first];
            self.first = (self.first + 1) % AHEAD;
            self.queued -= 1;
            self.scan(span);
            self.until_tick -= 1;
            if self.until_tick == 0 {
                self.report();
                (self.tick)();
            }
            if self.marker.pool.is_hungry() && self.stack.has_to_spare() {
                self.donate();
            }
            if self.marker.pool.is_aborted() {
                self.stack.clear();
                self.queued = 0;
                self.found_count = 0;
            }
        }
    }

    /// Gives part of the stack to those who wait.
    #[cold]
    fn donate(&mut self) {
        let stack = &mut self.stack;
        self.marker.pool.give(|spans| stack.donate(DONATION, |span| spans.push(span)));
    }

    #[inline(always)]
    fn prefetch(&self, span: Span) {
        let start = self.marker.image.at(span.start).cast::<u8>();
        for line in 0..(span.end - span.start).div_ceil(LINE).min(LINES) {
            prefetch(start.wrapping_add(line * LINE));
        }
    }

    /// Looks at each word of a range that lies in a block.
    #[inline(always)]
    fn scan(&mut self, span: Span) {
        let start = self.marker.image.at(span.start);
        let words = (span.end - span.start) / 8;
        self.counts.scanned += (words * 8) as u64;
        for word in 0..words {
            // SAFETY: the range lies in a block of the image (V1), which is aligned to more than a word.
            self.visit(unsafe { Image::read(start.wrapping_add(word)) });
        }
    }

    /// Finds the block that a word leads to, if it does.
    #[inline(always)]
    fn visit(&mut self, word: u64) {
        let image = &self.marker.image;
        if let Some((position, block)) = self.marker.runs.find_word(image, word) {
            if Tallies::is_counted(position, &block) {
                self.tally(&block);
            }
            prefetch(self.marker.marks.place(block.word));
            // It will be looked at soon if it has no mark, and most have none.
            prefetch(image.at(block.start).cast());
            if self.found_count == AHEAD {
                self.mark_oldest();
            }
            self.found[(self.first_found + self.found_count) % AHEAD] = block;
            self.found_count += 1;
        }
    }

    fn tally(&self, block: &Block) {
        if let Some(tallies) = self.marker.tallies {
            tallies.add(block);
        }
    }

    /// Marks all blocks that were found.
    #[inline(always)]
    fn mark_found(&mut self) {
        while self.found_count > 0 {
            self.mark_oldest();
        }
    }

    #[inline(always)]
    fn mark_oldest(&mut self) {
        let oldest = self.found[self.first_found];
        self.first_found = (self.first_found + 1) % AHEAD;
        self.found_count -= 1;
        self.mark(oldest);
    }

    #[inline(always)]
    fn mark(&mut self, block: Block) {
        if self.marker.marks.set(block.word, block.bit, self.marker.shared) {
            self.counts.blocks += 1;
            self.counts.bytes += block.len as u64;
            self.push(Span { start: block.start, end: block.start + block.len });
        }
    }

    #[inline(always)]
    fn push(&mut self, span: Span) {
        if !self.stack.push(span) {
            self.drop_block(span);
        }
    }

    #[cold]
    fn drop_block(&mut self, span: Span) {
        let unit = span.start >> UNIT_SHIFT;
        let before = self.dropped.take().unwrap_or(unit..unit + 1);
        self.dropped = Some(before.start.min(unit)..before.end.max(unit + 1));
    }

    /// Looks once more at the marked blocks of the runs in these units, without needing the stack for them.
    #[cold]
    fn again(&mut self, units: Range<usize>) {
        self.marker.counters.rounds.fetch_add(1, Ordering::Relaxed);
        for run in self.marker.runs.in_units(units) {
            for (word, all) in Runs::mark_words(run) {
                let free = self.marker.free.map_or(0, |free| free.word(word));
                let mut marked = self.marker.marks.word(word) & all & !free;
                while marked != 0 {
                    let block = Runs::block_of_mark(run, word, marked.trailing_zeros());
                    marked &= marked - 1;
                    let (mut start, end) = (block.start, block.start + block.len);
                    while start < end {
                        let part = self.marker.image.first_part(start, end);
                        self.scan(Span { start: part.start, end: part.end });
                        self.drain();
                        start = part.end;
                    }
                    if self.marker.pool.is_aborted() {
                        return;
                    }
                }
            }
        }
    }

    /// Adds what was counted to what all have counted.
    fn report(&mut self) {
        let counts = core::mem::take(&mut self.counts);
        let counters = &self.marker.counters;
        // Relaxed: figures for who looks on, and for who has joined the workers.
        counters.blocks.fetch_add(counts.blocks, Ordering::Relaxed);
        counters.bytes.fetch_add(counts.bytes, Ordering::Relaxed);
        counters.scanned.fetch_add(counts.scanned, Ordering::Relaxed);
        self.until_tick = TICK;
    }
}

/// Asks for the memory at an address, which may be anything.
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every such processor has it, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests;
