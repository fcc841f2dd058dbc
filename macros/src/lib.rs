//! `recurrence!`: a recurrence said in Rust source.
//!
//! ```
//! use baton_macros::recurrence;
//! use baton_runtime::{Interpreter, Tensor};
//!
//! recurrence! {
//!     /// A leaky sum of what comes in.
//!     recurrence leaky {
//!         dims   { P }
//!         inputs { x: [P], g: [] }
//!         state  { s: [P] }
//!         s = sigmoid(g) * s + x;
//!         output y: [P] = s;
//!     }
//! }
//!
//! # fn main() -> Result<(), baton_runtime::Error> {
//! let x = Tensor::full(&[1, 3, 2, 8], 1.0); // [B, T, H, P]
//! let g = Tensor::full(&[1, 3, 2], 0.0); // [B, T, H]
//! let run = leaky::forward(&Interpreter, leaky::Inputs { x, g }, leaky::Params::default(), None)?;
//! assert_eq!(run.outputs.y.shape, [1, 3, 2, 8]);
//! assert_eq!(run.states.s, Tensor::full(&[1, 2, 8], 1.75)); // [B, H, P]
//! # Ok(())
//! # }
//! ```
//!
//! The tokens are the text of `baton_ir::text`, parsed and verified by the same code as a `.rec`
//! file; `recurrence!(file = "path/of.rec")` reads such a file, from the manifest's folder on.
//! What it expands to names `::baton_runtime`; `crate = PATH;` before everything else names another place
//! of that crate, as `baton::recurrence!` does.
//! What is wrong with a recurrence is a compile error at the token that is wrong, and all errors
//! come at once. Three steps: [`source`] finds text and tokens, `baton_ir` judges, [`expand`]
//! writes the module.

mod expand;
mod source;

use proc_macro::TokenStream;
use source::Source;

/// Defines a recurrence: a module of its name with typed `Inputs`, `Params`, `States` and
/// `Outputs`, and `forward`, `backward`, `record`, `step` and `load` on them.
#[proc_macro]
pub fn recurrence(input: TokenStream) -> TokenStream {
    define(input.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

fn define(input: proc_macro2::TokenStream) -> syn::Result<proc_macro2::TokenStream> {
    let source = Source::new(input)?;
    let recurrence = baton_ir::text::parse(&source.text).map_err(|e| source.error(&e))?;
    baton_ir::verify::verify(&recurrence).map_err(|e| source.error(&e))?;
    expand::expand(&recurrence, &source)
}

#[cfg(test)]
mod tests {
    use super::define;
    use quote::quote;

    #[test]
    fn errors_of_a_file_come_with_its_own_lines() {
        let error = define(quote!(file = "tests/refused/wrong.rec")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "
error[R012]: nothing above is called `y`
 --> tests/refused/wrong.rec:4:13
  |
4 |     s = s + y;
  |             ^
  = found: `y`
  = expected: an input, a param, a state, a `let` binding or a dimension
  = help: declare it as an input or a param, or bind it by `let`"
        );
    }

    #[test]
    fn the_runtime_is_named_where_it_was_said_to_be() {
        let recurrence = quote! {
            /// About it.
            recurrence total { dims { P } inputs { x: [P] } state { s: [P] } s = s + x; output y: [P] = s; }
        };
        let expanded = |before| define(quote!(#before #recurrence)).map(|all| all.to_string());
        let own = expanded(quote!()).unwrap();
        assert!(own.contains("use :: baton_runtime :: typed"), "{own}");
        let other = expanded(quote!(crate = some::place;)).unwrap();
        assert!(other.contains("use some :: place :: typed"), "{other}");
        assert_eq!(other.replace("some :: place", ":: baton_runtime"), own);
        for before in [quote!(crate), quote!(crate = ;), quote!(crate some::place;)] {
            let error = expanded(before).unwrap_err().to_string();
            assert!(error.contains("`crate = PATH;`"), "{error}");
        }
    }
}
