//! A copy of the root directory and its values, which a shared heap goes back to if it is not closed.
//!
//! | offset | what |
//! |---|---|
//! | 0 | [`CopyHeader`], 32 bytes |
//! | 32 | for each root a [`CopiedRoot`], 72 bytes; its name; the bytes of its value, if it is copy-on-write |
//! | | a [`LedAt`], 32 bytes, which says where the list of entries is that have been led elsewhere since the last durable commit |
//!
//! Names and values are followed by zeros up to a multiple of eight. The header of the file has the copy's length and checksum.

use super::root_entry::{BY_NAME, COPY_ON_WRITE, RootEntry};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What stands before the roots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct CopyHeader {
    /// How many roots follow.
    pub(crate) roots: u64,
    /// The last slot of the directory that was ever used, and the last number given out.
    pub(crate) last_slot: u64,
    pub(crate) sequence: u64,
    /// Bytes of the type table that are in use.
    pub(crate) types_len: u64,
}

/// One root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct CopiedRoot {
    /// Its slot in the directory.
    pub(crate) slot: u64,
    pub(crate) entry: RootEntry,
}

/// Where the list of entries is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct LedAt {
    /// The run of the heap: which former places of entries count.
    pub(crate) run: u64,
    /// How many [`CopiedLed`] there are, where, and their CRC32C.
    pub(crate) number: u64,
    pub(crate) offset: u64,
    pub(crate) checksum: u64,
}

/// An entry of a value that may be moved, in the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct CopiedLed {
    /// How far it lies from the heap's start.
    pub(crate) entry: u64,
    /// The address of its value.
    pub(crate) location: u64,
}

const _: () = assert!(size_of::<LedAt>() == 32 && size_of::<CopiedLed>() == 16);
const _: () = assert!(size_of::<CopyHeader>() == 32 && size_of::<CopiedRoot>() == 72);

/// A root as it is read from a copy.
#[derive(Debug)]
pub(crate) struct Root<'a> {
    pub(crate) slot: u64,
    pub(crate) entry: RootEntry,
    pub(crate) name: &'a [u8],
    /// Of a root that is copy-on-write.
    pub(crate) value: Option<&'a [u8]>,
}

/// Bytes of the name that stands apart from an entry.
pub(crate) fn name_len(entry: &RootEntry) -> usize {
    if entry.state == BY_NAME { entry.name_len as usize } else { 0 }
}

/// Bytes of the value that a copy has.
pub(crate) fn value_len(entry: &RootEntry) -> u64 {
    if entry.flags & COPY_ON_WRITE != 0 { entry.value_len } else { 0 }
}

/// The roots in a copy; an error where it ends before they do.
pub(crate) fn roots<'a>(
    copy: &'a [u8],
) -> Option<(CopyHeader, impl Iterator<Item = Result<Root<'a>, &'static str>> + 'a)> {
    let (header, mut rest) = CopyHeader::read_from_prefix(copy).ok()?;
    let mut left = header.roots;
    let roots = core::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let root = take_root(&mut rest);
        if root.is_none() {
            left = 0;
        }
        Some(root.ok_or("copy of the roots"))
    });
    Some((header, roots))
}

/// What a copy says of the list of entries; none where it ends before that.
pub(crate) fn led(copy: &[u8]) -> Option<LedAt> {
    let (header, mut rest) = CopyHeader::read_from_prefix(copy).ok()?;
    for _ in 0..header.roots {
        take_root(&mut rest)?;
    }
    LedAt::read_from_prefix(rest).ok().map(|(led, _)| led)
}

fn take_root<'a>(rest: &mut &'a [u8]) -> Option<Root<'a>> {
    let (CopiedRoot { slot, entry }, behind) = CopiedRoot::read_from_prefix(rest).ok()?;
    *rest = behind;
    let mut take = |len: usize| {
        let padded = len.checked_next_multiple_of(8)?;
        let (bytes, behind) = (rest.get(..len)?, rest.get(padded..)?);
        *rest = behind;
        Some(bytes)
    };
    let name = take(name_len(&entry))?;
    let value = take(usize::try_from(value_len(&entry)).ok()?)?;
    Some(Root { slot, entry, name, value: (entry.flags & COPY_ON_WRITE != 0).then_some(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_read_one_after_the_other_and_what_is_cut_off_is_an_error() {
        let entry =
            |state, name_len, flags, value_len| RootEntry { state, name_len, flags, value_len, ..Default::default() };
        let mut copy = CopyHeader { roots: 3, last_slot: 9, sequence: 7, types_len: 80 }.as_bytes().to_vec();
        copy.extend(CopiedRoot { slot: 1, entry: entry(BY_NAME, 3, COPY_ON_WRITE, 9) }.as_bytes());
        copy.extend(b"map\0\0\0\0\0ninebytes\0\0\0\0\0\0\0");
        copy.extend(CopiedRoot { slot: 4, entry: entry(BY_NAME, 8, 0, 99) }.as_bytes());
        copy.extend(b"eightchr");
        copy.extend(CopiedRoot { slot: 9, entry: entry(7, 3, COPY_ON_WRITE, 0) }.as_bytes());
        let (header, found) = roots(&copy).unwrap();
        assert_eq!((header.last_slot, header.sequence, header.types_len), (9, 7, 80));
        let found: Vec<Root<'_>> = found.map(Result::unwrap).collect();
        let seen = |at: usize| (found[at].slot, found[at].name, found[at].value);
        assert_eq!(seen(0), (1, &b"map"[..], Some(&b"ninebytes"[..])));
        assert_eq!(seen(1), (4, &b"eightchr"[..], None));
        assert_eq!(seen(2), (9, &b""[..], Some(&b""[..])));
        assert_eq!(found.len(), 3);
        for len in 0..copy.len() {
            let is_whole = roots(&copy[..len]).is_some_and(|(_, found)| found.into_iter().all(|root| root.is_ok()));
            assert!(!is_whole, "{len}");
        }
        assert_eq!(led(&copy), None);
        let at = LedAt { run: 5, number: 2, offset: 4096, checksum: 7 };
        copy.extend(at.as_bytes());
        assert_eq!(led(&copy), Some(at));
        assert_eq!(led(&copy[..copy.len() - 1]), None);
        let endless = CopyHeader { roots: u64::MAX, ..header };
        copy[..32].copy_from_slice(endless.as_bytes());
        assert_eq!(roots(&copy).unwrap().1.count(), 4);
    }
}
