//! What the macro accepts is compiled here and runs.

mod file;
mod tokens;
