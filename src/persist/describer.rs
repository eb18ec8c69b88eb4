//! The walk over types that fills a table of nodes.
//!
//! # Invariants
//! - **D1** A type in `visited` has its place in `nodes`, and no two types have the same.
//! - **D2** A place is empty only while its type's `describe` runs; when the outermost `node_of` returns, none is.

use super::{Field, Node, NodeId, Persist, TypeDescription};
use core::any::TypeId;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Collects the nodes of a type and of all types below it, each once.
///
/// ```
/// use sal::persist::{BlockVisitor, Describer, Field, Node, Persist};
///
/// /// Seconds since 1970.
/// #[repr(transparent)]
/// struct Time(i64);
///
/// // SAFETY: an `i64` and nothing else; the description names it as its only field, at its true offset.
/// unsafe impl Persist for Time {
///     const OWNS_BLOCKS: bool = false;
///     fn describe(describer: &mut Describer) -> Node {
///         Node::structure::<Self>("Time", vec![Field::of::<i64>(describer, "0", 0)])
///     }
///     fn visit_blocks(&self, _: &mut BlockVisitor<'_>) {}
/// }
/// # let _ = Time(0).0;
/// ```
#[derive(Debug, Default)]
pub struct Describer {
    visited: BTreeMap<TypeId, NodeId>,
    nodes: Vec<Option<Node>>,
}

impl Describer {
    /// The node of `T`, described now if it has not been before.
    ///
    /// # Panics
    /// With more than 2^32 types, or if a `describe` of an implementor panics.
    pub fn node_of<T: Persist>(&mut self) -> NodeId {
        self.node_with::<T>(T::describe)
    }

    /// [`Describer::node_of`] for a `T` whose `Persist::describe` is `describe`.
    pub(super) fn node_with<T: 'static>(&mut self, describe: fn(&mut Describer) -> Node) -> NodeId {
        if let Some(&known) = self.visited.get(&TypeId::of::<T>()) {
            return known;
        }
        let id = self.reserve();
        self.visited.insert(TypeId::of::<T>(), id);
        let node = describe(self);
        self.nodes[id.index()] = Some(node);
        id
    }

    /// A node that is no type of its own.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        let id = self.reserve();
        self.nodes[id.index()] = Some(node);
        id
    }

    fn reserve(&mut self) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a type has fewer than 2^32 parts"));
        self.nodes.push(None);
        id
    }

    /// The table, once the outermost `node_of` has returned.
    pub(super) fn into_nodes(self) -> Vec<Node> {
        let count = self.nodes.len();
        let nodes: Vec<Node> = self.nodes.into_iter().flatten().collect();
        assert_eq!(nodes.len(), count, "a node is still being described");
        nodes
    }
}

impl TypeDescription {
    /// Describes `T`. Nothing is cached: keep the result if you need it often.
    pub fn of<T: Persist>() -> Self {
        let mut describer = Describer::default();
        let root = describer.node_of::<T>();
        // T1: every id was handed out by this describer, which has filled the place of each.
        Self::of_nodes(describer.into_nodes(), root)
    }
}

impl Field {
    /// The field `name` of type `T`, `offset` bytes from the start.
    pub fn of<T: Persist>(describer: &mut Describer, name: &'static str, offset: usize) -> Self {
        Self { name: Cow::Borrowed(name), offset: offset as u64, node: describer.node_of::<T>() }
    }
}
