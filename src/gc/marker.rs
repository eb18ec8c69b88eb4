//! Marking: from the roots, block by block, to all that is reached.
//!
//! A worker takes ranges from its stack into a short queue and asks for their memory; by the time a range comes out of
//! the queue its memory is, with luck, in the cache. Its words are looked up one after the other. Blocks that are found go
//! through a second short queue, until the words of their marks are there too; one that had no mark gets it and goes
//! on the stack. So the order is depth-first, but for the queues, and a list of any length or a
//! tree of any depth needs hardly any stack: a block's range goes on it as a whole, and what comes behind a block in a
//! list is found when nothing else of it is left.
//!
//! Where the stack is full, what is found in a block is put [aside](super::aside), and it is noted where the block lies. In the
//! end what was put aside there is looked at, as often as something was ([`Pool`]). Each such round takes up at least one range,
//! or it is the last. So every range is looked at once.
//!
//! With a [`Program`] ranges have types, and only pointers of values are followed ([`super::trace`]); without, every word is. A
//! range of a block is what the block was first found for. That others who find it mean the same is the promise of whoever
//! wrote the heap; what only one owner may have and is found twice makes marking refuse the types.
//!
//! # Invariants
//! - **V1** Only blocks of the image's runs are looked at: positions come from [`Runs::find`] alone.
//! - **V2** When no worker was stopped, every block that a marked block or a root leads to is marked: by a word of it, or
//!   with types, by a pointer of a value in it.

mod job;
mod roots;

pub(crate) use job::{Counters, Job};

use super::aside::Aside;
use super::image::Image;
use super::marks::Marks;
use super::pool::{Pool, Task};
use super::runs::{Block, Runs};
use super::stack::{PIECE, Span, Stack, WORTH_HALVING};
use super::tallies::Tallies;
use super::trace::run::{Sink, Tracer, Way};
use super::trace::{Program, WORDS};
use crate::alloc::tracts;
use crate::format::UNIT_SHIFT;
use crate::handle::object;
use crate::os::CallError;
use core::ops::Range;
use core::time::Duration;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// Ranges whose memory is asked for before they are looked at; as many blocks may be found and not yet marked.
const AHEAD: usize = 16;
const _: () = assert!(AHEAD.is_power_of_two());
/// Bytes of a cache line, and how many of a block's are asked for; the rest follow by themselves.
const LINE: usize = 64;
const LINES: usize = 4;
/// Ranges that are looked at, or blocks that are marked, between two looks at the clock and the counters.
const TICK: u32 = 4096;
/// Ranges that are given to others at once.
const DONATION: usize = 256;
/// How long a worker without work waits before it lets its caller look around.
const PATIENCE: Duration = Duration::from_millis(20);

/// Entries of a worker's stack, if nobody wants another number: 24 MiB, which are taken as they are used.
pub(crate) const STACK: usize = 1 << 20;

/// One marking, by one or more workers.
#[derive(Debug)]
pub(crate) struct Marker<'a> {
    image: Image<'a>,
    runs: &'a Runs,
    marks: &'a Marks,
    tallies: Option<&'a Tallies>,
    /// Where the segments are whose objects are noted.
    objects: Option<usize>,
    /// What follows types; without it, none are known.
    tracer: Option<Tracer<'a>>,
    /// What there was no room for, once that has happened.
    aside: OnceLock<Aside>,
    pool: &'a Pool,
    counters: &'a Counters,
    /// Whether there may be more than one worker.
    shared: bool,
    stack: usize,
}

impl<'a> Marker<'a> {
    /// A marking of an image with those runs, which sets `marks`. What has its mark already, as free blocks may, is not looked
    /// at.
    pub(crate) fn new(image: Image<'a>, runs: &'a Runs, marks: &'a Marks, job: &'a Job) -> Self {
        let (pool, counters) = (&job.pool, &job.counters);
        let aside = OnceLock::new();
        Self {
            image,
            runs,
            marks,
            tallies: None,
            objects: None,
            tracer: None,
            aside,
            pool,
            counters,
            shared: true,
            stack: STACK,
        }
    }

    /// With so many workers, and so many entries on each one's stack.
    pub(crate) fn with(self, workers: usize, stack: usize) -> Self {
        Self { shared: workers > 1, stack, ..self }
    }

    /// Follows the types of a program. If something is not of its type, the [`Pool`] is refused, and nothing is worth what was
    /// marked and counted.
    pub(crate) fn typed(self, program: Option<&'a Program>) -> Self {
        let tracer = program.map(|program| Tracer { program, image: self.image, runs: self.runs });
        Self { tracer, ..self }
    }

    /// Also counts the pointers that are counted.
    pub(crate) fn counting(self, tallies: &'a Tallies) -> Self {
        Self { tallies: Some(tallies), ..self }
    }

    /// Also notes which objects lie in tracts, none of which is known yet: of the heap whose segments are at that address.
    pub(crate) fn finding(self, segments: usize) -> Self {
        Self { objects: Some(segments), ..self }
    }

    /// The first part of a range that is to be looked at.
    #[inline(always)]
    fn first_part(&self, span: &Span) -> Range<usize> {
        match &self.tracer {
            _ if span.plan == WORDS => self.image.first_part(span.start, span.end),
            Some(tracer) if span.end - span.start > PIECE => tracer.first_part(span),
            _ => span.start..span.end,
        }
    }

    /// Where a range that is long enough for that can be cut in two.
    fn middle(&self, span: &Span) -> Option<usize> {
        match &self.tracer {
            Some(tracer) => tracer.middle(span, WORTH_HALVING),
            None => {
                let len = span.end - span.start;
                (len >= WORTH_HALVING).then_some(span.start + len / 2 / PIECE * PIECE)
            }
        }
    }

    /// Where what there is no room for goes.
    fn aside(&self) -> Result<&Aside, CallError> {
        if let Some(aside) = self.aside.get() {
            return Ok(aside);
        }
        // Of two that come here at once, one makes a table for nothing.
        let made = Aside::new(self.runs.units())?;
        Ok(self.aside.get_or_init(|| made))
    }

    /// Works until all is marked or somebody stops it; calls `tick` from time to time. Each worker calls this once.
    ///
    /// # Errors
    /// If there is no memory for its stack, and the others do its work, if there are any; or for what finds no room there,
    /// which ends all.
    pub(crate) fn work(&self, mut tick: impl FnMut()) -> Result<(), CallError> {
        let mut worker = Worker {
            marker: self,
            stack: Stack::new(self.stack)?,
            queue: [Span::default(); AHEAD],
            first: 0,
            queued: 0,
            found: [Found::default(); AHEAD],
            first_found: 0,
            found_count: 0,
            dropped: None,
            failed: None,
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
                Task::Roots => worker.roots(),
                Task::Spans(spans) => spans.into_iter().for_each(|span| worker.take(span)),
                Task::Again(units) => worker.again(units),
                Task::Wait => (worker.tick)(),
                Task::Done => break,
            }
            worker.drain();
            worker.report();
        }
        worker.failed.take().map_or(Ok(()), Err)
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

/// A block that was found and not yet marked, and what is to be looked at in it.
#[derive(Clone, Copy, Default)]
struct Found {
    block: Block,
    inside: Span,
    way: Way,
}

struct Worker<'m, 'a> {
    marker: &'m Marker<'a>,
    stack: Stack,
    /// A ring of ranges whose memory has been asked for.
    queue: [Span; AHEAD],
    first: usize,
    queued: usize,
    /// A ring of blocks that were found and not yet marked.
    found: [Found; AHEAD],
    first_found: usize,
    found_count: usize,
    /// Units of blocks that were put aside.
    dropped: Option<Range<usize>>,
    /// Why nothing could be put aside.
    failed: Option<CallError>,
    counts: Counts,
    until_tick: u32,
    tick: &'m mut dyn FnMut(),
}

impl Worker<'_, '_> {
    /// Looks at everything on the stack, and at what that leads to.
    fn drain(&mut self) {
        let marker = self.marker;
        loop {
            while self.queued < AHEAD {
                let Some(span) = self.stack.take(|span| marker.first_part(span)) else { break };
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
            self.until_tick = self.until_tick.saturating_sub(1);
            if self.until_tick == 0 || self.counts.blocks >= u64::from(TICK) {
                self.report();
                (self.tick)();
            }
            if self.marker.pool.is_hungry() && self.stack.has_to_spare(|span| marker.middle(span)) {
                self.donate();
            }
            if self.marker.pool.is_stopped() {
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
        let marker = self.marker;
        marker.pool.give(|spans| stack.donate(DONATION, |span| marker.middle(span), |span| spans.push(span)));
    }

    #[inline(always)]
    fn prefetch(&self, span: Span) {
        let start = self.marker.image.at(span.start).cast::<u8>();
        for line in 0..(span.end - span.start).div_ceil(LINE).min(LINES) {
            prefetch(start.wrapping_add(line * LINE));
        }
    }

    /// Looks at a range that lies in a block.
    #[inline(always)]
    fn scan(&mut self, span: Span) {
        if span.plan == WORDS {
            return self.scan_words(span);
        }
        self.counts.scanned += (span.end - span.start) as u64;
        let Some(tracer) = self.marker.tracer else { return };
        if tracer.trace(span, self).is_err() {
            self.marker.pool.refuse();
        }
    }

    /// Looks at each word of a range.
    #[inline(always)]
    fn scan_words(&mut self, span: Span) {
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
            let way = if Tallies::is_counted(position, &block) { Way::Counted } else { Way::Any };
            self.find(Found { block, inside: Span::words(block.start, block.start + block.len), way });
        }
    }

    #[inline(always)]
    fn find(&mut self, found: Found) {
        prefetch(self.marker.marks.place(found.block.word));
        if let (Way::Counted, Some(tallies)) = (found.way, self.marker.tallies) {
            prefetch(tallies.place(&found.block));
        }
        if !found.inside.is_empty() {
            // It will be looked at soon if it has no mark, and most have none.
            prefetch(self.marker.image.at(found.inside.start).cast());
        }
        if self.found_count == AHEAD {
            self.mark_oldest();
        }
        self.found[(self.first_found + self.found_count) % AHEAD] = found;
        self.found_count += 1;
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
    fn mark(&mut self, found: Found) {
        let Found { block, inside, way } = found;
        if let (Way::Counted, Some(tallies)) = (way, self.marker.tallies) {
            tallies.add(&block, self.marker.shared);
        }
        if self.marker.marks.set(block.word, block.bit, self.marker.shared) {
            self.counts.blocks += 1;
            self.counts.bytes += block.len as u64;
            if !inside.is_empty() && !self.stack.push(inside) {
                self.put_aside(&block, inside);
            }
        } else if way == Way::Owned && self.marker.tracer.is_some_and(|tracer| !tracer.program.has_opaque()) {
            // Somebody else has it already, or it is free.
            self.marker.pool.refuse();
        }
    }

    /// Takes over what another worker has found.
    fn take(&mut self, span: Span) {
        if !self.stack.push(span) {
            self.drain();
            if !self.stack.push(span) {
                self.scan_whole(span);
            }
        }
    }

    /// Looks at a range without needing the stack for it.
    fn scan_whole(&mut self, mut span: Span) {
        while !span.is_empty() && !self.marker.pool.is_stopped() {
            let part = self.marker.first_part(&span);
            self.scan(Span { start: part.start, end: part.end, ..span });
            self.drain();
            span.start = part.end;
        }
    }

    #[cold]
    fn put_aside(&mut self, block: &Block, inside: Span) {
        match self.marker.aside() {
            Ok(aside) => aside.put(block, inside),
            Err(error) => {
                self.failed = Some(error);
                return self.marker.pool.abort();
            }
        }
        let unit = block.start >> UNIT_SHIFT;
        let before = self.dropped.take().unwrap_or(unit..unit + 1);
        self.dropped = Some(before.start.min(unit)..before.end.max(unit + 1));
    }

    /// Looks at what was put aside of the runs in these units.
    #[cold]
    fn again(&mut self, units: Range<usize>) {
        self.marker.counters.rounds.fetch_add(1, Ordering::Relaxed);
        let Some(aside) = self.marker.aside.get() else { return };
        for run in self.marker.runs.in_units(units) {
            for (word, all) in Runs::mark_words(run) {
                let mut waiting = aside.word(word) & all;
                while waiting != 0 {
                    let block = Runs::block_of_mark(run, word, waiting.trailing_zeros());
                    waiting &= waiting - 1;
                    if let Some(span) = aside.take(&block) {
                        self.scan_whole(span);
                    }
                    if self.marker.pool.is_stopped() {
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

impl Sink for Worker<'_, '_> {
    #[inline(always)]
    fn reached(&mut self, _: usize, block: Block, inside: Span, way: Way) {
        self.find(Found { block, inside, way });
    }

    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.visit(word);
    }

    fn object(&mut self, _: usize, block: Block, start: usize, shape: object::Shape) {
        // Others lie in the block too, so what is in this one is looked at by itself.
        self.find(Found { block, inside: Span::words(block.start, block.start), way: Way::Any });
        // Where some words are looked at one by one, what only they lead to is not known to be an object.
        let is_exact = self.marker.tracer.is_some_and(|tracer| !tracer.program.has_opaque());
        if let Some(segments) = self.marker.objects.filter(|_| is_exact) {
            let (address, granules) = (segments + start, shape.granules());
            let is_new = shape.stands_alone()
                || tracts::ensure_table_at(address).is_none_or(|table| table.note_found(address, granules));
            if !is_new {
                // Another entry leads there.
                self.marker.pool.refuse();
            }
        }
    }

    fn more(&mut self, mut span: Span) {
        if span.is_empty() || self.stack.push(span) {
            return;
        }
        // Its parts lead to blocks, which have a place of their own.
        while !span.is_empty() && !self.marker.pool.is_stopped() {
            let part = self.marker.first_part(&span);
            self.scan(Span { start: part.start, end: part.end, ..span });
            span.start = part.end;
        }
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
