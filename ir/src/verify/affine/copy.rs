//! What is reached from transitions and outputs, in expressions of its own: operands before users,
//! each expression and each readout once.
//!
//! The evaluation leaves expressions that nothing needs, and a readout for every place where one
//! became part of a pointwise function; neither is a fact.

use super::analysis::{self, Analysis};
use super::pool::Pool;
use crate::recurrence::{
    Class, Moment, Obstacle, Pure, PureId, Read, Readout, ReadoutId, Running, Side, Transition,
};
use std::collections::BTreeMap;

/// What a readout of the evaluation means.
pub(super) enum Meaning {
    At(Moment),
    /// An expression over later readouts.
    Is(PureId),
}

/// A read of a transition before its readout has a number.
pub(super) struct Term {
    pub readout: Readout,
    pub along: Option<Side>,
    pub row: Option<PureId>,
    pub col: Option<PureId>,
}

/// A transition in the expressions of the evaluation.
#[derive(Default)]
pub(super) struct Draft {
    pub class: Option<Class>,
    pub logs: [Option<PureId>; 3],
    pub added: Vec<(PureId, Option<PureId>)>,
    pub reads: Vec<Term>,
    pub overwritten: bool,
    pub running: Option<analysis::Running>,
    pub obstacle: Option<Obstacle>,
}

/// The facts' expressions and readouts as they grow.
pub(super) struct Copy<'a> {
    analysis: &'a Analysis<'a>,
    meanings: &'a [Meaning],
    pub pool: Pool,
    known: Vec<Option<PureId>>,
    pub readouts: Vec<Readout>,
    index: BTreeMap<Readout, ReadoutId>,
}

impl<'a> Copy<'a> {
    pub fn new(analysis: &'a Analysis<'a>, meanings: &'a [Meaning]) -> Self {
        Copy {
            analysis,
            meanings,
            pool: Pool::default(),
            known: vec![None; analysis.pool.pure.len()],
            readouts: vec![],
            index: BTreeMap::new(),
        }
    }

    pub fn transition(&mut self, draft: Draft) -> Transition {
        let mut part = |part: Option<PureId>| part.map(|part| self.pure(part));
        let [scalar, row, col] = draft.logs.map(&mut part);
        let added = draft.added.into_iter();
        let added = added.map(|(left, right)| (self.pure(left), right.map(|r| self.pure(r))));
        let added = added.collect();
        let reads = draft.reads.into_iter().map(|term| {
            let weight = term.readout.weight.map(|(side, w)| (side, self.pure(w)));
            let across = term.readout.across.map(|across| self.pure(across));
            let [row, col] = [term.row, term.col].map(|part| part.map(|part| self.pure(part)));
            Read {
                readout: self.readout(Readout {
                    weight,
                    across,
                    ..term.readout
                }),
                along: term.along,
                row,
                col,
            }
        });
        let reads = reads.collect();
        Transition {
            class: draft.class.unwrap_or(Class::Scalar),
            scalar,
            row,
            col,
            added,
            reads,
            overwritten: draft.overwritten,
            running: draft.running.map(|running| Running {
                shift: running.shift.map(|shift| self.pure(shift)),
                bound: running.bound.map(|floor| self.pure(floor)),
            }),
            obstacle: draft.obstacle,
        }
    }

    fn readout(&mut self, readout: Readout) -> ReadoutId {
        let next = ReadoutId(self.readouts.len() as u32);
        let id = *self.index.entry(readout).or_insert(next);
        if id == next {
            self.readouts.push(readout);
        }
        id
    }

    /// The copy of an expression: operands first, each once.
    pub fn pure(&mut self, root: PureId) -> PureId {
        let mut open = vec![root];
        while let Some(&id) = open.last() {
            if self.known[id.index()].is_none() {
                let expr = self.analysis.pool.pure(id);
                let mut operands = expr.operands().chain(self.behind(expr));
                if let Some(next) = operands.find(|id| self.known[id.index()].is_none()) {
                    open.push(next);
                    continue;
                }
                let copy = self.copy(expr, id);
                self.known[id.index()] = Some(copy);
            }
            open.pop();
        }
        self.of(root)
    }

    fn of(&self, id: PureId) -> PureId {
        self.known[id.index()].expect("operands are copied first")
    }

    /// What a readout means, or its weight.
    fn behind(&self, expr: Pure) -> Option<PureId> {
        let Pure::Readout(readout) = expr else {
            return None;
        };
        match self.meanings[readout.index()] {
            Meaning::Is(pure) => Some(pure),
            Meaning::At(_) => {
                let weight = self.analysis.seen[readout.index()].weight;
                weight.map(|(_, weight)| weight)
            }
        }
    }

    fn copy(&mut self, expr: Pure, id: PureId) -> PureId {
        match expr {
            Pure::Unary(function, a) => self.pool.unary(function, self.of(a)),
            Pure::Binary(function, a, b) => self.pool.binary(function, self.of(a), self.of(b)),
            Pure::Select(operands) => {
                let operands = operands.map(|operand| self.of(operand));
                self.pool.select(operands)
            }
            Pure::Sum(a) => {
                // What a readout means may be a scalar in the place of a vector.
                let dim = self.analysis.pool.dim(a).expect("a sum is over a vector");
                self.pool.sum(self.of(a), dim)
            }
            Pure::Readout(readout) => match self.meanings[readout.index()] {
                Meaning::Is(pure) => self.of(pure),
                Meaning::At(moment) => {
                    let seen = &self.analysis.seen[readout.index()];
                    let weight = seen.weight.map(|(side, weight)| (side, self.of(weight)));
                    let readout = self.readout(Readout {
                        state: seen.version.0,
                        moment,
                        weight,
                        across: None,
                    });
                    let dim = self.analysis.pool.dim(id);
                    self.pool.add(Pure::Readout(readout), dim)
                }
            },
            leaf => self.pool.add(leaf, self.analysis.pool.dim(id)),
        }
    }
}
