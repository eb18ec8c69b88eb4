//! The commit log's bytes: what the file is, and its records.
//!
//! The first page says whose log it is ([`LogHeader`]) and is never written again. Behind it lie records, each at a
//! multiple of [`BLOCK`]: a [`RecordHeader`], its [`Entry`]s (those with an image first), the images in the order of
//! their entries, and zeros up to the next block. A *jump* is a header alone, which says where the chain goes on.
//!
//! A record's checksum covers its header and its entries and begins with the checksum of the record before it, so that
//! a record fits behind one other only; an entry has the checksum of its page.

use super::PAGE;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Records begin at multiples of this: no two share a block of the file system or of the medium. So a record that is
/// torn takes nothing of the one before with it, none is read back to be written, and all can go around the page cache.
pub(crate) const BLOCK: u64 = PAGE as u64;
/// Where the first record can lie.
pub(crate) const RECORDS_START: u64 = PAGE as u64;

const LOG_MAGIC: [u8; 8] = *b"\x89SALlog\n";
/// The first bytes of a record.
pub(crate) const RECORD_MAGIC: [u8; 8] = *b"\x8eSALrec\n";
const VERSION: u32 = 1;

/// Says whose log it is; the file's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LogHeader {
    magic: [u8; 8],
    heap_id: [u8; 16],
    salt: u64,
    version: u32,
    /// CRC32C of all bytes before it.
    checksum: u32,
}

const LOG_HEADER_LEN: usize = 40;
const _: () =
    assert!(size_of::<LogHeader>() == LOG_HEADER_LEN && offset_of!(LogHeader, checksum) == LOG_HEADER_LEN - 4);

/// Whose log a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) heap_id: [u8; 16],
    /// Each log of a heap has another.
    pub(crate) salt: u64,
}

impl Identity {
    /// The checksum before the first record's.
    pub(crate) fn seed(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.heap_id), &self.salt.to_le_bytes())
    }

    /// A log's first page.
    pub(crate) fn encode(&self) -> [u8; PAGE] {
        let mut header =
            LogHeader { magic: LOG_MAGIC, heap_id: self.heap_id, salt: self.salt, version: VERSION, checksum: 0 };
        header.checksum = crc32c::crc32c(&header.as_bytes()[..LOG_HEADER_LEN - 4]);
        let mut page = [0; PAGE];
        page[..LOG_HEADER_LEN].copy_from_slice(header.as_bytes());
        page
    }

    /// Reads a log's first page; none if it is not one of this version, or damaged.
    pub(crate) fn decode(page: &[u8]) -> Option<Self> {
        let (header, _) = LogHeader::read_from_prefix(page).ok()?;
        let good = header.magic == LOG_MAGIC
            && header.version == VERSION
            && header.checksum == crc32c::crc32c(&header.as_bytes()[..LOG_HEADER_LEN - 4]);
        good.then_some(Self { heap_id: header.heap_id, salt: header.salt })
    }
}

/// A record of a commit.
pub(crate) const COMMIT: u32 = 1;
/// No commit: the record with this number lies at `target`.
pub(crate) const JUMP: u32 = 2;

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RecordHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) heap_id: [u8; 16],
    pub(crate) salt: u64,
    /// A random number of the opening that wrote it: without it, a program that does the same again after a power cut
    /// would write the same record, and what had followed it before the cut would seem to follow it again.
    pub(crate) opening: u64,
    /// The commit's number; they follow each other without gaps.
    pub(crate) commit: u64,
    /// The last commit that was known to be on the medium when this one was written.
    pub(crate) durable_before: u64,
    /// Bytes of the heap file at this commit: what lies behind is not valid.
    pub(crate) data_len: u64,
    /// Where a jump leads; else 0.
    pub(crate) target: u64,
    /// Entries that have an image.
    pub(crate) images: u32,
    /// Entries whose pages were written to the heap file, and made durable there, before this record was written.
    pub(crate) direct: u32,
    /// [`COMMIT`] or [`JUMP`].
    pub(crate) kind: u32,
    /// The checksum of the record before.
    pub(crate) previous: u32,
    pub(crate) unused: u32,
    /// CRC32C of the header's bytes before it, and of the entries, continued from `previous`.
    pub(crate) checksum: u32,
}

/// Bytes of a record's head.
pub(crate) const RECORD_HEADER_LEN: usize = 96;
const _: () = assert!(
    size_of::<RecordHeader>() == RECORD_HEADER_LEN && offset_of!(RecordHeader, checksum) == RECORD_HEADER_LEN - 4
);
const _: () = assert!(RECORD_HEADER_LEN as u64 <= BLOCK, "a jump is one block");

/// A page of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Entry {
    /// Its number in the heap file.
    pub(crate) page: u64,
    /// CRC32C of its bytes.
    pub(crate) checksum: u32,
    /// [`IMAGE`] or [`DIRECT`].
    pub(crate) kind: u32,
}

/// Bytes of an entry.
pub(crate) const ENTRY_LEN: usize = 16;
const _: () = assert!(size_of::<Entry>() == ENTRY_LEN);

/// The page's image is in the record.
pub(crate) const IMAGE: u32 = 1;
/// The page was written to the heap file.
pub(crate) const DIRECT: u32 = 2;

impl RecordHeader {
    /// A record of a commit, not yet sealed.
    pub(crate) fn new(of: &Identity, opening: u64, commit: u64) -> Self {
        Self {
            magic: RECORD_MAGIC,
            heap_id: of.heap_id,
            salt: of.salt,
            opening,
            commit,
            durable_before: 0,
            data_len: 0,
            target: 0,
            images: 0,
            direct: 0,
            kind: COMMIT,
            previous: 0,
            unused: 0,
            checksum: 0,
        }
    }

    /// Sets the checksum; everything else is as it is to be.
    pub(crate) fn seal(&mut self, entries: &[Entry]) {
        self.checksum = self.checksum_over(entries);
    }

    /// Whether the checksum is right.
    pub(crate) fn is_sealed(&self, entries: &[Entry]) -> bool {
        self.checksum == self.checksum_over(entries)
    }

    fn checksum_over(&self, entries: &[Entry]) -> u32 {
        let of_header = crc32c::crc32c_append(self.previous, &self.as_bytes()[..RECORD_HEADER_LEN - 4]);
        crc32c::crc32c_append(of_header, entries.as_bytes())
    }

    /// Whether it could be a record of this log, as far as can be told without its entries.
    pub(crate) fn belongs_to(&self, log: &Identity) -> bool {
        self.magic == RECORD_MAGIC && self.heap_id == log.heap_id && self.salt == log.salt
    }

    /// Entries of the record.
    pub(crate) fn entries(&self) -> u64 {
        u64::from(self.images) + u64::from(self.direct)
    }

    /// Where the images begin, from the start of the record.
    pub(crate) fn images_offset(&self) -> u64 {
        RECORD_HEADER_LEN as u64 + self.entries() * ENTRY_LEN as u64
    }

    /// Bytes of the record, up to where the next can begin.
    pub(crate) fn record_len(&self) -> u64 {
        (self.images_offset() + u64::from(self.images) * PAGE as u64).next_multiple_of(BLOCK)
    }

    /// Whether the fields and the entries, whose checksum is right, make sense.
    pub(crate) fn is_sensible(&self, entries: &[Entry]) -> bool {
        if self.kind == JUMP {
            return entries.is_empty() && self.target >= RECORDS_START && self.target % BLOCK == 0;
        }
        let (images, direct) = entries.split_at((self.images as usize).min(entries.len()));
        let is_run = |entries: &[Entry], kind| {
            entries.iter().all(|entry| entry.kind == kind && entry.page < u64::MAX / PAGE as u64)
                && entries.windows(2).all(|pair| pair[0].page < pair[1].page)
        };
        self.kind == COMMIT
            && self.durable_before < self.commit
            && self.data_len % PAGE as u64 == 0
            && is_run(images, IMAGE)
            && is_run(direct, DIRECT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Identity = Identity { heap_id: [5; 16], salt: 77 };

    fn record() -> (RecordHeader, Vec<Entry>) {
        let entries = vec![
            Entry { page: 3, checksum: 1, kind: IMAGE },
            Entry { page: 9, checksum: 2, kind: IMAGE },
            Entry { page: 4, checksum: 3, kind: DIRECT },
        ];
        let mut header = RecordHeader::new(&LOG, 8, 12);
        (header.images, header.direct, header.previous, header.durable_before) = (2, 1, LOG.seed(), 11);
        header.seal(&entries);
        (header, entries)
    }

    #[test]
    fn every_flipped_bit_of_header_and_entries_is_noticed() {
        let (header, entries) = record();
        assert!(header.is_sealed(&entries) && header.is_sensible(&entries) && header.belongs_to(&LOG));
        let bytes = [header.as_bytes(), entries.as_bytes()].concat();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (header, rest) = RecordHeader::read_from_prefix(&damaged).unwrap();
            let entries: Vec<Entry> =
                rest.chunks_exact(ENTRY_LEN).map(|bytes| Entry::read_from_bytes(bytes).unwrap()).collect();
            assert!(!header.is_sealed(&entries), "bit {bit}");
        }
    }

    #[test]
    fn a_record_fits_behind_one_other_only() {
        let (mut header, entries) = record();
        header.previous ^= 1;
        assert!(!header.is_sealed(&entries));
    }

    #[test]
    fn a_record_of_one_page_takes_two_blocks_and_a_jump_one() {
        let mut header = RecordHeader::new(&LOG, 0, 1);
        header.images = 1;
        assert_eq!(header.record_len(), 2 * BLOCK);
        header.images = 0;
        assert_eq!(header.record_len(), BLOCK);
    }

    #[test]
    fn entries_out_of_order_and_lengths_within_a_page_make_no_sense() {
        let (header, entries) = record();
        let swapped = [entries[1], entries[0], entries[2]];
        assert!(!header.is_sensible(&swapped));
        assert!(!RecordHeader { data_len: 5, ..header }.is_sensible(&entries));
        assert!(!RecordHeader { durable_before: 12, ..header }.is_sensible(&entries));
        assert!(!RecordHeader { images: 1, direct: 2, ..header }.is_sensible(&entries));
        let jump = RecordHeader { kind: JUMP, target: RECORDS_START, ..header };
        assert!(jump.is_sensible(&[]) && !RecordHeader { target: 0, ..jump }.is_sensible(&[]));
    }

    #[test]
    fn the_first_page_says_whose_log_it_is() {
        let page = LOG.encode();
        assert_eq!(Identity::decode(&page), Some(LOG));
        assert_eq!(Identity::decode(&page[..20]), None);
        for bit in 0..LOG_HEADER_LEN * 8 {
            let mut damaged = page;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Identity::decode(&damaged), None);
        }
    }
}
