//! The procedural macro behind `#[derive(Persist)]` of the `sal` crate.
//!
//! It has three steps, one file each: `attributes` reads and judges `#[repr]` and `#[persist]`, `expand` writes the
//! parts that structs and enums share, `body` the descriptions and visits of each.

mod attributes;
mod body;
mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `sal::Persist`; see there.
#[proc_macro_derive(Persist, attributes(persist))]
pub fn derive_persist(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::persist(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
