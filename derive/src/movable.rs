//! `#[derive(Movable)]`: the fields are looked at.

use crate::attributes::Options;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, GenericParam, Result, spanned::Spanned};

pub(crate) fn movable(input: &DeriveInput) -> Result<TokenStream> {
    let options = Options::of(&input.attrs)?;
    let sal = &options.sal;
    let fields: Vec<_> = match &input.data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Enum(data) => data.variants.iter().flat_map(|variant| &variant.fields).collect(),
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span(),
                "a union cannot be moved while it is read: nothing tells whether it has cells in it",
            ));
        }
    };
    let checks = fields.iter().map(|field| {
        let of = &field.ty;
        quote_spanned!(of.span()=> let () = <#of as #sal::Movable>::CHECK;)
    });
    let mut generics = input.generics.clone();
    for parameter in &input.generics.params {
        if let GenericParam::Type(parameter) = parameter {
            let name = &parameter.ident;
            generics.make_where_clause().predicates.push(syn::parse_quote!(#name: #sal::Movable));
        }
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let name = &input.ident;
    // The `unsafe` is the promise of `Movable`. It holds because the type of every field has made it.
    Ok(quote! {
        #[automatically_derived]
        unsafe impl #impl_generics #sal::Movable for #name #type_generics #where_clause {
            const CHECK: () = { #(#checks)* };
        }
    })
}
