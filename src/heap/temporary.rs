//! Files without a name: they vanish with the process.

use super::create::reserve_always_read;
use crate::format::WINDOW;
use crate::format::layout::Layout;
use crate::os::env::random_bytes;
use crate::os::file::File;
use crate::os::mapping::{self, Access, Source};
use crate::os::{CallError, errno, file};
use core::ffi::CStr;

/// Longest directory name, in bytes, that the fallback can use.
const LONGEST: usize = 4096;

/// Creates a file without a name in `directory`: directly, or, where the file system cannot, by creating one under a
/// random name and removing that.
pub(super) fn create_in(directory: &CStr) -> Result<File, CallError> {
    match File::create_unnamed(directory) {
        Err(CallError {
            errno: errno::NOT_SUPPORTED | errno::IS_DIRECTORY | errno::INVALID | errno::NOT_FOUND,
            ..
        }) => create_and_unlink(directory),
        other => other,
    }
}

/// The fallback of [`create_in`].
fn create_and_unlink(directory: &CStr) -> Result<File, CallError> {
    let directory = directory.to_bytes();
    let mut path = [0_u8; LONGEST + 32];
    if directory.len() > LONGEST {
        return Err(CallError { call: "open", errno: errno::NAME_TOO_LONG });
    }
    path[..directory.len()].copy_from_slice(directory);
    let mut random = [0_u8; 8];
    random_bytes(&mut random);
    let mut end = directory.len();
    let mut put = |bytes: &[u8]| {
        path[end..end + bytes.len()].copy_from_slice(bytes);
        end += bytes.len();
    };
    put(b"/.sal-");
    for byte in random {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        put(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    let path = CStr::from_bytes_until_nul(&path).unwrap_or(c"");
    let file = File::create_new(path, 0o600)?;
    file::unlink(path)?;
    Ok(file)
}

/// Sizes a new file for `layout` and maps it over a reserved window.
pub(super) fn map(file: &File, window: u32, layout: &Layout) -> Result<(), CallError> {
    file.set_len(layout.segments.offset)?;
    reserve_always_read(file, layout)?;
    let end = layout.end() as usize;
    // SAFETY: the window is reserved for this heap, and nothing is in it yet.
    unsafe { mapping::replace(window as usize * WINDOW, end, Access::ReadWrite, Source::SharedFile(file.fd())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn both_ways_leave_no_name_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = CString::new(directory.path().as_os_str().as_bytes()).unwrap();
        for create in [create_in, create_and_unlink] {
            let file = create(&path).unwrap();
            file.write_at(b"contents", 5).unwrap();
            assert_eq!(file.metadata().unwrap().len, 13);
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
        assert!(create_and_unlink(c"/nonexistent").is_err());
    }
}
