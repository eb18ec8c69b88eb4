//! Which pages of a range are in memory.

use super::descriptor::Descriptor;
use super::mapping::PAGE;
use super::{CallError, Errno, check};

/// Bits of a page's word in `/proc/self/pagemap`.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// Of a file, or shared.
const OF_FILE: u64 = 1 << 61;

/// Words that are read at once.
const WORDS: usize = 4096;

/// Numbers of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) present: u64,
    /// Present, and this process's own.
    pub(crate) private: u64,
    pub(crate) swapped: u64,
}

/// Counts the pages of a range, which begins and ends with one.
pub(crate) fn pages(address: usize, len: usize) -> Result<Pages, CallError> {
    // SAFETY: the path is a terminated string.
    let opened = unsafe { libc::open(c"/proc/self/pagemap".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let pagemap = Descriptor::new("open", i64::from(opened))?;
    let mut words = [0_u64; WORDS];
    let mut counted = Pages::default();
    let (mut at, end) = (address / PAGE, (address + len) / PAGE);
    while at < end {
        let wanted = WORDS.min(end - at) * size_of::<u64>();
        // SAFETY: `words` is ours and writable for that length.
        let read =
            unsafe { libc::pread(pagemap.fd(), words.as_mut_ptr().cast(), wanted, (at * size_of::<u64>()) as i64) };
        let read = match check("pread", read as i64) {
            Ok(read) => read as usize / size_of::<u64>(),
            Err(CallError { errno: Errno(libc::EINTR), .. }) => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            return Err(CallError { call: "pread", errno: Errno(libc::EIO) });
        }
        for word in &words[..read] {
            let is_present = word & PRESENT != 0;
            counted.present += u64::from(is_present);
            counted.private += u64::from(is_present && word & OF_FILE == 0);
            counted.swapped += u64::from(word & SWAPPED != 0);
        }
        at += read;
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::super::mapping::{Access, Source, map_anywhere, unmap};
    use super::*;

    #[test]
    fn pages_count_from_their_first_write_on_until_they_are_dropped() {
        let at = map_anywhere(8 * PAGE, Access::ReadWrite, Source::Anonymous).unwrap();
        assert_eq!(pages(at, 8 * PAGE).unwrap(), Pages::default());
        for page in [1, 2, 7] {
            // SAFETY: mapped above, and nobody else knows of it.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(at + page * PAGE).write_volatile(1) };
        }
        let counted = pages(at, 8 * PAGE).unwrap();
        assert_eq!((counted.present + counted.swapped, counted.private), (3, counted.present));
        assert_eq!(pages(at + 2 * PAGE, 5 * PAGE).unwrap().present + counted.swapped, 1 + counted.swapped);
        // SAFETY: as above.
        unsafe { unmap(at, 8 * PAGE).unwrap() };
    }
}
