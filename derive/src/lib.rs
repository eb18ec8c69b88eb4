//! The procedural macros behind `#[derive(Persist)]` and `#[derive(Movable)]` of the `sal` crate.
//!
//! The first has three steps, one file each: `attributes` reads and judges `#[repr]` and `#[persist]`, `expand` writes the
//! parts that structs and enums share, `body` the descriptions and visits of each. The second is `movable`.

mod attributes;
mod body;
mod expand;
mod movable;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `sal::Movable`; see there.
#[proc_macro_derive(Movable, attributes(persist))]
pub fn derive_movable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    movable::movable(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `sal::Persist`; see there.
#[proc_macro_derive(Persist, attributes(persist))]
pub fn derive_persist(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::persist(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
