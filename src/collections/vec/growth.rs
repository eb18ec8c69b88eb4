//! How a vector gets a block, a larger one and a smaller one.
//!
//! Pushing doubles the capacity, so that `n` pushes move fewer than `2n` elements. Whatever a heap serves
//! beyond the bytes asked for counts as capacity too.

use super::{SalVec, TryReserveError, or_raise, raw_block};
use core::alloc::Layout;
use core::ptr::{self, NonNull};

impl<T> SalVec<T> {
    /// The capacity of a first block: small blocks cost more to manage than they hold.
    const FIRST_CAPACITY: usize = match size_of::<T>() {
        1 => 8,
        0..=1024 => 4,
        _ => 1,
    };

    /// Makes room for at least `additional` more elements, and for some to spare.
    ///
    /// # Panics
    /// If the capacity overflows, or the vector lies in one heap and its block in another.
    #[inline]
    #[track_caller]
    pub fn reserve(&mut self, additional: usize) {
        or_raise(self.try_reserve(additional));
    }

    /// As [`reserve`](Self::reserve), but reports failure.
    ///
    /// ```
    /// use sal::collections::{SalVec, TryReserveError};
    ///
    /// # fn main() -> Result<(), TryReserveError> {
    /// let mut bytes: SalVec<u8> = SalVec::new();
    /// bytes.try_reserve(100)?;
    /// assert!(bytes.capacity() >= 100);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the capacity overflows, the heap cannot serve the block, or the vector lies in one heap and its
    /// block in another.
    #[inline]
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), TryReserveError> {
        if additional <= self.capacity() - self.len {
            return Ok(());
        }
        self.grow_slow(additional)
    }

    /// Makes room for at least `additional` more elements, and for no more than the heap gives anyway.
    ///
    /// # Panics
    /// As [`reserve`](Self::reserve).
    #[inline]
    #[track_caller]
    pub fn reserve_exact(&mut self, additional: usize) {
        or_raise(self.try_reserve_exact(additional));
    }

    /// As [`reserve_exact`](Self::reserve_exact), but reports failure.
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_reserve_exact(&mut self, additional: usize) -> Result<(), TryReserveError> {
        if additional <= self.capacity() - self.len {
            return Ok(());
        }
        let wanted = self.len.checked_add(additional).ok_or(TryReserveError::CapacityOverflow)?;
        self.grow_to(wanted)
    }

    /// Gives back what is not needed to hold the elements; a vector without any gives back its block.
    ///
    /// The heap may not be able to: then the capacity stays as it is.
    ///
    /// ```
    /// use sal::collections::SalVec;
    ///
    /// let mut words: SalVec<u64> = SalVec::with_capacity(1000);
    /// words.shrink_to_fit();
    /// assert_eq!(words.capacity(), 0);
    /// ```
    #[inline]
    pub fn shrink_to_fit(&mut self) {
        self.shrink_to(0);
    }

    /// As [`shrink_to_fit`](Self::shrink_to_fit), but keeps room for at least `min_capacity` elements.
    pub fn shrink_to(&mut self, min_capacity: usize) {
        let wanted = self.len.max(min_capacity);
        if wanted >= self.capacity {
            return;
        }
        let Some(block) = self.block else { return };
        if wanted == 0 {
            self.free_block();
            return;
        }
        let old = self.layout();
        let Ok(new) = Layout::array::<T>(wanted) else {
            return;
        };
        // SAFETY: by V1 the block is in use and `old` fits it; `wanted` lies between 0 and the capacity.
        if let Ok(bytes) = unsafe { raw_block::shrink(block.cast(), old, new) } {
            self.adopt(bytes);
        }
    }

    /// Room for `additional` more elements where there is none, at least doubling the capacity.
    #[cold]
    pub(super) fn grow_slow(&mut self, additional: usize) -> Result<(), TryReserveError> {
        let wanted = self.len.checked_add(additional).ok_or(TryReserveError::CapacityOverflow)?;
        self.grow_to(wanted.max(self.capacity.saturating_mul(2)).max(Self::FIRST_CAPACITY))
    }

    /// A block for `capacity` elements, which is more than there is room for.
    fn grow_to(&mut self, capacity: usize) -> Result<(), TryReserveError> {
        if size_of::<T>() == 0 {
            // There was room for `usize::MAX`.
            return Err(TryReserveError::CapacityOverflow);
        }
        let new = Layout::array::<T>(capacity).map_err(|_| TryReserveError::CapacityOverflow)?;
        let place = ptr::from_ref(self).addr();
        let bytes = match self.block {
            None => raw_block::allocate_for(place, new)?,
            // SAFETY: by V1 the block is in use and `layout` fits it; `capacity` is larger than what it has.
            Some(block) => unsafe { raw_block::grow(place, block.cast(), self.layout(), new)? },
        };
        self.adopt(bytes);
        Ok(())
    }

    /// Makes `bytes`, which `raw_block` served for this vector, its block, the excess included.
    fn adopt(&mut self, bytes: NonNull<[u8]>) {
        self.block = Some(bytes.cast());
        self.capacity = bytes.len() / size_of::<T>();
        if cfg!(debug_assertions) {
            self.check();
        }
    }
}
