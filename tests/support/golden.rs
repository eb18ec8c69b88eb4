//! Heap files that every later version must open: their bytes that are not zero, in `tests/golden`.
//!
//! The file's length (8 bytes), then parts: offset (8 bytes), length (4 bytes), bytes.

use super::bytes::{self, half_word, word};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Whether the files are to be made anew.
pub(crate) fn is_to_be_made() -> bool {
    std::env::var_os("SAL_WRITE_GOLDEN").is_some()
}

/// Keeps a heap file under a name.
pub(crate) fn keep(path: &Path, name: &str) {
    let mut parts = std::fs::metadata(path).unwrap().len().to_le_bytes().to_vec();
    for (at, page) in bytes::pages(path) {
        let mut start = 0;
        while let Some(skipped) = page[start..].iter().position(|&byte| byte != 0) {
            start += skipped;
            // A part goes on over a few zeros: a new one would take twelve bytes.
            let gap = page[start..].windows(16).position(|window| window.iter().all(|&byte| byte == 0));
            let len = gap.unwrap_or_else(|| page.len() - start);
            parts.extend((at + start as u64).to_le_bytes());
            parts.extend((len as u32).to_le_bytes());
            parts.extend(&page[start..start + len]);
            start += len;
        }
    }
    assert!(parts.len() < 100 << 10, "{} bytes", parts.len());
    std::fs::create_dir_all(place(name).parent().unwrap()).unwrap();
    std::fs::write(place(name), parts).unwrap();
}

/// Writes the heap file that was kept under a name to a path.
pub(crate) fn expand(name: &str, path: &Path) {
    let parts = std::fs::read(place(name)).unwrap();
    let file = std::fs::File::create(path).unwrap();
    file.set_len(word(&parts, 0)).unwrap();
    let mut at = 8;
    while at < parts.len() {
        let (offset, len) = (word(&parts, at), half_word(&parts, at + 8) as usize);
        file.write_all_at(&parts[at + 12..at + 12 + len], offset).unwrap();
        at += 12 + len;
    }
}
