//! The module that a verified recurrence becomes.
//!
//! Four structs of named tensors, a struct of sizes, the `Definition` that binds them, and thin
//! functions: everything that runs is in `baton_runtime::typed`, generic in the definition, so
//! that what a macro writes is only names. The runtime is named in one place, by the path that the source
//! gives, so a crate needs only the one that it has the macro from.

use crate::source::Source;
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::span::Span as Bytes;
use baton_ir::text;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

/// The tensors of a module: one struct.
struct Group<'a> {
    name: &'static str,
    about: &'static str,
    ports: &'a [Port],
    spans: &'a [Bytes],
    /// Dimensions outside of one head at one step.
    outer: &'static [&'static str],
}

pub fn expand(recurrence: &Recurrence, source: &Source) -> syn::Result<TokenStream> {
    let spans = &recurrence.spans;
    let steps: &[&str] = &["B", "T", "H"];
    let groups = [
        Group {
            name: "Inputs",
            about: "The inputs, by name.",
            ports: &recurrence.inputs,
            spans: &spans.inputs,
            outer: steps,
        },
        Group {
            name: "Params",
            about: "The params, by name.",
            ports: &recurrence.params,
            spans: &spans.params,
            outer: &["H"],
        },
        Group {
            name: "States",
            about: "The states, by name; with packed sequences B is their number.",
            ports: &recurrence.states,
            spans: &spans.states,
            outer: &["B", "H"],
        },
        Group {
            name: "Outputs",
            about: "The outputs, by name.",
            ports: &recurrence.outputs,
            spans: &spans.outputs,
            outer: steps,
        },
    ];
    let mut structs = TokenStream::new();
    for group in &groups {
        structs.extend(fields(recurrence, source, group)?);
    }
    structs.extend(sizes(recurrence, source)?);
    structs.extend(definition(recurrence));

    let printed = text::print(recurrence);
    let title = format!(
        "The recurrence `{}`.\n\n```text\n{printed}```",
        recurrence.name
    );
    let module = ident(&recurrence.name, spans.name, source)?;
    let attributes = &source.attributes;
    // Reading the file through the compiler makes a change of it a change of the crate.
    let tracked = source.file.as_ref().map(|path| {
        let place = match std::path::Path::new(&path.value()).is_absolute() {
            true => quote! { #path },
            false => quote! { ::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", #path) },
        };
        quote! { const _: &str = ::core::include_str!(#place); }
    });
    let functions = functions();
    let runtime = &source.runtime;
    Ok(quote! {
        #attributes
        #[doc = #title]
        #[allow(non_snake_case)]
        pub mod #module {
            use #runtime::typed;
            use #runtime::{Device, Error};
            #tracked
            #structs
            #functions
        }
    })
}

/// A field or a module of a name in the text, at the token where that stood.
fn ident(name: &str, bytes: Bytes, source: &Source) -> syn::Result<Ident> {
    let token = source.spans(bytes).0;
    match name {
        "self" | "Self" | "super" | "crate" => Err(syn::Error::new(
            token,
            format!("`{name}` cannot be the name of a field in Rust: choose another"),
        )),
        name => Ok(Ident::new_raw(name, Span::call_site().located_at(token))),
    }
}

fn fields(recurrence: &Recurrence, source: &Source, group: &Group) -> syn::Result<TokenStream> {
    let Group { about, ports, .. } = *group;
    let name = Ident::new(group.name, Span::call_site());
    let texts: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let mut idents = Vec::new();
    let mut ranks = Vec::new();
    let mut docs = Vec::new();
    for (port, &span) in ports.iter().zip(group.spans) {
        idents.push(ident(&port.name, span, source)?);
        ranks.push(group.outer.len() + port.shape.len());
        docs.push(layout(recurrence, group.outer, port));
    }
    if ports.is_empty() {
        return Ok(quote! {
            #[doc = #about]
            ///
            /// There are none here: `Default` makes the struct.
            pub struct #name<F: typed::Family = typed::Host>(::core::marker::PhantomData<fn() -> F>);

            impl<F: typed::Family> ::core::default::Default for #name<F> {
                fn default() -> Self {
                    Self(::core::marker::PhantomData)
                }
            }

            impl<F: typed::Family> typed::Fields<F> for #name<F> {
                const NAMES: &'static [&'static str] = &[];
                fn into_vec(self) -> ::std::vec::Vec<F::Any> {
                    ::std::vec::Vec::new()
                }
                fn from_vec(_: ::std::vec::Vec<F::Any>) -> Self {
                    ::core::default::Default::default()
                }
            }

            impl<F: typed::Family> ::core::clone::Clone for #name<F> {
                fn clone(&self) -> Self {
                    ::core::default::Default::default()
                }
            }
        });
    }
    let mut distinct = ranks.clone();
    distinct.sort_unstable();
    distinct.dedup();
    Ok(quote! {
        #[doc = #about]
        pub struct #name<F: typed::Family = typed::Host> {
            #(#[doc = #docs] pub #idents: F::Tensor<#ranks>,)*
        }

        impl<F: typed::Family> typed::Fields<F> for #name<F> {
            const NAMES: &'static [&'static str] = &[#(#texts),*];
            fn into_vec(self) -> ::std::vec::Vec<F::Any> {
                ::std::vec![#(F::erase::<#ranks>(self.#idents)),*]
            }
            fn from_vec(from: ::std::vec::Vec<F::Any>) -> Self {
                let mut from = from.into_iter();
                Self {
                    #(#idents: F::typed::<#ranks>(from.next().expect("one tensor for each name")),)*
                }
            }
        }

        impl<F: typed::Family> ::core::clone::Clone for #name<F>
        where
            #(F::Tensor<#distinct>: ::core::clone::Clone,)*
        {
            fn clone(&self) -> Self {
                Self { #(#idents: self.#idents.clone(),)* }
            }
        }
    })
}

/// `x`, laid out `[B, T, H, P]`.
fn layout(recurrence: &Recurrence, outer: &[&str], port: &Port) -> String {
    let outer = outer.iter().map(|&symbol| match symbol {
        "H" if port.per_group => "G",
        symbol => symbol,
    });
    let inner = port
        .shape
        .iter()
        .map(|dim| recurrence.dims[dim.index()].as_str());
    let layout: Vec<&str> = outer.chain(inner).collect();
    let shared = if port.per_group {
        ", shared by the heads of a group"
    } else {
        ""
    };
    format!("`[{}]`{shared}.", layout.join(", "))
}

fn sizes(recurrence: &Recurrence, source: &Source) -> syn::Result<TokenStream> {
    let dims = recurrence.dims.iter().zip(&recurrence.spans.dims);
    let idents = dims.map(|(name, &span)| ident(name, span, source));
    let idents = idents.collect::<syn::Result<Vec<Ident>>>()?;
    let docs = recurrence
        .dims
        .iter()
        .map(|name| format!("The size of `{name}`."));
    Ok(quote! {
        /// The sizes of the dimensions, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct Sizes {
            #(#[doc = #docs] pub #idents: usize,)*
        }

        impl ::core::convert::From<Sizes> for ::std::vec::Vec<usize> {
            fn from(sizes: Sizes) -> Self {
                let _ = sizes;
                ::std::vec![#(sizes.#idents),*]
            }
        }
    })
}

fn definition(recurrence: &Recurrence) -> TokenStream {
    let (name, printed) = (&recurrence.name, text::print(recurrence));
    quote! {
        /// The text in canonical form.
        pub const TEXT: &str = #printed;

        /// The recurrence as a type, for what is generic in definitions.
        #[derive(Clone, Copy, Debug)]
        pub struct Definition;

        impl typed::Definition for Definition {
            const NAME: &'static str = #name;
            const TEXT: &'static str = TEXT;
            type Sizes = Sizes;
            type Inputs<F: typed::Family> = Inputs<F>;
            type Params<F: typed::Family> = Params<F>;
            type States<F: typed::Family> = States<F>;
            type Outputs<F: typed::Family> = Outputs<F>;
            fn recurrence() -> &'static typed::Recurrence {
                static READ: ::std::sync::LazyLock<typed::Recurrence> =
                    ::std::sync::LazyLock::new(|| typed::read(TEXT));
                &READ
            }
        }
    }
}

fn functions() -> TokenStream {
    quote! {
        /// Runs forward on a device; `None` is the zero state. The sizes of the dimensions are
        /// those of the tensors.
        pub fn forward(
            device: &dyn Device,
            inputs: Inputs,
            params: Params,
            states: ::core::option::Option<States>,
        ) -> ::core::result::Result<typed::Run<Definition>, Error> {
            typed::forward(device, inputs, params, states)
        }

        /// Runs forward and keeps what the gradient needs: `tape.backward(d_outputs, d_states)`.
        pub fn record(
            device: &dyn Device,
            inputs: Inputs,
            params: Params,
            states: ::core::option::Option<States>,
        ) -> ::core::result::Result<(typed::Run<Definition>, typed::Tape<Definition>), Error> {
            typed::record(device, inputs, params, states)
        }

        /// The gradients of inputs, params and states in, from those of the outputs and of the
        /// states out; `None` is zero.
        pub fn backward(
            device: &dyn Device,
            inputs: Inputs,
            params: Params,
            states: ::core::option::Option<States>,
            d_outputs: ::core::option::Option<Outputs>,
            d_states: ::core::option::Option<States>,
        ) -> ::core::result::Result<typed::Gradients<Definition>, Error> {
            typed::backward(device, inputs, params, states, d_outputs, d_states)
        }

        /// One time step (T = 1) from and to the states.
        pub fn step(
            device: &dyn Device,
            inputs: Inputs,
            params: Params,
            states: States,
        ) -> ::core::result::Result<typed::Run<Definition>, Error> {
            typed::step(device, inputs, params, states)
        }

        /// Loads the kernels for sizes given by name, once for many runs.
        pub fn load(
            device: &dyn Device,
            sizes: Sizes,
        ) -> ::core::result::Result<typed::Loaded<Definition>, Error> {
            typed::load(device, sizes)
        }
    }
}
