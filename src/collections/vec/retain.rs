//! Elements dropped in place because a closure says so.
//!
//! # Invariants
//! - **K1** While a [`Sieve`] lives the vector counts no element. Those before `kept` stay, those from
//!   `next` to `len` are still to be judged, and the places between are vacant.

use super::SalVec;
use crate::ptr::drop_moved::drop_element;
use core::ptr;

/// Walks over a vector and closes the gaps behind it; when dropped, early or not, it keeps what is unjudged.
struct Sieve<'v, T> {
    vec: &'v mut SalVec<T>,
    kept: usize,
    next: usize,
    len: usize,
}

impl<'v, T> Sieve<'v, T> {
    fn new(vec: &'v mut SalVec<T>) -> Self {
        let len = core::mem::take(&mut vec.len);
        Self { vec, kept: 0, next: 0, len }
    }

    /// Judges all elements. `drops` gets the last one kept, if any, and the one to judge.
    fn run(mut self, mut drops: impl FnMut(Option<&mut T>, &mut T) -> bool) {
        let base = self.vec.as_mut_ptr();
        while self.next < self.len {
            // SAFETY: by K1 the elements `kept - 1` and `next` are initialised, distinct, and counted by
            // the sieve alone.
            let (last, element) = unsafe {
                let last = self.kept.checked_sub(1).map(|last| &mut *base.add(last));
                (last, &mut *base.add(self.next))
            };
            if drops(last, element) {
                let dropped = ptr::from_mut(element);
                self.next += 1;
                // SAFETY: the sieve no longer counts the element, so a panic does not drop it again.
                unsafe { drop_element(dropped) }
            } else {
                if self.kept != self.next {
                    // SAFETY: by K1 the place `kept` is vacant; `next` is so from now on.
                    unsafe { ptr::copy_nonoverlapping(element, base.add(self.kept), 1) }
                }
                self.kept += 1;
                self.next += 1;
            }
        }
    }
}

impl<T> Drop for Sieve<'_, T> {
    fn drop(&mut self) {
        let base = self.vec.as_mut_ptr();
        let unjudged = self.len - self.next;
        // SAFETY: by K1 the places from `kept` to `next` are vacant and the unjudged elements move into them.
        unsafe { ptr::copy(base.add(self.next), base.add(self.kept), unjudged) };
        self.vec.len = self.kept + unjudged;
    }
}

impl<T> SalVec<T> {
    /// Drops the elements for which `keep` says no. The others stay in order.
    ///
    /// If `keep` panics, what it has not judged stays.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.retain_mut(|element| keep(element));
    }

    /// As [`retain`](Self::retain), but `keep` may change what it judges.
    ///
    /// ```
    /// use sal::collections::SalVec;
    ///
    /// let mut lives = SalVec::from([3, 1, 2]);
    /// lives.retain_mut(|left| {
    ///     *left -= 1;
    ///     *left > 0
    /// });
    /// assert_eq!(lives, [2, 1]);
    /// ```
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        Sieve::new(self).run(|_, element| !keep(element));
    }

    /// Drops each element that `same` says equals the one kept before it, which is its second argument.
    pub fn dedup_by(&mut self, mut same: impl FnMut(&mut T, &mut T) -> bool) {
        Sieve::new(self).run(|last, element| last.is_some_and(|last| same(element, last)));
    }

    /// Drops each element whose key equals that of the one kept before it.
    pub fn dedup_by_key<K: PartialEq>(&mut self, mut key: impl FnMut(&mut T) -> K) {
        self.dedup_by(|element, last| key(element) == key(last));
    }
}

impl<T: PartialEq> SalVec<T> {
    /// Drops each element that equals the one kept before it.
    ///
    /// ```
    /// use sal::collections::SalVec;
    ///
    /// let mut readings = SalVec::from([7, 7, 8, 8, 8, 7]);
    /// readings.dedup();
    /// assert_eq!(readings, [7, 8, 7]);
    /// ```
    pub fn dedup(&mut self) {
        self.dedup_by(|element, last| element == last);
    }
}
