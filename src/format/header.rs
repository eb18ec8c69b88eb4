//! The header: what a file is, where its areas lie, and whether it was closed well.
//!
//! It stands in two slots, each in a page of its own, written in turn. The valid slot with the higher generation
//! counts; a torn write leaves the other.

use super::ladder::Ladder;
use super::layout::Layout;
use super::{END_WINDOW, FIRST_WINDOW, PAGE, WINDOW};
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Detects text-mode transfers (as in PNG: a byte above 127, both line ends, an end-of-file mark) and other files.
pub(crate) const MAGIC: [u8; 8] = *b"\x89SAL\r\n\x1a\n";
/// The format's version.
pub(crate) const VERSION: u32 = 1;
/// Reads as something else on a machine with another byte order.
const ENDIANNESS: u32 = 0x0102_0304;
/// The version of the hash tables and their hash function that collections use.
pub(crate) const HASH_VERSION: u32 = 1;

/// The file is mapped shared.
pub(crate) const SHARED: u32 = 1;
/// The file changes by commits only, and has an area for the checksums of its pages.
pub(crate) const ATOMIC: u32 = 2;

/// The heap was closed and everything in the file is good.
pub(crate) const CLEAN: u32 = 1;
/// Somebody has the heap open for writing, or had when it stopped.
pub(crate) const IN_USE: u32 = 2;

/// Incompatible feature: the heap has the fine ladder of block sizes.
pub(crate) const FINE_LADDER: u64 = 1;
/// Incompatible feature: there are blocks whose pointers are counted, and how many there are is to be found out.
pub(crate) const COUNTED: u64 = 2;

/// Incompatible features this version knows.
pub(crate) const KNOWN_INCOMPATIBLE: u64 = FINE_LADDER | COUNTED;
/// Features this version must know in order to write: none.
pub(crate) const KNOWN_READ_ONLY_COMPATIBLE: u64 = 0;

/// Bases that a header remembers.
pub(crate) const BASES: usize = 8;

/// One header slot: 512 bytes at the start of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
    pub(crate) endianness: u32,
    pub(crate) compatible: u64,
    pub(crate) incompatible: u64,
    pub(crate) read_only_compatible: u64,
    pub(crate) heap_id: [u8; 16],
    /// Counts header writes; the higher valid slot counts, and it lies in slot `generation % 2`.
    pub(crate) generation: u64,
    pub(crate) page_len: u32,
    pub(crate) pointer_len: u32,
    /// The first window and how many follow it.
    pub(crate) window: u32,
    pub(crate) windows: u32,
    /// Most bytes that blocks may take, a limit below what the areas have room for.
    pub(crate) capacity: u64,
    /// [`SHARED`] or [`ATOMIC`].
    pub(crate) mode: u32,
    /// `CLEAN` or `IN_USE`.
    pub(crate) state: u32,
    pub(crate) hash_version: u32,
    pub(crate) unused: u32,
    /// The last durable commit.
    pub(crate) commit: u64,
    pub(crate) log_salt: u64,
    /// Commits up to this one are in the data file.
    pub(crate) folded_through: u64,
    /// Changes with each clean close; soft state is valid when its epoch is this one.
    pub(crate) epoch: u64,
    pub(crate) layout: Layout,
    /// Every base the heap was ever mapped at, oldest first, 0 for none.
    pub(crate) bases: [u64; BASES],
    /// Bytes of the file when it was last closed well; of an atomic heap, at the commit `folded_through`.
    pub(crate) file_len: u64,
    /// Where in the log the record of the first commit behind `folded_through` lies.
    pub(crate) log_start: u64,
    /// What a shared heap goes back to if it is not closed.
    pub(crate) copy: RootsCopyAt,
    pub(crate) reserved: [u64; 13],
    /// The checksum that the record at `log_start`, or the jump to it, continues: that of the last folded record. Numbers
    /// alone do not tell it from what once followed a commit that was lost.
    pub(crate) log_previous: u32,
    /// CRC32C of all bytes before it.
    pub(crate) checksum: u32,
}

/// Where a shared heap's roots, as they were at a sync, are kept, and for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RootsCopyAt {
    /// Where the copy lies ([`roots_copy`](super::roots_copy)), how long it is, and its CRC32C. Without roots there is none, and its place
    /// is the last number that was given to one. If it is `UNCHANGED`, its place is the run of the heap of which former places in
    /// entries count, or 0.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) checksum: u32,
    /// `NO_COPY`, `UNCHANGED`, `DURABLE` or `SEALED`.
    pub(crate) kind: u32,
    /// The file's inode: in a copy of a file that was in use, pages of different moments stand beside each other.
    pub(crate) inode: u64,
    /// The run of the system, and the mounting of the file system, of a copy that is `SEALED`.
    pub(crate) boot: [u8; 16],
}

/// There is nothing to go back to.
pub(crate) const NO_COPY: u32 = 0;
/// The roots in their place are the copy: everything was durable, and no session has begun since.
pub(crate) const UNCHANGED: u32 = 1;
/// The copy, and all that it leads to, is on the disk.
pub(crate) const DURABLE: u32 = 2;
/// The copy, and all that it leads to, is in the file as long as the system runs.
pub(crate) const SEALED: u32 = 3;

const _: () = assert!(size_of::<RootsCopyAt>() == 48);

/// Bytes of a header slot.
pub(crate) const HEADER_LEN: usize = 512;
const _: () = assert!(size_of::<Header>() == HEADER_LEN && offset_of!(Header, checksum) == HEADER_LEN - 4);
const _: () = assert!(offset_of!(Header, layout) == 136 && offset_of!(Header, bases) == 272);
const _: () = assert!(offset_of!(Header, copy) == 352 && offset_of!(Header, log_previous) == HEADER_LEN - 8);

/// Who has the file open for writing; at [`HOLDER_OFFSET`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Holder {
    pub(crate) process: u32,
    pub(crate) unused: u32,
}

/// Where [`Holder`] lies.
pub(crate) const HOLDER_OFFSET: u64 = 2 * PAGE as u64;

/// Why a slot says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotError {
    /// The magic number is missing.
    NotAHeap,
    /// A different byte order, page or pointer size.
    OtherMachine,
    NewerVersion(u32),
    /// The checksum is wrong.
    Damaged,
    /// The checksum is right and the contents make no sense.
    Nonsense(&'static str),
}

impl Header {
    /// The bytes of this header, with its checksum.
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut header = *self;
        header.checksum = crc32c::crc32c(&header.as_bytes()[..HEADER_LEN - 4]);
        zerocopy::transmute!(header)
    }

    /// A new heap's header, generation 0, not yet in use.
    pub(crate) fn new(heap_id: [u8; 16], window: u32, mode: u32, capacity: u64, layout: Layout) -> Self {
        let mut bases = [0; BASES];
        bases[0] = u64::from(window) * WINDOW as u64;
        Self {
            magic: MAGIC,
            version: VERSION,
            endianness: ENDIANNESS,
            compatible: 0,
            incompatible: 0,
            read_only_compatible: 0,
            heap_id,
            generation: 0,
            page_len: PAGE as u32,
            pointer_len: size_of::<usize>() as u32,
            window,
            windows: layout.windows(),
            capacity,
            mode,
            state: CLEAN,
            hash_version: HASH_VERSION,
            unused: 0,
            commit: 0,
            log_salt: 0,
            folded_through: 0,
            epoch: 0,
            layout,
            bases,
            file_len: 0,
            log_start: 0,
            copy: RootsCopyAt::default(),
            reserved: [0; 13],
            log_previous: 0,
            checksum: 0,
        }
    }

    /// The same of a heap with that ladder of block sizes.
    pub(crate) fn with_ladder(mut self, ladder: Ladder) -> Self {
        self.incompatible = match ladder {
            Ladder::Usual => self.incompatible & !FINE_LADDER,
            Ladder::Fine => self.incompatible | FINE_LADDER,
        };
        self
    }

    /// The ladder of the heap's block sizes.
    pub(crate) fn ladder(&self) -> Ladder {
        if self.incompatible & FINE_LADDER == 0 { Ladder::Usual } else { Ladder::Fine }
    }

    /// Reads one slot.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, SlotError> {
        let header: Self = zerocopy::transmute!(*bytes);
        if header.magic != MAGIC {
            return Err(SlotError::NotAHeap);
        }
        if header.endianness == ENDIANNESS.swap_bytes() {
            return Err(SlotError::OtherMachine);
        }
        if header.version > VERSION {
            return Err(SlotError::NewerVersion(header.version));
        }
        if !has_good_checksum(bytes) {
            return Err(SlotError::Damaged);
        }
        if header.page_len != PAGE as u32 || header.pointer_len != size_of::<usize>() as u32 {
            return Err(SlotError::OtherMachine);
        }
        if header.endianness != ENDIANNESS {
            return Err(SlotError::Nonsense("byte order"));
        }
        header.check().map_err(SlotError::Nonsense)?;
        Ok(header)
    }

    /// Whether the fields agree with each other.
    fn check(&self) -> Result<(), &'static str> {
        let end = self.window.checked_add(self.windows).ok_or("window")?;
        if self.window < FIRST_WINDOW || end > END_WINDOW {
            return Err("window");
        }
        if self.layout.units > u64::from(END_WINDOW) << (super::WINDOW_SHIFT - super::UNIT_SHIFT)
            || self.layout != Layout::for_units(self.layout.units, self.mode == ATOMIC)
        {
            return Err("layout");
        }
        if self.layout.windows() != self.windows {
            return Err("windows");
        }
        if self.capacity > self.layout.segments.len {
            return Err("capacity");
        }
        if self.mode != SHARED && self.mode != ATOMIC {
            return Err("mode");
        }
        if self.folded_through > self.commit && self.state == CLEAN {
            return Err("commits");
        }
        if self.file_len % PAGE as u64 != 0 || self.file_len > self.layout.end() {
            return Err("file length");
        }
        if self.state != CLEAN && self.state != IN_USE {
            return Err("state");
        }
        if self.generation.max(self.epoch).max(self.commit).max(self.folded_through) > u64::MAX / 2 {
            return Err("counters");
        }
        Ok(())
    }

    /// Makes this the header that follows, in another slot than that of generation `kept`, which is not written to.
    pub(crate) fn advance_beside(&mut self, kept: u64) {
        self.generation += 1 + u64::from((self.generation + 1) % 2 == kept % 2);
    }

    /// Where this header's slot lies.
    pub(crate) fn slot_offset(&self) -> u64 {
        self.generation % 2 * PAGE as u64
    }
}

/// Whether the last four bytes are the checksum of the others, as they are in every version of the format.
fn has_good_checksum(bytes: &[u8; HEADER_LEN]) -> bool {
    let (contents, checksum) = bytes.split_at(HEADER_LEN - 4);
    checksum == crc32c::crc32c(contents).to_le_bytes()
}

/// The header that counts among two slots.
pub(crate) fn newest(slots: [&[u8; HEADER_LEN]; 2]) -> Result<Header, SlotError> {
    let decoded = slots.map(Header::decode);
    for (slot, decoded) in slots.iter().zip(&decoded) {
        // It was not torn but written so, by a later version for instance, and what the other slot says may no longer be
        // so.
        let deliberate = !matches!(decoded, Ok(_) | Err(SlotError::NotAHeap | SlotError::Damaged));
        if let (Err(error), true) = (decoded, deliberate && has_good_checksum(slot)) {
            return Err(*error);
        }
    }
    match decoded {
        [Ok(first), Ok(second)] => Ok(if first.generation >= second.generation { first } else { second }),
        [Ok(valid), Err(_)] | [Err(_), Ok(valid)] => Ok(valid),
        // A slot that has the magic says more than one that has not.
        [Err(SlotError::NotAHeap), Err(other)] | [Err(other), Err(_)] => Err(other),
    }
}

/// The header of a shared heap that was not closed whose copy of the roots may be gone back to: of the file with this inode, in this run
/// of the system. And the generation of the newest one that would count in any run, which is not to be written over.
pub(crate) fn newest_with_copy(slots: [&[u8; HEADER_LEN]; 2], inode: u64, boot: [u8; 16]) -> Option<(Header, u64)> {
    let mut headers = slots.map(|slot| Header::decode(slot).ok());
    headers.sort_by_key(|header| core::cmp::Reverse(header.as_ref().map(|header| header.generation)));
    let mut headers = headers.into_iter().flatten().filter(|header| {
        header.copy.kind != SEALED || boot != [0; 16] && header.copy.boot == boot && header.copy.inode == inode
    });
    let newest = headers.next().filter(|header| {
        header.state == IN_USE
            && header.copy.inode == inode
            && header.copy.kind != NO_COPY
            && header.copy.kind <= SEALED
    })?;
    let kept = [Some(newest), headers.next()].into_iter().flatten().find(|header| header.copy.kind != SEALED);
    Some((newest, kept.map_or(newest.generation, |header| header.generation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header::new([7; 16], FIRST_WINDOW, SHARED, 1 << 20, Layout::for_capacity(1 << 20, false))
    }

    #[test]
    fn a_header_survives_encoding() {
        let header = header();
        let decoded = Header::decode(&header.encode()).unwrap();
        assert_eq!(Header { checksum: 0, ..decoded }, header);
    }

    #[test]
    fn the_ladder_is_told_by_a_feature_that_older_versions_refuse() {
        assert_eq!((header().ladder(), header().incompatible), (Ladder::Usual, 0));
        let fine = Header::decode(&header().with_ladder(Ladder::Fine).encode()).unwrap();
        assert_eq!((fine.ladder(), fine.incompatible), (Ladder::Fine, 1));
        assert_eq!(Header { checksum: 0, ..fine.with_ladder(Ladder::Usual) }, header());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = header().encode();
        for position in 0..HEADER_LEN * 8 {
            let mut damaged = bytes;
            damaged[position / 8] ^= 1 << (position % 8);
            assert!(Header::decode(&damaged).is_err(), "bit {position}");
        }
    }

    #[test]
    fn the_higher_generation_counts_and_a_torn_slot_does_not() {
        let old = Header { generation: 4, ..header() };
        let new = Header { generation: 5, ..header() };
        assert_eq!(newest([&old.encode(), &new.encode()]).unwrap().generation, 5);
        let mut torn = new.encode();
        torn[300..].fill(0);
        assert_eq!(newest([&old.encode(), &torn]).unwrap().generation, 4);
        assert_eq!(newest([&[0; HEADER_LEN], &torn]), Err(SlotError::Damaged));
        assert_eq!(newest([&[0; HEADER_LEN], &[0; HEADER_LEN]]), Err(SlotError::NotAHeap));
    }

    #[test]
    fn a_slot_of_a_later_version_counts_more_than_an_old_one_of_ours() {
        let newer = Header { version: VERSION + 1, generation: 1, ..header() };
        let error = Err(SlotError::NewerVersion(VERSION + 1));
        assert_eq!(newest([&header().encode(), &newer.encode()]), error);
        let mut damaged = header().encode();
        damaged[8] += 1;
        assert_eq!(newest([&damaged, &Header { generation: 1, ..header() }.encode()]).unwrap().generation, 1);
    }

    #[test]
    fn fields_that_disagree_are_refused_in_spite_of_a_good_checksum() {
        let other_layout = Header { layout: Layout::for_capacity(1 << 30, false), ..header() };
        let moved = Header { layout: Layout { roots: Default::default(), ..header().layout }, ..header() };
        let window = Header { window: 3, ..header() };
        let mode = Header { mode: 3, ..header() };
        let without_checksums = Header { mode: ATOMIC, layout: Layout::for_capacity(8 << 30, false), ..header() };
        let capacity = Header { capacity: u64::MAX, ..header() };
        let state = Header { state: 9, ..header() };
        assert!(Header::decode(&other_layout.encode()).is_ok());
        for nonsense in [moved, window, capacity, state, mode, without_checksums] {
            assert!(matches!(Header::decode(&nonsense.encode()), Err(SlotError::Nonsense(_))));
        }
        let worn_out = Header { generation: u64::MAX, ..header() };
        assert_eq!(Header::decode(&worn_out.encode()), Err(SlotError::Nonsense("counters")));
        let newer = Header { version: VERSION + 1, ..header() };
        assert_eq!(Header::decode(&newer.encode()), Err(SlotError::NewerVersion(VERSION + 1)));
    }

    #[test]
    fn a_copy_that_was_only_sealed_counts_in_the_same_run_of_the_system_and_of_the_same_file() {
        let with = |generation, kind, inode, boot| {
            let copy = RootsCopyAt { kind, inode, boot: [boot; 16], ..RootsCopyAt::default() };
            Header { generation, state: IN_USE, copy, ..header() }.encode()
        };
        let generation = |slots: [&[u8; HEADER_LEN]; 2], boot: u8| {
            newest_with_copy(slots, 5, [boot; 16]).map(|(header, kept)| (header.generation, kept))
        };
        let (durable, sealed) = (with(4, DURABLE, 5, 0), with(5, SEALED, 5, 9));
        assert_eq!(generation([&durable, &sealed], 9), Some((5, 4)));
        assert_eq!(generation([&durable, &sealed], 8), Some((4, 4)));
        assert_eq!(generation([&[0; HEADER_LEN], &sealed], 9), Some((5, 5)));
        assert_eq!(generation([&with(4, DURABLE, 6, 0), &sealed], 8), None);
        assert_eq!(generation([&with(4, NO_COPY, 5, 0), &with(3, UNCHANGED, 5, 0)], 8), None);
        assert_eq!(generation([&with(2, NO_COPY, 5, 0), &with(3, UNCHANGED, 5, 0)], 8), Some((3, 3)));
        // Of a system that does not say which run it is.
        assert_eq!(generation([&durable, &with(5, SEALED, 5, 0)], 0), Some((4, 4)));
        let mut torn = sealed;
        torn[360] ^= 1;
        assert_eq!(generation([&durable, &torn], 9), Some((4, 4)));
    }
}
