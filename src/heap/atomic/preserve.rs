//! Keeping the image of a commit while the heap file goes on.
//!
//! A recovery that was given up while it was marking can only be taken up again over the very commit that was opened. In a
//! later one, what the program has moved out of its roots since, to its stacks, is reached by nothing and looks like what
//! the crash left behind. So as long as that image may be wanted, every page of it is copied, by the kernel and into memory,
//! just before the file is changed there: the image is a private mapping, and a page of it that has been written, if only
//! with what it held, no longer follows the file.
//!
//! # Invariants
//! - **P1** The heap file is changed through [`Preserving`] alone. So the kept image shows the commit that it was mapped
//!   for, or [`Kept`] has let go of it.
//! - **P2** The image is read only by a recovery that marks, whose thread holds it until everything is marked. One that was
//!   given up still knows the address, but does not read there again unless it got the image from [`Kept::get`]; nor does
//!   any recovery that has marked everything.
//!
//! # What survives a crash
//! Nothing; the next opening marks over the commit that it finds.

use crate::commit::storage::{Part, Storage};
use crate::os::CallError;
use crate::os::mapping::{self, Access, Source};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The heap file as of one commit, mapped a second time.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) start: usize,
    /// Bytes of the mapping, and of the file in it.
    len: usize,
    file_len: usize,
    /// Offsets of what is looked at.
    wanted: [Range<usize>; 2],
    is_writable: AtomicBool,
}

impl Frozen {
    /// Maps the first `len` bytes, and memory that reads as zeros up to `end`. Only `wanted` is kept as it is.
    pub(super) fn map(fd: i32, len: usize, end: usize, wanted: [Range<usize>; 2]) -> Result<Self, CallError> {
        let end = end.max(len);
        let start = mapping::map_anywhere(end, Access::Read, Source::Anonymous)?;
        let image = Self { start, len: end, file_len: len, wanted, is_writable: AtomicBool::new(false) };
        // SAFETY: mapped just now, and nobody has read there.
        unsafe { mapping::replace(image.start, len, Access::Read, Source::PrivateFile(fd))? };
        Ok(image)
    }

    /// The pages of a range that are looked at.
    fn wanted_of(&self, bytes: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let bytes = bytes.start..bytes.end.min(self.file_len);
        self.wanted.clone().into_iter().filter_map(move |wanted| {
            let both = wanted.start.max(bytes.start)..wanted.end.min(bytes.end);
            (!both.is_empty()).then_some(both)
        })
    }

    /// Makes the pages of a range copies that do not follow the file.
    fn copy(&self, bytes: &Range<usize>) -> Result<(), CallError> {
        let mut parts = self.wanted_of(bytes).peekable();
        // Relaxed: asked under the lock of `Kept`.
        if parts.peek().is_some() && !self.is_writable.load(Ordering::Relaxed) {
            // From now on the kernel may count all of it as memory, so not before somebody changes the file.
            // SAFETY: this value's own mapping; others read it, and go on to.
            unsafe { mapping::protect(self.start, self.file_len, Access::ReadWrite)? };
            self.is_writable.store(true, Ordering::Relaxed);
        }
        parts.try_for_each(|part| mapping::copy_private_range(self.start + part.start, part.len()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nobody reads there any more (P2).
        let _ = unsafe { mapping::unmap(self.start, self.len) };
    }
}

/// The image that may be wanted.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<Arc<Frozen>>>);

impl Kept {
    fn image(&self) -> MutexGuard<'_, Option<Arc<Frozen>>> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an image, which shows the file as it is now.
    pub(super) fn keep(&self, image: Arc<Frozen>) {
        *self.image() = Some(image);
    }

    /// The image, if it still shows what it was mapped for.
    pub(super) fn get(&self) -> Option<Arc<Frozen>> {
        self.image().clone()
    }

    /// The image is not wanted any more. Whether it still showed what it was mapped for.
    pub(super) fn let_go(&self) -> bool {
        self.image().take().is_some()
    }

    /// The file is about to be changed in a range: whoever looks at the image afterwards finds copies, or that it has been
    /// let go.
    fn before(&self, part: Part, offset: u64, len: u64) {
        if part != Part::Data {
            return;
        }
        let mut image = self.image();
        let bytes = offset as usize..offset.saturating_add(len) as usize;
        if image.as_ref().is_some_and(|image| image.copy(&bytes).is_err()) {
            *image = None;
        }
    }

    /// The file is about to be cut off, which takes the copies behind its end as well.
    fn before_cut(&self, part: Part, len: u64) {
        if part == Part::Data {
            let mut image = self.image();
            if image.as_ref().is_some_and(|image| image.wanted_of(&(len as usize..usize::MAX)).next().is_some()) {
                *image = None;
            }
        }
    }
}

/// The files of a heap, whose image is kept.
#[derive(Debug)]
pub(super) struct Preserving {
    pub(super) files: Arc<dyn Storage>,
    pub(super) kept: Arc<Kept>,
}

impl Storage for Preserving {
    fn read_at(&self, part: Part, bytes: &mut [u8], offset: u64) -> Result<usize, CallError> {
        self.files.read_at(part, bytes, offset)
    }

    fn write_at(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        self.kept.before(part, offset, bytes.len() as u64);
        self.files.write_at(part, bytes, offset)
    }

    fn write_around(&self, part: Part, bytes: &[u8], offset: u64) -> Result<(), CallError> {
        self.kept.before(part, offset, bytes.len() as u64);
        self.files.write_around(part, bytes, offset)
    }

    fn sync_data(&self, part: Part) -> Result<(), CallError> {
        self.files.sync_data(part)
    }

    fn reserve(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.files.reserve(part, offset, len)
    }

    fn set_len(&self, part: Part, len: u64) -> Result<(), CallError> {
        self.kept.before_cut(part, len);
        self.files.set_len(part, len)
    }

    fn clear(&self, part: Part, offset: u64, len: u64) -> Result<(), CallError> {
        self.kept.before(part, offset, len);
        self.files.clear(part, offset, len)
    }

    fn punch(&self, part: Part, offset: u64, len: u64) -> Result<bool, CallError> {
        self.kept.before(part, offset, len);
        self.files.punch(part, offset, len)
    }

    fn len(&self, part: Part) -> Result<u64, CallError> {
        self.files.len(part)
    }

    fn open_log(&self) -> Result<bool, CallError> {
        self.files.open_log()
    }

    fn create_log(&self) -> Result<(), CallError> {
        self.files.create_log()
    }

    fn remove_log(&self) -> Result<(), CallError> {
        self.files.remove_log()
    }

    fn sync_directory(&self) -> Result<(), CallError> {
        self.files.sync_directory()
    }

    fn check(&self, data_len: u64, log_len: Option<u64>) -> Result<(), CallError> {
        self.files.check(data_len, log_len)
    }

    fn data_fd(&self) -> i32 {
        self.files.data_fd()
    }

    fn keep_length(&self) {
        self.files.keep_length();
    }

    fn close(&self) {
        self.files.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::PAGE;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;

    fn byte(image: &Frozen, at: usize) -> u8 {
        // SAFETY: within the mapping, as the tests ask.
        unsafe { std::ptr::with_exposed_provenance::<u8>(image.start + at).read_volatile() }
    }

    #[test]
    fn a_kept_image_shows_what_the_file_held_and_zeros_behind_it() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 8 * PAGE], 0).unwrap();
        let wanted = [PAGE..2 * PAGE, 3 * PAGE..9 * PAGE];
        let image = Arc::new(Frozen::map(file.as_raw_fd(), 8 * PAGE, 10 * PAGE, wanted).unwrap());
        let kept = Kept::default();
        kept.keep(Arc::clone(&image));
        for (offset, len) in [(0, 2 * PAGE), (4 * PAGE + 7, 9), (7 * PAGE, 5 * PAGE)] {
            kept.before(Part::Data, offset as u64, len as u64);
            file.write_all_at(&vec![2; len], offset as u64).unwrap();
        }
        // Without a word before.
        file.write_all_at(&[2; PAGE], 5 * PAGE as u64).unwrap();
        let shown: Vec<u8> = (0..10).map(|page| byte(&image, page * PAGE + 8)).collect();
        assert_eq!(shown, [2, 1, 1, 1, 1, 2, 1, 1, 0, 0]);
        assert!(kept.get().is_some() && kept.let_go() && !kept.let_go());
    }

    #[test]
    fn an_image_is_let_go_when_the_file_is_cut_off_within_it() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 8 * PAGE], 0).unwrap();
        let image = Frozen::map(file.as_raw_fd(), 8 * PAGE, 8 * PAGE, [0..PAGE, 2 * PAGE..8 * PAGE]).unwrap();
        let kept = Kept::default();
        kept.keep(Arc::new(image));
        kept.before_cut(Part::Log, 0);
        kept.before_cut(Part::Data, 8 * PAGE as u64);
        assert!(kept.get().is_some());
        kept.before_cut(Part::Data, 7 * PAGE as u64);
        assert!(!kept.let_go());
    }
}
