//! What may be stored in a heap file, and how a stored layout is told apart from another.
//!
//! A heap file outlives the program that wrote it, so a type in it must mean the same in every process that opens
//! the file. [`Persist`] marks such types; [`derive(Persist)`](macro@Persist) checks the fields of your own. With each
//! root the heap stores the root's [`TypeDescription`]: the real layout of the type, of its fields and of everything
//! below, found out at run time. Before a root is handed out, the stored description is compared with that of the type
//! asked for; [`TypeDescription::difference`] names the field in which they differ. Before a value becomes a root, a
//! [`BlockVisitor`] walks it and finds blocks and handles that belong to another heap.
//!
//! # Invariants
//! - **P1** Two types whose descriptions do not differ accept each other's values: same size, alignment and offsets,
//!   and every bit pattern valid in one is valid, with the same meaning, in the other.
//! - **P2** A value of a `Persist` type holds no address but those of blocks of the heap it lives in, each in an
//!   aligned, unmodified word.
//! - **P3** What [`Persist::visit_blocks`] does not name, the value does not own; what it names, the description leads to.
//!
//! # What survives a crash
//! The encoded description of each root, as any other bytes of the heap. Nothing here is trusted when it is read
//! again: [`TypeDescription::decode`] answers damaged bytes with an error.
#![allow(unsafe_code)]

mod blocks;
mod build;
mod composite;
mod containers;
mod describer;
pub(crate) mod follow;
mod primitives;
#[doc(hidden)]
pub mod support;
mod trace;

pub use crate::schema::{DescriptionError, Field, LayoutDifference, Name, Node, NodeId, TypeDescription, Variant};
pub use blocks::{BlockVisitor, Foreign, ForeignBlock};
pub(crate) use composite::OPTION_ID;
pub use describer::Describer;
pub use trace::Trace;

/// Implements the trait [`Persist`](trait@Persist) for a struct or an enum, after checking that it may be stored.
///
/// A struct must be `#[repr(C)]` or `#[repr(transparent)]`, an enum `#[repr(u8)]` (or another integer) or
/// `#[repr(C, u8)]`: a layout that the language promises is one that another compiler can read. Every field must be
/// `Persist`; type parameters get that bound. The type is [`Trace`], too. Unions, `repr(packed)` and lifetime parameters are refused.
///
/// `#[persist(same_build)]` on the type lifts the demand for a `repr`, at the price that only the very same build of
/// the program can read the value again: the description then holds the build id of the executable (or library) the
/// type was compiled into, and without a build id, a hash of the executable file. `#[persist(crate = "path")]` says
/// where this crate is found if not at `::sal`.
///
/// ```
/// use sal::{Persist, persist::TypeDescription};
///
/// #[derive(Persist)]
/// #[repr(C)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
///
/// #[derive(Persist)]
/// #[repr(u8)]
/// enum Shape {
///     Empty,
///     Circle { centre: Point, radius: f64 },
/// }
///
/// let shape = TypeDescription::of::<Shape>();
/// let point = TypeDescription::of::<Point>();
/// assert!(shape.difference(&shape).is_none());
/// assert!(shape.difference(&point).is_some());
/// # let _ = (Shape::Empty, Shape::Circle { centre: Point { x: 0.0, y: 0.0 }, radius: 1.0 });
/// ```
///
/// A type whose layout is the compiler's choice is refused:
///
/// ```compile_fail
/// #[derive(sal::Persist)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
/// ```
pub use sal_derive::Persist;

/// A type whose values stay valid in another process that maps the same heap.
///
/// Derive it, see [`derive(Persist)`](macro@Persist). It holds for numbers, `bool`, `char`, arrays, tuples, `NonZero`,
/// [`SalAlloc`](crate::SalAlloc), [`SalRc`](crate::SalRc), [`SalBox`](crate::SalBox) and [`Offset`](crate::Offset), `Option`s of these
/// three and of `NonZero`, the containers of [`sal::collections`](crate::collections), and
/// `Vec` and `Box` of `allocator_api2` with a [`SalAlloc`](crate::SalAlloc).
///
/// It does not hold for what points out of the heap or means something to one process only: references, raw and
/// function pointers, trait objects, containers of the global allocator, `Rc`, `Arc`, `Mutex`, files, channels. Nor for
/// cells and atomics, which would let a shared reference change bytes while a sync reads them. Nor for `Option`s other
/// than those whose layout the language guarantees: write an enum with a `repr` instead.
///
/// # Safety
/// The implementor promises **P1** to **P3** of the [module](self):
///
/// - A value holds no reference, no function pointer, no address but those of blocks of the heap it lives in, and no
///   number that only this process can make sense of. Addresses are kept in aligned words and not disguised.
/// - A shared reference does not let its bytes change.
/// - [`describe`](Persist::describe) is a function of the type alone. It tells the true layout, and asks
///   [`Describer::node_of`] for every type of which a value may hold or own another value. Its own part of the
///   description (the hand-assigned id, above all) is shared with no type that has other valid values.
/// - What is described as a struct, an enum or an array owns what its fields own, and nothing else. What owns blocks by words of its
///   own is a [`Node::Container`] with an id of its own; what has a handle is described with a [`SalAlloc`](crate::SalAlloc) in its
///   place, or is such a container. Recovery follows pointers by descriptions ([`Trace`]), and frees what they do not lead to.
/// - [`visit_blocks`](Persist::visit_blocks) names every block the value owns and every handle in it, with its true
///   layout, and visits every `Persist` value within it and within those blocks. It does not panic.
/// - In a [`Mode::Shared`](crate::Mode) heap a `Drop` of its own writes to no block that the value owns, and lets none outlive it, nor does
///   it write to the value itself in a `Vec` or `Box` of `allocator_api2`, which drop elements where they lie: a kill may bring back
///   what was dropped.
/// - [`OWNS_BLOCKS`](Persist::OWNS_BLOCKS) is false only if `visit_blocks` never names anything.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a heap file",
    label = "not valid in another process, or not known to be",
    note = "what can be: types with `#[derive(sal::Persist)]`, numbers, arrays, tuples, and the containers of `sal::collections` (`SalVec`, `SalString`, `SalHashMap`, ...)",
    note = "what cannot: references, raw and function pointers, trait objects, cells, atomics, locks, `Rc`, `Arc`, and containers of the global allocator; instead of `Option` use an enum with `#[repr(u8)]`"
)]
pub unsafe trait Persist: Send + Sync + 'static {
    /// Whether values of the type can own blocks or hold handles of a heap; if false, containers skip their elements
    /// when they are visited.
    const OWNS_BLOCKS: bool;

    /// The type's node in a description. The types of fields and parameters are asked for with
    /// [`Describer::node_of`], which knows what it has met already, so recursive types end.
    fn describe(describer: &mut Describer) -> Node;

    /// Names every block this value owns directly and every heap handle inside it, then does the same for what it
    /// contains.
    ///
    /// The stack this needs grows with the nesting of the *value*: a list of a million boxes, each in the one before,
    /// is a million calls deep, as its `Drop` is. Elements of one `Vec` are visited in a loop.
    fn visit_blocks(&self, visitor: &mut BlockVisitor<'_>);
}
