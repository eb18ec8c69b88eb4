//! Rewriting the pointers of a heap that lies elsewhere than where it believes to be.
//!
//! What values hold of a place are addresses of blocks, plain or counted, and the heap's name. [`relocate`] follows the types of the
//! roots as marking does ([`trace`](super::trace)), by a program [that is to move](Program::to_move) values, and adds the distance to
//! each address of what it reaches. Everything else means the same anywhere: lengths, hashes, the offsets in the root directory.
//!
//! A root whose type is not known to the last part, or that leads to something that cannot be, is left out, and its pointers stay
//! as they are. What it shares with other roots must not suffer, nor may those: so all is looked at once before anything
//! is written. If that finds nothing wrong, as it mostly does, all roots are moved. Otherwise they are tried by halves, each with
//! all that are good already.
//!
//! Nothing that is read is trusted. A block is looked at once, for the first pointer to it, and whoever else leads there must mean
//! the same: be counted, as the first was, and have a plan that is [alike](Alike). So no word is rewritten twice, and none
//! that another one takes for a number.
//!
//! # Invariants
//! - **M1** `seen` says of each block that was reached in this pass by which plan and way it was first, and of each granule of a tract
//!   whether an object that was reached lies there.
//! - **M2** Only blocks of the runs are looked at or written to, and of them only values that the plan says are there (O1).
//! - **M3** In a pass that writes, each pointer is written when it has been read, and is not read again in that pass.
//!
//! # What survives a crash
//! Nothing: it changes this process's memory only.

use super::image::{Found, Image};
use super::marks::Marks;
use super::runs::{Block, Runs};
use super::stack::Span;
use super::trace::alike::Alike;
use super::trace::run::{Refused, Sink, Tracer, Way};
use super::trace::{Plan, PlanId, Program};
use super::zeroed::Zeroed;
use crate::alloc::heap_core::WORDS_PER_UNIT;
use crate::alloc::tracts::GRANULE;
use crate::format::UNIT;
use crate::format::root_entry::RootEntry;
use crate::handle::object;
use crate::os::{CallError, errno};
use std::collections::HashMap;

/// Why a root was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmoved {
    /// Its type is not known to the last part, or has a pool in it.
    Type,
    /// It has a value that may hold pointers where only the compiler knows.
    Hidden,
    /// A word that only the program knows the meaning of is an address of the heap.
    Opaque,
    /// What it leads to cannot be.
    Contents,
}

/// What became of the roots of a heap that was moved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// The types of the roots that were moved, by the offsets of their values.
    types: HashMap<u64, u64>,
    /// Why others were not, by their numbers.
    why_not: HashMap<u64, Unmoved>,
}

impl Moved {
    /// Whether a root's value may be looked at where it lies now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, entry: &RootEntry) -> Result<(), Unmoved> {
        if entry.value_len == 0 || self.types.get(&entry.value) == Some(&entry.type_record) {
            return Ok(());
        }
        Err(self.why_not.get(&entry.sequence).copied().unwrap_or(Unmoved::Contents))
    }
}

/// What is different about a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journey {
    /// What is added to addresses.
    pub(crate) distance: u64,
    /// The heap's name in its blocks, and what it is called now.
    pub(crate) names: [u32; 2],
}

/// Rewrites all pointers that the roots reach in `image`, whose blocks believe to be where it says. Blocks that are `free` are
/// reached by nobody.
///
/// # Errors
/// Without memory for it; some pointers may have been rewritten then.
///
/// # Safety
/// The memory of the image is the caller's alone, and may be written to.
pub(crate) unsafe fn relocate(
    image: Image<'_>,
    runs: &Runs,
    free: &Marks,
    journey: Journey,
) -> Result<Moved, CallError> {
    let program = Program::to_move(&image);
    let mut moved = Moved::default();
    let mut candidates = Vec::new();
    image.for_each_entry(runs, |found| {
        if let Found::Root(entry) = found {
            match program.root(entry.type_record) {
                _ if entry.value_len == 0 => {}
                Some(_) => candidates.push(entry),
                None => drop(moved.why_not.insert(entry.sequence, Unmoved::Type)),
            }
        }
    });
    let tracer = Tracer { program: &program, image, runs };
    let mut passes = Passes { tracer, free, journey, alike: Alike::default() };
    let mut good: Vec<RootEntry> = Vec::new();
    let mut open = vec![candidates.as_slice()];
    while let Some(group) = open.pop() {
        good.extend_from_slice(group);
        let Some(why) = passes.run(&good, false)? else { continue };
        good.truncate(good.len() - group.len());
        match group {
            [] => {}
            [root] => drop(moved.why_not.insert(root.sequence, why)),
            _ => {
                let (first, second) = group.split_at(group.len() / 2);
                open.extend([second, first]);
            }
        }
    }
    if passes.run(&good, true)?.is_some() {
        // It was looked at and found good, so somebody else writes to the file: nobody knows what was rewritten.
        good.clear();
    }
    moved.types.extend(good.iter().map(|root| (root.value, root.type_record)));
    Ok(moved)
}

/// A large object has as many places in the table of a pass as it has granules.
const _: () = assert!(WORDS_PER_UNIT * 64 * GRANULE == UNIT);

/// What all passes over a heap have in common.
struct Passes<'a> {
    tracer: Tracer<'a>,
    free: &'a Marks,
    journey: Journey,
    alike: Alike,
}

impl Passes<'_> {
    /// Looks at all that some roots reach, and rewrites it if that is wanted; returns what was wrong with it.
    fn run(&mut self, roots: &[RootEntry], writes: bool) -> Result<Option<Unmoved>, CallError> {
        let seen = Zeroed::new(self.tracer.runs.units() * WORDS_PER_UNIT * 64)?;
        let mut pass = Pass { passes: self, seen, stack: Vec::new(), writes, wrong: None, is_full: false };
        for root in roots {
            if pass.root(root).is_err() {
                pass.refuse(Unmoved::Contents);
            }
            pass.drain();
            if pass.wrong.is_some() {
                break;
            }
        }
        if pass.is_full {
            return Err(CallError { call: "mmap", errno: errno::NO_MEMORY });
        }
        Ok(pass.wrong)
    }
}

/// One look at all that some roots reach.
struct Pass<'p, 'a> {
    passes: &'p mut Passes<'a>,
    /// For each block, in the order of marks: 0, or one more than twice the plan's number that it was reached by, plus one if by a
    /// single owner.
    seen: Zeroed<u32>,
    stack: Vec<Span>,
    writes: bool,
    wrong: Option<Unmoved>,
    /// There was no memory for the stack.
    is_full: bool,
}

impl Pass<'_, '_> {
    fn refuse(&mut self, why: Unmoved) {
        self.wrong.get_or_insert(why);
    }

    fn root(&mut self, root: &RootEntry) -> Result<(), Refused> {
        let tracer = self.passes.tracer;
        if let Some(block) = tracer.root_name(root)? {
            // Its bytes are nothing that is moved, and nobody else's.
            self.reach(block, Span::words(block.start, block.start), Way::Owned);
        }
        if let Some((block, inside)) = tracer.root(root)? {
            self.reach(block, inside, Way::Owned);
        }
        Ok(())
    }

    /// Looks at all that waits, and at what it leads to.
    fn drain(&mut self) {
        let tracer = self.passes.tracer;
        while let Some(now) = tracer.pop_part(&mut self.stack).filter(|_| self.wrong.is_none()) {
            if !now.is_empty() && tracer.trace(now, self).is_err() {
                self.refuse(Unmoved::Contents);
            }
        }
    }

    /// A block is led to.
    fn reach(&mut self, block: Block, inside: Span, way: Way) {
        let is_owned = way == Way::Owned;
        let index = block.word * 64 + block.bit.trailing_zeros() as usize;
        let Some(seen) = self.seen.get_mut(index) else { return self.refuse(Unmoved::Contents) };
        if *seen == 0 {
            *seen = 1 + 2 * inside.plan + u32::from(is_owned);
            let is_free = self.passes.free.word(block.word) & block.bit != 0;
            if is_free || !self.is_long_enough(&block, inside.plan) {
                return self.refuse(Unmoved::Contents);
            }
            return self.more(inside);
        }
        let (before, was_owned) = ((*seen - 1) / 2, (*seen - 1) % 2 != 0);
        let passes = &mut *self.passes;
        // Another owner is one too many.
        if is_owned || was_owned || !passes.alike.are(passes.tracer.program, before, inside.plan) {
            self.refuse(Unmoved::Contents);
        }
    }

    /// The word at a position is an address of what has been reached.
    fn rewrite(&mut self, at: usize) {
        if self.writes {
            let image = &self.passes.tracer.image;
            let word = image.load(at).wrapping_add(self.passes.journey.distance);
            // SAFETY: the memory is the caller's of `relocate`, who alone looks at it.
            unsafe { image.store(at, word) };
        }
    }

    /// Whether a shared slice, also one that nothing is looked up in, has room for its elements.
    fn is_long_enough(&self, block: &Block, plan: PlanId) -> bool {
        let Tracer { program, image, .. } = self.passes.tracer;
        let Plan::Slice { first, values } = program.plan(plan) else { return true };
        let Plan::Values { size, .. } = program.plan(values) else { return false };
        let len = image.load(block.start);
        let bytes = usize::try_from(len).ok().and_then(|len| len.checked_mul(size));
        bytes.and_then(|bytes| bytes.checked_add(first)).is_some_and(|end| end <= block.len)
    }
}

impl Sink for Pass<'_, '_> {
    fn reached(&mut self, at: usize, block: Block, inside: Span, way: Way) {
        self.reach(block, inside, way);
        self.rewrite(at);
    }

    fn object(&mut self, at: usize, block: Block, start: usize, shape: object::Shape) {
        if shape.stands_alone() {
            self.reach(block, Span::words(block.start, block.start), Way::Owned);
        } else {
            // Each granule of its tract has a place in the table, and belongs to one object.
            let first = start / GRANULE;
            let is_free = self.passes.free.word(block.word) & block.bit != 0;
            match self.seen.get_mut(first..first + shape.granules() as usize) {
                Some(granules) if !is_free && granules.iter().all(|&seen| seen == 0) => granules.fill(u32::MAX),
                _ => return self.refuse(Unmoved::Contents),
            }
        }
        self.rewrite(at);
    }

    fn word(&mut self, word: u64) {
        // A number of the program's own may be one by chance, but hardly ever: one in some hundred million.
        if self.passes.tracer.is_address(word) {
            self.refuse(Unmoved::Opaque);
        }
    }

    fn more(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        if self.stack.try_reserve(1).is_err() {
            self.is_full = true;
            return self.refuse(Unmoved::Contents);
        }
        self.stack.push(span);
    }

    fn handle(&mut self, at: usize) {
        let [before, now] = self.passes.journey.names;
        let image = &self.passes.tracer.image;
        if (image.load(at & !7) >> (at % 8 * 8)) as u32 != before {
            return self.refuse(Unmoved::Contents);
        }
        if self.writes {
            // SAFETY: as in `reached`.
            unsafe { image.store_half(at, now) };
        }
    }

    fn hidden(&mut self) {
        self.refuse(Unmoved::Hidden);
    }
}
