//! The functions that a text can call, and how many arguments each takes.
//!
//! The pointwise ones are those of the IR; the rest contract, spread or multiply tensors.

use crate::recurrence::{BinaryFn, Expr, ExprId, UnaryFn};

/// Something that is called as `name(arguments)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    Unary(UnaryFn),
    Binary(BinaryFn),
    Rows,
    Cols,
    Outer,
    Dot,
    Sum,
    L2norm,
}

const TENSOR: [(&str, Function); 6] = [
    ("rows", Function::Rows),
    ("cols", Function::Cols),
    ("outer", Function::Outer),
    ("dot", Function::Dot),
    ("sum", Function::Sum),
    ("l2norm", Function::L2norm),
];

impl Function {
    /// Every function by name; operators are not called, so they are not here.
    pub fn all() -> impl Iterator<Item = (&'static str, Function)> {
        let called = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic());
        let unary = UnaryFn::ALL.iter().map(|&f| (f.name(), Function::Unary(f)));
        let binary = BinaryFn::ALL
            .iter()
            .map(|&f| (f.name(), Function::Binary(f)));
        unary
            .chain(binary)
            .chain(TENSOR)
            .filter(move |(name, _)| called(name))
    }

    pub fn find(name: &str) -> Option<Function> {
        Self::all().find_map(|(found, function)| (found == name).then_some(function))
    }

    /// The call as an expression, or the number of arguments that it takes.
    pub fn apply(self, arguments: &[ExprId]) -> Result<Expr, usize> {
        match (self, arguments) {
            (Function::Unary(f), &[a]) => Ok(Expr::Unary(f, a)),
            (Function::Rows, &[a]) => Ok(Expr::Rows(a)),
            (Function::Cols, &[a]) => Ok(Expr::Cols(a)),
            (Function::Sum, &[a]) => Ok(Expr::Sum(a)),
            (Function::L2norm, &[a]) => Ok(Expr::L2norm(a)),
            (Function::Binary(f), &[a, b]) => Ok(Expr::Binary(f, a, b)),
            (Function::Outer, &[a, b]) => Ok(Expr::Outer(a, b)),
            (Function::Dot, &[a, b]) => Ok(Expr::Dot(a, b)),
            (Function::Binary(_) | Function::Outer | Function::Dot, _) => Err(2),
            _ => Err(1),
        }
    }
}
