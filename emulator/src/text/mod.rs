//! PTX text to a tree: tokens with their lines, then declarations and statements.
//!
//! The tree knows no instruction: a mnemonic is a string and operands are shapes. What an instruction
//! means, and whether it is known at all, is decided in `decode`.

mod declarations;
mod lexer;
mod parser;
mod statements;
pub(crate) mod tree;

pub(crate) use parser::parse;
