//! Contraction: what a matrix or a vector that is affine in the states becomes under `dot` and
//! `sum`.
//!
//! A read on one side of an `outer(left, read)` leaves a multiple of the read; a read across it
//! contracts the read once more. Neither is ever left out.

use super::analysis::Analysis;
use super::value::{Factor, Matrix, Read, Vector, split};
use crate::recurrence::{DimId, PureId, Side};

impl Analysis<'_> {
    /// The dimension of what a read gives; `None` is a scalar.
    pub(super) fn read_dim(&self, read: &Read) -> Option<DimId> {
        let shape = &self.recurrence.states[read.version.0.index()].shape;
        match (shape.len(), read.weight, read.across) {
            (2, Some((Side::Row, _)), None) => Some(shape[1]),
            (2, Some((Side::Col, _)), None) => Some(shape[0]),
            (_, Some(_), _) => None,
            _ => shape.first().copied(),
        }
    }

    /// A matrix contracted with `weight` over `side`; what it does not hold is left out.
    pub(super) fn contract(
        &mut self,
        matrix: Matrix,
        shape: [DimId; 2],
        side: Side,
        weight: PureId,
    ) -> Vector {
        let dim = if side == Side::Row {
            shape[0]
        } else {
            shape[1]
        };
        let mut vector = Vector::default();
        for scaled in matrix.states {
            let Factor { scalar, row, col } = scaled.factor;
            let (inner, outer) = if side == Side::Row {
                (row, col)
            } else {
                (col, row)
            };
            let read = Read {
                version: scaled.version,
                weight: Some((side, self.pool.scaled(inner, weight))),
                across: None,
                scale: self.pool.times(scalar, outer),
            };
            vector.push(read, &mut self.pool);
        }
        for (l, r) in matrix.outers {
            let (inner, outer) = if side == Side::Row { (l, r) } else { (r, l) };
            let dot = self.pool.dot(weight, inner, dim);
            let term = self.pool.mul(dot, outer);
            vector.pure = self.pool.total(vector.pure, Some(term));
        }
        for term in matrix.low_rank {
            let part = match term.side == side {
                true => {
                    let dot = self.pool.dot(weight, term.left, dim);
                    let scale = self.pool.times(Some(dot), term.read.scale);
                    Read { scale, ..term.read }
                }
                false => {
                    let read = self.contract_read(term.read, dim, weight);
                    let scale = self.pool.times(read.scale, Some(term.left));
                    Read { scale, ..read }
                }
            };
            vector.push(part, &mut self.pool);
        }
        vector
    }

    /// A vector contracted with `weight` along its dimension `dim`.
    pub(super) fn contract_vector(&mut self, vector: Vector, dim: DimId, weight: PureId) -> Vector {
        let mut to = Vector::default();
        for read in vector.reads {
            let read = self.contract_read(read, dim, weight);
            to.push(read, &mut self.pool);
        }
        to.pure = vector.pure.map(|pure| self.pool.dot(weight, pure, dim));
        to
    }

    fn contract_read(&mut self, read: Read, dim: DimId, weight: PureId) -> Read {
        let Read {
            weight: first,
            scale,
            ..
        } = read;
        if self.read_dim(&read).is_none() {
            let scale = match scale {
                Some(scale) => self.pool.dot(weight, scale, dim),
                None => self.pool.sum(weight, dim),
            };
            return Read {
                scale: Some(scale),
                ..read
            };
        }
        let weight = match scale {
            Some(scale) => self.pool.mul(weight, scale),
            None => weight,
        };
        let Some((side, first)) = first else {
            return Read {
                weight: Some((Side::Row, weight)),
                scale: None,
                ..read
            };
        };
        // Scalars stay outside, so that reads of the same vectors are the same.
        let (scale, weight) = split(&mut self.pool, weight);
        let weight = weight.unwrap_or_else(|| self.pool.number(1.0));
        let (row, col) = match side {
            Side::Row => (first, weight),
            Side::Col => (weight, first),
        };
        Read {
            version: read.version,
            weight: Some((Side::Row, row)),
            across: Some(col),
            scale,
        }
    }
}
