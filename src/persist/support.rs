//! What the code of `#[derive(Persist)]` calls. Not for others: it may change in any version.
//!
//! The layouts of enums with a `repr` are computed by the rules of the language reference: of `repr(u8)`, each variant
//! is a `repr(C)` struct that begins with the tag; of `repr(C, u8)`, a tag is followed by a union of `repr(C)` structs.
//! The size that follows is checked against the real one.
//!
//! Fields are described through their `Persist::describe`, passed as a function, instead of through a bound: so the
//! compiler words every complaint about a field's type alike, and shows it once.

use super::{Describer, Field, Node, NodeId, Persist, Variant, build};
use std::borrow::Cow;

pub use std::vec;

/// The field `name` of type `T`, `offset` bytes from the start of a struct.
pub fn field<T: 'static>(
    describer: &mut Describer,
    name: &'static str,
    offset: usize,
    describe: fn(&mut Describer) -> Node,
) -> Field {
    Field { name: Cow::Borrowed(name), offset: offset as u64, node: describer.node_with::<T>(describe) }
}

/// Collects the fields of one variant.
pub struct VariantFields<'describer> {
    describer: &'describer mut Describer,
    /// Where the last field ends, unless only the compiler knows.
    end: Option<usize>,
    fields: Vec<Field>,
}

impl<'describer> VariantFields<'describer> {
    /// Of a variant whose fields begin at or after `start`.
    pub fn starting_at(describer: &'describer mut Describer, start: Option<usize>) -> Self {
        Self { describer, end: start, fields: Vec::new() }
    }

    /// The next field, of type `T`.
    #[must_use]
    pub fn field<T: 'static>(mut self, name: &'static str, describe: fn(&mut Describer) -> Node) -> Self {
        let offset = self.end.map(|end| end.next_multiple_of(align_of::<T>()));
        self.end = offset.map(|offset| offset + size_of::<T>());
        let offset = offset.map_or(Field::UNKNOWN_OFFSET, |offset| offset as u64);
        let node = self.describer.node_with::<T>(describe);
        self.fields.push(Field { name: Cow::Borrowed(name), offset, node });
        self
    }

    /// The variant, and where its last field ends.
    pub fn finish(self, name: &'static str, discriminant: i128) -> (Variant, usize) {
        (Variant { name: Cow::Borrowed(name), discriminant, fields: self.fields }, self.end.unwrap_or(0))
    }
}

/// An enum's node. `tag_size` is 0 if the enum has no `repr`.
///
/// # Panics
/// If the compiler's layout is not the reference's.
pub fn enumeration<T>(
    name: &'static str,
    tag_size: usize,
    build: Option<Variant>,
    variants: Vec<(Variant, usize)>,
) -> Node {
    let end = variants.iter().map(|variant| variant.1).max().unwrap_or(0);
    assert!(
        tag_size == 0 || end.next_multiple_of(align_of::<T>()) == size_of::<T>(),
        "the compiler lays out `{name}` in another way than the language reference"
    );
    Node::Enum {
        name: Cow::Borrowed(name),
        size: size_of::<T>() as u64,
        align: align_of::<T>() as u64,
        tag_size: tag_size as u64,
        variants: build.into_iter().chain(variants.into_iter().map(|variant| variant.0)).collect(),
    }
}

/// Where the fields of `repr(C, uN)` variants begin, given the alignments of them all.
pub fn payload_start(tag_size: usize, aligns: &[usize]) -> usize {
    tag_size.next_multiple_of(aligns.iter().copied().max().unwrap_or(1))
}

/// A field, without a place, that is the same in one build of the program only. `T` is the type it guards.
pub fn same_build<T: Persist>(describer: &mut Describer) -> Field {
    let describe: fn(&mut Describer) -> Node = T::describe;
    let node = build_node(describer, build::build_of(describe as *const ()));
    Field { name: Cow::Borrowed("(build)"), offset: 0, node }
}

/// [`same_build`] for enums.
pub fn same_build_variant<T: Persist>(describer: &mut Describer) -> Variant {
    Variant { name: Cow::Borrowed("(build)"), discriminant: 0, fields: vec![same_build::<T>(describer)] }
}

fn build_node(describer: &mut Describer, id: u64) -> NodeId {
    describer.add(Node::leaf::<()>(id, "build of the program"))
}
