//! Descriptions as bytes.
//!
//! ```text
//! description  version (1 byte, 1)  root (number)  count (number)  count * node
//! node         kind (1 byte), then
//!   0 leaf       id (8 bytes)  name  size  align
//!   1 struct     name  size  align  fields
//!   2 enum       name  size  align  tag size  count  count * (name  discriminant  fields)
//!   3 array      len  element
//!   4 container  id (8 bytes)  name  size  align  layout version  count  count * node number  count  count * word
//! fields       count  count * (name  offset  node number)
//! name         length in bytes, UTF-8 without control characters
//! number       7 bits a byte, least first, the high bit set on all but the last; the shortest form only
//! ```
//! A discriminant is a number after its sign was moved to bit 0. Ids are little-endian. One description has exactly one
//! encoding, and an encoding one description.
//!
//! The bytes come from a file, so the decoder believes none: every count is met by bytes that are there before
//! memory is taken for it, the table is flat so that nothing recurses, and indices are checked before the table is
//! handed out (T1).

use super::{Field, Name, Node, NodeId, TypeDescription, Variant};
use core::fmt;

const VERSION: u8 = 1;

const LEAF: u8 = 0;
const STRUCT: u8 = 1;
const ENUM: u8 = 2;
const ARRAY: u8 = 3;
const CONTAINER: u8 = 4;

/// Why bytes are no [`TypeDescription`]. `at` is the offset of the byte that decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptionError {
    /// The bytes end before the description does.
    #[non_exhaustive]
    Truncated {
        /// How many bytes there are.
        at: usize,
    },
    /// A later version of this crate wrote them.
    #[non_exhaustive]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// A node of a kind that does not exist.
    #[non_exhaustive]
    UnknownKind {
        /// The kind found.
        kind: u8,
        /// Its offset.
        at: usize,
    },
    /// A number that is too large for its place or not in its shortest form.
    #[non_exhaustive]
    BadNumber {
        /// Its offset.
        at: usize,
    },
    /// A name that is not UTF-8 or has control characters in it.
    #[non_exhaustive]
    BadName {
        /// Its offset.
        at: usize,
    },
    /// An alignment that is no power of two, or a size that is no multiple of it.
    #[non_exhaustive]
    BadLayout {
        /// The offset of what follows it.
        at: usize,
    },
    /// A node number outside the table.
    #[non_exhaustive]
    NodeOutOfRange {
        /// The number found.
        node: u32,
        /// How many nodes there are.
        count: usize,
    },
    /// Bytes are left after the last node.
    #[non_exhaustive]
    TrailingBytes {
        /// The offset of the first.
        at: usize,
    },
}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("type description is damaged: ")?;
        match self {
            Self::Truncated { at } => write!(f, "it ends after {at} bytes"),
            Self::UnknownVersion { version } => write!(f, "it has the unknown version {version}"),
            Self::UnknownKind { kind, at } => write!(f, "unknown kind of node {kind} at byte {at}"),
            Self::BadNumber { at } => write!(f, "bad number at byte {at}"),
            Self::BadName { at } => write!(f, "bad name at byte {at}"),
            Self::BadLayout { at } => write!(f, "impossible size or alignment before byte {at}"),
            Self::NodeOutOfRange { node, count } => write!(f, "node {node} of {count}"),
            Self::TrailingBytes { at } => write!(f, "it should have ended at byte {at}"),
        }
    }
}

impl core::error::Error for DescriptionError {}

impl TypeDescription {
    /// The description as bytes, see [`TypeDescription::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        number(&mut out, self.root.0);
        number(&mut out, self.nodes.len() as u64);
        for node in &self.nodes {
            encode_node(&mut out, node);
        }
        out
    }

    /// Reads what [`TypeDescription::encode`] wrote. Takes time and memory in proportion to `bytes`, whatever is in
    /// them.
    ///
    /// # Errors
    /// If the bytes are not exactly one description.
    pub fn decode(bytes: &[u8]) -> Result<Self, DescriptionError> {
        let mut input = Input { bytes, at: 0, max_node: 0 };
        match input.byte()? {
            VERSION => {}
            version => return Err(DescriptionError::UnknownVersion { version }),
        }
        let root = input.node_id()?;
        let count = input.number()?;
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(input.node()?);
        }
        if input.at != bytes.len() {
            return Err(DescriptionError::TrailingBytes { at: input.at });
        }
        // This is what makes T1 true: no id in the table is above `max_node`.
        if input.max_node as usize >= nodes.len() {
            return Err(DescriptionError::NodeOutOfRange { node: input.max_node, count: nodes.len() });
        }
        Ok(Self { nodes, root })
    }
}

fn encode_node(out: &mut Vec<u8>, node: &Node) {
    match node {
        Node::Leaf { id, name, size, align } => {
            out.push(LEAF);
            out.extend(id.to_le_bytes());
            heading(out, name, *size, *align);
        }
        Node::Struct { name, size, align, fields } => {
            out.push(STRUCT);
            heading(out, name, *size, *align);
            encode_fields(out, fields);
        }
        Node::Enum { name, size, align, tag_size, variants } => {
            out.push(ENUM);
            heading(out, name, *size, *align);
            number(out, *tag_size);
            number(out, variants.len() as u64);
            for variant in variants {
                text(out, &variant.name);
                let signed = variant.discriminant;
                number(out, ((signed << 1) ^ (signed >> 127)) as u128);
                encode_fields(out, &variant.fields);
            }
        }
        Node::Array { len, element } => {
            out.push(ARRAY);
            number(out, *len);
            number(out, element.0);
        }
        Node::Container { id, name, size, align, layout_version, parameters, probe } => {
            out.push(CONTAINER);
            out.extend(id.to_le_bytes());
            heading(out, name, *size, *align);
            number(out, *layout_version);
            number(out, parameters.len() as u64);
            for parameter in parameters {
                number(out, parameter.0);
            }
            number(out, probe.len() as u64);
            for word in probe {
                number(out, *word);
            }
        }
    }
}

fn encode_fields(out: &mut Vec<u8>, fields: &[Field]) {
    number(out, fields.len() as u64);
    for field in fields {
        text(out, &field.name);
        number(out, field.offset);
        number(out, field.node.0);
    }
}

fn heading(out: &mut Vec<u8>, name: &str, size: u64, align: u64) {
    text(out, name);
    number(out, size);
    number(out, align);
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as u64);
    out.extend(text.bytes());
}

fn number(out: &mut Vec<u8>, value: impl Into<u128>) {
    let mut rest = value.into();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The bytes still to read.
struct Input<'bytes> {
    bytes: &'bytes [u8],
    at: usize,
    /// The largest node number met.
    max_node: u32,
}

impl Input<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], DescriptionError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(DescriptionError::Truncated { at: self.bytes.len() })?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DescriptionError> {
        Ok(self.take(1)?[0])
    }

    fn wide_number(&mut self) -> Result<u128, DescriptionError> {
        let start = self.at;
        let mut value = 0u128;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits);
            value |= shifted.ok_or(DescriptionError::BadNumber { at: start })?;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(value) } else { Err(DescriptionError::BadNumber { at: start }) };
            }
            shift += 7;
        }
    }

    fn narrow_number<N: TryFrom<u128>>(&mut self) -> Result<N, DescriptionError> {
        let start = self.at;
        N::try_from(self.wide_number()?).map_err(|_| DescriptionError::BadNumber { at: start })
    }

    fn number(&mut self) -> Result<u64, DescriptionError> {
        self.narrow_number()
    }

    fn node_id(&mut self) -> Result<NodeId, DescriptionError> {
        let node = self.narrow_number()?;
        self.max_node = self.max_node.max(node);
        Ok(NodeId(node))
    }

    fn id(&mut self) -> Result<u64, DescriptionError> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }

    fn name(&mut self) -> Result<Name, DescriptionError> {
        let len = self.narrow_number()?;
        let at = self.at;
        let name = core::str::from_utf8(self.take(len)?).map_err(|_| DescriptionError::BadName { at })?;
        if name.contains(char::is_control) {
            return Err(DescriptionError::BadName { at });
        }
        Ok(Name::Owned(name.to_owned()))
    }

    fn heading(&mut self) -> Result<(Name, u64, u64), DescriptionError> {
        let (name, size, align) = (self.name()?, self.number()?, self.number()?);
        if !align.is_power_of_two() || size % align != 0 {
            return Err(DescriptionError::BadLayout { at: self.at });
        }
        Ok((name, size, align))
    }

    /// `count`, then as many items. The count takes no memory: items do, and each needs bytes of its own.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DescriptionError>,
    ) -> Result<Vec<T>, DescriptionError> {
        let count = self.number()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(item(self)?);
        }
        Ok(list)
    }

    fn fields(&mut self) -> Result<Vec<Field>, DescriptionError> {
        self.list(|input| Ok(Field { name: input.name()?, offset: input.number()?, node: input.node_id()? }))
    }

    fn variant(&mut self) -> Result<Variant, DescriptionError> {
        let name = self.name()?;
        let folded = self.wide_number()?;
        let discriminant = (folded >> 1) as i128 ^ -((folded & 1) as i128);
        Ok(Variant { name, discriminant, fields: self.fields()? })
    }

    fn node(&mut self) -> Result<Node, DescriptionError> {
        let at = self.at;
        Ok(match self.byte()? {
            LEAF => {
                let id = self.id()?;
                let (name, size, align) = self.heading()?;
                Node::Leaf { id, name, size, align }
            }
            STRUCT => {
                let (name, size, align) = self.heading()?;
                Node::Struct { name, size, align, fields: self.fields()? }
            }
            ENUM => {
                let (name, size, align) = self.heading()?;
                let tag_size = self.number()?;
                Node::Enum { name, size, align, tag_size, variants: self.list(Self::variant)? }
            }
            ARRAY => Node::Array { len: self.number()?, element: self.node_id()? },
            CONTAINER => {
                let id = self.id()?;
                let (name, size, align) = self.heading()?;
                Node::Container {
                    id,
                    name,
                    size,
                    align,
                    layout_version: self.narrow_number()?,
                    parameters: self.list(Self::node_id)?,
                    probe: self.list(Self::number)?,
                }
            }
            kind => return Err(DescriptionError::UnknownKind { kind, at }),
        })
    }
}
