//! What may be moved while it is read.

use super::{Handle, WeakHandle};
use crate::ptr::target::Target;
use crate::{Offset, SalAlloc, SalBox, SalRc, SalWeak};
use core::marker::PhantomData;

/// Types whose values may be moved to another place while somebody reads them: while there are two copies, both mean the same.
///
/// Derive it with [`derive(Movable)`](macro@Movable), which checks the fields. It holds for numbers, text, arrays, tuples, for containers and
/// pointers that own what they lead to, and for [`Handle`](super::Handle).
///
/// # Safety
/// - A value's own bytes never change behind a shared reference: it has no cell, no atomic and no lock in it. Behind a pointer that it
///   has there may be some: both copies lead there.
/// - A value does not say where it lies: it holds no address of itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be moved while it is read",
    label = "has cells in it, or is not known to have none",
    note = "what can be: types with `#[derive(sal::Movable)]`, numbers, arrays, tuples, and containers that own what they lead to"
)]
pub unsafe trait Movable: Send + Sync + 'static {
    /// Looks at the parts of a value, when it is compiled.
    #[doc(hidden)]
    const CHECK: () = ();
}

/// Implements the trait [`Movable`](trait@Movable) for a struct or an enum, all of whose fields are `Movable`; type parameters get that bound.
///
/// ```
/// use sal::{Handle, Movable};
///
/// #[derive(Movable)]
/// struct Page {
///     title: String,
///     next: Option<Handle<Page>>,
/// }
/// let page = Handle::new(Page { title: "home".into(), next: None });
/// # let _ = page;
/// ```
///
/// What changes behind a shared reference is refused:
///
/// ```compile_fail
/// #[derive(sal::Movable)]
/// struct Counted {
///     hits: std::sync::atomic::AtomicU64,
/// }
/// ```
pub use sal_derive::Movable;

macro_rules! movable {
    ($($of:ty),* $(,)?) => {
        $(
            // SAFETY: plain data, or a pointer that owns what it leads to.
            unsafe impl Movable for $of {}
        )*
    };
}

movable! {
    (), bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64,
    core::num::NonZeroU8, core::num::NonZeroU16, core::num::NonZeroU32, core::num::NonZeroU64, core::num::NonZeroU128,
    core::num::NonZeroUsize, core::num::NonZeroI8, core::num::NonZeroI16, core::num::NonZeroI32, core::num::NonZeroI64,
    core::num::NonZeroI128, core::num::NonZeroIsize, core::time::Duration, &'static str, str, String, crate::SalAlloc,
}

macro_rules! movable_pointers {
    ($($of:ty),* $(,)?) => {
        $(
            // SAFETY: pointers and lengths; what they lead to is not moved with them.
            unsafe impl<T: ?Sized + Send + Sync + Target> Movable for $of {}
        )*
    };
}

movable_pointers! { Box<T>, std::sync::Arc<T>, SalRc<T>, SalWeak<T>, SalBox<T>, Handle<T>, WeakHandle<T>, PhantomData<T> }

// SAFETY: as above.
unsafe impl<T: Send + Sync + 'static> Movable for Vec<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync + 'static> Movable for allocator_api2::vec::Vec<T, SalAlloc> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync + 'static> Movable for allocator_api2::boxed::Box<T, SalAlloc> {}
// SAFETY: a number.
unsafe impl<T: Send + Sync + 'static> Movable for Offset<T> {}

// SAFETY: its parts are.
unsafe impl<T: Movable> Movable for Option<T> {
    const CHECK: () = T::CHECK;
}

// SAFETY: as above.
unsafe impl<T: Movable> Movable for [T] {
    const CHECK: () = T::CHECK;
}

// SAFETY: as above.
unsafe impl<T: Movable, const N: usize> Movable for [T; N] {
    const CHECK: () = T::CHECK;
}

macro_rules! movable_tuples {
    ($(($($part:ident),+)),* $(,)?) => {
        $(
            // SAFETY: as above.
            unsafe impl<$($part: Movable),+> Movable for ($($part,)+) {
                const CHECK: () = { $(let () = $part::CHECK;)+ };
            }
        )*
    };
}

movable_tuples! { (A), (A, B), (A, B, C), (A, B, C, D), (A, B, C, D, E), (A, B, C, D, E, F), (A, B, C, D, E, F, G), (A, B, C, D, E, F, G, H) }
