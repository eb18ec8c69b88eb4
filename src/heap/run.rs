//! Runs of whole pages for whoever wants a block of its own, however small: it never shares a slab, so it can grow where
//! the pages behind it are free.

use super::allocate;
use super::handle::SalAlloc;
use core::alloc::Layout;
use core::ptr::NonNull;

impl SalAlloc {
    /// Takes a run for `layout`, whose size is not zero.
    pub(crate) fn take_run(self, layout: Layout, zeroed: bool) -> Option<NonNull<u8>> {
        debug_assert!(layout.size() > 0);
        NonNull::new(allocate::allocate_run(self.place(), layout, zeroed))
    }

    /// Gives a run back; if the heap is closed, it stays.
    ///
    /// # Safety
    /// `run` came from [`SalAlloc::take_run`] of this handle with `layout`, or was resized to it since, and nobody uses it
    /// any more.
    pub(crate) unsafe fn give_run(self, run: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { allocate::free_run(self.place(), run.as_ptr(), layout) }
    }

    /// Makes a run fit another size without moving it; false if it must stay as it is.
    ///
    /// # Safety
    /// As for [`SalAlloc::give_run`], but that the run stays in use; `new` has the same alignment, and its size is not zero.
    pub(crate) unsafe fn resize_run(self, run: NonNull<u8>, old: Layout, new: Layout) -> bool {
        // SAFETY: the caller's promise.
        unsafe { allocate::resize_run(self.place(), run.as_ptr(), old, new) }
    }
}

#[cfg(test)]
mod tests {
    use crate::HeapOptions;
    use core::alloc::Layout;

    #[test]
    fn a_run_of_one_page_stands_alone_and_grows_in_place() {
        let heap = HeapOptions::new().capacity(64 << 20).volatile().unwrap();
        let handle = heap.alloc();
        let [page, more] = [4096, 3 << 20].map(|size| Layout::from_size_align(size, 4096).unwrap());
        let run = handle.take_run(page, true).unwrap();
        assert_eq!((heap.stats().large_objects, heap.stats().large_bytes), (1, 4096));
        // SAFETY: our own run, resized and given back with its layouts.
        unsafe {
            assert!(handle.resize_run(run, page, more));
            run.write_bytes(7, 3 << 20);
            assert_eq!(heap.stats().large_bytes, 3 << 20);
            assert!(handle.resize_run(run, more, page));
            handle.give_run(run, page);
        }
        assert_eq!((heap.stats().large_objects, heap.stats().large_bytes), (0, 0));
    }
}
