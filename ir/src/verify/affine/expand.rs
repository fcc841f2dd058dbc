//! Values in terms of what entered the step.
//!
//! A read between two updates becomes reads of entering states and what the step had added until
//! then: the decay goes into the weight. Versions are expanded when they are made, so a version
//! that is read is known in this form already.

use super::analysis::{Analysis, Expanded};
use super::value::{Factor, LowRank, MAX_TERMS, Matrix, Read, Scaled, Vector};
use crate::recurrence::{Obstacle, Recurrence, Side, StateId};

/// The value of a state that entered the step.
pub(super) fn entering(recurrence: &Recurrence, state: StateId) -> Expanded {
    let version = (state, 0);
    match recurrence.states[state.index()].shape.len() {
        2 => Expanded::Matrix(Matrix {
            states: vec![Scaled {
                version,
                factor: Factor::default(),
            }],
            ..Matrix::default()
        }),
        _ => {
            let read = Read {
                version,
                weight: None,
                across: None,
                scale: None,
            };
            let vector = Vector {
                reads: vec![read],
                pure: None,
            };
            Expanded::Vector(vector, None)
        }
    }
}

impl Analysis<'_> {
    /// The new value of `state`.
    pub(super) fn expand_matrix(&mut self, matrix: Matrix, state: StateId) -> Matrix {
        let mut to = Matrix {
            outers: matrix.outers,
            obstacle: matrix.obstacle,
            ..Matrix::default()
        };
        for term in matrix.low_rank {
            self.expand_low_rank(term, &mut to);
        }
        for Scaled { version, factor } in matrix.states {
            let (of, at) = version;
            if of != state {
                to.obstacle = to.obstacle.or(Some(Obstacle::Whole(of)));
                continue;
            }
            let Expanded::Matrix(inner) = self.versions[of.index()][at].clone() else {
                unreachable!("a matrix state has matrices as versions");
            };
            to.extend(inner.scaled(factor, &mut self.pool), &mut self.pool);
        }
        if to.states.len() > 1 {
            // A sum of decays that is no product; further updates would double its terms.
            to.states.truncate(1);
            to.obstacle = to.obstacle.or(Some(Obstacle::FullDecay));
        }
        match to.terms() > MAX_TERMS {
            true => Matrix::unknown(Obstacle::Terms),
            false => to,
        }
    }

    fn expand_low_rank(&mut self, term: LowRank, to: &mut Matrix) {
        let LowRank { side, left, read } = term;
        let (vector, obstacle) = self.expand_read(read);
        to.obstacle = to.obstacle.or(obstacle);
        for read in vector.reads {
            to.push_low_rank(LowRank { side, left, read }, &mut self.pool);
        }
        if let Some(pure) = vector.pure {
            let outer = match side {
                Side::Row => (left, pure),
                Side::Col => (pure, left),
            };
            to.push_outer(outer, &mut self.pool);
        }
    }

    pub(super) fn expand_vector(&mut self, vector: Vector) -> (Vector, Option<Obstacle>) {
        let mut to = Vector {
            reads: vec![],
            pure: vector.pure,
        };
        let mut obstacle = None;
        for read in vector.reads {
            let (inner, why) = self.expand_read(read);
            obstacle = obstacle.or(why);
            to.extend(inner, &mut self.pool);
        }
        match to.terms() > MAX_TERMS {
            true => (Vector::default(), Some(Obstacle::Terms)),
            false => (to, obstacle),
        }
    }

    /// A read of any version as reads of version 0 and what is pure.
    pub(super) fn expand_read(&mut self, read: Read) -> (Vector, Option<Obstacle>) {
        let (state, at) = read.version;
        if at == 0 {
            let vector = Vector {
                reads: vec![read],
                pure: None,
            };
            return (vector, None);
        }
        let shape = &self.recurrence.states[state.index()].shape;
        let (vector, obstacle) = match (self.versions[state.index()][at].clone(), read.weight) {
            (Expanded::Matrix(matrix), Some((side, weight))) => {
                let (shape, obstacle) = ([shape[0], shape[1]], matrix.obstacle);
                let mut vector = self.contract(matrix, shape, side, weight);
                if let Some(across) = read.across {
                    let dim = if side == Side::Row {
                        shape[1]
                    } else {
                        shape[0]
                    };
                    vector = self.contract_vector(vector, dim, across);
                }
                (vector, obstacle)
            }
            (Expanded::Vector(vector, obstacle), Some((_, weight))) => {
                let dim = shape[0];
                (self.contract_vector(vector, dim, weight), obstacle)
            }
            (Expanded::Vector(vector, obstacle), None) => (vector, obstacle),
            (Expanded::Running(running), weight) => {
                let pure = self.running_value(state, running);
                let pure = match weight {
                    Some((_, weight)) => self.pool.dot(weight, pure, shape[0]),
                    None => pure,
                };
                let vector = Vector {
                    reads: vec![],
                    pure: Some(pure),
                };
                (vector, None)
            }
            (Expanded::Matrix(_), None) => unreachable!("a matrix is read with a weight"),
        };
        let obstacle = obstacle.map(|_| Obstacle::Unheld(state));
        (vector.scaled(read.scale, &mut self.pool), obstacle)
    }
}
