//! Reading the log: the chain of records, where it ends, and whether it ends there by right.
//!
//! The chain begins where the heap's header says and goes on as long as each record has the log's identity, the next
//! number, the checksum of the record before it, and a right checksum of its own and of each of its images. Where it
//! breaks off, either nothing more was ever durable, or something has been damaged. It is damage when the header says
//! that more was durable, or when anywhere else in the log there is a record that was written when the missing commit was
//! already durable.

use super::record::Record;
use super::storage::{Part, Storage};
use crate::error::OpenError;
use crate::format::PAGE;
use crate::format::header::Header;
use crate::format::log_record::{
    BLOCK, ENTRY_LEN, Entry, Identity, JUMP, RECORD_HEADER_LEN, RECORD_MAGIC, RECORDS_START, RecordHeader,
};
use crate::os::CallError;
use std::sync::Arc;
use zerocopy::FromBytes;

/// Bytes of one read.
const CHUNK: usize = 1 << 20;

/// What a log holds.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) records: Vec<Arc<Record>>,
    /// Where the last record ends, or where the first was to begin.
    pub(super) end: u64,
    /// Bytes of the file.
    pub(super) log_len: u64,
    /// The last commit, and what it says; of the header if there is no record.
    pub(super) last: u64,
    pub(super) data_len: u64,
    /// Commits up to this one were known to be on the medium when the last record was written.
    pub(super) durable: u64,
    /// The last record's checksum; of the header if there is no record.
    pub(super) checksum: u32,
}

/// Reads a file from front to back in large steps.
struct Reader<'a> {
    storage: &'a dyn Storage,
    buffer: Vec<u8>,
    at: u64,
    filled: usize,
}

impl<'a> Reader<'a> {
    fn new(storage: &'a dyn Storage, file_len: u64) -> Self {
        Self { storage, buffer: vec![0; CHUNK.min(file_len as usize).max(PAGE)], at: 0, filled: 0 }
    }

    /// `len` bytes at `offset`, at most a page; fewer where the file ends.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], CallError> {
        let within = offset >= self.at && offset + len as u64 <= self.at + self.filled as u64;
        if !within {
            self.filled = self.storage.read_at(Part::Log, &mut self.buffer, offset)?;
            self.at = offset;
        }
        let start = (offset - self.at) as usize;
        Ok(&self.buffer[start..self.filled.min(start + len)])
    }

    /// The record at `offset`, if it is one of `log` whose checksum is right; its images are not looked at.
    fn record(
        &mut self,
        offset: u64,
        file_len: u64,
        log: &Identity,
    ) -> Result<Option<(RecordHeader, Vec<Entry>)>, CallError> {
        if offset >= file_len {
            return Ok(None);
        }
        let Ok((header, _)) = RecordHeader::read_from_prefix(self.bytes(offset, RECORD_HEADER_LEN)?) else {
            return Ok(None);
        };
        if !header.belongs_to(log) || header.record_len() > file_len.saturating_sub(offset) {
            return Ok(None);
        }
        // Not more than the file has bytes.
        let mut entries = Vec::with_capacity(header.entries() as usize);
        let mut at = offset + RECORD_HEADER_LEN as u64;
        let end = offset + header.images_offset();
        while at < end {
            let step = (end - at).min(PAGE as u64) as usize;
            let bytes = self.bytes(at, step)?;
            if bytes.len() < step {
                return Ok(None);
            }
            entries.extend(bytes.chunks_exact(ENTRY_LEN).filter_map(|bytes| Entry::read_from_bytes(bytes).ok()));
            at += step as u64;
        }
        Ok((header.is_sealed(&entries) && header.is_sensible(&entries)).then_some((header, entries)))
    }

    /// Whether all images have their checksums.
    fn images_are_good(&mut self, record: &Record) -> Result<bool, CallError> {
        for (entry, offset) in record.images() {
            let image = self.bytes(offset, PAGE)?;
            if image.len() < PAGE || crc32c::crc32c(image) != entry.checksum {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads the open log of the heap with this header.
pub(super) fn read(storage: &dyn Storage, header: &Header) -> Result<Chain, OpenError> {
    let (chain, damaged_at) = read_prefix(storage, header)?;
    damaged_at.map_or(Ok(chain), |offset| Err(OpenError::DamagedLog { offset }))
}

/// Reads the open log of the heap with this header up to where it ends; if it ends there because something has been
/// damaged, says where.
pub(super) fn read_prefix(storage: &dyn Storage, header: &Header) -> Result<(Chain, Option<u64>), OpenError> {
    let log_len = storage.len(Part::Log)?;
    let mut reader = Reader::new(storage, log_len);
    let log = Identity { heap_id: header.heap_id, salt: header.log_salt };
    match Identity::decode(reader.bytes(0, PAGE)?) {
        Some(found) if found == log => {}
        Some(_) => return Err(OpenError::ForeignLog),
        None => return Err(OpenError::DamagedLog { offset: 0 }),
    }
    if header.log_start < RECORDS_START || header.log_start % BLOCK != 0 {
        return Err(OpenError::Inconsistent { field: "log start" });
    }
    let mut chain = Chain {
        records: Vec::new(),
        end: header.log_start,
        log_len,
        last: header.folded_through,
        data_len: header.file_len,
        durable: header.folded_through,
        checksum: header.log_previous,
    };
    let broken_at = follow(&mut reader, &log, header.layout.end(), &mut chain)?;
    let missing = chain.last + 1;
    let is_damaged =
        chain.last < header.commit.max(header.folded_through) || is_missed(&mut reader, &log, &chain, missing)?;
    Ok((chain, is_damaged.then_some(broken_at)))
}

/// Follows the chain to where it breaks off. No heap file is longer than `longest`.
fn follow(reader: &mut Reader<'_>, log: &Identity, longest: u64, chain: &mut Chain) -> Result<u64, CallError> {
    let mut position = chain.end;
    let mut jump_at = None;
    // Whoever wrote a jump wrote the record behind it; else it is one that was lost, and another took its number.
    let mut opening = None;
    loop {
        let Some((header, entries)) = reader.record(position, chain.log_len, log)? else { return Ok(position) };
        let fits = header.commit == chain.last + 1
            && chain.checksum == header.previous
            && opening.take().is_none_or(|opening| opening == header.opening);
        if !fits {
            return Ok(position);
        }
        if header.kind == JUMP {
            if jump_at.is_some() {
                return Ok(position);
            }
            // What it leads to continues the same checksum.
            jump_at = Some(position);
            opening = Some(header.opening);
            position = header.target;
            continue;
        }
        let record = Record { header, offset: position, jump_at: jump_at.take(), entries: entries.into() };
        if record.header.data_len > longest || !reader.images_are_good(&record)? {
            return Ok(position);
        }
        chain.last = header.commit;
        chain.data_len = header.data_len;
        chain.durable = header.durable_before.max(chain.durable);
        chain.checksum = header.checksum;
        position += header.record_len();
        chain.end = position;
        chain.records.push(Arc::new(record));
    }
}

/// Whether some record was written after the missing commit had become durable.
fn is_missed(reader: &mut Reader<'_>, log: &Identity, chain: &Chain, missing: u64) -> Result<bool, CallError> {
    let mut live: Vec<_> =
        chain.records.iter().map(|record| record.offset..record.offset + record.header.record_len()).collect();
    live.sort_unstable_by_key(|range| range.start);
    let mut live = live.into_iter().peekable();
    let mut position = RECORDS_START;
    while position < chain.log_len {
        // Images hold what users like, so records are not looked for in them.
        if let Some(range) = live.next_if(|range| range.start <= position) {
            position = position.max(range.end);
            continue;
        }
        if reader.bytes(position, RECORD_HEADER_LEN)?.starts_with(&RECORD_MAGIC) {
            if let Some((header, _)) = reader.record(position, chain.log_len, log)? {
                if header.commit > missing && header.durable_before >= missing {
                    return Ok(true);
                }
            }
        }
        position += BLOCK;
    }
    Ok(false)
}
