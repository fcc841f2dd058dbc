//! What verification finds out about a recurrence: its algebra, freed of the way it was said.
//!
//! Every state is brought to the form
//!
//! ```text
//! S' = exp(scalar) rows(exp(row)) cols(exp(col)) S  +  sum_m outer(left_m, right_m)  +  sum_j read_j
//! ```
//!
//! where every read is linear in the value of a state (this one or another) that *entered* the
//! step: what was said as reads between updates has been rewritten; or to `S' = max(S + shift, floor)`
//! or `S' = wrap(S + shift)`.
//! Outputs are pointwise functions of linear readouts. All of these are [`Pure`] expressions: scalars and
//! vectors, which other states may enter by readouts, but none its own. `let`s are inlined, equal expressions are one. Derivation starts here and
//! never looks at the statements again; what this form cannot hold of a state is its
//! [`Transition::obstacle`], and a state without one is held completely.

use super::{BinaryFn, DimId, InputId, ParamId, Recurrence, StateId, UnaryFn, handle};
use crate::running::Bound;

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
    /// A linear readout of a state; in a transition only of another one.
    Readout(ReadoutId),
    /// A pointwise function.
    Unary(UnaryFn, PureId),
    /// A pointwise function; scalars broadcast.
    Binary(BinaryFn, PureId, PureId),
    /// Of `[x, y, a, b]`: `a` where `x > y`, else `b`; scalars broadcast.
    Select([PureId; 4]),
    /// The sum of the elements of a vector.
    Sum(PureId),
}

impl Pure {
    /// What the expression is made of; a readout's weight is none of it.
    pub fn operands(self) -> impl Iterator<Item = PureId> {
        let operands = match self {
            Pure::Unary(_, a) | Pure::Sum(a) => [Some(a), None, None, None],
            Pure::Binary(_, a, b) => [Some(a), Some(b), None, None],
            Pure::Select(operands) => operands.map(Some),
            Pure::Number(_)
            | Pure::Size(_)
            | Pure::Input(_)
            | Pure::Param(_)
            | Pure::Readout(_) => [None; 4],
        };
        operands.into_iter().flatten()
    }
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
    /// The value after so many of the step's updates, but not the last: only of a state with an
    /// obstacle, as every other is brought back to the entering value.
    Between(u32),
}

/// A linear readout: the state, contracted with a weight over one side if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Readout {
    /// The state read.
    pub state: StateId,
    /// When.
    pub moment: Moment,
    /// The contracted side and the vector it is contracted with; a scalar is repeated along it.
    pub weight: Option<(Side, PureId)>,
    /// What the vector that `weight` leaves of a matrix is contracted with in its turn; the side
    /// of `weight` is the first then. Only in a [`Read`].
    pub across: Option<PureId>,
}

/// A term of an update that is linear in a state that entered the step:
/// `rows(row) cols(col) R`, where R is the readout's value, spread.
///
/// The `outer(b, dot(a, S))` of a delta rule is `row = b`, `along = Some(Side::Col)` and a readout
/// of S with weight `a` over [`Side::Row`]. For a vector state `row` is along its elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read {
    /// Of a state's entering value.
    pub readout: ReadoutId,
    /// The side of the updated state that the readout's vector lies along; `None` for a scalar.
    pub along: Option<Side>,
    /// The factor along the first side; `None` is one.
    pub row: Option<PureId>,
    /// The factor along the second side; `None` is one.
    pub col: Option<PureId>,
}

impl Read {
    /// What stands beside the readout: for the `outer(b, dot(a, S))` of a delta rule `b`.
    pub fn left(&self) -> Option<PureId> {
        match self.along {
            Some(Side::Row) => self.col,
            _ => self.row,
        }
    }
}

/// A running extreme or an angle, of a number or a vector, element by element: `bound(S + shift)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Running {
    /// What bounds it.
    pub bound: Bound<PureId>,
    /// What is added to the old state; `None` is zero.
    pub shift: Option<PureId>,
}

/// Why a transition holds less than what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The old state is multiplied by a matrix that is no product of rows and columns.
    FullDecay,
    /// A matrix is added that is no sum of outer products.
    FullAddition,
    /// Another state is added whole, matrix to matrix.
    Whole(StateId),
    /// Another state is read between its updates, and has an obstacle itself.
    Unheld(StateId),
    /// Written out, the update has more than 128 terms that differ.
    Terms,
    /// What comes back to it over other states may leave no positive decay.
    Unsigned,
    /// The old state goes through both `max` and `min`, stands between what it is compared with, or is shifted
    /// between two comparisons.
    Extreme,
    /// The old state goes through `wrap`, and through more.
    Angle,
}

impl Obstacle {
    /// The reason in words, for a state of `recurrence`.
    pub fn reason(self, recurrence: &Recurrence) -> String {
        match self {
            Obstacle::FullDecay => "its decay is a matrix of full rank".into(),
            Obstacle::FullAddition => {
                "a matrix is added to it that is no sum of outer products".into()
            }
            Obstacle::Whole(other) => {
                let name = &recurrence.states[other.index()].name;
                format!("state `{name}` is added to it whole")
            }
            Obstacle::Unheld(other) => {
                let name = &recurrence.states[other.index()].name;
                format!("it reads `{name}` between updates that cannot be written out")
            }
            Obstacle::Terms => "written out, its update has more than 128 terms".into(),
            Obstacle::Unsigned => {
                "with what comes back to it over other states its decay may be negative".into()
            }
            Obstacle::Extreme => "it goes through more than one comparison".into(),
            Obstacle::Angle => "it goes through `wrap` and through more".into(),
        }
    }
}

/// How a state moves in one step. `None` in a decay means a factor of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Its class.
    pub class: Class,
    /// Log decay of the whole state.
    pub scalar: Option<PureId>,
    /// Log decay of each row (of each element of a vector state).
    pub row: Option<PureId>,
    /// Log decay of each column.
    pub col: Option<PureId>,
    /// What is added: for a matrix `outer(left, right)`, else `left` alone.
    pub added: Vec<(PureId, Option<PureId>)>,
    /// What is added that is linear in entering states; reads that share what stands beside them
    /// are one.
    pub reads: Vec<Read>,
    /// Whether nothing of the old value is left beside what is read of it: it has no decay then.
    pub overwritten: bool,
    /// In place of all of these: it is the largest or smallest of two, or an angle.
    pub running: Option<Running>,
    /// Why this form cannot hold the state; all other fields but the class are empty then.
    pub obstacle: Option<Obstacle>,
}

impl Default for Transition {
    fn default() -> Self {
        Transition {
            class: Class::Scalar,
            scalar: None,
            row: None,
            col: None,
            added: vec![],
            reads: vec![],
            overwritten: false,
            running: None,
            obstacle: None,
        }
    }
}

/// The class of a state: the kind of its transition, by its most general term.
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
    /// `x`: the old state is replaced by what the step saw.
    Latch,
    /// `max(S + a, b)`, `min(S + a, b)`
    Extreme,
    /// `wrap(S + a)`
    Angle,
    /// Another state enters the update.
    Coupled,
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
            Class::Latch => "latch",
            Class::Extreme => "running extreme",
            Class::Angle => "angle",
            Class::Coupled => "coupled",
        }
    }
}

/// The algebra of a verified recurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Expressions; operands before users.
    pub pure: Vec<Pure>,
    /// The dimension of each expression; `None` is a scalar.
    pub dims: Vec<Option<DimId>>,
    /// The transition of each state.
    pub transitions: Vec<Transition>,
    /// Readouts.
    pub readouts: Vec<Readout>,
    /// The value of each output; a scalar is repeated along a vector.
    pub outputs: Vec<PureId>,
}

impl Facts {
    /// The most general class of the states.
    pub fn class(&self) -> Class {
        let classes = self.transitions.iter().map(|transition| transition.class);
        classes.max().unwrap_or(Class::Scalar)
    }

    /// The expression behind a handle.
    pub fn pure(&self, id: PureId) -> Pure {
        self.pure[id.index()]
    }

    /// The dimension of an expression; `None` is a scalar.
    pub fn dim(&self, id: PureId) -> Option<DimId> {
        self.dims[id.index()]
    }
}
