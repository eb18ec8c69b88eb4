//! Records of the type table: the layout description of each type that a root has or had.
//!
//! Records follow each other, 8-byte aligned, from the start of the area; a length of zero ends the table. A record
//! is never changed; its length is written last.

/// Longest description, in bytes.
pub(crate) const LONGEST: u32 = 1 << 20;

/// What stands before a description's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct TypeRecord {
    /// Bytes of the description that follows.
    pub(crate) len: u32,
    /// CRC32C of the description.
    pub(crate) checksum: u32,
}

const _: () = assert!(size_of::<TypeRecord>() == 8);

/// Bytes from one record to the next.
pub(crate) const fn record_stride(len: u32) -> u64 {
    (size_of::<TypeRecord>() as u64 + len as u64).next_multiple_of(8)
}
