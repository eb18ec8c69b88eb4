//! The finished description of a type, and how people see it.

use super::{Field, Node, NodeId};
use core::fmt;
use std::collections::BTreeSet;

/// The layout of a type and of everything below it, as the running program has it.
///
/// It is stored with each root ([`encode`](TypeDescription::encode)) and compared with the type the root is asked for
/// ([`difference`](TypeDescription::difference)). `Display` shows it as a tree.
///
/// ```
/// use sal::persist::TypeDescription;
///
/// let stored = TypeDescription::of::<(u32, [u8; 4])>().encode();
/// let stored = TypeDescription::decode(&stored)?;
/// let difference = stored.difference(&TypeDescription::of::<(u32, [i8; 4])>()).unwrap();
/// assert_eq!(
///     difference.to_string(),
///     "field `1[]`: stored `u8 (1 byte, align 1)`, asked `i8 (1 byte, align 1)`"
/// );
/// # Ok::<(), sal::persist::DescriptionError>(())
/// ```
///
/// # Invariants
/// - **T1** `root`, and every id in `nodes`, is an index of `nodes`.
///
/// Cycles are allowed, in damaged bytes even ones that no type can have (an array of itself). So whatever walks the
/// table keeps a set of what it has seen, or counts its steps, and does not recurse without a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeDescription {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
}

/// How deep the tree is shown, and how many nested arrays are named in one line.
const MAX_SHOWN_DEPTH: usize = 32;
const MAX_SHOWN_ARRAYS: usize = 4;
/// How many nested arrays are measured.
const MAX_MEASURED_ARRAYS: usize = 256;

impl TypeDescription {
    /// Puts a table together. T1 is for the caller to keep.
    pub(crate) fn of_nodes(nodes: Vec<Node>, root: NodeId) -> Self {
        Self { nodes, root }
    }

    /// The table of all types in the description.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The described type itself.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The name of the described type, with its path where it has one, without parameters.
    pub fn type_name(&self) -> &str {
        match self.node(self.root) {
            Node::Leaf { name, .. }
            | Node::Struct { name, .. }
            | Node::Enum { name, .. }
            | Node::Container { name, .. } => name,
            Node::Array { .. } => "array",
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Size and alignment, if found within [`MAX_MEASURED_ARRAYS`] steps: damaged bytes may have arrays of themselves.
    pub(crate) fn extent(&self, mut id: NodeId) -> Option<(u64, u64)> {
        let mut times = 1u64;
        for _ in 0..MAX_MEASURED_ARRAYS {
            match *self.node(id) {
                Node::Array { len, element } => {
                    times = times.checked_mul(len)?;
                    id = element;
                }
                Node::Leaf { size, align, .. }
                | Node::Struct { size, align, .. }
                | Node::Enum { size, align, .. }
                | Node::Container { size, align, .. } => {
                    return Some((times.checked_mul(size)?, align));
                }
            }
        }
        None
    }

    /// The type in a few words: `u32 (4 bytes, align 4)`.
    pub(super) fn summary(&self, id: NodeId) -> String {
        let mut lens = Vec::new();
        let mut innermost = id;
        let name = loop {
            match self.node(innermost) {
                Node::Array { .. } if lens.len() == MAX_SHOWN_ARRAYS => break "..",
                Node::Array { len, element } => {
                    lens.push(*len);
                    innermost = *element;
                }
                Node::Leaf { name, .. } | Node::Container { name, .. } => break name,
                Node::Struct { name, .. } | Node::Enum { name, .. } => break last_segment(name),
            }
        };
        let mut text = "[".repeat(lens.len()) + name;
        for len in lens.iter().rev() {
            text += &format!("; {len}]");
        }
        match self.extent(id) {
            Some((size, align)) => {
                let unit = if size == 1 { "byte" } else { "bytes" };
                text + &format!(" ({size} {unit}, align {align})")
            }
            None => text + " (of unknown size)",
        }
    }

    /// What tells apart two types of one name and size.
    pub(super) fn details(&self, id: NodeId) -> String {
        match self.node(id) {
            Node::Leaf { id, .. } => format!(", meaning {id:#x}"),
            Node::Struct { fields, .. } => format!(", struct of {} fields", fields.len()),
            Node::Enum { variants, .. } => format!(", enum of {} variants", variants.len()),
            Node::Array { len, .. } => format!(", array of {len}"),
            Node::Container { id, layout_version, parameters, probe, .. } => format!(
                ", container {id:#x}, layout {layout_version}, {} parameters, words {probe:?}",
                parameters.len()
            ),
        }
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, id: NodeId, depth: usize, shown: &mut BTreeSet<NodeId>) -> fmt::Result {
        f.write_str(&self.summary(id))?;
        let node = self.node(id);
        if matches!(node, Node::Leaf { .. }) {
            return writeln!(f);
        }
        if !shown.insert(id) {
            return writeln!(f, ", as above");
        }
        if depth == MAX_SHOWN_DEPTH {
            return writeln!(f, ", ..");
        }
        match node {
            Node::Leaf { .. } => Ok(()),
            Node::Struct { fields, .. } => {
                writeln!(f)?;
                self.show_fields(f, fields, depth + 1, shown)
            }
            Node::Enum { tag_size, variants, .. } => {
                writeln!(f, ", tag of {tag_size} bytes")?;
                for variant in variants {
                    writeln!(f, "{:1$}{2} = {3}", "", 2 * (depth + 1), variant.name, variant.discriminant)?;
                    self.show_fields(f, &variant.fields, depth + 2, shown)?;
                }
                Ok(())
            }
            Node::Array { element, .. } => {
                write!(f, "\n{:1$}[]: ", "", 2 * (depth + 1))?;
                self.show(f, *element, depth + 1, shown)
            }
            Node::Container { layout_version, parameters, probe, .. } => {
                write!(f, ", layout {layout_version}")?;
                if !probe.is_empty() {
                    write!(f, ", words {probe:?}")?;
                }
                writeln!(f)?;
                for (number, parameter) in parameters.iter().enumerate() {
                    let role = parameter_role(number, parameters.len());
                    write!(f, "{:1$}{role}: ", "", 2 * (depth + 1))?;
                    self.show(f, *parameter, depth + 1, shown)?;
                }
                Ok(())
            }
        }
    }

    fn show_fields(
        &self,
        f: &mut fmt::Formatter<'_>,
        fields: &[Field],
        depth: usize,
        shown: &mut BTreeSet<NodeId>,
    ) -> fmt::Result {
        for field in fields {
            write!(f, "{:1$}", "", 2 * depth)?;
            match field.offset {
                Field::UNKNOWN_OFFSET => write!(f, "@? ")?,
                offset => write!(f, "@{offset} ")?,
            }
            write!(f, "{}: ", field.name)?;
            // Fields of a variant are two levels deeper, so depth may step over the bound by one.
            self.show(f, field.node, depth.min(MAX_SHOWN_DEPTH), shown)?;
        }
        Ok(())
    }
}

/// A path without what differs between two homes of one type: `app::model::Entry<u8>` is `Entry`.
pub(super) fn last_segment(path: &str) -> &str {
    let path = path.split_once('<').map_or(path, |(path, _)| path);
    path.rsplit_once("::").map_or(path, |(_, last)| last)
}

/// What a container's parameter is called in a path.
pub(super) fn parameter_role(number: usize, count: usize) -> &'static str {
    match (number, count) {
        (0, 1) => "[]",
        (0, _) => "key",
        (1, _) => "value",
        _ => "parameter",
    }
}

impl fmt::Display for TypeDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, self.root, 0, &mut BTreeSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_segment_drops_path_and_parameters() {
        for (path, last) in [("a::b::C", "C"), ("C", "C"), ("a::C<b::D>", "C"), ("(a::B, c::D)", "D)"), ("", "")] {
            assert_eq!(last_segment(path), last);
        }
    }

    #[test]
    fn the_tree_shows_offsets_sizes_and_repeats() {
        let text = TypeDescription::of::<([(u32, u32); 3], (u32, u32))>().to_string();
        assert!(text.starts_with("tuple of 2 (32 bytes, align 4)\n"), "{text}");
        assert!(
            text.contains("0: [tuple of 2; 3] (24 bytes, align 4)\n    []: tuple of 2 (8 bytes, align 4)\n"),
            "{text}"
        );
        assert!(text.contains("1: tuple of 2 (8 bytes, align 4), as above\n"), "{text}");
        assert!(text.contains("@4 1: u32 (4 bytes, align 4)\n"), "{text}");
    }

    #[test]
    fn impossible_tables_are_shown_without_end_of_stack_or_time() {
        let array_of_itself =
            TypeDescription { nodes: vec![Node::Array { len: 2, element: NodeId(0) }], root: NodeId(0) };
        assert!(array_of_itself.to_string().contains("of unknown size"));

        // Each struct holds the next one twice: 2^1000 leaves if every mention were spelt out.
        let twice = |next| {
            let field = Field { name: "next".into(), offset: 0, node: NodeId(next) };
            Node::Struct { name: "S".into(), size: 0, align: 1, fields: vec![field.clone(), field] }
        };
        let nodes = (0..1000).map(|index| twice((index + 1) % 1000)).collect();
        let text = TypeDescription { nodes, root: NodeId(0) }.to_string();
        assert!(text.lines().count() < 100, "{}", text.lines().count());
    }
}
