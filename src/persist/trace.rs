//! What it takes to follow the pointers of a value without knowing its Rust type.

use super::{Persist, TypeDescription};
use crate::gc::trace::Program;

/// Types whose values can be followed, pointer by pointer, by whoever has only their [description](TypeDescription): recovery,
/// [`collect`](crate::SalCollect::collect), what counts the pointers to shared values after a heap was opened, and what rewrites
/// them when it is [opened elsewhere](crate::Heap::open_relocated).
///
/// Every [`Persist`] type is one, so [`derive(Persist)`](macro@Persist) derives this too; it cannot be implemented otherwise. A heap
/// file has the description of each root's type. From these it follows which words of which blocks are pointers: those of the
/// elements that a vector has, not of those that it had; those of the active variant of an enum; not those of padding. So after a
/// crash exactly what the roots own is kept, and a shared value counts exactly the pointers that there are.
///
/// That holds when each root is of a type that is known to the last part, which [`Trace::is_known`] tells: made of what this crate has
/// and of structs and enums that derive [`Persist`](trait@Persist). A [`Node::Container`](super::Node::Container) of a program's own
/// is not known. Then, or when something is found that is no value of its type, the whole heap is marked without types:
/// every aligned word that looks like a pointer counts as one. That never loses anything, but may keep what nobody has any more.
///
/// ```
/// use sal::prelude::*;
/// use sal::{HeapOptions, SalCollect, Trace};
///
/// #[derive(Persist)]
/// #[repr(C)]
/// struct Page {
///     title: SalString,
///     links: SalVec<SalRc<Page>>,
/// }
/// assert!(Page::is_known());
///
/// /// Frees what no root of the heap has any more.
/// fn tidy<T: Trace>(heap: &Heap, root: Root<T>) -> Result<u64, Box<dyn std::error::Error>> {
///     heap.read()?.root(root)?;
///     // SAFETY: no other thread uses the heap, and only roots hold anything in it that is still wanted.
///     let report = unsafe { heap.collect()? };
///     assert!(report.is_precise);
///     Ok(report.reclaimed_blocks)
/// }
///
/// const PAGES: Root<SalVec<SalRc<Page>>> = Root::new("pages");
/// let heap = HeapOptions::new().volatile()?;
/// let tx = heap.write()?;
/// let pages = tx.root_or_default(PAGES)?;
/// pages.push(heap.rc(Page { title: "home".into(), links: SalVec::new() }));
/// // The vector has room for this page still, and its address is still there.
/// std::mem::forget(pages.pop());
/// drop(tx);
/// assert_eq!(tidy(&heap, PAGES)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Trace: Persist + sealed::Sealed {
    /// Whether the type is known to the last part.
    fn is_known() -> bool
    where
        Self: Sized,
    {
        TypeDescription::of::<Self>().is_known()
    }
}

impl<T: Persist> Trace for T {}

mod sealed {
    pub trait Sealed {}
    impl<T: super::Persist> Sealed for T {}
}

impl TypeDescription {
    /// Whether the type is known to the last part, so that the pointers of its values can be followed; see
    /// [`Trace`](super::Trace).
    pub fn is_known(&self) -> bool {
        Program::default().add(0, self).is_ok()
    }
}
