//! The type table in the file: one description for each type that a root has or had.

use crate::error::RootError;
use crate::format::PAGE;
use crate::format::type_record::{LONGEST, TypeRecord, record_stride};
use crate::heap::HeapInner;
use crate::persist::TypeDescription;
use std::ptr;

/// The records of one heap's type table, as they lie in the mapping.
#[derive(Clone, Copy)]
pub(super) struct TypeTable<'h> {
    heap: &'h HeapInner,
}

/// What lies at an offset of the table.
enum Record<'h> {
    Whole(&'h [u8]),
    End,
    Damaged,
}

impl<'h> TypeTable<'h> {
    pub(super) fn of(heap: &'h HeapInner) -> Self {
        Self { heap }
    }

    /// Makes the first page usable; before anything else is asked.
    pub(super) fn prepare(self) -> Result<(), RootError> {
        let area = self.heap.core().layout.types;
        let is_usable = self.heap.is_read_only() || self.heap.reserve_area(area.offset, PAGE as u64);
        is_usable.then_some(()).ok_or(RootError::DirectoryFull)
    }

    fn at(&self, offset: u64) -> *mut u8 {
        let area = self.heap.core().layout.types.offset;
        ptr::with_exposed_provenance_mut(self.heap.core().base + (area + offset) as usize)
    }

    /// What lies at an offset of the table.
    fn record(self, offset: u64) -> Record<'h> {
        let room = self.heap.core().layout.types.len;
        if offset % 8 != 0 || offset > room - size_of::<TypeRecord>() as u64 {
            return Record::Damaged;
        }
        // SAFETY: within the area, which is mapped; what nobody wrote reads as zeros. In a volatile heap only pages that
        // were reserved are readable, and a record ends before the first that is not (see `append`).
        let record = unsafe { self.at(offset).cast::<TypeRecord>().read() };
        if record == (TypeRecord { len: 0, checksum: 0 }) {
            return Record::End;
        }
        if record.len == 0 || record.len > LONGEST || offset + record_stride(record.len) > room {
            return Record::Damaged;
        }
        // SAFETY: as above; a record is never changed once its length is written.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.at(offset + size_of::<TypeRecord>() as u64), record.len as usize)
        };
        if crc32c::crc32c(bytes) == record.checksum { Record::Whole(bytes) } else { Record::Damaged }
    }

    /// The description in the record at an offset.
    pub(super) fn description(self, offset: u64) -> Option<TypeDescription> {
        match self.record(offset) {
            Record::Whole(bytes) => TypeDescription::decode(bytes).ok(),
            _ => None,
        }
    }

    /// Where each record lies in the table, and whether it is good; behind one that is not nothing can be found.
    pub(super) fn walk(self) -> impl Iterator<Item = (u64, bool)> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let offset = next.take()?;
            match self.record(offset) {
                Record::Whole(bytes) => {
                    next = Some(offset + record_stride(bytes.len() as u32));
                    Some((offset, TypeDescription::decode(bytes).is_ok()))
                }
                Record::Damaged => Some((offset, false)),
                Record::End => None,
            }
        })
    }

    /// The record that holds `bytes`, added if there is none.
    pub(super) fn record_of(self, bytes: &[u8]) -> Result<u64, RootError> {
        let mut offset = 0;
        loop {
            match self.record(offset) {
                Record::Whole(stored) if stored == bytes => return Ok(offset),
                Record::Whole(stored) => offset += record_stride(stored.len() as u32),
                Record::End => return self.append(offset, bytes),
                // What lies behind it may be good, and must not be overwritten.
                Record::Damaged => return Err(RootError::Damaged { root: "type table".into(), part: "record" }),
            }
        }
    }

    fn append(self, offset: u64, bytes: &[u8]) -> Result<u64, RootError> {
        let area = self.heap.core().layout.types;
        let len = u32::try_from(bytes.len()).ok().filter(|&len| len <= LONGEST).ok_or(RootError::DirectoryFull)?;
        let stride = record_stride(len);
        // With the record that ends the table.
        let needed = stride + size_of::<TypeRecord>() as u64;
        if offset + needed > area.len || !self.heap.reserve_area(area.offset + offset, needed) {
            return Err(RootError::DirectoryFull);
        }
        let record = TypeRecord { len, checksum: crc32c::crc32c(bytes) };
        // SAFETY: the range has just been reserved, and all that use the table hold the registry's lock.
        unsafe {
            self.at(offset + size_of::<TypeRecord>() as u64).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.at(offset).cast::<TypeRecord>().write(record);
        }
        Ok(offset)
    }
}
