//! Root directory entries.
//!
//! A slot is taken in order of creation and reused once free. The state word is written last, by one aligned store,
//! so an entry is whole or absent. Slot 0 is no root: it counts the others. A checksum tells an entry that somebody else
//! wrote to, and the states differ in so many bits that no small damage makes an entry seem free.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a slot's state word says.
pub(crate) const FREE: u32 = 0;
pub(crate) const BY_NAME: u32 = u32::from_le_bytes(*b"NAME");
pub(crate) const BY_CLASS: u32 = u32::from_le_bytes(*b"CLAS");
/// In slot 0, once there has been a root.
pub(crate) const COUNTS: u32 = u32::from_le_bytes(*b"SLOT");

/// Longest name, in bytes.
pub(crate) const LONGEST_NAME: usize = 64 << 10;

/// The value owns blocks by way of counted pointers only: what those lead to is not changed in place once it is sealed.
pub(crate) const COPY_ON_WRITE: u64 = 1;
/// There are handles in what the value leads to: a value that may be moved is led to by an entry, which changes in place.
pub(crate) const HANDLES: u64 = 2;

/// One root: 64 bytes. In slot 0, `tag` is the last slot that was ever used and `sequence` the last number given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct RootEntry {
    /// `FREE`, `BY_NAME` or `BY_CLASS`; in slot 0 `COUNTS`.
    pub(crate) state: u32,
    /// Bytes of the name.
    pub(crate) name_len: u32,
    /// By class: the class. By name: the offset of the block that holds the name's UTF-8 bytes.
    pub(crate) tag: u64,
    /// Order of creation among all roots of the heap; from 1.
    pub(crate) sequence: u64,
    /// Offset of the block that holds the value; 0 when the value takes no memory.
    pub(crate) value: u64,
    /// Bytes of the value and the power of two of its alignment.
    pub(crate) value_len: u64,
    pub(crate) value_align_log2: u32,
    /// CRC32C of the entry with zero here, and of the name behind it.
    pub(crate) checksum: u32,
    /// Offset of the type's record in the type table.
    pub(crate) type_record: u64,
    /// `COPY_ON_WRITE`, `HANDLES`, both or 0.
    pub(crate) flags: u64,
}

impl RootEntry {
    /// What the checksum of this entry must be.
    pub(crate) fn expected_checksum(&self, name: &[u8]) -> u32 {
        let entry = Self { checksum: 0, ..*self };
        crc32c::crc32c_append(crc32c::crc32c(entry.as_bytes()), name)
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RootEntry>() == 64 && offset_of!(RootEntry, sequence) == 16);
    assert!(offset_of!(RootEntry, checksum) == 44 && offset_of!(RootEntry, type_record) == 48);
};
