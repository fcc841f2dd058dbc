//! The facts of a recurrence whose body has been evaluated.
//!
//! The last version of each state gives its transition. Readouts of the last version see the
//! leaving state; of a version in between they become readouts of entering states plus what the
//! step had added until then.

use super::analysis::{Analysis, Expanded};
use super::copy::{Copy, Draft, Meaning, Term};
use super::log;
use super::value::{Factor, LowRank, Matrix, Read, Vector, split};
use crate::diag::Diagnostic;
use crate::recurrence::{
    BinaryFn, Class, ExprId, Facts, Moment, Obstacle, Pure, PureId, Readout, Side, StateId, Stmt,
};
use crate::running::Bound;
use crate::verify::remedy::RESET;
use crate::verify::structure::span;
use std::collections::BTreeMap;

/// What a decay may be.
const LOGS: &str = "decays are kept in log space: give the input as a log decay and write `exp(g)`, or squash it with \
                    `sigmoid`";

impl Analysis<'_> {
    pub(super) fn finish(mut self, outputs: &[PureId]) -> Result<Facts, Vec<Diagnostic>> {
        self.strata();
        let states = 0..self.recurrence.states.len();
        let drafts: Vec<Draft> = states
            .map(|state| self.transition(StateId(state as u32)))
            .collect();
        if !self.diagnostics.is_empty() {
            self.diagnostics.sort_by_key(|d| (d.span.start, d.code));
            return Err(self.diagnostics);
        }
        let meanings = self.meanings();
        let mut copy = Copy::new(&self, &meanings);
        let transitions = drafts
            .into_iter()
            .map(|draft| copy.transition(draft))
            .collect();
        let outputs = outputs.iter().map(|&output| copy.pure(output)).collect();
        Ok(Facts {
            transitions,
            outputs,
            readouts: copy.readouts,
            pure: copy.pool.pure,
            dims: copy.pool.dims,
        })
    }

    fn transition(&mut self, state: StateId) -> Draft {
        let last = self.versions[state.index()].last();
        let mut class = self.classes[state.index()];
        let mut draft = Draft::default();
        let mut factors: Vec<Factor> = vec![];
        match last.cloned() {
            Some(Expanded::Matrix(matrix)) => self.matrix(matrix, &mut factors, &mut draft),
            Some(Expanded::Vector(vector, obstacle)) => {
                draft.obstacle = obstacle;
                self.vector(state, vector, &mut factors, &mut draft);
            }
            Some(Expanded::Running(running)) => {
                let own = match running.bound {
                    Bound::Extreme { .. } => Class::Extreme,
                    Bound::Turns => Class::Angle,
                };
                return Draft {
                    class: Some(class.max(own)),
                    running: Some(running),
                    ..Draft::default()
                };
            }
            None => {}
        }
        let own = draft.reads.iter().any(|read| read.readout.state == state);
        if draft.reads.iter().any(|read| read.readout.state != state) {
            class = class.max(Class::Coupled);
        }
        if own && class < Class::Delta {
            class = Class::DiagonalPlusLowRank;
        }
        if factors.is_empty() && !own {
            class = class.max(Class::Latch);
        }
        let factor = factors.first().copied().unwrap_or_default();
        if factor.row.is_some() || factor.col.is_some() {
            class = class.max(Class::Diagonal);
        }
        match draft.obstacle {
            Some(Obstacle::Whole(_) | Obstacle::Unheld(_)) => class = Class::Coupled,
            Some(Obstacle::Extreme) => class = class.max(Class::Extreme),
            Some(Obstacle::Angle) => class = class.max(Class::Angle),
            Some(Obstacle::FullDecay | Obstacle::FullAddition) => {
                class = class.max(Class::Elementwise);
            }
            Some(Obstacle::Terms | Obstacle::Unsigned) | None => {}
        }
        if draft.obstacle.is_none() {
            let parts = [factor.scalar, factor.row, factor.col];
            draft.logs = parts.map(|part| part.and_then(|part| log::log(&mut self.pool, part)));
            draft.overwritten = factors.is_empty();
            let mut lost = parts.iter().zip(&draft.logs);
            if let Some(lost) = lost.find_map(|(part, log)| part.filter(|_| log.is_none())) {
                match class {
                    // What comes back over another state is no decay that was said.
                    Class::Coupled => draft.obstacle = Some(Obstacle::Unsigned),
                    _ if self.broken[state.index()] => {}
                    _ => self.unsigned(state, lost),
                }
            }
        }
        Draft {
            class: Some(class),
            ..match draft.obstacle {
                None => draft,
                obstacle => Draft {
                    obstacle,
                    ..Draft::default()
                },
            }
        }
    }

    /// Reads off the terms of a matrix's last version.
    fn matrix(&mut self, matrix: Matrix, factors: &mut Vec<Factor>, draft: &mut Draft) {
        draft.obstacle = matrix.obstacle;
        factors.extend(matrix.states.iter().map(|scaled| scaled.factor));
        draft.added = (matrix.outers.iter())
            .map(|&(left, right)| (left, Some(right)))
            .collect();
        for LowRank { side, left, read } in matrix.low_rank {
            let along = self.read_dim(&read).map(|_| other(side));
            let (row, col) = match side {
                Side::Row => (Some(left), read.scale),
                Side::Col => (read.scale, Some(left)),
            };
            draft.reads.push(Term {
                readout: readout(&read),
                along,
                row,
                col,
            });
        }
    }

    /// Reads off the terms of a vector's last version.
    fn vector(
        &mut self,
        state: StateId,
        vector: Vector,
        factors: &mut Vec<Factor>,
        draft: &mut Draft,
    ) {
        draft.added = vector.pure.iter().map(|&pure| (pure, None)).collect();
        for mut read in vector.reads {
            if read.weight.is_none() && read.version.0 == state {
                let vector = read.scale.is_some_and(|s| self.pool.dim(s).is_some());
                factors.push(Factor {
                    scalar: read.scale.filter(|_| !vector),
                    row: read.scale.filter(|_| vector),
                    col: None,
                });
                continue;
            }
            if let (Some(scale), Some((_, weight))) = (read.scale, &mut read.weight) {
                let (scalar, rest) = split(&mut self.pool, scale);
                *weight = self.pool.scaled(scalar, *weight);
                read.scale = rest;
            }
            let term = Term {
                readout: readout(&read),
                along: self.read_dim(&read).map(|_| Side::Row),
                row: read.scale,
                col: None,
            };
            self.push_term(term, &mut draft.reads);
        }
    }

    /// Reads of a vector state that share their factor are one.
    fn push_term(&mut self, next: Term, reads: &mut Vec<Term>) {
        for known in reads.iter_mut() {
            let (own, new) = (&mut known.readout, next.readout);
            if (own.state, own.across, known.along, known.row)
                == (new.state, new.across, next.along, next.row)
                && let (Some((side, a)), Some((other, b))) = (own.weight, new.weight)
                && side == other
            {
                own.weight = Some((side, self.pool.plus(a, b)));
                return;
            }
        }
        reads.push(next);
    }

    /// Reports a factor that may not be positive, where it was said: of a product the part that it is for.
    fn unsigned(&mut self, state: StateId, mut factor: PureId) {
        let updates = self.recurrence.body.iter().filter_map(|stmt| match *stmt {
            Stmt::Update(updated, value) if updated == state => Some(value),
            _ => None,
        });
        let own = updates.flat_map(|root| self.recurrence.parts(root, |_| false));
        let places: Vec<ExprId> = own.chain((0..self.said.len() as u32).map(ExprId)).collect();
        let mut said = BTreeMap::new();
        for id in places {
            if let Some(value) = self.said[id.index()] {
                said.entry(value).or_insert(id);
            }
        }
        let (mut place, mut known) = (None, BTreeMap::new());
        loop {
            place = said.get(&factor).or(place);
            factor = match self.pool.pure(factor) {
                Pure::Binary(BinaryFn::Mul | BinaryFn::Div, a, b) => {
                    match log::log_by(&mut self.pool, a, &mut known) {
                        Some(_) => b,
                        None => a,
                    }
                }
                _ => break,
            };
        }
        // What says zero for some steps is a flag.
        let zero = |a: PureId| self.pool.pure(a) == Pure::Number(0.0);
        let remedy = match self.pool.pure(factor) {
            Pure::Select([_, _, a, b]) if zero(a) || zero(b) => RESET.to_string(),
            Pure::Binary(BinaryFn::Sub, one, _) if self.pool.pure(one) == Pure::Number(1.0) => {
                format!("{LOGS}; {RESET}")
            }
            _ => LOGS.to_string(),
        };
        let name = self.state_name(state);
        let spans = &self.recurrence.spans;
        let span = match place {
            Some(place) => span(self.recurrence, &spans.exprs, place.index()),
            None => span(self.recurrence, &spans.states, state.index()),
        };
        self.diagnostics.push(
            Diagnostic::new(
                "R043",
                span,
                format!("the decay of state `{name}` may be zero or negative"),
            )
            .found("a factor on the old state that is not provably positive")
            .expected("a product of `exp`, `sigmoid` and positive numbers")
            .remedy(remedy),
        );
    }

    /// Gives every readout its moment. Expansion adds readouts of version 0, which are given
    /// theirs in turn.
    fn meanings(&mut self) -> Vec<Meaning> {
        let mut meanings = vec![];
        while let Some(seen) = self.seen.get(meanings.len()) {
            let (state, version) = seen.version;
            let (weight, place) = (seen.weight, seen.place);
            let last = self.versions[state.index()].len() - 1;
            meanings.push(match version {
                0 => Meaning::At(Moment::Entering),
                _ if version == last => Meaning::At(Moment::Leaving),
                _ => {
                    let (vector, obstacle) = self.expand_read(Read {
                        version: (state, version),
                        weight,
                        across: None,
                        scale: None,
                    });
                    match obstacle {
                        Some(_) => Meaning::At(Moment::Between(version as u32)),
                        None => Meaning::Is(self.pure_vector(vector, place)),
                    }
                }
            });
        }
        meanings
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Row => Side::Col,
        Side::Col => Side::Row,
    }
}

fn readout(read: &Read) -> Readout {
    Readout {
        state: read.version.0,
        moment: Moment::Entering,
        weight: read.weight,
        across: read.across,
    }
}
