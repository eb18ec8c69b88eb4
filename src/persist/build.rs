//! The identity of this build of the program, for `#[persist(same_build)]`.
//!
//! A type whose layout is the compiler's choice can be read by the very build that wrote it and by no other. What
//! names a build is the linker's build id, a hash of the result: it is looked up in the loaded image that holds the
//! code of the type's `describe`, the executable or a library, in memory, so that a file replaced meanwhile does not
//! matter. Without a build id the executable's file is hashed (its time would not do: many build systems set it to a
//! constant). A library without a build id gets a number that no other process has, so what it stores is refused
//! rather than misread.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::hash::{BuildHasher, Hasher};
use std::{collections::hash_map::RandomState, fs::File, io::Read, sync::OnceLock};

/// Marks ids of builds among the ids of leaves.
const BUILD_ID_BIT: u64 = 1 << 63;

/// The id of the build whose image holds the code at `address`.
pub(super) fn build_of(address: *const ()) -> u64 {
    static EXECUTABLE: OnceLock<Option<u64>> = OnceLock::new();
    static UNREPEATABLE: OnceLock<u64> = OnceLock::new();
    let known = match image_of(address.addr()) {
        Image::BuildId(hash) => Some(hash),
        Image::Executable => *EXECUTABLE.get_or_init(hash_of_executable),
        Image::Other => None,
    };
    BUILD_ID_BIT | known.unwrap_or_else(|| *UNREPEATABLE.get_or_init(|| RandomState::new().build_hasher().finish()))
}

/// The loaded image that some code is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    /// One with a build id; this is its hash.
    BuildId(u64),
    /// The executable, without a build id.
    Executable,
    /// A library without a build id, or none that the loader knows of.
    Other,
}

struct Search {
    address: usize,
    found: Image,
}

fn image_of(address: usize) -> Image {
    let mut search = Search { address, found: Image::Other };
    // SAFETY: `visit_image` matches the signature asked for and gets the pointer to `search`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit_image), (&raw mut search).cast()) };
    search.found
}

/// Called by the loader for each image, until it returns something else than 0.
unsafe extern "C" fn visit_image(info: *mut libc::dl_phdr_info, _size: usize, search: *mut c_void) -> c_int {
    // SAFETY: the loader passes a valid `info`, and the pointer that `image_of` gave it; both are ours for this call.
    let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader says that these are the program headers of a loaded image; they are not null.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let start_of = |header: &libc::Elf64_Phdr| (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
    let loaded = |start: usize, len: usize| {
        headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_R != 0).any(
            |header| {
                start
                    .checked_sub(start_of(header))
                    .and_then(|skipped| skipped.checked_add(len))
                    .is_some_and(|end| end <= header.p_filesz as usize)
            },
        )
    };
    if !loaded(search.address, 1) {
        return 0;
    }
    // SAFETY: the loader gives a null pointer or a C string that lives as long as the image.
    let is_executable = info.dlpi_name.is_null() || unsafe { *info.dlpi_name } == 0;
    search.found = if is_executable { Image::Executable } else { Image::Other };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_NOTE) {
        let (start, len) = (start_of(header), header.p_memsz as usize);
        if !loaded(start, len) {
            continue;
        }
        // SAFETY: the range lies in a readable segment of the image, which is mapped while the loader shows it to us;
        // it is the loader's memory, whose provenance is exposed, and notes are constants that nothing writes.
        let notes = unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance::<u8>(start), len) };
        if let Some(id) = build_id_in(notes, if header.p_align == 8 { 8 } else { 4 }) {
            search.found = Image::BuildId(hash(FNV_START, id));
        }
    }
    1
}

/// The build id among an image's notes: sizes of name and content, a type, then both, padded to `align`.
fn build_id_in(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    const HEADER: usize = 12;
    const NT_GNU_BUILD_ID: usize = 3;
    loop {
        let field = |index: usize| {
            let bytes = notes.get(4 * index..4 * index + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?) as usize)
        };
        let (name_len, content_len, kind) = (field(0)?, field(1)?, field(2)?);
        let content_at = HEADER.checked_add(name_len)?.checked_next_multiple_of(align)?;
        let content_end = content_at.checked_add(content_len)?;
        let name = notes.get(HEADER..HEADER + name_len)?;
        let content = notes.get(content_at..content_end)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && !content.is_empty() {
            return Some(content);
        }
        notes = notes.get(content_end.checked_next_multiple_of(align)?..)?;
    }
}

fn hash_of_executable() -> Option<u64> {
    let mut file = File::open("/proc/self/exe").ok()?;
    let mut buffer = vec![0; 1 << 16];
    let mut state = FNV_START;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(state),
            Ok(count) => state = hash(state, &buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// FNV-1a of 64 bits, by Fowler, Noll and Vo: its output is specified, unlike that of the hashers of `std`.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

fn hash(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> *const () {
        build_of as fn(*const ()) -> u64 as *const ()
    }

    #[test]
    fn code_of_the_program_is_found_in_its_executable() {
        assert_ne!(image_of(here().addr()), Image::Other);
        assert_eq!(image_of(1), Image::Other);
    }

    #[test]
    fn the_build_is_the_same_all_the_time() {
        assert_eq!(build_of(here()), build_of(here()));
        assert_ne!(build_of(here()), build_of(core::ptr::without_provenance(1)));
    }

    #[test]
    fn the_file_has_a_hash_that_stays() {
        let hash = hash_of_executable();
        assert!(hash.is_some());
        assert_eq!(hash, hash_of_executable());
        assert_eq!(super::hash(FNV_START, b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        fn note(name: &[u8], content: &[u8], kind: u32) -> Vec<u8> {
            let mut bytes = Vec::new();
            bytes.extend((name.len() as u32).to_ne_bytes());
            bytes.extend((content.len() as u32).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            for part in [name, content] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        }
        let notes = [note(b"Linux\0", b"odd", 3), note(b"GNU\0", &[1, 2, 3, 4, 5], 3)].concat();
        assert_eq!(build_id_in(&notes, 4), Some(&[1, 2, 3, 4, 5][..]));
        assert_eq!(build_id_in(&notes[..24], 4), None);
        assert_eq!(build_id_in(&[0xff; 40], 4), None);
        for end in 0..notes.len() - 3 {
            assert_eq!(build_id_in(&notes[..end], 4), None);
        }
    }
}
