//! The parts a description is made of.
//!
//! A description is a table of nodes that name each other by index, not a tree of boxes: recursive types are cycles in
//! the table, and nothing that walks it needs recursion. All sizes, alignments and offsets are in bytes.

use std::borrow::Cow;

/// A name in a description: a literal in the program, or text read from a heap.
pub type Name = Cow<'static, str>;

/// The place of a node in its description's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The index in [`TypeDescription::nodes`](super::TypeDescription::nodes).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One type in a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A type without parts. What its bytes mean, and which bit patterns are valid, is all in the id. This crate's own lead
    /// nowhere; an aligned word of another one is followed if it looks like an address, and a root that has such a word is
    /// refused in a [relocated](crate::Heap::open_relocated) heap. It holds no handle of a heap.
    Leaf {
        /// Assigned by hand, one for each meaning. Below 2^32 is this crate's; for your own pick a random one above,
        /// below 2^63.
        id: u64,
        /// For messages; not compared.
        name: Name,
        /// Bytes.
        size: u64,
        /// Bytes.
        align: u64,
    },
    /// Fields side by side.
    Struct {
        /// The path of the type; only its last segment is compared.
        name: Name,
        /// Bytes.
        size: u64,
        /// Bytes.
        align: u64,
        /// In the order of their declaration.
        fields: Vec<Field>,
    },
    /// One of several variants, told apart by an integer at offset 0.
    Enum {
        /// The path of the type; only its last segment is compared.
        name: Name,
        /// Bytes.
        size: u64,
        /// Bytes.
        align: u64,
        /// Bytes of the discriminant, 0 where the compiler chose an encoding that nothing promises.
        tag_size: u64,
        /// In the order of their declaration.
        variants: Vec<Variant>,
    },
    /// Elements one after the other.
    Array {
        /// How many.
        len: u64,
        /// Their type.
        element: NodeId,
    },
    /// A container. Its fields are private: an id and a version stand for them.
    Container {
        /// Assigned by hand as for [`Node::Leaf`], in a number space of its own.
        id: u64,
        /// For messages; not compared.
        name: Name,
        /// Bytes.
        size: u64,
        /// Bytes.
        align: u64,
        /// Counts up whenever the container's layout, or that of its blocks, changes.
        layout_version: u32,
        /// The types of its parameters. In messages one is called the element; of several the first is the key and
        /// the second the value.
        parameters: Vec<NodeId>,
        /// What was measured on this very instantiation; empty where the language promises the layout.
        probe: Vec<u64>,
    },
}

/// A field of a struct or of a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The identifier, or the number of a field in a tuple.
    pub name: Name,
    /// Bytes from the start of the struct or of the enum, or [`Field::UNKNOWN_OFFSET`].
    pub offset: u64,
    /// The field's type.
    pub node: NodeId,
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The identifier.
    pub name: Name,
    /// The integer that tells it from the others.
    pub discriminant: i128,
    /// In the order of their declaration.
    pub fields: Vec<Field>,
}

impl Field {
    /// The offset of a field whose place only the compiler knows (in an enum without a `repr`).
    pub const UNKNOWN_OFFSET: u64 = u64::MAX;
}

impl Node {
    /// A leaf with the size and alignment of `T`.
    pub fn leaf<T>(id: u64, name: &'static str) -> Self {
        Self::Leaf { id, name: Cow::Borrowed(name), size: size_of::<T>() as u64, align: align_of::<T>() as u64 }
    }

    /// A struct with the size and alignment of `T`.
    pub fn structure<T>(name: &'static str, fields: Vec<Field>) -> Self {
        Self::Struct { name: Cow::Borrowed(name), size: size_of::<T>() as u64, align: align_of::<T>() as u64, fields }
    }

    /// A container with the size and alignment of `T` whose layout the language promises (`repr(C)`).
    pub fn container<T>(id: u64, name: &'static str, layout_version: u32, parameters: Vec<NodeId>) -> Self {
        Self::Container {
            id,
            name: Cow::Borrowed(name),
            size: size_of::<T>() as u64,
            align: align_of::<T>() as u64,
            layout_version,
            parameters,
            probe: Vec::new(),
        }
    }
}
