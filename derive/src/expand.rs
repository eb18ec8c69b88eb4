//! The `impl` as a whole.

use crate::attributes::{Options, Repr, refuse_options};
use crate::body::{self, Body};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Generics, Path, Result, Type, spanned::Spanned};

pub(crate) fn persist(input: &DeriveInput) -> Result<TokenStream> {
    let options = Options::of(&input.attrs)?;
    let repr = Repr::of(&input.attrs)?;
    let body = match &input.data {
        Data::Struct(data) => {
            repr.demand_of_struct(input, &options)?;
            refuse_options_in(&data.fields)?;
            body::of_struct(input, data, &repr, &options)
        }
        Data::Enum(data) => {
            repr.demand_of_enum(input, &options)?;
            for variant in &data.variants {
                refuse_options(&variant.attrs)?;
                refuse_options_in(&variant.fields)?;
            }
            if data.variants.is_empty() {
                return Err(Error::new(input.ident.span(), "an enum without variants has no value to store"));
            }
            body::of_enum(input, data, &repr, &options)
        }
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span(),
                "a union cannot be stored: nothing tells which of its fields is the valid one",
            ));
        }
    };
    let generics = bounded(&input.generics, &options.sal)?;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let (name, sal) = (&input.ident, &options.sal);
    let Body { items, field_types, describe, visit } = body;
    let owns = field_types.iter().map(|field_type| as_persist(field_type, sal, &quote!(OWNS_BLOCKS)));
    // The `unsafe` is the promise of `Persist`. It holds because every field's type has made it, the layout is
    // described as the language defines it or as measured, and each field is described and visited.
    Ok(quote! {
        const _: () = {
            #items
            #[automatically_derived]
            unsafe impl #impl_generics #sal::Persist for #name #type_generics #where_clause {
                const OWNS_BLOCKS: bool = false #(|| #owns)*;
                fn describe(describer: &mut #sal::persist::Describer) -> #sal::persist::Node {
                    #describe
                }
                fn visit_blocks(&self, visitor: &mut #sal::persist::BlockVisitor<'_>) {
                    #visit
                }
            }
        };
    })
}

/// `<field_type as Persist>::item`, blamed on the field.
pub(crate) fn as_persist(field_type: &Type, sal: &Path, item: &TokenStream) -> TokenStream {
    quote_spanned!(field_type.span()=> <#field_type as #sal::Persist>::#item)
}

fn refuse_options_in(fields: &Fields) -> Result<()> {
    fields.iter().try_for_each(|field| refuse_options(&field.attrs))
}

/// The type's generics, with the bound `Persist` on type parameters.
fn bounded(generics: &Generics, sal: &Path) -> Result<Generics> {
    let mut bounded = generics.clone();
    for parameter in &generics.params {
        match parameter {
            GenericParam::Lifetime(lifetime) => {
                return Err(Error::new(
                    lifetime.span(),
                    "a stored type cannot borrow: what it borrows from is gone when the next process opens the heap",
                ));
            }
            GenericParam::Type(parameter) => {
                let name = &parameter.ident;
                bounded.make_where_clause().predicates.push(syn::parse_quote!(#name: #sal::Persist));
            }
            GenericParam::Const(_) => {}
        }
    }
    Ok(bounded)
}
