//! Taking the elements out of a region.

use super::Region;
use core::iter::FusedIterator;
use core::mem::ManuallyDrop;
use core::{fmt, ptr};

/// The elements of a [`Region`], one after the other; the pages are given back when it is dropped.
pub struct IntoIter<T> {
    /// Its `len` is zero: the elements from `at` to `end` are the iterator's.
    region: Region<T>,
    at: usize,
    end: usize,
}

impl<T> IntoIter<T> {
    /// What has not been taken out yet.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the iterator's own elements.
        unsafe { core::slice::from_raw_parts(self.region.as_ptr().add(self.at), self.end - self.at) }
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.at == self.end {
            return None;
        }
        self.at += 1;
        // SAFETY: the iterator's own, and no longer after this.
        Some(unsafe { self.region.as_ptr().add(self.at - 1).read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.at, Some(self.end - self.at))
    }
}

impl<T> DoubleEndedIterator for IntoIter<T> {
    fn next_back(&mut self) -> Option<T> {
        if self.at == self.end {
            return None;
        }
        self.end -= 1;
        // SAFETY: the iterator's own, and no longer after this.
        Some(unsafe { self.region.as_ptr().add(self.end).read() })
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        let rest = ptr::slice_from_raw_parts_mut(self.region.as_mut_ptr().wrapping_add(self.at), self.end - self.at);
        // SAFETY: the iterator's own elements; the region has none, and is dropped next, also if this panics.
        unsafe { rest.drop_in_place() };
    }
}

impl<T: fmt::Debug> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntoIter").field(&self.as_slice()).finish()
    }
}

impl<T> IntoIterator for Region<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        let region = ManuallyDrop::new(self);
        // SAFETY: moved out of a value that is not dropped.
        let mut region = unsafe { ptr::read(&raw const *region) };
        let end = core::mem::take(&mut region.len);
        IntoIter { region, at: 0, end }
    }
}
