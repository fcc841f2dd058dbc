//! The functions that a text can call, and how many arguments each takes.
//!
//! The pointwise ones are those of the IR; the rest contract, spread or multiply tensors, choose, or are
//! made of others.

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
    /// `select(x > y, a, b)`, which has a comparison in it.
    Select,
    /// Made of others by the parser.
    Made(Made),
}

/// A function that is spelled out in others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Made {
    /// `x` above zero, `exp(x) - 1` below.
    Elu,
    /// `x` times the normal distribution's function of it.
    Gelu,
    /// The form of GELU with a hyperbolic tangent.
    GeluTanh,
    /// `x` to the power of a number.
    Pow,
}

const OTHERS: [(&str, Function); 11] = [
    ("rows", Function::Rows),
    ("cols", Function::Cols),
    ("outer", Function::Outer),
    ("dot", Function::Dot),
    ("sum", Function::Sum),
    ("l2norm", Function::L2norm),
    ("select", Function::Select),
    ("elu", Function::Made(Made::Elu)),
    ("gelu", Function::Made(Made::Gelu)),
    ("gelu_tanh", Function::Made(Made::GeluTanh)),
    ("pow", Function::Made(Made::Pow)),
];

/// The name of every function that a text can call.
pub fn functions() -> impl Iterator<Item = &'static str> {
    Function::all().map(|(name, _)| name)
}

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
            .chain(OTHERS)
            .filter(move |(name, _)| called(name))
    }

    pub fn find(name: &str) -> Option<Function> {
        Self::all().find_map(|(found, function)| (found == name).then_some(function))
    }

    /// How many arguments it takes, a comparison being two.
    pub fn count(self) -> usize {
        match self {
            Function::Binary(_) | Function::Outer | Function::Dot | Function::Made(Made::Pow) => 2,
            Function::Select => 4,
            _ => 1,
        }
    }

    /// The call as an expression of so many arguments.
    pub fn apply(self, arguments: &[ExprId]) -> Expr {
        let [a, b] = [0, 1].map(|i| arguments[i.min(arguments.len() - 1)]);
        match self {
            Function::Unary(f) => Expr::Unary(f, a),
            Function::Rows => Expr::Rows(a),
            Function::Cols => Expr::Cols(a),
            Function::Sum => Expr::Sum(a),
            Function::L2norm => Expr::L2norm(a),
            Function::Binary(f) => Expr::Binary(f, a, b),
            Function::Outer => Expr::Outer(a, b),
            Function::Dot => Expr::Dot(a, b),
            Function::Select | Function::Made(_) => unreachable!("the parser spells these out"),
        }
    }
}
