//! Descriptions of types as plain data: the nodes they are made of, their encoding, and where two of them part.
//!
//! With each root a heap file keeps the description of the root's type. Who may be stored and how a type is described is a
//! matter of [`persist`](crate::persist), which shows these types to users as its own; what lies below it, recovery above
//! all, reads the stored descriptions without knowing any Rust type.
//!
//! # What survives a crash
//! The encoded descriptions, as any other bytes of the heap. None is trusted: [`TypeDescription::decode`] answers damaged bytes
//! with an error, and what it accepts may still be a type that cannot exist.

#[cfg(test)]
mod damage;
mod description;
mod difference;
mod encoding;
mod node;

pub use description::TypeDescription;
pub use difference::LayoutDifference;
pub use encoding::DescriptionError;
pub use node::{Field, Name, Node, NodeId, Variant};
