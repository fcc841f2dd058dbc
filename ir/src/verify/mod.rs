//! What a recurrence must satisfy before anything is derived from it.
//!
//! Every rule is checked and every breach reported at once, each with code, exact place, what was
//! found and expected, and the remedy. Codes below R020 belong to the text (`crate::text`).
//!
//! | code | rule | file |
//! |---|---|---|
//! | R020 | handles point into their vectors, operands stand before users, literals are finite | `structure` |
//! | R021 | values that meet in a pointwise function have one shape, or one is a scalar | `typing` |
//! | R022 | a matrix meets another value only in `+`, `-`, `*`, or `/` by a scalar, `rows`, `cols` | `typing` |
//! | R023 | an argument is a vector where one is asked for | `typing` |
//! | R024 | `rows` and `cols` multiply or divide a matrix | `typing` |
//! | R025 | ... along a dimension of the same name | `typing` |
//! | R026 | `dot` contracts a dimension that both sides have | `typing` |
//! | R027 | an update has the shape of its state | `typing` |
//! | R028 | an output has the shape that it declares | `typing` |
//! | R029 | an output is a scalar or a vector | `typing` |
//! | R030 | every state is updated | `usage` |
//! | R031 | every input, param and state is read | `usage` |
//! | R032 | every `let` is read | `usage` |
//! | R033 | every dimension is the size of an input, a param or a state | `usage` |
//! | R034 | there is an input, a state and an output | `usage` |
//! | R035 | no dimension has the name of an implicit one | `usage` |
//! | R036 | no tensor has the name of a gradient or of the packing offsets | `usage` |
//! | R040 | no state enters a non-linear function on the way into its own update | `affine` |
//! | R043 | a decay is provably positive | `affine` |
//! | R045 | a matrix that is read is a state or a sum of outer products | `affine` |
//! | R046 | a value has at most 128 terms of states and outer products that differ | `affine` |
//!
//! No walk follows paths, and none is deeper than an expression may be high
//! ([`MAX_HEIGHT`](crate::text::MAX_HEIGHT), for built ones R020), so time and stack are bounded
//! whatever is given.
//!
//! Shapes are compared by the names of dimensions, never by sizes: `[K]` is not `[V]`, whatever
//! their sizes.

pub mod affine;
pub mod chunked;
mod remedy;
mod structure;
pub mod tile;
pub mod typing;
mod usage;
mod verified;

pub use verified::Verified;

use crate::diag::Diagnostic;
use crate::recurrence::{Facts, Recurrence};

/// Checks that a recurrence is sound as data (R020), which everything that walks it relies on, printing included.
pub fn sound(recurrence: &Recurrence) -> Result<(), Diagnostic> {
    structure::check(recurrence).map_or(Ok(()), Err)
}

/// Checks every rule; gives the facts that derivation starts from, or all diagnostics. How states
/// enter is looked at wherever the shapes are right, also when something is never used.
pub fn verify(recurrence: &Recurrence) -> Result<Facts, Vec<Diagnostic>> {
    let Ok(shapes) = typing::shapes(recurrence) else {
        return typing::check(recurrence).and(Err(vec![]));
    };
    let facts = affine::check(recurrence, &shapes);
    match typing::check(recurrence) {
        Ok(_) => facts,
        Err(mut diagnostics) => {
            diagnostics.extend(facts.err().unwrap_or_default());
            diagnostics.sort_by_key(|d| (d.span, d.code));
            Err(diagnostics)
        }
    }
}
