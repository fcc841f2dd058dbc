//! What the evaluation of a body holds: versions of states, values of expressions, and what was found wrong.

use super::pool::Pool;
use super::value::{Matrix, Value, Vector, Version};
use crate::diag::Diagnostic;
use crate::recurrence::{Class, ExprId, Obstacle, PureId, Recurrence, Shape, Side, StateId};
use crate::running::Bound;
use std::collections::{BTreeMap, BTreeSet};

/// A value of a state in terms of what entered the step.
#[derive(Clone, Debug)]
pub(super) enum Expanded {
    Matrix(Matrix),
    Vector(Vector, Option<Obstacle>),
    Running(Running),
}

/// A state's value as a bound on what entered with something added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub bound: Bound<PureId>,
    pub shift: Option<PureId>,
    /// The update.
    pub place: ExprId,
}

/// What enters the updates of one state.
#[derive(Clone, Default)]
pub(super) struct Entering {
    pub states: BTreeSet<StateId>,
    /// Those that enter in a way that is not linear, each with the first place where one does.
    pub bent: BTreeMap<StateId, ExprId>,
    /// Expressions that were looked through.
    pub walked: BTreeSet<PureId>,
}

/// A readout in a pointwise function, before its moment is known.
pub(super) struct Seen {
    pub version: Version,
    pub weight: Option<(Side, PureId)>,
    /// Where it became part of that function.
    pub place: ExprId,
}

pub(super) struct Analysis<'a> {
    pub recurrence: &'a Recurrence,
    pub shapes: &'a [Shape],
    pub pool: Pool,
    /// Each version of each state; the first is what entered the step.
    pub versions: Vec<Vec<Expanded>>,
    /// What enters the updates of each state.
    pub entering: Vec<Entering>,
    /// The state whose update is evaluated.
    pub updated: Option<StateId>,
    /// The class that a state's updates ask for.
    pub classes: Vec<Class>,
    /// States of which an update was reported.
    pub broken: Vec<bool>,
    /// The value of each `let`, once its statement has run.
    pub lets: Vec<Option<Value>>,
    /// Values of the statement that is evaluated.
    pub values: Vec<Option<Value>>,
    /// What each expression without a state is.
    pub said: Vec<Option<PureId>>,
    pub seen: Vec<Seen>,
    pub diagnostics: Vec<Diagnostic>,
}
