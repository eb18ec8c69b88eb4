//! How structs and enums are described and visited.

use crate::attributes::{Options, Repr};
use crate::expand::as_persist;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    DataEnum, DataStruct, DeriveInput, Fields, Ident, Index, LitStr, Member, Path, Type, ext::IdentExt,
    spanned::Spanned,
};

/// What differs between one type's `impl` and another's.
pub(crate) struct Body {
    /// Items beside the `impl`.
    pub(crate) items: TokenStream,
    /// Of all fields.
    pub(crate) field_types: Vec<Type>,
    /// Of the function `describe`, with its `describer`.
    pub(crate) describe: TokenStream,
    /// Of the function `visit_blocks`, with `self` and its `visitor`.
    pub(crate) visit: TokenStream,
}

pub(crate) fn of_struct(input: &DeriveInput, data: &DataStruct, repr: &Repr, options: &Options) -> Body {
    let sal = &options.sal;
    let path = path_of(input);
    let build = options.same_build.then(|| quote!(#sal::persist::support::same_build::<Self>(describer),));
    let fields: Vec<_> = members(&data.fields)
        .map(|(member, field_type)| {
            let name = name_of(&member);
            let describe = as_persist(field_type, sal, &quote!(describe));
            // Of a transparent struct, all but one field have no size, and their places are the compiler's choice.
            let offset = match repr.transparent {
                true => quote!(0),
                false => quote!(::core::mem::offset_of!(Self, #member)),
            };
            quote! {
                #sal::persist::support::field::<#field_type>(describer, #name, #offset, #describe)
            }
        })
        .collect();
    let (pattern, visits) = visit_fields(&quote!(Self), &data.fields, sal);
    Body {
        items: TokenStream::new(),
        field_types: data.fields.iter().map(|field| field.ty.clone()).collect(),
        describe: quote! {
            let _ = &describer;
            let fields = #sal::persist::support::vec![#build #(#fields),*];
            #sal::persist::Node::structure::<Self>(#path, fields)
        },
        visit: quote! {
            let _ = &visitor;
            let #pattern = self;
            #visits
        },
    }
}

pub(crate) fn of_enum(input: &DeriveInput, data: &DataEnum, repr: &Repr, options: &Options) -> Body {
    let sal = &options.sal;
    let path = path_of(input);
    let field_types: Vec<Type> =
        data.variants.iter().flat_map(|variant| &variant.fields).map(|field| field.ty.clone()).collect();
    let build = match options.same_build {
        true => {
            quote!(::core::option::Option::Some(#sal::persist::support::same_build_variant::<Self>(describer)))
        }
        false => quote!(::core::option::Option::None),
    };
    let (tag_size, start) = match &repr.integer {
        None => (quote!(0), quote!(::core::option::Option::None)),
        Some(tag) => {
            let tag_size = quote!(::core::mem::size_of::<#tag>());
            let start = match repr.c {
                false => tag_size.clone(),
                true => quote! {
                    #sal::persist::support::payload_start(#tag_size, &[#(::core::mem::align_of::<#field_types>()),*])
                },
            };
            (tag_size, quote!(::core::option::Option::Some(#start)))
        }
    };
    let variants = data.variants.iter().enumerate().map(|(number, variant)| {
        let name = LitStr::new(&variant.ident.unraw().to_string(), variant.ident.span());
        let discriminant = discriminant_const(number);
        let fields = members(&variant.fields).map(|(member, field_type)| {
            let name = name_of(&member);
            let describe = as_persist(field_type, sal, &quote!(describe));
            quote!(.field::<#field_type>(#name, #describe))
        });
        quote! {
            #sal::persist::support::VariantFields::starting_at(describer, start)
                #(#fields)*
                .finish(#name, #discriminant as i128)
        }
    });
    let arms = data.variants.iter().map(|variant| {
        let variant_name = &variant.ident;
        let (pattern, visits) = visit_fields(&quote!(Self::#variant_name), &variant.fields, sal);
        quote!(#pattern => { #visits })
    });
    Body {
        items: discriminants(data, repr),
        describe: quote! {
            let start: ::core::option::Option<usize> = #start;
            let build = #build;
            let variants = #sal::persist::support::vec![#(#variants),*];
            #sal::persist::support::enumeration::<Self>(#path, #tag_size, build, variants)
        },
        visit: quote! {
            let _ = &visitor;
            match self { #(#arms)* }
        },
        field_types,
    }
}

/// A pattern that binds all fields of a struct or variant, none left out, and the visits of what it binds.
fn visit_fields(constructor: &TokenStream, fields: &Fields, sal: &Path) -> (TokenStream, TokenStream) {
    let (bindings, visits): (Vec<_>, Vec<_>) = members(fields)
        .enumerate()
        .map(|(number, (member, field_type))| {
            let binding = format_ident!("field_{number}");
            let visit = as_persist(field_type, sal, &quote!(visit_blocks(#binding, visitor)));
            (quote!(#member: #binding), visit)
        })
        .unzip();
    (quote!(#constructor { #(#bindings),* }), quote!(#(#visits;)*))
}

/// A constant for each variant's discriminant: what is written there, else one more than the one before.
fn discriminants(data: &DataEnum, repr: &Repr) -> TokenStream {
    let integer = repr.integer.clone().unwrap_or_else(|| Ident::new("isize", Span::call_site()));
    let constants = data.variants.iter().enumerate().map(|(number, variant)| {
        let constant = discriminant_const(number);
        let value = match (&variant.discriminant, number) {
            (Some((_, expression)), _) => quote!(#expression),
            (None, 0) => quote!(0),
            (None, _) => {
                let before = discriminant_const(number - 1);
                quote!(#before + 1)
            }
        };
        quote!(const #constant: #integer = #value;)
    });
    quote!(#(#constants)*)
}

fn discriminant_const(number: usize) -> Ident {
    format_ident!("DISCRIMINANT_OF_VARIANT_{number}")
}

/// The fields with their names or numbers.
fn members(fields: &Fields) -> impl Iterator<Item = (Member, &Type)> {
    fields.iter().enumerate().map(|(number, field)| {
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index { index: number as u32, span: field.ty.span() }),
        };
        (member, &field.ty)
    })
}

fn name_of(member: &Member) -> LitStr {
    match member {
        Member::Named(name) => LitStr::new(&name.unraw().to_string(), name.span()),
        Member::Unnamed(index) => LitStr::new(&index.index.to_string(), index.span),
    }
}

/// The path of the type, as the compiler knows it when the derived code is compiled.
fn path_of(input: &DeriveInput) -> TokenStream {
    let name = input.ident.unraw().to_string();
    quote!(::core::concat!(::core::module_path!(), "::", #name))
}
