//! The pure expressions of level 1.
//!
//! An expression's shape is found by typing (`crate::verify`), not stored. `State` means the
//! state's value at the statement where the expression stands, so an arena entry that reads a
//! state belongs to exactly one statement.

use super::handles::{DimId, InputId, LetId, ParamId, StateId, handle};

handle!(
    /// An expression of a [`Recurrence`](super::Recurrence).
    ExprId
);

/// Added under the root of `l2norm`.
pub const L2NORM_EPSILON: f64 = 1e-6;

/// A pure expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expr {
    /// A literal.
    Number(f64),
    /// The size of a dimension as a number: `rsqrt(K)`.
    Size(DimId),
    /// An input at this step.
    Input(InputId),
    /// A parameter of this head.
    Param(ParamId),
    /// A `let` binding made above.
    Let(LetId),
    /// The current value of a state.
    State(StateId),
    /// A pointwise function of one value.
    Unary(UnaryFn, ExprId),
    /// A pointwise function of two values; a scalar broadcasts.
    Binary(BinaryFn, ExprId, ExprId),
    /// `select(x > y, a, b)` of `[x, y, a, b]`: `a` where `x > y`, else `b`; NaN where `x` or `y` is. A scalar
    /// broadcasts.
    Select([ExprId; 4]),
    /// `rows(a)`: the vector spread over a matrix's first dimension; must meet a matrix in `*`.
    Rows(ExprId),
    /// `cols(a)`: the vector spread over a matrix's second dimension; must meet a matrix in `*`.
    Cols(ExprId),
    /// `outer(a, b)`: the matrix `a_i b_j`.
    Outer(ExprId, ExprId),
    /// `dot(a, b)`: two vectors, or a vector with the matching dimension of a matrix.
    Dot(ExprId, ExprId),
    /// `sum(a)` of a vector.
    Sum(ExprId),
    /// `l2norm(a)`: the vector scaled to length one, `a * rsqrt(sum(a * a) + 1e-6)`.
    L2norm(ExprId),
}

impl Expr {
    /// The operands, in order.
    pub fn operands(&self) -> [Option<ExprId>; 4] {
        match *self {
            Expr::Number(_)
            | Expr::Size(_)
            | Expr::Input(_)
            | Expr::Param(_)
            | Expr::Let(_)
            | Expr::State(_) => [None; 4],
            Expr::Unary(_, a) | Expr::Rows(a) | Expr::Cols(a) | Expr::Sum(a) | Expr::L2norm(a) => {
                [Some(a), None, None, None]
            }
            Expr::Binary(_, a, b) | Expr::Outer(a, b) | Expr::Dot(a, b) => {
                [Some(a), Some(b), None, None]
            }
            Expr::Select(operands) => operands.map(Some),
        }
    }
}

macro_rules! functions {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every function, in order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name in the text.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

functions!(
    /// Pointwise functions of one value.
    UnaryFn {
        /// `-x`
        Neg = "-",
        /// `exp(x)`
        Exp = "exp",
        /// Natural logarithm.
        Log = "log",
        /// Square root.
        Sqrt = "sqrt",
        /// `1 / sqrt(x)`
        Rsqrt = "rsqrt",
        /// Absolute value.
        Abs = "abs",
        /// `1 / (1 + exp(-x))`
        Sigmoid = "sigmoid",
        /// `log(1 + exp(x))`
        Softplus = "softplus",
        /// `x * sigmoid(x)`
        Silu = "silu",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// `max(x, 0)`
        Relu = "relu",
        /// Sine.
        Sin = "sin",
        /// Cosine.
        Cos = "cos",
        /// The same angle in half turns, between -1 and 1: `x` less the nearest multiple of 2.
        Wrap = "wrap",
        /// The distribution function of the normal distribution: half of `erfc(-x / sqrt(2))`.
        Ndtr = "ndtr",
    }
);

functions!(
    /// Pointwise functions of two values.
    BinaryFn {
        /// `a + b`
        Add = "+",
        /// `a - b`
        Sub = "-",
        /// `a * b`
        Mul = "*",
        /// `a / b`
        Div = "/",
        /// The smaller.
        Min = "min",
        /// The larger.
        Max = "max",
    }
);
