//! Syncs of a shared heap that seals: after a crash it goes back to the last one.
//!
//! The kernel writes pages of the file when it likes. So nothing that the last durable commit leads to may change: values are sealed,
//! blocks that are freed are withheld ([`withheld`]), and what is changed in place, the roots' own bytes, is copied to a block of its
//! own while the gate is closed, and where values lie that were moved or replaced to another ([`former`]). When all that is on the disk, a
//! header is written that says where the copy lies; before that header is durable the one before counts, in the other slot, and its
//! copy stays.
//!
//! A sync that does not wait for the disk writes a header too. It counts if the heap's process was killed and the system went on:
//! then the file has all that was stored. It takes the place of the last such one, never that of a durable one.
//!
//! # Invariants
//! - **U1** The header slot of the last durable commit is not written to.
//! - **U2** The block of a copy that a slot names is freed when that slot has been written again, and if it was a durable one, when
//!   its successor is durable.
//! - **U3** A sync that failed breaks the heap: what the kernel has not written may be lost, and it says so once.
//! - **U4** Entries are listed in the copy of a commit before which they were led elsewhere. If there is no room for the list, the
//!   commit is one that nothing follows before it is durable: the gate stays closed, and then a new run begins ([`former`]), so that
//!   what entries say of former places is over. If it fails, it is made certain that it does not count, or no session begins any more.

use super::super::create::{write_header, write_header_to};
use super::super::former::{self, Led};
use super::super::owner::HeapInner;
use super::super::sync::SyncLevel;
use super::super::withheld;
use super::copy;
use crate::error::SyncError;
use crate::format::header::{DURABLE, HEADER_LEN, Header, RootsCopyAt, SEALED, UNCHANGED};
use crate::os::file::File;
use crate::os::{CallError, errno, process};
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A copy's block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block(pub(super) NonNull<u8>, pub(super) Layout);

// SAFETY: a block of the heap that nobody else knows of.
unsafe impl Send for Block {}

/// The blocks of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    /// Of the roots; none if there are none.
    pub(super) roots: Option<Block>,
    /// Of the list of entries.
    pub(super) led: Option<Block>,
}

/// What such a heap has besides.
#[derive(Debug)]
pub(in crate::heap) struct SharedCommits {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The generation of the last durable header (U1).
    durable: u64,
    /// The blocks of the copies that the slots name (U2).
    durable_copy: Kept,
    sealed_copy: Kept,
    /// A block for the next copy: so there is room for one also when there is none for anything else.
    spare: Option<Block>,
    /// Whether there are no copies, since there was no room for the first.
    is_off: bool,
    /// The file's inode.
    inode: u64,
    /// Whether a sync failed, and why (U3).
    broken: Option<CallError>,
}

impl State {
    /// A copy is not needed any more: the block of the roots serves for a later one.
    fn give_back(&mut self, heap: &HeapInner, kept: Kept) {
        kept.led.into_iter().for_each(|led| copy::free(heap, led));
        let Some(block) = kept.roots else { return };
        let smaller = match self.spare {
            Some(spare) if spare.1.size() >= block.1.size() => block,
            _ => match self.spare.replace(block) {
                Some(spare) => spare,
                None => return,
            },
        };
        copy::free(heap, smaller);
    }
}

impl SharedCommits {
    /// Of a heap whose header, the durable one, says that the roots in their place count.
    pub(super) fn new(header: &Header, inode: u64) -> Self {
        let state = State {
            durable: header.generation,
            durable_copy: Kept::default(),
            sealed_copy: Kept::default(),
            spare: None,
            is_off: false,
            inode,
            broken: None,
        };
        Self { state: Mutex::new(state) }
    }

    /// Where the copies lie.
    pub(in crate::heap) fn copies(&self) -> Vec<usize> {
        let state = self.lock();
        let (durable, sealed) = (state.durable_copy, state.sealed_copy);
        let copies = [durable.roots, durable.led, sealed.roots, sealed.led, state.spare];
        copies.into_iter().flatten().map(|Block(block, _)| block.addr().get()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic leaves is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes syncs what they are without copies: a crash leads nowhere.
    pub(super) fn give_up(&self, heap: &HeapInner, file: &File) -> Result<(), CallError> {
        let mut state = self.lock();
        state.is_off = true;
        let mut header = heap.header.lock().unwrap_or_else(PoisonError::into_inner);
        header.copy = RootsCopyAt::default();
        header.advance_beside(state.durable);
        state.durable = header.generation;
        write_header(file, &header)
    }

    /// The generation of the header that says that the heap was closed.
    pub(super) fn last_generation(&self, header: &mut Header) {
        header.advance_beside(self.lock().durable);
    }

    /// Closes the gate, seals, and makes the heap one to which a crash leads back: of the process, or with `level` [`SyncLevel::Data`] of
    /// the system.
    pub(in crate::heap) fn commit(
        &self,
        heap: &HeapInner,
        file: &File,
        level: SyncLevel,
        limit: Option<Duration>,
    ) -> Result<u64, SyncError> {
        self.commit_with(heap, file, level, limit, u64::from(level >= SyncLevel::Async), copy::write)
    }

    /// The first one, of a heap that has just been opened: nobody has asked for it, so it has no number of its own.
    pub(super) fn begin(&self, heap: &HeapInner, file: &File) -> Result<u64, SyncError> {
        self.commit_with(heap, file, SyncLevel::Data, None, 0, copy::write)
    }

    /// As [`SharedCommits::commit`], when no session begins any more: the roots in their place count.
    pub(super) fn commit_at_close(&self, heap: &HeapInner, file: &File) -> Result<u64, SyncError> {
        self.commit_with(heap, file, SyncLevel::Data, None, 0, |_, _, _| Ok((unchanged(0, 0), Kept::default())))
    }

    fn commit_with(
        &self,
        heap: &HeapInner,
        file: &File,
        mut level: SyncLevel,
        limit: Option<Duration>,
        numbers: u64,
        copy: impl Fn(&HeapInner, (u32, &Led), &mut Option<Block>) -> Result<(RootsCopyAt, Kept), CallError>,
    ) -> Result<u64, SyncError> {
        let mut state = self.lock();
        if let Some(error) = state.broken {
            return Err(SyncError::os(error.call, error.errno));
        }
        let alloc = heap.alloc();
        let mut closed = Some(heap.close_gate(limit)?);
        heap.before_sync()?;
        let (led, mut run) = (former::list(alloc), former::run_in(alloc));
        let copied = if state.is_off {
            (RootsCopyAt::default(), Kept::default())
        } else {
            let mut made = copy(heap, (run, &led), &mut state.spare);
            // U4.
            let has_no_list = matches!(&made, Err(error) if error.call == NO_ROOM.call) && !led.is_empty();
            if has_no_list {
                run = former::run_after(run);
                level = level.max(SyncLevel::Data);
                made = copy(heap, (run, &Led::new()), &mut state.spare);
            }
            let made = made.map_err(|error| SyncError::os(error.call, error.errno))?;
            (RootsCopyAt { inode: state.inode, ..made.0 }, made.1)
        };
        // If there is no room for a copy, nothing has happened.
        if let Some(closed) = &closed {
            heap.seal(closed);
        }
        if level >= SyncLevel::Data {
            withheld::gate_closed(alloc);
            former::gate_closed(alloc);
        }
        if run == former::run_in(alloc) {
            closed = None;
        }
        let done = self.make_it_count(&mut state, heap, file, (level, numbers), copied.0);
        match done {
            Ok(commit) => {
                let old = if level >= SyncLevel::Data {
                    let sealed = std::mem::take(&mut state.sealed_copy);
                    let durable = std::mem::replace(&mut state.durable_copy, copied.1);
                    [sealed, durable]
                } else {
                    [std::mem::replace(&mut state.sealed_copy, copied.1), Kept::default()]
                };
                old.into_iter().for_each(|kept| state.give_back(heap, kept));
                if copied.1.roots.is_none() {
                    state.spare.take().into_iter().for_each(|block| copy::free(heap, block));
                }
                if level >= SyncLevel::Data {
                    former::settle(alloc, &led, run);
                    drop(closed);
                    withheld::give_back(alloc);
                }
                Ok(commit)
            }
            Err(error) => {
                if closed.is_some() && self.take_back(&state, heap, file).is_err() {
                    // Nothing can be led elsewhere so that a crash finds it, whichever commit counts.
                    heap.gate.shut();
                }
                // Whether a slot names it is not certain; it stays.
                state.broken = Some(error);
                Err(SyncError::os(error.call, error.errno))
            }
        }
    }

    /// Makes certain that a commit does not count whose header may have been written.
    fn take_back(&self, state: &State, heap: &HeapInner, file: &File) -> Result<(), CallError> {
        let mut next = *heap.header.lock().unwrap_or_else(PoisonError::into_inner);
        next.advance_beside(state.durable);
        file.write_at(&[0; HEADER_LEN], next.slot_offset())?;
        file.sync_data()
    }

    fn make_it_count(
        &self,
        state: &mut State,
        heap: &HeapInner,
        file: &File,
        (level, numbers): (SyncLevel, u64),
        copy: RootsCopyAt,
    ) -> Result<u64, CallError> {
        // Nobody else changes it: the state is locked. Who looks at it need not wait for the disk.
        let mut next = *heap.header.lock().unwrap_or_else(PoisonError::into_inner);
        let is_durable = level >= SyncLevel::Data;
        // U1.
        next.advance_beside(state.durable);
        next.commit += numbers;
        next.copy = copy;
        if is_durable {
            // Everything that the header speaks of first.
            if level == SyncLevel::Full { file.sync_all() } else { file.sync_data() }?;
            write_header_to(file, &next)?;
            file.sync_data()?;
            state.durable = next.generation;
        } else {
            next.copy.boot = run_of(file);
            if next.copy.kind == DURABLE {
                next.copy.kind = SEALED;
                write_header_to(file, &next)?;
            }
        }
        *heap.header.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(next.commit)
    }
}

/// What stays the same as long as what was stored in a file is there, on the disk or not: in this run of the system, and this mounting of
/// the file system. Zeros if it cannot be told.
pub(super) fn run_of(file: &File) -> [u8; 16] {
    match (process::boot(), file.mounting()) {
        (boot, Some(mounting)) if boot != [0; 16] => (u128::from_le_bytes(boot) ^ u128::from(mounting)).to_le_bytes(),
        _ => [0; 16],
    }
}

/// What a header says of the copy, when the roots in their place count, and of entries the former places of a run.
pub(super) fn unchanged(inode: u64, run: u32) -> RootsCopyAt {
    RootsCopyAt { kind: UNCHANGED, inode, offset: u64::from(run), ..RootsCopyAt::default() }
}

/// No room for a copy.
pub(super) const NO_ROOM: CallError = CallError { call: "allocate", errno: errno::NO_SPACE };
