//! Records of the log: writing one, and what memory keeps of it.

use super::journal::Durability;
use super::storage::{Part, Storage};
use crate::format::PAGE;
use crate::format::log_record::{Entry, RecordHeader};
use crate::os::CallError;
use crate::os::buffer::Buffer;
use zerocopy::IntoBytes;

/// What is remembered of a record whose commit has not been folded.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) header: RecordHeader,
    /// Where it lies.
    pub(super) offset: u64,
    /// Where the jump to it lies.
    pub(super) jump_at: Option<u64>,
    /// Those with an image first.
    pub(super) entries: Box<[Entry]>,
}

impl Record {
    /// Entries with an image, and where in the log that lies.
    pub(super) fn images(&self) -> impl Iterator<Item = (&Entry, u64)> {
        let first = self.offset + self.header.images_offset();
        let images = &self.entries[..(self.header.images as usize).min(self.entries.len())];
        images.iter().zip((first..).step_by(PAGE))
    }

    /// Entries of pages that were written to the heap file.
    pub(super) fn direct(&self) -> &[Entry] {
        self.entries.get(self.header.images as usize..).unwrap_or_default()
    }
}

/// Bytes of one write.
const CHUNK: usize = 1 << 20;

/// Assembles large writes. It is kept, so that a commit does not allocate.
#[derive(Debug)]
pub(super) struct Assembler {
    buffer: Buffer,
    /// Where the buffer goes.
    at: u64,
    /// Whether the record need not be on the medium soon, so that it goes to the page cache and nobody waits.
    is_cached: bool,
}

impl Default for Assembler {
    fn default() -> Self {
        Self { buffer: Buffer::new(), at: 0, is_cached: false }
    }
}

impl Assembler {
    /// What the records that follow are to survive.
    pub(super) fn prepare(&mut self, durability: Durability) {
        self.is_cached = durability == Durability::Written;
    }

    /// Writes a record, from memory and to places and in lengths that are multiples of [`PAGE`].
    pub(super) fn write_record(
        &mut self,
        storage: &dyn Storage,
        at: u64,
        header: &RecordHeader,
        entries: &[Entry],
        images: &[u8],
    ) -> Result<(), CallError> {
        debug_assert_eq!(images.len(), header.images as usize * PAGE);
        self.buffer.clear();
        self.at = at;
        self.push(storage, header.as_bytes())?;
        self.push(storage, entries.as_bytes())?;
        self.push(storage, images)?;
        let written = header.images_offset() as usize + images.len();
        self.push(storage, &[0; PAGE][..header.record_len() as usize - written])?;
        self.flush(storage)
    }

    fn push(&mut self, storage: &dyn Storage, mut bytes: &[u8]) -> Result<(), CallError> {
        while !bytes.is_empty() {
            let step = bytes.len().min(CHUNK - self.buffer.len());
            self.buffer.append(step)?.copy_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            if self.buffer.len() == CHUNK {
                self.flush(storage)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, storage: &dyn Storage) -> Result<(), CallError> {
        if self.buffer.len() > 0 {
            let bytes = self.buffer.as_slice();
            if self.is_cached {
                storage.write_at(Part::Log, bytes, self.at)?;
            } else {
                storage.write_around(Part::Log, bytes, self.at)?;
            }
            self.at += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Writes zeros.
pub(super) fn write_zeros(storage: &dyn Storage, part: Part, mut from: u64, to: u64) -> Result<(), CallError> {
    let mut zeros = Buffer::new();
    let zeros = zeros.append(CHUNK.min(to.saturating_sub(from) as usize))?;
    while from < to {
        let step = (to - from).min(zeros.len() as u64);
        storage.write_around(part, &zeros[..step as usize], from)?;
        from += step;
    }
    Ok(())
}
