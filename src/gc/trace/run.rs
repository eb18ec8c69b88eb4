//! Carrying out a program: from a range of values to the blocks that they lead to.

use super::layouts::sal_btree_map::MOST_LEVELS;
use super::layouts::{pool, sal_hash_map};
use super::{Count, DEEPEST, Op, Ops, Otherwise, Plan, PlanId, Program};
use crate::alloc::ref_count::COUNTED;
use crate::alloc::tracts;
use crate::format::root_entry::{BY_NAME, RootEntry};
use crate::gc::image::Image;
use crate::gc::runs::{Block, Runs};
use crate::gc::stack::{PIECE, Span};
use crate::handle::object;
use core::alloc::Layout;

/// Something is not as any value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// How a block was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a word that may mean anything.
    #[default]
    Any,
    /// By a pointer that is counted.
    Counted,
    /// By the only pointer to it.
    Owned,
}

/// Who is told what a program finds.
pub(crate) trait Sink {
    /// The word at a position leads to a block, in which that is to be looked at; nothing, if the range is empty.
    fn reached(&mut self, at: usize, block: Block, inside: Span, way: Way);

    /// The word at a position leads to an object that may be moved, which lies at another one in a block.
    fn object(&mut self, at: usize, block: Block, start: usize, shape: object::Shape);

    /// A word that may lead anywhere.
    fn word(&mut self, word: u64);

    /// What lies in a block was found.
    fn more(&mut self, span: Span);
    /// A position has the word that says where a value is that may be moved; it is looked at after this.
    fn location(&mut self, _at: usize) {}
    /// A heap's name lies at a position.
    fn handle(&mut self, _at: usize) {}
    /// There is something that may hold addresses or names, and nobody knows where.
    fn hidden(&mut self) {}
}

/// A program and what it is carried out on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tracer<'a> {
    pub(crate) program: &'a Program,
    pub(crate) image: Image<'a>,
    pub(crate) runs: &'a Runs,
}

impl Tracer<'_> {
    /// The block of a root's value, and what is to be looked at in it; none of a value that takes no memory.
    ///
    /// # Errors
    /// If the root's type is not known, or the value cannot lie there.
    pub(crate) fn root(&self, entry: &RootEntry) -> Result<Option<(Block, Span)>, Refused> {
        if entry.value_len == 0 {
            return Ok(None);
        }
        let (plan, size) = self.program.root(entry.type_record).ok_or(Refused)?;
        let (position, block) = self.at_offset(entry.value)?;
        if size as u64 != entry.value_len || position != block.start || size > block.len {
            return Err(Refused);
        }
        let end = block.start + if self.program.is_plain(plan) { 0 } else { size };
        Ok(Some((block, Span { start: block.start, end, plan, above: 0 })))
    }

    /// The block of a root's name, if it has one.
    pub(crate) fn root_name(&self, entry: &RootEntry) -> Result<Option<Block>, Refused> {
        if entry.state != BY_NAME || entry.name_len == 0 {
            return Ok(None);
        }
        self.at_offset(entry.tag).map(|(_, block)| Some(block))
    }

    /// The position that is so far from the heap's start, and the block that it falls into.
    fn at_offset(&self, offset: u64) -> Result<(usize, Block), Refused> {
        let [_, segments] = self.image.segments_start();
        let position = offset.checked_sub(segments).ok_or(Refused)? as usize;
        self.runs.find(position).map(|block| (position, block)).ok_or(Refused)
    }

    /// The first part of a range that is to be looked at, as in [`Image::first_part`]; whole values of it.
    #[inline(always)]
    pub(crate) fn first_part(&self, span: &Span) -> core::ops::Range<usize> {
        let (start, end) = (span.start, span.end);
        match self.program.plan(span.plan) {
            Plan::Words => self.image.first_part(start, end),
            Plan::Values { size, .. } => {
                if end - start <= size.max(PIECE) {
                    return start..end;
                }
                // Zeros are no pointers, whatever type they are of.
                let from = self.image.first_data(start, end);
                let start = start + (from - start) / size * size;
                start..end.min(start + (PIECE / size).max(1) * size)
            }
            Plan::Slots { .. } => start..end.min(start + PIECE / 8),
            Plan::Slice { .. } | Plan::Chunk { .. } => start..end,
        }
    }

    /// Whether a word is an address in a block.
    pub(crate) fn is_address(&self, word: u64) -> bool {
        let [segments, _] = self.image.segments_start();
        let position = word.wrapping_sub(segments);
        position < self.image.segments_len() as u64 && self.runs.find(position as usize).is_some()
    }

    /// Takes a part of a range off a stack of what is still to be looked at; one that is empty leads nowhere.
    pub(crate) fn pop_part(&self, stack: &mut Vec<Span>) -> Option<Span> {
        let mut span = stack.pop()?;
        let part = self.first_part(&span);
        let now = Span { start: part.start, end: part.end, ..span };
        if part.end < span.end {
            span.start = part.end;
            // In the place that it was taken from.
            stack.push(span);
        }
        Some(now)
    }

    /// Where a long range can be cut in two.
    pub(crate) fn middle(&self, span: &Span, worth: usize) -> Option<usize> {
        let (unit, weight) = match self.program.plan(span.plan) {
            Plan::Words => (PIECE, 1),
            Plan::Values { size, .. } => (size.max(1), 1),
            Plan::Slots { values, .. } => match self.program.plan(values) {
                Plan::Values { size, .. } => (1, size),
                _ => return None,
            },
            Plan::Slice { .. } | Plan::Chunk { .. } => return None,
        };
        let len = span.end - span.start;
        let middle = span.start + len / 2 / unit * unit;
        (len.saturating_mul(weight) >= worth && middle > span.start).then_some(middle)
    }

    /// Finds what the values of a range lead to.
    ///
    /// # Errors
    /// If they cannot be values of their types.
    #[inline(always)]
    pub(crate) fn trace(&self, span: Span, sink: &mut impl Sink) -> Result<(), Refused> {
        match self.program.plan(span.plan) {
            Plan::Words => {
                // Pointers are aligned words.
                let first = span.start.next_multiple_of(8);
                (first..span.end / 8 * 8).step_by(8).for_each(|at| sink.word(self.image.load(at)));
                Ok(())
            }
            Plan::Values { size, ops, .. } => {
                let ops = self.program.ops(ops);
                // By O3 the range has whole values; of those without a size there are no operations.
                let mut at = span.start;
                if let [Op::Counted { at: place, to }] = *ops {
                    while at < span.end {
                        self.one(at + place as usize, to, 0, Way::Counted, sink)?;
                        at += size.max(1);
                    }
                    return Ok(());
                }
                while at < span.end {
                    self.operations(ops, at, span.above, 0, sink)?;
                    at += size.max(1);
                }
                Ok(())
            }
            Plan::Slice { first, values } => self.slice(span, first, values, sink),
            Plan::Slots { align, values } => self.slots(span, align, values, sink),
            Plan::Chunk { geometry, values } => self.chunk(span, &geometry, values, sink),
        }
    }

    /// # Errors
    /// If the block is no chunk of a pool.
    fn chunk(
        &self,
        span: Span,
        geometry: &pool::Geometry,
        values: PlanId,
        sink: &mut impl Sink,
    ) -> Result<(), Refused> {
        let Plan::Values { ops, .. } = self.program.plan(values) else { return Err(Refused) };
        // The block was found to be as long as a chunk, and of those that lead nowhere nothing is looked at.
        if span.end - span.start < geometry.chunk || self.image.load(span.start) != pool::MAGIC {
            return Err(Refused);
        }
        let ops = self.program.ops(ops);
        for word in 0..geometry.words {
            let mut taken = self.image.load(span.start + pool::HEAD + word * 8);
            if taken & !geometry.mask(word) != 0 {
                return Err(Refused);
            }
            while taken != 0 {
                let slot = word * 64 + taken.trailing_zeros() as usize;
                taken &= taken - 1;
                self.operations(ops, span.start + geometry.position(slot), 0, 0, sink)?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// If more values are said to be there than the block has room for.
    fn slice(&self, span: Span, first: usize, values: PlanId, sink: &mut impl Sink) -> Result<(), Refused> {
        let Plan::Values { size, .. } = self.program.plan(values) else { return Err(Refused) };
        let len = self.image.load(span.start);
        let bytes = size_of_values(len, size)?;
        let start = span.start + first;
        if start > span.end || bytes > span.end - start {
            return Err(Refused);
        }
        sink.more(Span { start, end: start + bytes, plan: values, above: 0 });
        Ok(())
    }

    /// `span` is a range of control bytes.
    fn slots(&self, span: Span, align: usize, values: PlanId, sink: &mut impl Sink) -> Result<(), Refused> {
        let Plan::Values { size, ops, .. } = self.program.plan(values) else { return Err(Refused) };
        let (block, ops) = (self.runs.find(span.start).ok_or(Refused)?, self.program.ops(ops));
        let pairs = block.start + sal_hash_map::pairs(1 << span.above, align);
        let mut control = self.image.load(span.start & !7);
        for at in span.start..span.end {
            if at % 8 == 0 {
                control = self.image.load(at);
            }
            if sal_hash_map::is_full((control >> (at % 8 * 8)) as u8) {
                self.operations(ops, pairs + (at - block.start) * size, 0, 0, sink)?;
            }
        }
        Ok(())
    }

    /// The field of `width` bytes at a position.
    #[inline(always)]
    fn field(&self, position: usize, width: u8) -> Result<u64, Refused> {
        let width = usize::from(width);
        // So it lies in one word.
        if position % width != 0 {
            return Err(Refused);
        }
        let word = self.image.load(position & !7);
        Ok((word >> (position % 8 * 8)) & (u64::MAX >> (64 - 8 * width)))
    }

    /// The block that begins where an address says, and has that many bytes.
    #[inline(always)]
    fn block(&self, address: u64, tag: usize, least: usize) -> Result<Block, Refused> {
        let [segments, _] = self.image.segments_start();
        let position = address.wrapping_sub(segments);
        if position >= self.image.segments_len() as u64 {
            return Err(Refused);
        }
        let block = self.runs.find(position as usize).ok_or(Refused)?;
        if position as usize != block.start + tag || block.len < least {
            return Err(Refused);
        }
        Ok(block)
    }

    /// Tells of a block with one value in it, or what else a whole block has, to which the word at a position leads.
    #[inline(always)]
    fn one(&self, at: usize, to: PlanId, above: u32, way: Way, sink: &mut impl Sink) -> Result<(), Refused> {
        let word = self.field(at, 8)?;
        if word == 0 {
            return Ok(());
        }
        let tag = if way == Way::Counted { COUNTED } else { 0 };
        let (least, len) = match self.program.plan(to) {
            Plan::Values { size, least, ops } => (least[usize::from(above > 0)], if ops.is_empty() { 0 } else { size }),
            Plan::Slice { first, .. } => (first, if self.program.is_plain(to) { 0 } else { usize::MAX }),
            Plan::Chunk { geometry, .. } => {
                (geometry.chunk, if self.program.is_plain(to) { 0 } else { geometry.chunk })
            }
            _ => return Err(Refused),
        };
        let block = self.block(word, tag, least)?;
        // Of a slice, how many there are is read when the block is looked at.
        let len = len.min(block.len);
        sink.reached(at, block, Span { start: block.start, end: block.start + len, plan: to, above }, way);
        Ok(())
    }

    /// Tells of a value that may be moved, and of the block that its object lies in. `entry` is where the entry lies that leads to it, and
    /// `at` the word that says where the value is.
    fn movable(&self, entry: usize, at: usize, align: usize, to: PlanId, sink: &mut impl Sink) -> Result<(), Refused> {
        sink.location(at);
        let [segments, _] = self.image.segments_start();
        let position = self.field(at, 8)?.wrapping_sub(segments);
        if position >= self.image.segments_len() as u64 {
            return Err(Refused);
        }
        let position = position as usize;
        let block = self.runs.find(position).ok_or(Refused)?;
        let end = block.start + block.len;
        let len = match self.program.plan(to) {
            // One without a size has a byte.
            Plan::Values { size, .. } => size.max(1),
            Plan::Slice { first, values } => {
                let Plan::Values { size, .. } = self.program.plan(values) else { return Err(Refused) };
                first.checked_add(size_of_values(self.field(position, 8)?, size)?).ok_or(Refused)?
            }
            _ => return Err(Refused),
        };
        let layout = Layout::from_size_align(len, align).map_err(|_| Refused)?;
        let shape = object::Shape::of(layout).ok_or(Refused)?;
        let start = position.checked_sub(shape.offset).ok_or(Refused)?;
        let is_possible = if shape.stands_alone() {
            start == block.start && shape.len <= block.len
        } else {
            start >= block.start && start % shape.align == 0 && shape.len <= end - start && block.len == tracts::TRACT
        };
        // Who moves objects believes the word.
        let head = object::Head::new(segments as usize + entry, shape);
        if !is_possible || !head.is(self.image.load(start)) {
            return Err(Refused);
        }
        sink.object(at, block, start, shape);
        if !self.program.is_plain(to) {
            sink.more(Span { start: position, end: position + len, plan: to, above: 0 });
        }
        Ok(())
    }

    /// Tells of a node of a tree, so many levels above the leaves.
    fn node(&self, at: usize, to: PlanId, above: u32, sink: &mut impl Sink) -> Result<(), Refused> {
        if above == 0 {
            if let Plan::Values { ops, least, .. } = self.program.plan(to) {
                if matches!(self.program.ops(ops), [Op::Children { .. }]) {
                    // Neither keys nor values lead anywhere, and a leaf has nothing else.
                    let block = self.block(self.field(at, 8)?, 0, least[0])?;
                    let inside = Span { start: block.start, end: block.start, plan: to, above };
                    sink.reached(at, block, inside, Way::Owned);
                    return Ok(());
                }
            }
        }
        self.one(at, to, above, Way::Owned, sink)
    }

    /// # Errors
    /// If something is there that cannot be.
    fn operations(&self, ops: &[Op], at: usize, above: u32, depth: u32, sink: &mut impl Sink) -> Result<(), Refused> {
        let place = |offset: u32| at + offset as usize;
        for op in ops {
            match *op {
                Op::Counted { at, to } => {
                    self.one(place(at), to, 0, Way::Counted, sink)?;
                }
                Op::Owned { at, to } => {
                    self.one(place(at), to, 0, Way::Owned, sink)?;
                }
                Op::Movable { at: word, align, to } => {
                    self.movable(at, place(word), align as usize, to, sink)?;
                }
                Op::Vector { block: at, len, capacity, dangles, values } => {
                    let [word, capacity] = [self.field(place(at), 8)?, self.field(place(capacity), 8)?];
                    if capacity == 0 {
                        if word != 0 && !dangles {
                            return Err(Refused);
                        }
                        continue;
                    }
                    let Plan::Values { size, .. } = self.program.plan(values) else { return Err(Refused) };
                    let bytes = size_of_values(self.field(place(len), 8)?, size)?;
                    let block = self.block(word, 0, bytes)?;
                    let end = block.start + if self.program.is_plain(values) { 0 } else { bytes };
                    sink.reached(
                        place(at),
                        block,
                        Span { start: block.start, end, plan: values, above: 0 },
                        Way::Owned,
                    );
                }
                Op::Table { block: at, slots, to } => {
                    let [word, slots] = [self.field(place(at), 8)?, self.field(place(slots), 8)?];
                    match (word, slots) {
                        (0, 0) => continue,
                        _ if !sal_hash_map::is_possible(slots) => return Err(Refused),
                        _ => {}
                    }
                    let Plan::Slots { align, values } = self.program.plan(to) else { return Err(Refused) };
                    let Plan::Values { size, .. } = self.program.plan(values) else { return Err(Refused) };
                    let pairs = sal_hash_map::pairs(slots as usize, align);
                    let least = pairs.checked_add(size_of_values(slots, size)?).ok_or(Refused)?;
                    let block = self.block(word, 0, least)?;
                    let end = block.start + if self.program.is_plain(to) { 0 } else { slots as usize };
                    let span = Span { start: block.start, end, plan: to, above: slots.trailing_zeros() };
                    sink.reached(place(at), block, span, Way::Owned);
                }
                Op::Tree { root, height, to } => {
                    let [word, height] = [self.field(place(root), 8)?, self.field(place(height), 8)?];
                    if word != 0 {
                        if height > MOST_LEVELS {
                            return Err(Refused);
                        }
                        self.node(place(root), to, height as u32, sink)?;
                    }
                }
                Op::Children { at, len, most, to } => {
                    if above > 0 {
                        let len = self.field(place(len), 8)?;
                        if len > u64::from(most) {
                            return Err(Refused);
                        }
                        for child in 0..=len as usize {
                            self.node(place(at) + child * 8, to, above - 1, sink)?;
                        }
                    }
                }
                Op::Repeat { at, size, count, ops } => {
                    if depth == DEEPEST {
                        return Err(Refused);
                    }
                    let ops = self.program.ops(ops);
                    let count = self.count(count, &place)?;
                    for number in 0..count {
                        self.operations(ops, place(at) + number as usize * size as usize, above, depth + 1, sink)?;
                    }
                }
                Op::Choice { at, width, mask, arms, otherwise } => {
                    if depth == DEEPEST {
                        return Err(Refused);
                    }
                    let ops = self.program.ops(self.chosen(place(at), width, mask, arms, otherwise)?);
                    match *ops {
                        [] => {}
                        [Op::Counted { at, to }] => {
                            self.one(place(at), to, 0, Way::Counted, sink)?;
                        }
                        _ => self.operations(ops, place(0), above, depth + 1, sink)?,
                    }
                }
                Op::Handle { at } => sink.handle(place(at)),
                Op::Hidden => sink.hidden(),
                Op::Words { at, len } => {
                    let first = place(at).next_multiple_of(8);
                    let end = place(at + len) / 8 * 8;
                    (first..end).step_by(8).for_each(|at| sink.word(self.image.load(at)));
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn chosen(&self, at: usize, width: u8, mask: u8, arms: Ops, otherwise: Otherwise) -> Result<Ops, Refused> {
        let value = self.field(at, width)? & (u64::MAX << 8 | u64::from(mask));
        self.program.arm(arms, value, otherwise).ok_or(Refused)
    }

    fn count(&self, count: Count, place: &impl Fn(u32) -> usize) -> Result<u32, Refused> {
        let (count, most) = match count {
            Count::Fixed(count) => return Ok(count),
            Count::Field { at, width, less, most } => {
                (self.field(place(at), width)?.saturating_sub(u64::from(less)), most)
            }
            Count::Tags { at, most } => {
                let mut count = 0;
                while count < 16 && self.field(place(at + count), 1)? != 0 {
                    count += 1;
                }
                (u64::from(count), most)
            }
        };
        if count > u64::from(most) { Err(Refused) } else { Ok(count as u32) }
    }
}

/// Bytes of so many values.
#[inline(always)]
fn size_of_values(len: u64, size: usize) -> Result<usize, Refused> {
    usize::try_from(len).ok().and_then(|len| len.checked_mul(size)).ok_or(Refused)
}
