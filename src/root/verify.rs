//! Looking an open heap through for damage: all that is known below, and the directory of roots and the type table.

use super::directory::Directory;
use super::key::RootId;
use super::registry::{Registry, foreign_address, visitor};
use super::types::TypeTable;
use crate::error::RootError;
use crate::heap::{Flaw, Heap, HeapInner, VerifyReport};

/// A session number that no session has.
const NOBODY: u64 = u64::MAX;

impl Heap {
    /// Looks the heap through for damage: both headers, the slab table, the directory of roots and the type table, and
    /// the blocks of roots whose type this process knows, because it has asked for them or stored them. Of a heap that
    /// is only read, also all other bookkeeping of the allocator; of others [`Heap::verify_quiet`] does that.
    ///
    /// Other threads may use the heap meanwhile. Never panics, whatever the file's bytes are. The contents of blocks have
    /// no checksums here: [`Heap::scrub`] holds the file's pages against theirs.
    ///
    /// ```
    /// use sal::prelude::*;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("heap.sal");
    /// // SAFETY: the file was written only through SAL; nothing else changes it while it is open.
    /// let heap = unsafe { Heap::open(&path)? };
    /// heap.set_root(Root::new("answer"), 42_u64)?;
    /// let report = heap.verify();
    /// assert!(report.is_good(), "{report}");
    /// # heap.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> VerifyReport {
        let mut report = VerifyReport::default();
        let heap = self.inner();
        if heap.is_forked() {
            report.add(None, Flaw::Forked);
            return report;
        }
        heap.verify_headers(&mut report);
        heap.verify_table(&mut report);
        if heap.is_read_only() {
            // SAFETY: nothing is allocated in a heap that is only read, and nobody else writes to its memory.
            unsafe { heap.verify_bookkeeping(&mut report) };
        }
        verify_roots(heap, &mut report);
        report
    }

    /// As [`Heap::verify`], with all bookkeeping of the allocator: every slab's counters, bits and lists.
    ///
    /// # Safety
    /// Until it returns no other thread allocates, grows or frees a block of this heap, or ends after having done so.
    pub unsafe fn verify_quiet(&self) -> VerifyReport {
        let mut report = self.verify();
        if !self.inner().is_forked() && !self.inner().is_read_only() {
            // SAFETY: the caller's promise.
            unsafe { self.inner().verify_bookkeeping(&mut report) };
        }
        report
    }
}

/// Adds what is wrong with roots and types to a report.
fn verify_roots(heap: &HeapInner, report: &mut VerifyReport) {
    let layout = &heap.core().layout;
    let mut state = match Registry::of(heap) {
        Ok(state) => state,
        Err(error) => return report.add(Some(layout.roots.offset), flaw_of(error)),
    };
    let directory = Directory::of(heap);
    if !directory.has_counts() {
        report.add(Some(layout.roots.offset), Flaw::Root { root: "directory".into(), part: "count" });
    }
    let types = TypeTable::of(heap);
    for (slot, entry) in directory.checked_entries() {
        let offset = Some(directory.offset_of(slot));
        let found = match entry {
            Ok(found) => found,
            Err(error) => {
                report.add(offset, flaw_of(error));
                continue;
            }
        };
        report.roots += 1;
        let (root, id) = (found.tag.to_string(), RootId(found.entry.sequence));
        if types.description(found.entry.type_record).is_none() {
            report.add(offset, Flaw::RootType { root: root.clone() });
        }
        // Two entries with one number, or one that was not there when the heap was opened.
        let known = state.entry(id);
        if known.is_none_or(|known| known.slot != slot || known.entry != found.entry) {
            report.add(offset, Flaw::Root { root, part: "number" });
            report.roots_unvisited += 1;
            continue;
        }
        match state.visit(id) {
            Some(visit) if state.borrows.share(slot, NOBODY).is_ok() => {
                let mut visitor = visitor(heap);
                // SAFETY: the value is of the visited type (D2), and nobody changes it while it is shared (D1).
                unsafe { visit(directory.value(&found.entry), &mut visitor) };
                state.borrows.end(NOBODY);
                if let Some(address) = foreign_address(visitor) {
                    report.add(offset, Flaw::ForeignBlock { root, address });
                }
            }
            _ => report.roots_unvisited += 1,
        }
    }
    for (offset, is_good) in types.walk() {
        if is_good {
            report.types += 1;
        } else {
            report.add(Some(layout.types.offset + offset), Flaw::TypeRecord);
        }
    }
}

fn flaw_of(error: RootError) -> Flaw {
    match error {
        RootError::Damaged { root, part } => Flaw::Root { root, part },
        _ => Flaw::Root { root: "directory".into(), part: "memory for it" },
    }
}
