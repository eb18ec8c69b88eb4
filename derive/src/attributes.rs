//! What the attributes of a type say: `#[repr(..)]`, `#[persist(..)]`.

use proc_macro2::Span;
use syn::{Attribute, DeriveInput, Error, Ident, Path, Result, spanned::Spanned};

/// `#[persist(..)]` on a type.
pub(crate) struct Options {
    /// Where the `sal` crate is.
    pub(crate) sal: Path,
    /// Whether only the same build of a program may read values.
    pub(crate) same_build: bool,
}

/// `#[repr(..)]`, all of them together.
#[derive(Default)]
pub(crate) struct Repr {
    pub(crate) c: bool,
    pub(crate) transparent: bool,
    /// The integer that an enum's tag is.
    pub(crate) integer: Option<Ident>,
}

impl Options {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self { sal: syn::parse_quote!(::sal), same_build: false };
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("persist")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("same_build") {
                    options.same_build = true;
                    Ok(())
                } else if meta.path.is_ident("crate") {
                    let path: syn::LitStr = meta.value()?.parse()?;
                    options.sal = path.parse()?;
                    Ok(())
                } else {
                    Err(meta.error("unknown option: there are `same_build` and `crate = \"path\"`"))
                }
            })?;
        }
        Ok(options)
    }
}

impl Repr {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut repr = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("repr")) {
            attribute.parse_nested_meta(|meta| {
                let name = meta.path.require_ident()?.clone();
                match name.to_string().as_str() {
                    "C" => repr.c = true,
                    "transparent" => repr.transparent = true,
                    "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64" | "i128"
                    | "isize" => repr.integer = Some(name),
                    "Rust" => {}
                    "align" => {
                        let argument;
                        syn::parenthesized!(argument in meta.input);
                        argument.parse::<proc_macro2::TokenStream>()?;
                    }
                    "packed" => {
                        return Err(meta.error(
                            "a `repr(packed)` type cannot be stored: its fields are not aligned, \
                             so the blocks they own could not be found",
                        ));
                    }
                    _ => return Err(meta.error("`Persist` does not know this `repr`")),
                }
                Ok(())
            })?;
        }
        Ok(repr)
    }

    /// Refuses a struct whose layout is the compiler's choice.
    pub(crate) fn demand_of_struct(&self, input: &DeriveInput, options: &Options) -> Result<()> {
        if self.c || self.transparent || options.same_build {
            return Ok(());
        }
        Err(Error::new(
            place(input),
            "the layout of a stored struct must not be the compiler's choice: add `#[repr(C)]` or \
             `#[repr(transparent)]` (or `#[persist(same_build)]`, if no other build of the program shall ever read it)",
        ))
    }

    /// Refuses an enum whose layout is the compiler's choice.
    pub(crate) fn demand_of_enum(&self, input: &DeriveInput, options: &Options) -> Result<()> {
        if self.integer.is_some() || options.same_build && !self.c {
            return Ok(());
        }
        Err(Error::new(
            place(input),
            "the layout of a stored enum must not be the compiler's choice, nor the width of its tag the platform's: \
             add `#[repr(u8)]`, `#[repr(C, u8)]` or the like (or `#[persist(same_build)]`, without a `repr`, if no \
             other build of the program shall ever read it)",
        ))
    }
}

/// Where to point for something that a type lacks.
fn place(input: &DeriveInput) -> Span {
    input.ident.span()
}

/// Refuses `#[persist]` where it has no meaning.
pub(crate) fn refuse_options(attributes: &[Attribute]) -> Result<()> {
    match attributes.iter().find(|attribute| attribute.path().is_ident("persist")) {
        None => Ok(()),
        Some(attribute) => Err(Error::new(attribute.path().span(), "`#[persist]` belongs on the type")),
    }
}
