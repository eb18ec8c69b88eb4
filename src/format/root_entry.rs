//! Root directory entries.
//!
//! A slot is taken in order of creation and reused once free. The state word is written last, by one aligned store,
//! so an entry is whole or absent.

/// What a slot's state word says.
pub(crate) const FREE: u32 = 0;
pub(crate) const BY_NAME: u32 = 1;
pub(crate) const BY_CLASS: u32 = 2;

/// One root: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct RootEntry {
    /// `FREE`, `BY_NAME` or `BY_CLASS`.
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
    pub(crate) unused: u32,
    /// Offset of the type's record in the type table.
    pub(crate) type_record: u64,
    pub(crate) reserved: u64,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RootEntry>() == 64 && offset_of!(RootEntry, sequence) == 16);
    assert!(offset_of!(RootEntry, type_record) == 48);
};
