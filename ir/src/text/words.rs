//! The words and the bounds of the text.

use super::function::Function;

/// The greatest height of an expression, and the deepest nesting of parentheses.
pub const MAX_HEIGHT: usize = 200;

/// The words that cannot be names, functions apart.
pub const KEYWORDS: &[&str] = &[
    "recurrence",
    "dims",
    "inputs",
    "params",
    "state",
    "let",
    "output",
    "per",
    "group",
];

/// Whether `name` is a keyword or the name of a function.
pub fn is_reserved(name: &str) -> bool {
    name == "_" || KEYWORDS.contains(&name) || Function::find(name).is_some()
}
