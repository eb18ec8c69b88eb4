//! What the disk may hold of a shared heap's file after a power cut: of each page what it held at any moment since all was durable.

use super::Random;
use super::bytes::extents;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) const PAGE: usize = 4096;

/// A page, and what it held.
type Page = Box<[u8; PAGE]>;

/// The pages of a file that hold data.
pub(crate) fn data_pages(file: &File) -> Vec<u64> {
    let pages = |data: Range<u64>| data.start / PAGE as u64..data.end.div_ceil(PAGE as u64);
    extents(file).into_iter().flat_map(pages).collect()
}

fn read_page(file: &File, page: u64) -> Page {
    let mut bytes: Page = Box::new([0; PAGE]);
    let _ = file.read_at(&mut bytes[..], page * PAGE as u64).unwrap();
    bytes
}

/// Writes down what has changed in a file since the last time.
pub(crate) struct Tracer {
    file: File,
    seen: HashMap<u64, Page>,
    trace: BufWriter<File>,
}

impl Tracer {
    pub(crate) fn new(path: &Path) -> Self {
        let trace = BufWriter::new(File::create(path.with_extension("trace")).unwrap());
        Self { file: File::open(path).unwrap(), seen: HashMap::new(), trace }
    }

    /// Goes on with what another process has begun, and was killed.
    pub(crate) fn resume(path: &Path) -> Self {
        let trace = File::options().append(true).open(path.with_extension("trace")).unwrap();
        let file = File::open(path).unwrap();
        let seen = data_pages(&file).into_iter().map(|page| (page, read_page(&file, page))).collect();
        Self { file, seen, trace: BufWriter::new(trace) }
    }

    fn write(&mut self, words: &[u64], bytes: &[u8]) {
        words.iter().for_each(|word| self.trace.write_all(&word.to_le_bytes()).unwrap());
        self.trace.write_all(bytes).unwrap();
    }

    /// A power cut may come here; `durable` says that everything has reached the disk, with this state, and nothing has changed since it
    /// did.
    pub(crate) fn cut(&mut self, durable: Option<&str>) {
        self.look();
        let len = self.file.metadata().unwrap().len();
        match durable {
            None => self.write(&[2, len], &[]),
            Some(state) => self.write(&[3, len, state.len() as u64], state.as_bytes()),
        }
        self.trace.flush().unwrap();
    }

    /// All has reached the disk but the header that makes a commit count, and the file may have changed since.
    pub(crate) fn before_the_header(&mut self) {
        self.look();
        let len = self.file.metadata().unwrap().len();
        self.write(&[5, len], &[]);
        self.trace.flush().unwrap();
    }

    /// A state is durable, and since then the file may have changed further.
    pub(crate) fn durable_before(&mut self, state: &str) {
        self.look();
        let len = self.file.metadata().unwrap().len();
        self.write(&[4, len, state.len() as u64], state.as_bytes());
        self.trace.flush().unwrap();
    }

    fn look(&mut self) {
        let pages = data_pages(&self.file);
        let gone: Vec<u64> = self.seen.keys().copied().filter(|page| pages.binary_search(page).is_err()).collect();
        for page in pages.into_iter().chain(gone) {
            let now = read_page(&self.file, page);
            let before = self.seen.get(&page);
            let is_zero = now.iter().all(|&byte| byte == 0);
            if before.map_or(!is_zero, |before| **before != *now) {
                self.write(&[1, page], &now[..]);
                self.seen.insert(page, now);
            }
        }
    }
}

/// What the disk may hold of a file.
struct Disk {
    /// Of each page, what it held when all was durable, and since.
    versions: HashMap<u64, Vec<Page>>,
    /// The file's lengths, likewise.
    lens: Vec<u64>,
    random: Random,
}

impl Disk {
    /// Writes a file with one version of each page, over the file itself.
    fn write(&self, path: &Path, len: u64, mut choose: impl FnMut(u64, usize) -> usize) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
        file.set_len(len).unwrap();
        for (&page, versions) in &self.versions {
            let mut bytes = versions[choose(page, versions.len())].clone();
            if page < 2 {
                forget_seal(&mut bytes);
            }
            // What lies behind the end is lost.
            if bytes.iter().any(|&byte| byte != 0) && page * (PAGE as u64) < len {
                file.write_all_at(&bytes[..], page * PAGE as u64).unwrap();
            }
        }
    }

    /// Each page as it was at any moment since all was durable.
    fn write_any(&mut self, path: &Path, headers_are_old: bool) {
        let mut random = self.random.clone();
        // Some cuts lose nearly all, some nearly nothing.
        let share = random.below(5);
        let len = self.lens[random.below(self.lens.len())];
        self.write(path, len, |page, versions| match share {
            _ if headers_are_old && page < 2 => 0,
            0 if random.below(20) > 0 => 0,
            1 if random.below(20) > 0 => versions - 1,
            _ => random.below(versions),
        });
        self.random = random;
    }

    /// Images of a commit that does not count yet.
    fn write_without_header(&mut self, path: &Path, mut check: impl FnMut(&str)) {
        self.write_any(path, true);
        check("before the header");
        self.write(path, self.len(), |page, versions| if page < 2 { 0 } else { versions - 1 });
        check("all but the header");
    }

    fn len(&self) -> u64 {
        self.lens.last().copied().unwrap_or(0)
    }

    fn all_durable(&mut self) {
        self.lens.drain(..self.lens.len() - 1);
        for versions in self.versions.values_mut() {
            versions.drain(..versions.len() - 1);
        }
    }
}

/// Makes a header that counts only as long as the system runs one that does not count.
fn forget_seal(page: &mut Page) {
    const KIND: usize = 352 + 20;
    if page[KIND] == 3 {
        page[511] ^= 1;
    }
}

/// Writes the images that a power cut may leave behind over the file whose changes a [`Tracer`] has written down, one after the other; `check` is
/// told which state was durable last, and where the cut came.
pub(crate) fn for_each_image(path: &Path, seed: u64, mut check: impl FnMut(&str, &str)) {
    let mut trace = BufReader::new(File::open(path.with_extension("trace")).unwrap());
    let mut disk = Disk { versions: HashMap::new(), lens: Vec::new(), random: Random(seed) };
    let mut durable = String::new();
    let mut is_first = true;
    loop {
        let mut word = || {
            let mut word = [0; 8];
            trace.read_exact(&mut word).ok().map(|()| u64::from_le_bytes(word))
        };
        match word() {
            Some(1) => {
                let page = word().unwrap();
                let mut bytes: Page = Box::new([0; PAGE]);
                trace.read_exact(&mut bytes[..]).unwrap();
                disk.versions.entry(page).or_insert_with(|| vec![Box::new([0; PAGE])]).push(bytes);
            }
            Some(2) => {
                disk.lens.push(word().unwrap());
                for _ in 0..3 {
                    disk.write_any(path, false);
                    check(&durable, "between syncs");
                }
            }
            Some(5) => {
                disk.lens.push(word().unwrap());
                disk.write_without_header(path, |what| check(&durable, what));
                disk.write_any(path, true);
                check(&durable, "before the header");
            }
            Some(kind @ (3 | 4)) => {
                disk.lens.push(word().unwrap());
                let len = word().unwrap();
                let mut state = vec![0; len as usize];
                trace.read_exact(&mut state).unwrap();
                // What came after the commit is not on a disk that does not have the commit's header.
                if !std::mem::take(&mut is_first) && kind == 3 {
                    disk.write_without_header(path, |what| check(&durable, what));
                }
                disk.write(path, disk.len(), |_, versions| versions - 1);
                durable = String::from_utf8(state).unwrap();
                check(&durable, "all");
                disk.all_durable();
            }
            _ => break,
        }
    }
}

/// The seeds of a test's histories: as many as usual, times `SAL_CRASH_SCENARIOS`; or `SAL_CRASH_SEED` alone.
pub(crate) fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match number("SAL_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => usual.start..usual.start + (usual.end - usual.start) * number("SAL_CRASH_SCENARIOS").unwrap_or(1),
    }
}

/// What `run` reports of all seeds, every other of which a second thread has.
pub(crate) fn by_two<R: Default + Send + std::ops::AddAssign>(
    seeds: std::ops::Range<u64>,
    run: impl Fn(u64) -> R + Sync,
) -> R {
    let some = |first: u64| {
        let mut all = R::default();
        (seeds.start + first..seeds.end).step_by(2).for_each(|seed| all += run(seed));
        all
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| some(1));
        let mut all = some(0);
        all += other.join().unwrap();
        all
    })
}
