//! The directory of roots and the type table of a heap file that is not believed.

use super::Archaeology;
use crate::format::root_entry::{BY_CLASS, BY_NAME, COUNTS, FREE, LONGEST_NAME, RootEntry};
use crate::format::type_record::{TypeRecord, record_stride};
use crate::heap::{Flaw, VerifyReport};
use crate::persist::TypeDescription;
use crate::root::{RootId, RootInfo, Tag};
use std::borrow::Cow;
use zerocopy::FromBytes;

/// Longest description of a type, in bytes.
const LONGEST_DESCRIPTION: u32 = 1 << 20;
/// Entries that are read at once: a page of them.
const GROUP: u64 = 64;
const ENTRY: u64 = size_of::<RootEntry>() as u64;

/// A root in a heap file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootRecord {
    /// Its number, its name or class, the name of its type, and the bytes of its value.
    pub info: RootInfo,
    /// Where its value lies in the file; none if it takes no memory.
    pub offset: Option<u64>,
    /// The layout of its type, which `Display` shows; none if that cannot be read.
    pub description: Option<TypeDescription>,
}

impl Archaeology {
    /// All roots that make sense, in the order in which they were made; [`Archaeology::verify`] says what is wrong with
    /// the others.
    pub fn roots(&self) -> Vec<RootRecord> {
        let mut roots = Vec::new();
        self.for_each_root(|_, entry| roots.extend(entry.ok()));
        roots.sort_by_key(|root: &RootRecord| root.info.id);
        roots
    }

    /// Calls `visit` with every entry in use, and where it lies.
    fn for_each_root(&self, mut visit: impl FnMut(u64, Result<RootRecord, Flaw>)) {
        let area = self.header.layout.roots;
        let room = area.len / ENTRY;
        let damaged = |root: String, part| Flaw::Root { root, part };
        let end = match self.entries(0).and_then(|entries| entries.first().copied()) {
            Some(counts) if counts == RootEntry::default() => 1,
            Some(counts)
                if counts.state == COUNTS && counts.tag < room && counts.checksum == counts.expected_checksum(&[]) =>
            {
                counts.tag + 1
            }
            _ => {
                visit(area.offset, Err(damaged("directory".into(), "count")));
                room
            }
        };
        for group in 0..end.div_ceil(GROUP) {
            let first = group * GROUP;
            let Some(entries) = self.entries(group) else {
                visit(area.offset + first * ENTRY, Err(damaged("directory".into(), "unreadable entries")));
                continue;
            };
            for (slot, entry) in (first..end).zip(entries).skip(usize::from(group == 0)) {
                if entry.state != FREE {
                    let root = self.root(&entry);
                    let number = || RootId::new(entry.sequence).to_string();
                    visit(area.offset + slot * ENTRY, root.map_err(|part| damaged(number(), part)));
                }
            }
        }
    }

    /// The entries of a page of the directory.
    fn entries(&self, group: u64) -> Option<[RootEntry; GROUP as usize]> {
        let bytes = self.bytes(self.header.layout.roots.offset + group * GROUP * ENTRY, GROUP * ENTRY)?;
        <[RootEntry; GROUP as usize]>::read_from_bytes(bytes).ok()
    }

    fn root(&self, entry: &RootEntry) -> Result<RootRecord, &'static str> {
        let tag = match entry.state {
            BY_CLASS => Tag::Class(entry.tag),
            BY_NAME => Tag::Name(Cow::Owned(self.root_name(entry).ok_or("name")?)),
            _ => return Err("kind of tag"),
        };
        let name: &[u8] = if let Tag::Name(name) = &tag { name.as_bytes() } else { &[] };
        if entry.checksum != entry.expected_checksum(name) {
            return Err("checksum");
        }
        if entry.value_align_log2 >= usize::BITS || entry.value_len > isize::MAX as u64 {
            return Err("size of the value");
        }
        let offset = (entry.value_len > 0).then_some(entry.value);
        if let Some(offset) = offset {
            let is_aligned = offset.trailing_zeros() >= entry.value_align_log2;
            if !is_aligned || !self.is_in_block(offset, entry.value_len) {
                return Err("place of the value");
            }
        }
        let description = self.description(entry.type_record);
        let type_name = description.as_ref().map_or(String::new(), |description| description.type_name().to_owned());
        let info = RootInfo { id: RootId::new(entry.sequence), tag, type_name, len: entry.value_len };
        Ok(RootRecord { info, offset, description })
    }

    fn root_name(&self, entry: &RootEntry) -> Option<String> {
        let len = u64::from(entry.name_len);
        if len == 0 {
            return Some(String::new());
        }
        if entry.name_len as usize > LONGEST_NAME || !self.is_in_block(entry.tag, len) {
            return None;
        }
        String::from_utf8(self.bytes(entry.tag, len)?.to_vec()).ok()
    }

    fn is_in_block(&self, offset: u64, len: u64) -> bool {
        let end = offset.checked_add(len);
        self.block_at(offset).is_some_and(|block| end.is_some_and(|end| end <= block.offset + block.len))
    }

    /// The record at an offset of the type table, and its bytes; none at the table's end.
    fn record(&self, offset: u64) -> Result<Option<&[u8]>, ()> {
        let area = self.header.layout.types;
        const HEAD: u64 = size_of::<TypeRecord>() as u64;
        if offset % 8 != 0 || offset > area.len - HEAD {
            return Err(());
        }
        let head = self.bytes(area.offset + offset, HEAD).ok_or(())?;
        let half = |at: usize| head[at..at + 4].try_into().map(u32::from_le_bytes).map_err(|_| ());
        let (len, checksum) = (half(0)?, half(4)?);
        if len == 0 && checksum == 0 {
            return Ok(None);
        }
        if len == 0 || len > LONGEST_DESCRIPTION || offset + record_stride(len) > area.len {
            return Err(());
        }
        let bytes = self.bytes(area.offset + offset + HEAD, u64::from(len)).ok_or(())?;
        if crc32c::crc32c(bytes) == checksum { Ok(Some(bytes)) } else { Err(()) }
    }

    fn description(&self, offset: u64) -> Option<TypeDescription> {
        TypeDescription::decode(self.record(offset).ok()??).ok()
    }

    /// Adds what is wrong with roots and types to a report.
    pub(super) fn verify_roots(&self, report: &mut VerifyReport) {
        let mut numbers = std::collections::BTreeSet::new();
        self.for_each_root(|offset, root| match root {
            Err(flaw) => report.add(Some(offset), flaw),
            Ok(root) => {
                report.roots += 1;
                report.roots_unvisited += 1;
                if root.description.is_none() {
                    report.add(Some(offset), Flaw::RootType { root: root.info.tag.to_string() });
                }
                if !numbers.insert(root.info.id) {
                    report.add(Some(offset), Flaw::Root { root: root.info.tag.to_string(), part: "number" });
                }
            }
        });
        let mut offset = 0;
        loop {
            match self.record(offset) {
                Ok(Some(bytes)) => {
                    report.types += 1;
                    if TypeDescription::decode(bytes).is_err() {
                        report.add(Some(self.header.layout.types.offset + offset), Flaw::TypeRecord);
                    }
                    offset += record_stride(bytes.len() as u32);
                }
                Ok(None) => return,
                Err(()) => return report.add(Some(self.header.layout.types.offset + offset), Flaw::TypeRecord),
            }
        }
    }
}
