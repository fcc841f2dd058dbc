//! Interpreters in f64, one for each level.
//!
//! They are written for clarity: each op is the loop that its documentation says. The level-1
//! interpreter is the truth; the others are what a derivation or a schedule is tested through.

mod array;
mod pairs;

pub mod chunked;
pub mod errors;
pub mod facts;
pub mod problem;
pub mod recurrence;
pub mod tile;
