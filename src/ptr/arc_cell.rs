//! A place for a shared pointer that threads read and change without a lock.

use super::sal_rc::SalRc;
use super::tagged::Tagged;
use super::target::{CloneTarget, Target};
use crate::alloc::ref_count::RefCount;
use crate::alloc::split_count::{Held, SplitCount};
use core::fmt;
use core::marker::PhantomData;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::{self, NonNull};

/// A [`SalRc`] that many threads read while others replace it, without a lock: a writer publishes versions, and each reader
/// has one whole version.
///
/// A value that is in a cell counts as having 2¹⁷ pointers more than there are ([`SalRc::strong_count`]); one that is in five hundred
/// cells at once is never dropped.
/// It belongs to this process, and cannot be stored in a heap file. A reader passes two atomic operations on the cell and one on the
/// value's count.
///
/// ```
/// use sal::{SalArcCell, SalRc};
/// let cell = SalArcCell::new(SalRc::new(vec![1]));
/// std::thread::scope(|threads| {
///     threads.spawn(|| cell.store(SalRc::new(vec![1, 2])));
///     let seen = cell.load(); // one or the other
///     assert!(seen.len() == 1 || seen.len() == 2);
/// });
/// assert_eq!(cell.load().len(), 2);
/// ```
pub struct SalArcCell<T: ?Sized + Target> {
    word: SplitCount,
    /// What is put in may be taken out as the very same type only.
    of: PhantomData<fn(SalRc<T>) -> SalRc<T>>,
}

// SAFETY: it gives its pointer to whoever has a reference to it.
unsafe impl<T: ?Sized + Target + Send + Sync> Send for SalArcCell<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Target + Send + Sync> Sync for SalArcCell<T> {}

fn word_of<T: ?Sized + Target>(pointer: SalRc<T>) -> u64 {
    pointer.into_tagged().word().as_ptr().expose_provenance() as u64
}

fn tagged_of<T: ?Sized + Target>(word: u64) -> Tagged<T> {
    let word = NonNull::new(ptr::with_exposed_provenance_mut(word as usize)).expect("no word is zero");
    // SAFETY: from `word_of`, as all words of a cell are.
    unsafe { Tagged::of_word(word) }
}

/// The pointer that a word counts as.
///
/// # Safety
/// It does, and nobody else takes it.
unsafe fn pointer_of<T: ?Sized + Target>(word: u64) -> SalRc<T> {
    // SAFETY: the caller's promise.
    unsafe { SalRc::of_tagged(tagged_of(word)) }
}

fn count_of<'a, T: ?Sized + Target>(word: u64) -> &'a RefCount {
    tagged_of::<T>(word).count()
}

impl<T: ?Sized + Target> SalArcCell<T> {
    /// A cell with a pointer.
    pub fn new(pointer: SalRc<T>) -> Self {
        Self { word: SplitCount::new(word_of(pointer), count_of::<T>), of: PhantomData }
    }

    /// The pointer that is there at this moment, once more.
    pub fn load(&self) -> SalRc<T> {
        let Held(word) = self.word.hold(count_of::<T>);
        // SAFETY: held for us.
        unsafe { pointer_of(word) }
    }

    /// Puts another pointer there, and drops the one that was.
    pub fn store(&self, pointer: SalRc<T>) {
        drop(self.swap(pointer));
    }

    /// Puts another pointer there; the one that was.
    pub fn swap(&self, pointer: SalRc<T>) -> SalRc<T> {
        let word = self.word.swap(word_of(pointer), count_of::<T>);
        // SAFETY: the cell's own, which it does not have any more.
        unsafe { pointer_of(word) }
    }

    /// Puts another pointer there if `current` is; the one that was.
    ///
    /// # Errors
    /// The new pointer, if another one than `current` is there.
    pub fn compare_exchange(&self, current: &SalRc<T>, new: SalRc<T>) -> Result<SalRc<T>, SalRc<T>> {
        let wanted = current.tagged().word().as_ptr().expose_provenance() as u64;
        let word = word_of(new);
        match self.word.compare_exchange(wanted, word, count_of::<T>) {
            // SAFETY: the cell's own, which it does not have any more.
            Some(old) => Ok(unsafe { pointer_of(old) }),
            // SAFETY: it did not become the cell's.
            None => Err(unsafe { pointer_of(word) }),
        }
    }

    /// Replaces the pointer by what `make` makes of it; the one that was. If another thread replaces it meanwhile, `make` is called
    /// again, with what is there then. If it panics, the cell stays as it is.
    ///
    /// ```
    /// use sal::{SalArcCell, SalRc};
    /// let cell = SalArcCell::from(1);
    /// std::thread::scope(|threads| {
    ///     for _ in 0..4 {
    ///         threads.spawn(|| cell.rcu(|seen| SalRc::new(**seen * 2)));
    ///     }
    /// });
    /// assert_eq!(*cell.load(), 16);
    /// ```
    pub fn rcu(&self, mut make: impl FnMut(&SalRc<T>) -> SalRc<T>) -> SalRc<T> {
        // What is there is held meanwhile, so another value cannot come to its address.
        let mut seen = self.load();
        loop {
            match self.compare_exchange(&seen, make(&seen)) {
                Ok(before) => return before,
                Err(_) => seen = self.load(),
            }
        }
    }

    /// Changes a copy of the value, in the same heap, and puts that there; the pointer to it. Readers of the value that was are not
    /// concerned. As for [`SalArcCell::rcu`], `change` may be called several times, each time with a new copy.
    ///
    /// A heap without room for the copy is a call of [`handle_alloc_error`](std::alloc::handle_alloc_error), and the cell stays as it is.
    ///
    /// ```
    /// use sal::{SalArcCell, SalRc};
    /// let cell = SalArcCell::from(vec![1]);
    /// let before = cell.load();
    /// let after = cell.update(|numbers| numbers.push(2));
    /// assert_eq!((&before[..], &after[..]), (&[1][..], &[1, 2][..]));
    /// ```
    pub fn update(&self, mut change: impl FnMut(&mut T)) -> SalRc<T>
    where
        T: CloneTarget,
    {
        let mut seen = self.load();
        loop {
            // The cell has it too, so this is a copy, and nobody else's.
            let mut changed = SalRc::clone(&seen);
            change(SalRc::make_mut(&mut changed));
            match self.compare_exchange(&seen, SalRc::clone(&changed)) {
                Ok(_) => return changed,
                Err(_) => seen = self.load(),
            }
        }
    }

    /// The pointer, to be changed.
    pub fn into_inner(self) -> SalRc<T> {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: the cell's own, which is not dropped any more.
        unsafe { pointer_of(this.word.end(count_of::<T>)) }
    }
}

impl<T: ?Sized + Target> Drop for SalArcCell<T> {
    fn drop(&mut self) {
        // SAFETY: the cell's own, and nobody else has a reference to the cell.
        drop(unsafe { pointer_of::<T>(self.word.end(count_of::<T>)) });
    }
}

impl<T: ?Sized + Target> From<SalRc<T>> for SalArcCell<T> {
    fn from(pointer: SalRc<T>) -> Self {
        Self::new(pointer)
    }
}

/// In the heap that [`SalRc::new`] would choose.
impl<T: 'static> From<T> for SalArcCell<T> {
    fn from(value: T) -> Self {
        Self::new(SalRc::new(value))
    }
}

/// The value's default, in the heap that [`SalRc::new`] would choose.
impl<T: ?Sized + Target> Default for SalArcCell<T>
where
    SalRc<T>: Default,
{
    fn default() -> Self {
        Self::new(SalRc::default())
    }
}

// As for `SalRc`: it gives shared references to its value, and each pointer is there as a whole.
impl<T: ?Sized + Target + RefUnwindSafe> UnwindSafe for SalArcCell<T> {}
impl<T: ?Sized + Target + RefUnwindSafe> RefUnwindSafe for SalArcCell<T> {}

impl<T: ?Sized + Target + fmt::Debug> fmt::Debug for SalArcCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SalArcCell").field(&self.load()).finish()
    }
}
