//! What the disk asks for: the same number of bytes, written plainly.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// A file whose space is written already, in several places of the same size.
#[derive(Debug)]
pub(crate) struct Raw {
    file: File,
    path: PathBuf,
    bytes: Vec<u8>,
    places: u64,
    next: u64,
}

impl Raw {
    /// Most bytes that the places take, unless one alone takes more.
    const ROOM: usize = 1 << 20;

    /// For writes of `pages` pages. The space is written in the portions in which it is written again, because a file
    /// system may remember portions of another size, and take longer then.
    pub(crate) fn new(directory: &Path, pages: usize) -> Self {
        let path = directory.join("raw");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).expect("a file");
        let bytes = vec![0x5A; pages * PAGE];
        let places = (Self::ROOM / bytes.len()).max(2) as u64;
        let mut raw = Self { file, path, bytes, places, next: 0 };
        for _ in 0..places {
            raw.put();
        }
        raw.file.sync_all().expect("the disk works");
        raw
    }

    fn put(&mut self) {
        let place = self.next % self.places;
        self.file.write_all_at(&self.bytes, place * self.bytes.len() as u64).expect("the disk has room");
        self.next += 1;
    }

    /// The time of one write in the next place and `fdatasync`.
    pub(crate) fn write(&mut self) -> Duration {
        let changed = self.next as u8;
        self.bytes.iter_mut().step_by(PAGE).for_each(|byte| *byte = changed);
        let start = Instant::now();
        self.put();
        self.file.sync_data().expect("the disk works");
        start.elapsed()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The directory goes later in any case.
        let _ = fs::remove_file(&self.path);
    }
}

/// The time to write `bytes` to a new file in a row, and `fdatasync`.
pub(crate) fn write_new(directory: &Path, bytes: &[u8]) -> Duration {
    let path = directory.join("raw-new");
    let mut file = File::create(&path).expect("a file");
    let start = Instant::now();
    for chunk in bytes.chunks(1 << 20) {
        file.write_all(chunk).expect("the disk has room");
    }
    file.sync_data().expect("the disk works");
    let spent = start.elapsed();
    fs::remove_file(path).expect("it is there");
    spent
}
