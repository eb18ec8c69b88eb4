//! What turns into a vector, what a vector turns into, and what it can be borrowed as.

use super::{SalVec, or_raise};
use core::borrow::{Borrow, BorrowMut};
use core::mem::ManuallyDrop;
use std::io;

impl<T> AsRef<[T]> for SalVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> AsMut<[T]> for SalVec<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T> AsRef<SalVec<T>> for SalVec<T> {
    fn as_ref(&self) -> &SalVec<T> {
        self
    }
}

impl<T> Borrow<[T]> for SalVec<T> {
    fn borrow(&self) -> &[T] {
        self
    }
}

impl<T> BorrowMut<[T]> for SalVec<T> {
    fn borrow_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T: Clone> From<&[T]> for SalVec<T> {
    #[track_caller]
    fn from(items: &[T]) -> Self {
        let mut vec = Self::with_capacity(items.len());
        vec.extend_from_slice(items);
        vec
    }
}

impl<T: Clone> From<&mut [T]> for SalVec<T> {
    #[track_caller]
    fn from(items: &mut [T]) -> Self {
        Self::from(&*items)
    }
}

impl<T: Clone, const N: usize> From<&[T; N]> for SalVec<T> {
    #[track_caller]
    fn from(items: &[T; N]) -> Self {
        Self::from(items.as_slice())
    }
}

impl<T, const N: usize> From<[T; N]> for SalVec<T> {
    #[track_caller]
    fn from(items: [T; N]) -> Self {
        let mut vec = Self::with_capacity(N);
        let items = ManuallyDrop::new(items);
        // SAFETY: the array is not dropped, so its elements may move.
        or_raise(unsafe { vec.try_extend_bitwise(items.as_slice()) });
        vec
    }
}

impl<T> From<Vec<T>> for SalVec<T> {
    /// Moves the elements; the block of `items` is freed.
    #[track_caller]
    fn from(mut items: Vec<T>) -> Self {
        let mut vec = Self::with_capacity(items.len());
        // SAFETY: nothing runs between the copy and `set_len`, after which `items` no longer counts them. If
        // there is no room nothing is copied, and `items` still owns its elements.
        unsafe {
            or_raise(vec.try_extend_bitwise(&items));
            items.set_len(0);
        }
        vec
    }
}

impl<T> From<SalVec<T>> for Vec<T> {
    /// Moves the elements into the memory of the process's global allocator.
    fn from(items: SalVec<T>) -> Self {
        items.into_iter().collect()
    }
}

impl From<&str> for SalVec<u8> {
    #[track_caller]
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

/// Writing adds at the end. A full disk is an error here, not an abort.
///
/// ```
/// use sal::collections::SalVec;
/// use std::io::Write;
///
/// let mut page = SalVec::new();
/// write!(page, "{}-{}", 1, 2)?;
/// assert_eq!(page, b"1-2");
/// # Ok::<(), std::io::Error>(())
/// ```
impl io::Write for SalVec<u8> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_extend_from_copies(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).map(drop)
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
