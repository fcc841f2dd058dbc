//! Level 1: a recurrence as a person writes it.
//!
//! B (batch), T (time) and H (heads) are implicit: a [`Recurrence`] speaks of one head at one
//! time step. Its body is a list of statements that run in order; expressions are pure and live
//! in one arena, in the order of their definition (operands before users). The text form is
//! `crate::text`; what may be said is checked by `crate::verify`; how the states enter is
//! worked out by [`affine`](crate::recurrence) facts, never declared.
//!
//! Invariant: handles of a `Recurrence` index its own vectors. Shapes are symbolic: sizes are
//! bound only when a program is run or lowered.

mod expr;
mod facts;
mod handles;

pub use expr::{BinaryFn, Expr, ExprId, L2NORM_EPSILON, UnaryFn};
pub use facts::{
    Class, Facts, Moment, Obstacle, Pure, PureId, Read, Readout, ReadoutId, Running, Side,
    Transition,
};

pub(crate) use handles::handle;
pub use handles::{DimId, InputId, LetId, OutputId, ParamId, StateId};

use crate::span::Span;
use std::collections::BTreeSet;

/// The symbolic shape of a value of one head at one step: scalar, vector or matrix (0 to 2 dims).
pub type Shape = Vec<DimId>;

/// A named tensor at the border of a recurrence.
///
/// Layout outside: an input or output is `[B, T, H, dims...]` (`[B, T, G, dims...]` when
/// `per_group`), a parameter `[H, dims...]`, a state `[B, H, dims...]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name in the text.
    pub name: String,
    /// Dimensions of one head at one step.
    pub shape: Shape,
    /// Shared by the H / G heads of a group (inputs only).
    pub per_group: bool,
}

/// A statement of the body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stmt {
    /// `let name = value;`
    Let(LetId, ExprId),
    /// `S = value;`
    Update(StateId, ExprId),
    /// `output y: [P] = value;`
    Output(OutputId, ExprId),
}

/// A linear recurrence, as said.
#[derive(Clone, Debug, Default)]
pub struct Recurrence {
    /// Its name; also the prefix of every kernel derived from it.
    pub name: String,
    /// Dimension names.
    pub dims: Vec<String>,
    /// Inputs, in order of declaration.
    pub inputs: Vec<Port>,
    /// Parameters, in order of declaration.
    pub params: Vec<Port>,
    /// States, in order of declaration.
    pub states: Vec<Port>,
    /// Outputs, in order of their statements.
    pub outputs: Vec<Port>,
    /// Names of the `let` bindings, in order of their statements.
    pub lets: Vec<String>,
    /// Expressions; operands come before users.
    pub exprs: Vec<Expr>,
    /// The body.
    pub body: Vec<Stmt>,
    /// Where everything stood in the source.
    pub spans: Spans,
}

/// Source positions, parallel to the vectors of [`Recurrence`].
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// The recurrence's name.
    pub name: Span,
    /// Names of the dims.
    pub dims: Vec<Span>,
    /// Names of the inputs.
    pub inputs: Vec<Span>,
    /// Names of the params.
    pub params: Vec<Span>,
    /// Names of the states.
    pub states: Vec<Span>,
    /// Names of the outputs.
    pub outputs: Vec<Span>,
    /// Names of the lets.
    pub lets: Vec<Span>,
    /// Whole expressions.
    pub exprs: Vec<Span>,
    /// Whole statements.
    pub body: Vec<Span>,
}

/// Two recurrences are equal when they say the same, wherever it stood.
impl PartialEq for Recurrence {
    fn eq(&self, other: &Self) -> bool {
        (
            &self.name,
            &self.dims,
            &self.inputs,
            &self.params,
            &self.states,
        ) == (
            &other.name,
            &other.dims,
            &other.inputs,
            &other.params,
            &other.states,
        ) && (&self.outputs, &self.lets, &self.exprs, &self.body)
            == (&other.outputs, &other.lets, &other.exprs, &other.body)
    }
}

impl Recurrence {
    /// What an expression is made of, itself included: operands before users, each once, without what is
    /// `known` and what only that needs.
    pub fn parts(&self, root: ExprId, known: impl Fn(ExprId) -> bool) -> Vec<ExprId> {
        let mut parts = BTreeSet::new();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if !known(id) && parts.insert(id) {
                open.extend(self.expr(id).operands().into_iter().flatten());
            }
        }
        parts.into_iter().collect()
    }

    /// The expression behind a handle.
    pub fn expr(&self, id: ExprId) -> &Expr {
        &self.exprs[id.index()]
    }

    /// The value bound by `let` number `id`.
    pub fn let_value(&self, id: LetId) -> Option<ExprId> {
        self.body.iter().find_map(|stmt| match *stmt {
            Stmt::Let(found, value) if found == id => Some(value),
            _ => None,
        })
    }
}
