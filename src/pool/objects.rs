//! All objects of a pool.
#![allow(unsafe_code)]

use super::chunk::Chunk;
use super::{Gc, Pool};
use crate::persist::Trace;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;

/// The objects of a pool, in the order of their addresses; from [`Pool::objects`].
pub struct Objects<'p, T> {
    /// Those that are still to come, the last one first.
    chunks: Vec<Chunk>,
    word: usize,
    /// Slots of that word of the last chunk.
    taken: u64,
    left: usize,
    of: PhantomData<&'p T>,
}

impl<T: Trace> Pool<T> {
    /// All objects, those included that nothing leads to and that have not been collected yet.
    ///
    /// ```
    /// use sal::Pool;
    ///
    /// let mut pool = Pool::new();
    /// let [one, two] = [1_u64, 2].map(|number| pool.insert(number));
    /// assert!(pool.objects().eq([(one, &1), (two, &2)]));
    /// ```
    pub fn objects(&self) -> Objects<'_, T> {
        let mut chunks: Vec<Chunk> = self.control().map_or_else(Vec::new, |control| control.chunks().collect());
        chunks.sort_unstable_by_key(|chunk| core::cmp::Reverse(chunk.address()));
        // SAFETY: K1.
        let taken = chunks.last().map_or(0, |chunk| unsafe { *chunk.taken(0) });
        Objects { chunks, word: 0, taken, left: self.len(), of: PhantomData }
    }
}

impl<'p, T: Trace> Iterator for Objects<'p, T> {
    type Item = (Gc<T>, &'p T);

    fn next(&mut self) -> Option<Self::Item> {
        let geometry = &Pool::<T>::KIND.geometry;
        loop {
            let chunk = *self.chunks.last()?;
            if self.taken != 0 {
                let slot = self.word * 64 + self.taken.trailing_zeros() as usize;
                self.taken &= self.taken - 1;
                self.left -= 1;
                // SAFETY: the slot is taken, so a `T` lies there (C2, L3), and the pool is borrowed.
                unsafe {
                    let object = chunk.slot(geometry, slot).cast::<T>();
                    return Some((Gc::new(object), object.as_ref()));
                }
            }
            self.word += 1;
            if self.word == geometry.words {
                self.chunks.pop();
                self.word = 0;
            }
            // SAFETY: K1; a word of the geometry.
            self.taken = self.chunks.last().map_or(0, |chunk| unsafe { *chunk.taken(self.word) });
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Trace> ExactSizeIterator for Objects<'_, T> {}
impl<T: Trace> FusedIterator for Objects<'_, T> {}

impl<T> fmt::Debug for Objects<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("left", &self.left).finish_non_exhaustive()
    }
}
