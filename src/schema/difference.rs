//! Where two descriptions part.
//!
//! Both tables are walked together from their roots, with a list of steps instead of recursion. A pair of nodes is
//! compared once: met again, it lies on a cycle or was equal before. Of a struct, names and number of the fields come
//! first, then the fields' types, then its offsets and size, because a field that grew is the cause and the offsets
//! behind it are the consequence.
//!
//! Compared are layout, validity and the names of fields and variants, since two swapped fields of one type are a
//! change too. Not compared are the paths of types, so that they may move between modules and crates.

use super::description::{last_segment, parameter_role};
use super::{Field, Node, NodeId, TypeDescription};
use core::fmt;
use std::collections::HashSet;

/// The first field in which a stored type is not the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutDifference {
    path: String,
    stored: String,
    asked: String,
}

impl LayoutDifference {
    /// The way from the root to the field, `entries.value.count`; `[]` is the element of an array or a container.
    /// Empty if the root itself differs.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the heap has there.
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// What the program asked for.
    pub fn asked(&self) -> &str {
        &self.asked
    }
}

impl fmt::Display for LayoutDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str("the value itself")?,
            path => write!(f, "field `{path}`")?,
        }
        write!(f, ": stored `{}`, asked `{}`", self.stored, self.asked)
    }
}

impl core::error::Error for LayoutDifference {}

impl TypeDescription {
    /// The first difference between this description, the stored one, and that of the type a program asks for; `None`
    /// if values of one are values of the other.
    pub fn difference(&self, asked: &Self) -> Option<LayoutDifference> {
        Comparison { stored: self, asked, seen: HashSet::new(), places: Vec::new(), steps: Vec::new() }.run().err()
    }
}

type Outcome = Result<(), LayoutDifference>;

/// A place in both trees: how it is called, and inside which other one it is.
#[derive(Clone, Copy)]
struct Place<'a> {
    within: Option<usize>,
    name: &'a str,
}

#[derive(Clone, Copy)]
struct Pair {
    stored: NodeId,
    asked: NodeId,
    /// Index in `places`, none for the root.
    place: Option<usize>,
}

enum Step {
    /// Compare two types.
    Types(Pair),
    /// Compare the offsets and sizes of two types whose parts are equal.
    Shapes(Pair),
}

struct Comparison<'a> {
    stored: &'a TypeDescription,
    asked: &'a TypeDescription,
    seen: HashSet<(NodeId, NodeId)>,
    places: Vec<Place<'a>>,
    steps: Vec<Step>,
}

impl<'a> Comparison<'a> {
    fn run(mut self) -> Outcome {
        self.steps.push(Step::Types(Pair { stored: self.stored.root, asked: self.asked.root, place: None }));
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Types(pair) if self.seen.insert((pair.stored, pair.asked)) => self.types(pair)?,
                Step::Types(_) => {}
                Step::Shapes(pair) => self.shapes(pair)?,
            }
        }
        Ok(())
    }

    /// Compares what two nodes say themselves, and plans the comparison of what they refer to.
    fn types(&mut self, pair: Pair) -> Outcome {
        let first_part = self.steps.len();
        let (stored, asked) = (self.stored.node(pair.stored), self.asked.node(pair.asked));
        let alike = match (stored, asked) {
            (
                Node::Leaf { id, size, align, .. },
                Node::Leaf { id: asked_id, size: asked_size, align: asked_align, .. },
            ) => (id, size, align) == (asked_id, asked_size, asked_align),
            (Node::Struct { name, fields, .. }, Node::Struct { name: asked_name, fields: asked_fields, .. }) => {
                let alike = last_segment(name) == last_segment(asked_name);
                if alike {
                    self.fields(fields, asked_fields, pair.place)?;
                }
                alike
            }
            (Node::Enum { name, variants, .. }, Node::Enum { name: asked_name, variants: asked_variants, .. }) => {
                let alike = last_segment(name) == last_segment(asked_name);
                if alike {
                    let heads = variants.iter().map(|variant| (variant.name.as_ref(), variant.discriminant));
                    let asked_heads =
                        asked_variants.iter().map(|variant| (variant.name.as_ref(), variant.discriminant));
                    self.variants(heads, asked_heads, pair.place)?;
                    for (variant, asked_variant) in variants.iter().zip(asked_variants) {
                        let place = self.enter(&variant.name, pair.place);
                        self.fields(&variant.fields, &asked_variant.fields, Some(place))?;
                    }
                }
                alike
            }
            (Node::Array { len, element }, Node::Array { len: asked_len, element: asked_element }) => {
                self.part("[]", *element, *asked_element, pair.place);
                len == asked_len
            }
            (
                Node::Container { id, layout_version, parameters, .. },
                Node::Container { id: asked_id, layout_version: asked_version, parameters: asked_parameters, .. },
            ) => {
                let count = parameters.len();
                for (number, (parameter, asked_parameter)) in parameters.iter().zip(asked_parameters).enumerate() {
                    self.part(parameter_role(number, count), *parameter, *asked_parameter, pair.place);
                }
                (id, layout_version, count) == (asked_id, asked_version, asked_parameters.len())
            }
            _ => false,
        };
        if !alike {
            return Err(self.differ(pair));
        }
        // The last step planned is the next one taken: parts in their order, then the shape.
        self.steps.push(Step::Shapes(pair));
        self.steps[first_part..].reverse();
        Ok(())
    }

    fn shapes(&self, pair: Pair) -> Outcome {
        let alike = match (self.stored.node(pair.stored), self.asked.node(pair.asked)) {
            (
                Node::Struct { size, align, fields, .. },
                Node::Struct { size: asked_size, align: asked_align, fields: asked_fields, .. },
            ) => {
                self.offsets(fields, asked_fields, pair.place)?;
                (size, align) == (asked_size, asked_align)
            }
            (
                Node::Enum { size, align, tag_size, variants, .. },
                Node::Enum {
                    size: asked_size,
                    align: asked_align,
                    tag_size: asked_tag_size,
                    variants: asked_variants,
                    ..
                },
            ) => {
                if tag_size != asked_tag_size {
                    let (stored, asked) =
                        (format!("tag of {tag_size} bytes"), format!("tag of {asked_tag_size} bytes"));
                    return Err(self.report(pair.place, None, stored, asked));
                }
                for (variant, asked_variant) in variants.iter().zip(asked_variants) {
                    self.offsets(&variant.fields, &asked_variant.fields, pair.place)?;
                }
                (size, align) == (asked_size, asked_align)
            }
            (
                Node::Container { size, align, probe, .. },
                Node::Container { size: asked_size, align: asked_align, probe: asked_probe, .. },
            ) => (size, align, probe) == (asked_size, asked_align, asked_probe),
            _ => true,
        };
        if alike { Ok(()) } else { Err(self.differ(pair)) }
    }

    fn fields(&mut self, stored: &'a [Field], asked: &'a [Field], place: Option<usize>) -> Outcome {
        let names = |fields: &'a [Field]| fields.iter().map(|field| field.name.as_ref());
        if let Some((name, number, asked_number)) = first_misplaced(names(stored), names(asked)) {
            let position = |number: Option<usize>, types: &TypeDescription, fields: &[Field]| match number {
                None => "no such field".to_owned(),
                Some(number) => format!("{}, field number {number}", types.summary(fields[number].node)),
            };
            let (stored, asked) = (position(number, self.stored, stored), position(asked_number, self.asked, asked));
            return Err(self.report(place, Some(name), stored, asked));
        }
        for (field, asked_field) in stored.iter().zip(asked) {
            self.part(&field.name, field.node, asked_field.node, place);
        }
        Ok(())
    }

    fn variants(
        &self,
        stored: impl Iterator<Item = (&'a str, i128)> + Clone,
        asked: impl Iterator<Item = (&'a str, i128)> + Clone,
        place: Option<usize>,
    ) -> Outcome {
        let names = stored.clone().map(|head| head.0);
        if let Some((name, number, asked_number)) = first_misplaced(names, asked.clone().map(|head| head.0)) {
            let position = |number: Option<usize>| match number {
                None => "no such variant".to_owned(),
                Some(number) => format!("variant number {number}"),
            };
            return Err(self.report(place, Some(name), position(number), position(asked_number)));
        }
        for ((name, discriminant), (_, asked_discriminant)) in stored.zip(asked) {
            if discriminant != asked_discriminant {
                let (stored, asked) =
                    (format!("discriminant {discriminant}"), format!("discriminant {asked_discriminant}"));
                return Err(self.report(place, Some(name), stored, asked));
            }
        }
        Ok(())
    }

    fn offsets(&self, stored: &[Field], asked: &[Field], place: Option<usize>) -> Outcome {
        for (field, asked_field) in stored.iter().zip(asked) {
            if field.offset != asked_field.offset {
                let (stored, asked) = (format!("offset {}", field.offset), format!("offset {}", asked_field.offset));
                return Err(self.report(place, Some(&field.name), stored, asked));
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: &'a str, within: Option<usize>) -> usize {
        self.places.push(Place { within, name });
        self.places.len() - 1
    }

    fn part(&mut self, name: &'a str, stored: NodeId, asked: NodeId, within: Option<usize>) {
        // Most parts were compared before; they need no place.
        if !self.seen.contains(&(stored, asked)) {
            let place = Some(self.enter(name, within));
            self.steps.push(Step::Types(Pair { stored, asked, place }));
        }
    }

    /// Two types that are not the same, in words; in more words if they have the same name and size.
    fn differ(&self, pair: Pair) -> LayoutDifference {
        let (mut stored, mut asked) = (self.stored.summary(pair.stored), self.asked.summary(pair.asked));
        if stored == asked {
            stored += &self.stored.details(pair.stored);
            asked += &self.asked.details(pair.asked);
        }
        self.report(pair.place, None, stored, asked)
    }

    fn report(&self, place: Option<usize>, field: Option<&str>, stored: String, asked: String) -> LayoutDifference {
        let mut names: Vec<&str> = field.into_iter().collect();
        let mut place = place;
        while let Some(index) = place {
            names.push(self.places[index].name);
            place = self.places[index].within;
        }
        let mut path = String::new();
        for name in names.into_iter().rev() {
            if !path.is_empty() && name != "[]" {
                path.push('.');
            }
            path.push_str(name);
        }
        LayoutDifference { path, stored, asked }
    }
}

/// The first name that is not at the same position in both lists, with its position in each that has it.
fn first_misplaced<'a>(
    stored: impl Iterator<Item = &'a str> + Clone,
    asked: impl Iterator<Item = &'a str> + Clone,
) -> Option<(&'a str, Option<usize>, Option<usize>)> {
    let (mut left, mut right) = (stored.clone(), asked.clone());
    loop {
        let (mine, theirs) = match (left.next(), right.next()) {
            (None, None) => return None,
            (Some(mine), Some(theirs)) if mine == theirs => continue,
            differing => differing,
        };
        // A name that only one side has says more than one that moved.
        let of = |name: &'a str| {
            let (mut stored, mut asked) = (stored.clone(), asked.clone());
            (name, stored.position(|other| other == name), asked.position(|other| other == name))
        };
        let candidates = [mine.map(of), theirs.map(of)];
        let mut found = candidates.into_iter().flatten();
        let first = found.next()?;
        return Some(match found.next() {
            Some(second) if first.1.is_some() && first.2.is_some() && second.1.is_none() => second,
            _ => first,
        });
    }
}
