//! Opens heaps whose files are damaged as the input says; see the README.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sal::prelude::*;
use sal::{Archaeology, HeapOptions, Mode};
use std::fs::{self, File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const PAGE: u64 = 4096;
const HEADER_LEN: usize = 512;

/// A valid heap: the pages of its file that are not zeros, its length, and its log.
struct Valid {
    pages: Vec<(u64, Vec<u8>)>,
    len: u64,
    log: Option<Vec<u8>>,
    /// Where areas begin: slab table, roots, types, allocator state, slab states, free bits, checksums, segments.
    areas: [u64; 8],
}

fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = parent.join(format!("sal-fuzz-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    })
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-log");
    name.into()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn read(path: &Path) -> Valid {
    let file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut header = [0; HEADER_LEN];
    file.read_exact_at(&mut header, 0).unwrap();
    let at = |field| word(&header, field);
    let remote_bits = at(240) + at(248);
    let areas = [at(144), at(160), at(176), at(192), at(208), at(224), remote_bits, at(256)];
    let mut pages = Vec::new();
    let mut offset = 0;
    loop {
        // SAFETY: plain call on an open descriptor.
        let found = unsafe { libc::lseek(std::os::fd::AsRawFd::as_raw_fd(&file), offset, libc::SEEK_DATA) };
        if found < 0 {
            break;
        }
        let found = found as u64 / PAGE * PAGE;
        let mut page = vec![0; PAGE as usize];
        let read = file.read_at(&mut page, found).unwrap();
        if page[..read].iter().any(|&byte| byte != 0) {
            pages.push((found, page[..read].to_vec()));
        }
        offset = (found + PAGE) as i64;
    }
    Valid { pages, len, log: fs::read(log_of(path)).ok(), areas }
}

fn fill(heap: &Heap, from: u64) {
    let tx = heap.write().unwrap();
    tx.root_or_default(Root::<SalVec<u64>>::new("numbers")).unwrap().extend(from..from + 300);
    let words = tx.root_or_default(Root::<SalHashMap<u64, SalString>>::new("words")).unwrap();
    for key in from..from + 20 {
        words.insert(key, SalString::from("a word with a block of its own"));
    }
    tx.set_root(Root::<(u8, u32)>::class(7), (1, 2)).unwrap();
}

/// A killed atomic heap with commits in its log, a closed one, a closed shared one.
fn valid() -> &'static [Valid; 3] {
    static VALID: OnceLock<[Valid; 3]> = OnceLock::new();
    VALID.get_or_init(|| {
        [0, 1, 2].map(|kind| {
            let path = directory().join("valid");
            let mode = if kind == 2 { Mode::Shared } else { Mode::Atomic };
            let mut options = HeapOptions::new().mode(mode).huge_pages(false);
            if kind == 0 {
                options = options.discard(true);
            }
            // SAFETY: a new file.
            let heap = unsafe { options.create(&path) }.unwrap();
            for round in 0..3 {
                fill(&heap, round * 300);
                heap.sync().unwrap();
            }
            // As a killed process leaves it.
            let killed = (kind == 0).then(|| read(&path));
            // SAFETY: nothing of it is used afterwards.
            unsafe { heap.close_and_unmap() }.unwrap();
            let valid = killed.unwrap_or_else(|| read(&path));
            let _ = fs::remove_file(&path);
            valid
        })
    })
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn half(&mut self) -> Option<u64> {
        Some(u64::from(self.byte()?) | u64::from(self.byte()?) << 8)
    }
}

/// Makes the checksums of both headers right.
fn mend_headers(file: &File) {
    for at in [0, PAGE] {
        let mut slot = [0; HEADER_LEN];
        if file.read_exact_at(&mut slot, at).is_ok() {
            let checksum = crc32c::crc32c(&slot[..HEADER_LEN - 4]);
            slot[HEADER_LEN - 4..].copy_from_slice(&checksum.to_le_bytes());
            file.write_all_at(&slot, at).unwrap();
        }
    }
}

/// Makes the checksums of all records right, but not those of images.
fn mend_log(log: &mut [u8]) {
    if log.len() < 4096 {
        return;
    }
    let checksum = crc32c::crc32c(&log[..36]);
    log[36..40].copy_from_slice(&checksum.to_le_bytes());
    let half = |log: &[u8], at: usize| u32::from_le_bytes(log[at..at + 4].try_into().unwrap());
    let mut previous = None;
    let mut at = 4096;
    while at + 512 <= log.len() {
        if !log[at..].starts_with(b"\x8eSALrec\n") {
            at += 512;
            continue;
        }
        let count = u64::from(half(log, at + 72)) + u64::from(half(log, at + 76));
        let end = at as u64 + 96 + count * 16;
        if end > log.len() as u64 {
            at += 512;
            continue;
        }
        let previous_checksum = previous.unwrap_or_else(|| half(log, at + 84));
        log[at + 84..at + 88].copy_from_slice(&u32::to_le_bytes(previous_checksum));
        let checksum = crc32c::crc32c_append(previous_checksum, &log[at..at + 92]);
        let checksum = crc32c::crc32c_append(checksum, &log[at + 96..end as usize]);
        log[at + 92..at + 96].copy_from_slice(&checksum.to_le_bytes());
        previous = Some(checksum);
        at += 512;
    }
}

fn damage(input: &mut Input<'_>, valid: &Valid, flags: u8, file: &File, log: &mut Option<Vec<u8>>) {
    for _ in 0..16 {
        let (Some(place), Some(offset), Some(len)) = (input.byte(), input.half(), input.byte()) else { break };
        let bytes = input.take(usize::from(len % 64) + 1);
        match place % 16 {
            0 => file.write_all_at(bytes, offset % HEADER_LEN as u64).unwrap(),
            1 => file.write_all_at(bytes, PAGE + offset % HEADER_LEN as u64).unwrap(),
            area @ 2..10 => file.write_all_at(bytes, valid.areas[area as usize - 2] + offset).unwrap(),
            10 | 11 => {
                if let Some(log) = log {
                    let at = offset as usize % log.len().max(1);
                    let len = bytes.len().min(log.len() - at);
                    log[at..at + len].copy_from_slice(&bytes[..len]);
                }
            }
            12 => {
                if let Some(log) = log {
                    log.truncate(offset as usize * 16);
                }
            }
            13 => file.set_len(offset * PAGE).unwrap(),
            14 => file.set_len(valid.areas[7] + offset).unwrap(),
            _ => *log = None,
        }
    }
    if flags & 4 != 0 {
        mend_headers(file);
    }
    if let (true, Some(log)) = (flags & 8 != 0, log) {
        mend_log(log);
    }
}

fn look(path: &Path, flags: u8) {
    // SAFETY: no root is read, so nothing that lies in a block is believed.
    if let Ok(heap) = unsafe { HeapOptions::new().read_only(true).open(path) } {
        let report = heap.verify();
        let _ = (report.to_string(), heap.scrub(|_| ControlFlow::Continue(())).to_string());
        let _ = heap.read().map(|read| read.roots().map(|roots| roots.len()));
        let _ = heap.stats().to_string();
        // SAFETY: nothing of it is used afterwards.
        let _ = unsafe { heap.close_and_unmap() };
    }
    let Ok(found) = Archaeology::options().salvage(flags & 16 != 0).open(path) else { return };
    let _ = (found.verify().to_string(), found.scrub(|_| ControlFlow::Continue(())).to_string());
    for root in found.roots() {
        let _ = root.description.map(|description| description.to_string().len());
        let _ = root.offset.map(|offset| found.bytes(offset, root.info.len).map(<[u8]>::len));
    }
    let blocks = found.blocks().take(100_000).filter(|block| found.block_at(block.offset) == Some(*block)).count();
    let _ = found.rebase(blocks as u64);
    let small = found.blocks().map(|block| block.len).sum::<u64>() < 64 << 20;
    if small {
        let _ = found.orphans().map(|orphans| orphans.len());
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let Some(flags) = input.byte() else { return };
    let valid = &valid()[usize::from(flags & 3) % 3];
    let path = directory().join("damaged");
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    for (at, page) in &valid.pages {
        file.write_all_at(page, *at).unwrap();
    }
    file.set_len(valid.len).unwrap();
    let mut log = valid.log.clone();
    damage(&mut input, valid, flags, &file, &mut log);
    match log {
        Some(log) => fs::write(log_of(&path), log).unwrap(),
        None => drop(fs::remove_file(log_of(&path))),
    }
    drop(file);
    look(&path, flags);
});
