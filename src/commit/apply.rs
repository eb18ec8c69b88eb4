//! Bringing pages from the log into the heap file.

use super::record::Record;
use super::storage::{Part, Storage};
use crate::format::PAGE;
use crate::format::layout::Area;
use crate::os::{CallError, errno};
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// The newest that some records say of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    pub(crate) page: u64,
    pub(super) commit: u64,
    pub(crate) checksum: u32,
    /// Where in the log its image lies; none if the page was written to the heap file.
    pub(crate) image: Option<u64>,
}

/// Pages of one read or write.
const RUN: usize = 256;

/// The newest of each page that the records name and that lies before `data_len`, by page.
pub(super) fn newest(records: &[Arc<Record>], data_len: u64) -> Vec<Newest> {
    let mut all = Vec::with_capacity(records.iter().map(|record| record.entries.len()).sum());
    for record in records {
        let commit = record.header.commit;
        all.extend(record.images().map(|(entry, offset)| Newest {
            page: entry.page,
            commit,
            checksum: entry.checksum,
            image: Some(offset),
        }));
        all.extend(record.direct().iter().map(|entry| Newest {
            page: entry.page,
            commit,
            checksum: entry.checksum,
            image: None,
        }));
    }
    all.retain(|newest| newest.page < data_len / PAGE as u64);
    all.sort_unstable_by_key(|newest| (newest.page, core::cmp::Reverse(newest.commit)));
    all.dedup_by_key(|newest| newest.page);
    all
}

/// Writes all images into the heap file, in large steps; returns how many pages. With `check`, each image must still
/// have its checksum.
pub(super) fn write_images(storage: &dyn Storage, pages: &[Newest], check: bool) -> Result<u64, CallError> {
    let mut buffer = vec![0; PAGE * RUN.min(pages.len())];
    let mut written = 0;
    let images: Vec<(u64, u64, u32)> =
        pages.iter().filter_map(|newest| Some((newest.page, newest.image?, newest.checksum))).collect();
    for images in images.chunks(RUN) {
        let buffer = &mut buffer[..images.len() * PAGE];
        let mut rest = &mut *buffer;
        // Neighbours of one record lie one behind the other, whatever lies between them in the heap file.
        for together in images.chunk_by(|before, after| after.1 == before.1 + PAGE as u64) {
            let (bytes, behind) = rest.split_at_mut(together.len() * PAGE);
            read_exactly(storage, Part::Log, bytes, together[0].1)?;
            rest = behind;
        }
        let is_good = |(image, &(.., checksum)): (&[u8], &(u64, u64, u32))| crc32c::crc32c(image) == checksum;
        if check && !buffer.chunks_exact(PAGE).zip(images).all(is_good) {
            return Err(CallError { call: "pread", errno: errno::IO });
        }
        let mut rest = &*buffer;
        for run in images.chunk_by(|before, after| after.0 == before.0 + 1) {
            let (bytes, behind) = rest.split_at(run.len() * PAGE);
            storage.write_at(Part::Data, bytes, run[0].0 * PAGE as u64)?;
            rest = behind;
        }
        written += images.len() as u64;
    }
    Ok(written)
}

/// The first of these pages, all of them in the heap file, that has not its checksum.
pub(super) fn first_changed(storage: &dyn Storage, pages: &[Newest]) -> Result<Option<u64>, CallError> {
    let mut buffer = vec![0; PAGE * RUN.min(pages.len())];
    for run in runs(pages, |before, after| after.page == before.page + 1) {
        let buffer = &mut buffer[..run.len() * PAGE];
        read_exactly(storage, Part::Data, buffer, run[0].page * PAGE as u64)?;
        let is_changed = |(image, newest): &(&[u8], &Newest)| crc32c::crc32c(image) != newest.checksum;
        if let Some((_, changed)) = buffer.chunks_exact(PAGE).zip(run).find(is_changed) {
            return Ok(Some(changed.page));
        }
    }
    Ok(None)
}

/// Cuts a sorted list where neighbours do not belong together, or into pieces of [`RUN`].
fn runs<T>(list: &[T], together: impl Fn(&T, &T) -> bool) -> impl Iterator<Item = &[T]> {
    list.chunk_by(together).flat_map(|run| run.chunks(RUN))
}

/// Reads all of `bytes`, which are known to be there.
pub(super) fn read_exactly(storage: &dyn Storage, part: Part, bytes: &mut [u8], at: u64) -> Result<(), CallError> {
    let read = storage.read_at(part, bytes, at)?;
    if read < bytes.len() { Err(CallError { call: "pread", errno: errno::IO }) } else { Ok(()) }
}

/// Reads, with zeros behind the end of the file.
pub(super) fn read_padded(storage: &dyn Storage, part: Part, bytes: &mut [u8], at: u64) -> Result<(), CallError> {
    let read = storage.read_at(part, bytes, at)?;
    bytes[read..].fill(0);
    Ok(())
}

/// Notes the pages' checksums in their area.
pub(super) fn write_checksums(storage: &dyn Storage, area: Area, pages: &[Newest]) -> Result<(), CallError> {
    const PER_PAGE: u64 = (PAGE / 4) as u64;
    for together in pages.chunk_by(|before, after| before.page / PER_PAGE == after.page / PER_PAGE) {
        let first = together[0].page / PER_PAGE * PER_PAGE;
        if first * 4 >= area.len {
            break;
        }
        let mut checksums = [0_u8; PAGE];
        read_padded(storage, Part::Data, &mut checksums, area.offset + first * 4)?;
        if let Ok(checksums) = <[[u8; 4]]>::mut_from_bytes(&mut checksums) {
            for newest in together {
                // 0 says that there is none.
                checksums[(newest.page - first) as usize] = newest.checksum.max(1).to_le_bytes();
            }
            storage.write_at(Part::Data, checksums.as_bytes(), area.offset + first * 4)?;
        }
    }
    Ok(())
}

/// Forgets the checksums of what a commit cut off.
pub(super) fn clear_checksums(storage: &dyn Storage, area: Area, from: u64, to: u64) -> Result<(), CallError> {
    let start = (from / PAGE as u64 * 4).min(area.len);
    let end = (to.div_ceil(PAGE as u64) * 4).min(area.len);
    let zeros = [0; PAGE];
    let mut at = start;
    while at < end {
        let step = (end - at).min(PAGE as u64);
        storage.write_at(Part::Data, &zeros[..step as usize], area.offset + at)?;
        at += step;
    }
    Ok(())
}
