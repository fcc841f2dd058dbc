//! How the states enter: affinity, class, log decays, reads, readouts.
//!
//! The body is evaluated symbolically (`value`, `eval`, `pointwise`, `contract`), with versions of states in
//! place of their values. Each update is brought back to the values that entered the step as soon
//! as it is made (`expand`), from those of the versions that it reads, so nothing is expanded
//! twice. At the end (`finish`, `copy`) the last version of a state gives its transition, and
//! readouts are brought back to the entering or the leaving value.
//!
//! Anything that is not affine becomes a pointwise function of readouts. That is legal in an output,
//! and in the update of a state on which those that are read do not depend (`strata`).

mod analysis;
mod contract;
mod copy;
mod eval;
mod expand;
mod finish;
mod log;
mod pointwise;
mod pool;
mod running;
mod strata;
mod value;

use crate::diag::Diagnostic;
use crate::recurrence::{Class, ExprId, Facts, Obstacle, Recurrence, Shape, StateId, Stmt};
use crate::span::Span;
use analysis::{Analysis, Entering, Expanded};
use pool::Pool;
use value::{Kept, MAX_TERMS, Matrix, Value, Vector};

/// Finds the facts of a well-typed recurrence; `shapes` are those of its expressions.
pub fn check(recurrence: &Recurrence, shapes: &[Shape]) -> Result<Facts, Vec<Diagnostic>> {
    let states = recurrence.states.len();
    let mut analysis = Analysis {
        recurrence,
        shapes,
        pool: Pool::default(),
        versions: (0..states)
            .map(|state| vec![expand::entering(recurrence, StateId(state as u32))])
            .collect(),
        entering: vec![Entering::default(); states],
        updated: None,
        classes: vec![Class::Scalar; states],
        broken: vec![false; states],
        lets: vec![None; recurrence.lets.len()],
        values: vec![None; recurrence.exprs.len()],
        said: vec![None; recurrence.exprs.len()],
        seen: vec![],
        diagnostics: vec![],
    };
    let mut outputs = vec![];
    for stmt in &recurrence.body {
        match *stmt {
            Stmt::Let(binding, value) => {
                let found = analysis.eval(value);
                analysis.lets[binding.index()] = Some(found);
            }
            Stmt::Update(state, value) => analysis.update(state, value),
            Stmt::Output(_, value) => {
                let found = analysis.eval(value);
                outputs.push(analysis.pure_value(found, value));
            }
        }
    }
    analysis.finish(&outputs)
}

impl Analysis<'_> {
    fn update(&mut self, state: StateId, value: ExprId) {
        let before = self.diagnostics.len();
        self.updated = Some(state);
        let found = self.eval(value);
        self.updated = None;
        let matrix = self.recurrence.states[state.index()].shape.len() == 2;
        let found = match (found, matrix) {
            (Value::Matrix(found), true) => Value::Matrix(found),
            (_, true) => Value::Matrix(Matrix::unknown(Obstacle::FullAddition)),
            (Value::Vector(found), false) => Value::Vector(found),
            (Value::Kept(found), false) if found.keeps(state) => {
                return self.kept_update(state, found, value);
            }
            (found, false) => Value::Vector(Vector {
                reads: vec![],
                pure: Some(self.pure_value(found, value)),
            }),
        };
        let mut class = self.class_of(state, &found);
        for &(other, _) in &found.versions() {
            self.enters(state, other);
        }
        for pure in found.pures() {
            if self.enters_bent(state, pure) {
                class = Class::Coupled;
            }
        }
        let known = &mut self.classes[state.index()];
        *known = class.max(*known);
        let expanded = match found {
            Value::Matrix(matrix) => Expanded::Matrix(self.expand_matrix(matrix, state)),
            Value::Vector(vector) => {
                let (vector, obstacle) = self.expand_vector(vector);
                Expanded::Vector(vector, obstacle)
            }
            _ => unreachable!("made above"),
        };
        self.versions[state.index()].push(expanded);
        self.broken[state.index()] |= self.diagnostics.len() > before;
    }

    /// The state stands as it is in what it is kept through; all else may be any function.
    fn kept_update(&mut self, state: StateId, kept: Kept, place: ExprId) {
        for vector in &kept.of {
            for read in &vector.reads {
                match read.version.0 == state {
                    true => self.enters(state, state),
                    false => self.enters_at(state, read.version.0, place),
                }
            }
            for pure in Value::Vector(vector.clone()).pures() {
                self.enters_bent(state, pure);
            }
        }
        let obstacle = kept.obstacle;
        let running = match obstacle {
            Obstacle::Angle => self.angle(state, kept, place),
            _ => self.running(state, kept, place),
        };
        let expanded = match running {
            Some(running) => Expanded::Running(running),
            None => Expanded::Vector(Vector::default(), Some(obstacle)),
        };
        self.versions[state.index()].push(expanded);
    }

    /// What an update alone asks for.
    fn class_of(&mut self, state: StateId, update: &Value) -> Class {
        let mut class = Class::Scalar;
        if update.versions().iter().any(|&(other, _)| other != state) {
            class = Class::Coupled;
        }
        match update {
            Value::Matrix(matrix) => {
                if matrix.obstacle.is_some() {
                    class = class.max(Class::Elementwise);
                }
                for term in &matrix.low_rank {
                    let whole = term.read.across.is_none() && term.read.scale.is_none();
                    let delta = whole
                        && term
                            .read
                            .weight
                            .is_some_and(|(_, w)| value::parallel(&mut self.pool, term.left, w));
                    class = class.max(match delta {
                        true => Class::Delta,
                        false => Class::DiagonalPlusLowRank,
                    });
                }
            }
            Value::Vector(vector) if vector.reads.iter().any(|read| read.weight.is_some()) => {
                class = class.max(Class::DiagonalPlusLowRank);
            }
            _ => {}
        }
        class
    }

    fn too_many_terms(&mut self, span: Span, terms: usize) {
        if self.diagnostics.iter().any(|d| d.code == "R046") {
            return;
        }
        self.diagnostics.push(
            Diagnostic::new("R046", span, "this value has too many terms that differ")
                .found(format!("{terms} terms of states and outer products"))
                .expected(format!("at most {MAX_TERMS}"))
                .remedy("terms that share a state and its factors, or a vector, count as one: bring them together"),
        );
    }

    fn state_name(&self, state: StateId) -> String {
        self.recurrence.states[state.index()].name.clone()
    }
}
