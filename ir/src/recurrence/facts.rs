//! What verification finds out about a recurrence: its algebra, freed of the way it was said.
//!
//! Every state is brought to the form
//!
//! ```text
//! S' = exp(scalar) rows(exp(row)) cols(exp(col)) S + sum_m outer(left_m, right_m)
//! ```
//!
//! and every output to a pointwise function of linear readouts. All of these are [`Pure`]
//! expressions: scalars and vectors that no state enters. `let`s are inlined, equal expressions
//! are one. Derivation starts here and never looks at the statements again.

use super::{BinaryFn, DimId, InputId, ParamId, Recurrence, StateId, UnaryFn, handle};

handle!(
    /// An expression of [`Facts`].
    PureId
);
handle!(
    /// A linear readout of [`Facts`].
    ReadoutId
);

/// An expression over inputs, params and readouts; its value is a scalar or a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pure {
    /// A number.
    Number(f64),
    /// The size of a dim.
    Size(DimId),
    /// An input.
    Input(InputId),
    /// A param.
    Param(ParamId),
    /// A linear readout of a state (never inside an update).
    Readout(ReadoutId),
    /// A pointwise function.
    Unary(UnaryFn, PureId),
    /// A pointwise function; scalars broadcast.
    Binary(BinaryFn, PureId, PureId),
    /// The sum of the elements of a vector.
    Sum(PureId),
}

/// Which dimension of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The first (the only one of a vector).
    Row,
    /// The second.
    Col,
}

/// Which value of a state a readout sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// The value that the step before left.
    Entering,
    /// The value that this step leaves.
    Leaving,
}

/// A linear readout: the state, contracted with a weight over one side if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Readout {
    /// The state read.
    pub state: StateId,
    /// When.
    pub moment: Moment,
    /// The contracted side and the vector it is contracted with.
    pub weight: Option<(Side, PureId)>,
}

/// How a state moves in one step. `None` in a decay means a factor of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transition {
    /// Log decay of the whole state.
    pub scalar: Option<PureId>,
    /// Log decay of each row (of each element of a vector state).
    pub row: Option<PureId>,
    /// Log decay of each column.
    pub col: Option<PureId>,
    /// What is added: for a matrix `outer(left, right)`, else `left` alone.
    pub added: Vec<(PureId, Option<PureId>)>,
}

/// The class of a recurrence: the most general class of its states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `a S`
    Scalar,
    /// `rows(a) S`, `cols(a) S`
    Diagonal,
    /// `A o S` with `A` of full rank.
    Elementwise,
    /// `(I - beta k k') S`, with scalar or diagonal gates.
    Delta,
    /// `(rows(w) + a b') S`
    DiagonalPlusLowRank,
}

impl Class {
    /// The name people use.
    pub fn name(self) -> &'static str {
        match self {
            Class::Scalar => "scalar",
            Class::Diagonal => "diagonal",
            Class::Elementwise => "elementwise",
            Class::Delta => "delta",
            Class::DiagonalPlusLowRank => "diagonal plus low rank",
        }
    }
}

/// The algebra of a verified recurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its class.
    pub class: Class,
    /// Expressions; operands before users.
    pub pure: Vec<Pure>,
    /// The dimension of each expression; `None` is a scalar.
    pub dims: Vec<Option<DimId>>,
    /// The transition of each state; complete for the scalar and diagonal classes.
    pub transitions: Vec<Transition>,
    /// Readouts.
    pub readouts: Vec<Readout>,
    /// The value of each output.
    pub outputs: Vec<PureId>,
}

impl Facts {
    pub(crate) fn empty(recurrence: &Recurrence) -> Self {
        Facts {
            class: Class::Scalar,
            pure: vec![],
            dims: vec![],
            transitions: vec![Transition::default(); recurrence.states.len()],
            readouts: vec![],
            outputs: vec![],
        }
    }

    /// The expression behind a handle.
    pub fn pure(&self, id: PureId) -> Pure {
        self.pure[id.index()]
    }

    /// The dimension of an expression; `None` is a scalar.
    pub fn dim(&self, id: PureId) -> Option<DimId> {
        self.dims[id.index()]
    }

    /// The handle of `expr`, with constants folded and the identities of zero and one applied.
    pub(crate) fn add(&mut self, expr: Pure, dim: Option<DimId>) -> PureId {
        let number = |id: PureId| match self.pure[id.index()] {
            Pure::Number(x) => Some(x),
            _ => None,
        };
        if let Pure::Binary(function, a, b) = expr {
            match (function, number(a), number(b)) {
                (BinaryFn::Mul, Some(1.0), _) | (BinaryFn::Add, Some(0.0), _)
                    if self.dims[b.index()] == dim =>
                {
                    return b;
                }
                (BinaryFn::Mul | BinaryFn::Div, _, Some(1.0))
                | (BinaryFn::Add | BinaryFn::Sub, _, Some(0.0))
                    if self.dims[a.index()] == dim =>
                {
                    return a;
                }
                (_, Some(x), Some(y)) => {
                    let value = crate::pointwise::binary(function, x, y);
                    return self.add(Pure::Number(value), None);
                }
                _ => {}
            }
        }
        if let Some(i) = (0..self.pure.len()).find(|&i| self.pure[i] == expr && self.dims[i] == dim)
        {
            return PureId(i as u32);
        }
        self.pure.push(expr);
        self.dims.push(dim);
        PureId(self.pure.len() as u32 - 1)
    }

    pub(crate) fn number(&mut self, value: f64) -> PureId {
        self.add(Pure::Number(value), None)
    }

    pub(crate) fn unary(&mut self, function: UnaryFn, a: PureId) -> PureId {
        let dim = self.dim(a);
        self.add(Pure::Unary(function, a), dim)
    }

    pub(crate) fn binary(&mut self, function: BinaryFn, a: PureId, b: PureId) -> PureId {
        let dim = self.dim(a).or(self.dim(b));
        self.add(Pure::Binary(function, a, b), dim)
    }

    /// Whether a readout stands anywhere inside.
    pub(crate) fn reads_state(&self, id: PureId) -> Option<ReadoutId> {
        match self.pure(id) {
            Pure::Readout(readout) => Some(readout),
            Pure::Unary(_, a) | Pure::Sum(a) => self.reads_state(a),
            Pure::Binary(_, a, b) => self.reads_state(a).or_else(|| self.reads_state(b)),
            _ => None,
        }
    }
}
