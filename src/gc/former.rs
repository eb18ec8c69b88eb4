//! Leading entries back to where their values were at the last durable commit.
//!
//! The file of a shared heap changes at any moment, and an entry with it: so it also says where its value was at the last durable
//! commit ([`Former`]). After a crash that counts. [`lead_back`] follows the types of the roots that lead to entries, in the
//! heap's own memory, and makes each entry's first word what the commit has; after that a heap is marked as any other.
//!
//! It must find all entries, so the program is one [that is to move](Program::to_move) values, and what may hold handles where
//! nobody knows is refused: as is whatever cannot be.
//!
//! # Invariants
//! - **B1** An entry is looked at after it was led back, and led back once: what is done a second time, after a crash, changes
//!   nothing.
//!
//! # What survives a crash
//! Whether an entry was led back or not, it says what it is led back to: the first word is written before the second one.

use super::image::{Found, Image};
use super::marks::Marks;
use super::runs::{Block, Runs};
use super::stack::Span;
use super::trace::Program;
use super::trace::layouts::handle;
use super::trace::run::{Refused, Sink, Tracer, Way};
use crate::format::root_entry::HANDLES;
use crate::handle::moving::Former;
use crate::handle::object;
use crate::os::{CallError, errno};

/// Why entries could not be led back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotLedBack {
    /// What a root leads to cannot be.
    Contents,
    Os(CallError),
}

impl From<CallError> for NotLedBack {
    fn from(error: CallError) -> Self {
        Self::Os(error)
    }
}

/// Leads all entries that the roots reach back to where their values were before they were led elsewhere in a run of the heap; in
/// run 0 none was, and they stay as they are. From then on entries say nothing of earlier places.
///
/// # Errors
/// [`NotLedBack::Contents`] if a root leads to something that cannot be. Other entries have been led back.
///
/// # Safety
/// The memory of the image is the caller's alone, and may be written to.
pub(crate) unsafe fn lead_back(image: Image<'_>, runs: &Runs, run: u32) -> Result<(), NotLedBack> {
    let mut roots = Vec::new();
    image.for_each_entry(runs, |found| match found {
        Found::Root(entry) if entry.flags & HANDLES != 0 => roots.push(entry),
        _ => {}
    });
    if roots.is_empty() {
        return Ok(());
    }
    let program = Program::to_move(&image);
    let tracer = Tracer { program: &program, image, runs };
    let seen = Marks::new(runs.units())?;
    let mut pass = Pass { tracer, seen, run, stack: Vec::new(), wrong: None };
    let mut all = Ok(());
    for root in roots {
        match tracer.root(&root) {
            Ok(Some((block, inside))) => pass.reached(0, block, inside, Way::Owned),
            Ok(None) => {}
            Err(Refused) => pass.refuse(),
        }
        pass.drain();
        if let Some(wrong) = pass.wrong.take() {
            pass.stack.clear();
            all = Err(wrong);
        }
    }
    all
}

struct Pass<'a> {
    tracer: Tracer<'a>,
    /// Blocks that were reached.
    seen: Marks,
    run: u32,
    stack: Vec<Span>,
    wrong: Option<NotLedBack>,
}

impl Pass<'_> {
    fn refuse(&mut self) {
        self.wrong.get_or_insert(NotLedBack::Contents);
    }

    fn drain(&mut self) {
        let tracer = self.tracer;
        while let Some(now) = tracer.pop_part(&mut self.stack).filter(|_| self.wrong.is_none()) {
            if !now.is_empty() && tracer.trace(now, self).is_err() {
                self.refuse();
            }
        }
    }
}

impl Sink for Pass<'_> {
    fn reached(&mut self, _: usize, block: Block, inside: Span, _: Way) {
        if self.seen.set(block.word, block.bit, false) {
            self.more(inside);
        }
    }

    fn object(&mut self, _: usize, _: Block, _: usize, _: object::Shape) {}

    fn word(&mut self, word: u64) {
        // As for a heap that is moved: a word that nobody knows the meaning of is no address.
        if self.tracer.is_address(word) {
            self.refuse();
        }
    }

    fn more(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        if self.stack.try_reserve(1).is_err() {
            self.wrong.get_or_insert(NotLedBack::Os(CallError { call: "mmap", errno: errno::NO_MEMORY }));
            return;
        }
        self.stack.push(span);
    }

    fn location(&mut self, at: usize) {
        let entry = at - handle::LOCATION;
        let image = &self.tracer.image;
        let word = image.load(entry + handle::FORMER);
        if word == 0 {
            return;
        }
        // SAFETY: the memory is the caller's of `lead_back`, who alone looks at it.
        unsafe {
            if let Some(location) = Former::of_word(word).in_run(self.run) {
                image.store(at, location);
            }
            image.store(entry + handle::FORMER, 0);
        }
    }

    fn hidden(&mut self) {
        self.refuse();
    }
}
