//! The bytes on disk, format version 1.
//!
//! A heap file is mapped as a whole at its window's address, so an offset in the file is an offset in the window.
//! All numbers are little-endian. Areas are laid out for the full capacity; what was never used is a hole.
//!
//! | offset | what | kind |
//! |---|---|---|
//! | 0 | header slot 0 ([`header::Header`]), one page | hard |
//! | 4,096 | header slot 1, one page | hard |
//! | 8,192 | who has the file open ([`header::Holder`]), one page | soft |
//! | 65,536 | slab table: 8 bytes for each 32 KiB unit ([`slab_entry`]) | hard |
//! | then | root directory: 64 bytes an entry ([`root_entry`]) | hard |
//! | then | type table: descriptions one behind the other ([`type_record`]) | hard |
//! | then | allocator state ([`soft::SoftHeader`], unit map, dirty map) | soft |
//! | then | slab states: 128 bytes a unit ([`soft::SlabState`]) | soft |
//! | then | free bits: 256 bytes a unit | soft |
//! | then | remote bits: 256 bytes a unit | soft |
//! | then, in atomic heaps | checksums: CRC32C of each page of the file, 4 bytes, 0 for none; written by folds | |
//! | their last 32 bytes | how far the commits reach of which something was written here ([`fold_mark::FoldMark`]) | |
//! | a multiple of 4 MiB | segments: the blocks themselves | data |
//!
//! *Hard* is what a commit must hold. *Soft* is what recovery can rebuild; it is valid only when its epoch is the
//! header's. The two never share a page.
//!
//! # The commit log
//! An atomic heap that is in use has a second file, `NAME-log` ([`log_record`]):
//!
//! | offset | what |
//! |---|---|
//! | 0 | whose log it is ([`log_record::LogHeader`]), one page, written once |
//! | 4,096 | records, each at a multiple of 4,096; zeros, or remains of folded records, where there is none |
//!
//! | offset in a record | what |
//! |---|---|
//! | 0 | [`log_record::RecordHeader`], 96 bytes |
//! | 96 | an entry for each page ([`log_record::Entry`]), 16 bytes: first those with an image, then direct ones |
//! | then | the images, 4,096 bytes each, in the order of their entries |
//! | then | zeros up to a multiple of 4,096 |
//!
//! The heap's header says where the first record lies that has not been folded; each further one follows where the one
//! before it ends, or where a jump there, a record header without entries, leads; and which checksum it continues. The
//! log's salt is in the heap's header: a log with another is not the heap's.
//!
//! # Compatibility
//! A reader refuses a file whose version is newer or whose incompatible-feature mask has a bit it does not know. With
//! an unknown read-only-compatible bit it opens the file for reading only. Compatible bits may be ignored.
//!
//! | incompatible bit | what |
//! |---|---|
//! | 0 | blocks come in the sizes of the fine ladder ([`ladder::Ladder`]) |
//! | 1 | there are blocks whose pointers are counted; how many each has is counted when the heap is opened |

pub(crate) mod fold_mark;
pub(crate) mod header;
pub(crate) mod ladder;
pub(crate) mod layout;
pub(crate) mod log_record;
pub(crate) mod root_entry;
pub(crate) mod roots_copy;
pub(crate) mod slab_entry;
pub(crate) mod soft;
pub(crate) mod type_record;

/// Bytes of a unit, the grain in which segments are divided.
pub(crate) const UNIT: usize = 1 << UNIT_SHIFT;
pub(crate) const UNIT_SHIFT: u32 = 15;
/// Units of a segment.
pub(crate) const SEGMENT_UNITS: usize = 64;
/// Bytes of a page of the format. The machine's page must be of the same size.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a window, the grain in which address space is handed to heaps.
pub(crate) const WINDOW: usize = 1 << WINDOW_SHIFT;
pub(crate) const WINDOW_SHIFT: u32 = 36;
/// The first window's number: a window's address is its number times [`WINDOW`].
pub(crate) const FIRST_WINDOW: u32 = 260;
/// The number behind the last window's.
pub(crate) const END_WINDOW: u32 = 1280;

const _: () = assert!((FIRST_WINDOW as usize) << WINDOW_SHIFT == 0x1040_0000_0000);
const _: () = assert!((END_WINDOW as usize) << WINDOW_SHIFT == 0x5000_0000_0000);
const _: () = assert!(cfg!(target_endian = "little"), "a heap file is little-endian and mapped as it is");
const _: () = assert!(usize::BITS == 64, "windows need 64-bit addresses");
