//! Changing a value that pointers share.

use super::super::target::{CloneTarget, Target};
use super::{SalRc, weak_table};
use crate::heap::counted;
use allocator_api2::alloc::AllocError;
use std::alloc::handle_alloc_error;

impl<T: ?Sized + Target> SalRc<T> {
    /// The value, to be changed, if there is no other pointer to it, weak ones included, and no sync has sealed it
    /// ([`SealPolicy`](crate::SealPolicy)).
    ///
    /// ```
    /// use sal::SalRc;
    /// let mut seven = SalRc::new(7);
    /// *SalRc::get_mut(&mut seven).expect("nobody else has it") += 1;
    /// let other = seven.clone();
    /// assert_eq!((*other, SalRc::get_mut(&mut seven)), (8, None));
    /// ```
    #[inline]
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        if this.is_only() {
            // SAFETY: nobody else has a pointer, and this one is borrowed (S2).
            Some(unsafe { this.pointer.value().as_mut() })
        } else {
            None
        }
    }

    /// As [`SalRc::get_mut`], sealed or not: for who has made the value, or found that it may be changed, just now. A sync that
    /// has sealed it meanwhile reaches it by no root, or would have waited.
    #[inline]
    pub(crate) fn alone_mut(this: &mut Self) -> Option<&mut T> {
        if this.is_alone() {
            // SAFETY: as in `get_mut`.
            Some(unsafe { this.pointer.value().as_mut() })
        } else {
            None
        }
    }

    /// Whether the value may be changed in place: this is the only pointer, weak ones included, and the value is not sealed. False
    /// while pointers are being counted after a crash.
    #[inline(always)]
    pub(super) fn is_only(&mut self) -> bool {
        // Whether it is sealed last: whoever has the only pointer by then gives it to nobody that could be waited for.
        self.pointer.count().is_only() || (self.has_lost_weak() && !self.pointer.count().is_sealed())
    }

    /// Whether this is the only pointer, weak ones included; the value may be sealed.
    #[inline(always)]
    pub(in crate::ptr) fn is_alone(&mut self) -> bool {
        self.pointer.count().is_alone() || self.has_lost_weak()
    }

    /// Whether the value owns what must stay as it is, because the heap's last commit leads to it: then it is not moved out.
    #[inline]
    pub(in crate::ptr) fn is_withheld(&self) -> bool {
        let block = self.pointer.block();
        // SAFETY: the pointer's own block, and the layout that it was made with.
        T::NEEDS_DROP && unsafe { counted::is_withheld(block, T::layout_of(block)) }
    }

    /// Whether it is the only pointer but for weak ones that are gone.
    #[cold]
    #[inline(never)]
    fn has_lost_weak(&mut self) -> bool {
        let count = self.pointer.count();
        if !count.is_only_strong() {
            return false;
        }
        // While there are none and nobody can enter one, nobody can get a pointer but from this one.
        let is_only = weak_table::if_none(self.pointer.block().addr().get(), || {
            let is_only = count.is_only_strong();
            if is_only {
                count.forget_weak();
            }
            is_only
        });
        is_only == Some(true)
    }
}

impl<T: ?Sized + CloneTarget> SalRc<T> {
    /// The value, to be changed: in place if there is no other pointer to it and no sync has sealed it
    /// ([`SealPolicy`](crate::SealPolicy)), else a copy that this pointer leads to from now on, in the same heap. While pointers are
    /// being counted after a crash, values of before are copied.
    ///
    /// What other pointers lead to stays as it is. A heap without room for the copy, or one that is closed or only read, is a call of
    /// [`handle_alloc_error`]; see [`SalRc::try_make_mut`].
    ///
    /// ```
    /// use sal::SalRc;
    /// let mut text: SalRc<str> = "heap".into();
    /// let old = text.clone();
    /// SalRc::make_mut(&mut text).make_ascii_uppercase();
    /// assert_eq!((&*text, &*old), ("HEAP", "heap"));
    /// ```
    #[inline]
    pub fn make_mut(this: &mut Self) -> &mut T {
        if !this.is_only() && this.make_own().is_err() {
            handle_alloc_error((**this).block_layout());
        }
        // SAFETY: nobody else has a pointer, and this one is borrowed (S2).
        unsafe { this.pointer.value().as_mut() }
    }

    /// As [`SalRc::make_mut`].
    ///
    /// # Errors
    /// If a copy is needed and the heap is full, closed, or only read. The pointer leads where it did, then. What the value's own
    /// `Clone` does without memory is another matter.
    #[inline]
    pub fn try_make_mut(this: &mut Self) -> Result<&mut T, AllocError> {
        if !this.is_only() {
            this.make_own()?;
        }
        // SAFETY: as in `make_mut`.
        Ok(unsafe { this.pointer.value().as_mut() })
    }

    /// Makes a copy that this pointer leads to.
    #[cold]
    #[inline(never)]
    fn make_own(&mut self) -> Result<(), AllocError> {
        *self = (**self).copy_to(Self::heap(self)).ok_or(AllocError)?;
        Ok(())
    }
}

impl<T: Clone + 'static> SalRc<T> {
    /// The value itself if this is the only pointer to it, else a copy.
    pub fn unwrap_or_clone(this: Self) -> T {
        Self::try_unwrap(this).unwrap_or_else(|this| (*this).clone())
    }
}
