//! Regions that begin with elements, and appending many at once.

use super::{Region, or_panic};
use crate::error::RegionError;
use crate::heap::SalAlloc;
use core::ptr;

/// Types of which memory full of zeros is a value.
///
/// # Safety
/// All bytes zero is a valid value of the type.
pub unsafe trait Zeros {}

macro_rules! zeros {
    ($($name:ty)*) => {
        // SAFETY: zero is one of its values.
        $(unsafe impl Zeros for $name {})*
    };
}

zeros!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 bool char);

// SAFETY: its elements are such.
unsafe impl<T: Zeros, const N: usize> Zeros for [T; N] {}

impl<T> Region<T> {
    /// A region of `len` elements that are all zeros. Pages that read as zeros already are not touched, so this takes no
    /// memory before the elements are written, and no time in proportion to them.
    ///
    /// ```
    /// use sal::{HeapOptions, Region};
    ///
    /// let heap = HeapOptions::new().volatile()?;
    /// let mut counts = Region::<u32>::zeroed_in(1 << 30, heap.alloc()); // 4 GiB
    /// counts[12_345_678] += 1;
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    ///
    /// # Panics
    /// If the heap has no room for it.
    pub fn zeroed_in(len: usize, heap: SalAlloc) -> Self
    where
        T: Zeros,
    {
        or_panic(Self::try_zeroed_in(len, heap))
    }

    /// As [`Region::zeroed_in`], with an error instead of a panic.
    ///
    /// # Errors
    /// [`RegionError::TooLarge`] and [`RegionError::NoRoom`].
    pub fn try_zeroed_in(len: usize, heap: SalAlloc) -> Result<Self, RegionError>
    where
        T: Zeros,
    {
        let mut region = Self::new_in(heap);
        region.take_run(len, true)?;
        // All of them are zeros, which are values.
        region.len = len;
        Ok(region)
    }

    /// A region of `len` default values.
    ///
    /// # Panics
    /// If the heap has no room for it.
    pub fn default_in(len: usize, heap: SalAlloc) -> Self
    where
        T: Default,
    {
        Self::from_fn_in(len, heap, |_| T::default())
    }

    /// A region of `len` elements that `make` is asked for one after the other.
    ///
    /// ```
    /// use sal::{Region, SalAlloc};
    ///
    /// let squares = Region::from_fn_in(5, SalAlloc::new(), |n| n * n);
    /// assert_eq!(squares, [0, 1, 4, 9, 16]);
    /// ```
    ///
    /// # Panics
    /// If the heap has no room for it.
    pub fn from_fn_in(len: usize, heap: SalAlloc, make: impl FnMut(usize) -> T) -> Self {
        let mut region = Self::with_capacity_in(len, heap);
        region.extend((0..len).map(make));
        region
    }

    /// Appends copies of all elements of a slice.
    ///
    /// # Panics
    /// If there is no room, and none to be had in place. Nothing is appended then.
    pub fn extend_from_slice(&mut self, elements: &[T])
    where
        T: Clone,
    {
        or_panic(self.try_extend_from_slice(elements));
    }

    /// As [`Region::extend_from_slice`], with an error instead of a panic.
    ///
    /// ```
    /// use sal::{HeapOptions, Region, RegionError};
    ///
    /// let heap = HeapOptions::new().volatile()?;
    /// let mut first = Region::with_capacity_in(4096, heap.alloc());
    /// let _behind_it = Region::<u8>::with_capacity_in(1, heap.alloc());
    /// assert_eq!(first.try_extend_from_slice(&[7_u8; 4096]), Ok(()));
    /// assert!(matches!(first.try_extend_from_slice(&[7; 40_000]), Err(RegionError::CannotGrow { .. })));
    /// assert_eq!(first.len(), 4096);
    /// # Ok::<(), sal::OpenError>(())
    /// ```
    ///
    /// # Errors
    /// All of [`RegionError`]; nothing is appended then.
    pub fn try_extend_from_slice(&mut self, elements: &[T]) -> Result<(), RegionError>
    where
        T: Clone,
    {
        self.try_reserve(elements.len())?;
        for element in elements {
            let value = element.clone();
            // SAFETY: there is room for all of them.
            unsafe { self.push_unchecked(value) };
        }
        Ok(())
    }

    /// Takes all elements out of an array and appends them.
    ///
    /// # Errors
    /// The array, if there is no room.
    pub fn try_extend_from_array<const N: usize>(&mut self, elements: [T; N]) -> Result<(), [T; N]> {
        if self.try_reserve(N).is_err() {
            return Err(elements);
        }
        // SAFETY: there is room, and the array is forgotten once its elements are the region's.
        unsafe { ptr::copy_nonoverlapping(elements.as_ptr(), self.as_mut_ptr().add(self.len), N) };
        core::mem::forget(elements);
        self.len += N;
        Ok(())
    }
}

/// # Panics
/// If there is no room, and none to be had in place. What was appended before stays.
impl<T> Extend<T> for Region<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        let elements = elements.into_iter();
        // As much as it says it needs, in one go, if that can be had.
        let _ = self.try_reserve(elements.size_hint().0);
        elements.for_each(|element| self.push(element));
    }
}

impl<'a, T: Copy + 'a> Extend<&'a T> for Region<T> {
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, elements: I) {
        self.extend(elements.into_iter().copied());
    }
}
