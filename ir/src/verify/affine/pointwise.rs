//! Pointwise functions of values: sums and products stay affine where they are.

use super::analysis::Analysis;
use super::pool::Pool;
use super::value::{Factor, Kept, LowRank, MAX_TERMS, Matrix, Read, Value, Vector};
use crate::recurrence::{BinaryFn, ExprId, Obstacle, PureId, Side, UnaryFn};

impl Analysis<'_> {
    pub(super) fn eval_unary(&mut self, function: UnaryFn, a: ExprId, id: ExprId) -> Value {
        if function == UnaryFn::Wrap {
            return self.kept(&[a], id, None, |pool, of| pool.unary(function, of[0]));
        }
        let minus = self.pool.number(-1.0);
        match (self.value(a), function) {
            (Value::Matrix(matrix), UnaryFn::Neg) => {
                Value::Matrix(matrix.scaled(Factor::scalar(minus), &mut self.pool))
            }
            (Value::Vector(vector), UnaryFn::Neg) => {
                Value::Vector(vector.scaled(Some(minus), &mut self.pool))
            }
            (Value::Factor(factor), UnaryFn::Neg) => {
                Value::Factor(factor.times(Factor::scalar(minus), &mut self.pool))
            }
            (value, _) if value.is_matrix() => {
                self.nonlinear_matrix(&value, id);
                Value::Full
            }
            (value, function) => {
                let pure = self.pure_value(value, id);
                Value::Pure(self.pool.unary(function, pure))
            }
        }
    }

    pub(super) fn eval_binary(
        &mut self,
        function: BinaryFn,
        a: ExprId,
        b: ExprId,
        id: ExprId,
    ) -> Value {
        if matches!(function, BinaryFn::Max | BinaryFn::Min) {
            return self.kept(&[a, b], id, Some(function), |pool, of| {
                pool.binary(function, of[0], of[1])
            });
        }
        self.binary_values(function, self.value(a), self.value(b), id)
    }

    fn binary_values(
        &mut self,
        function: BinaryFn,
        left: Value,
        right: Value,
        id: ExprId,
    ) -> Value {
        match (function, left, right) {
            (function, Value::Pure(a), Value::Pure(b)) => {
                Value::Pure(self.pool.binary(function, a, b))
            }
            (BinaryFn::Add | BinaryFn::Sub, left, right) => {
                self.add_values(left, right, function == BinaryFn::Sub)
            }
            (BinaryFn::Mul, Value::Factor(f), Value::Factor(g)) => {
                Value::Factor(f.times(g, &mut self.pool))
            }
            (BinaryFn::Mul, Value::Factor(f), Value::Pure(p))
            | (BinaryFn::Mul, Value::Pure(p), Value::Factor(f)) => {
                Value::Factor(f.times(Factor::scalar(p), &mut self.pool))
            }
            (BinaryFn::Mul, Value::Factor(f), Value::Matrix(m))
            | (BinaryFn::Mul, Value::Matrix(m), Value::Factor(f)) => {
                Value::Matrix(m.scaled(f, &mut self.pool))
            }
            (BinaryFn::Mul, Value::Pure(p), Value::Matrix(m))
            | (BinaryFn::Mul, Value::Matrix(m), Value::Pure(p)) => {
                Value::Matrix(m.scaled(Factor::scalar(p), &mut self.pool))
            }
            (BinaryFn::Mul, Value::Matrix(m), Value::Matrix(n)) => {
                let (m, n) = (Value::Matrix(m), Value::Matrix(n));
                match (m, n) {
                    (Value::Matrix(m), n) if n.versions().is_empty() => Value::Matrix(m.full()),
                    (m, Value::Matrix(n)) if m.versions().is_empty() => Value::Matrix(n.full()),
                    (m, _) => {
                        self.nonlinear_matrix(&m, id);
                        Value::Full
                    }
                }
            }
            (BinaryFn::Mul, Value::Full, Value::Matrix(m))
            | (BinaryFn::Mul, Value::Matrix(m), Value::Full) => Value::Matrix(m.full()),
            (BinaryFn::Mul, Value::Vector(v), Value::Matrix(m))
            | (BinaryFn::Mul, Value::Matrix(m), Value::Vector(v))
                if m.states.is_empty() && m.low_rank.is_empty() && m.obstacle.is_none() =>
            {
                Value::Matrix(self.spread(v, m))
            }
            (BinaryFn::Mul, Value::Pure(p), Value::Vector(v))
            | (BinaryFn::Mul, Value::Vector(v), Value::Pure(p)) => {
                Value::Vector(v.scaled(Some(p), &mut self.pool))
            }
            (BinaryFn::Div, Value::Matrix(m), Value::Pure(p)) => {
                let inverse = self.inverse(p);
                Value::Matrix(m.scaled(Factor::scalar(inverse), &mut self.pool))
            }
            (BinaryFn::Div, Value::Matrix(m), Value::Factor(f)) => {
                let inverse = self.inverse_factor(f);
                Value::Matrix(m.scaled(inverse, &mut self.pool))
            }
            (BinaryFn::Div, Value::Vector(v), Value::Pure(p)) => {
                let inverse = self.inverse(p);
                Value::Vector(v.scaled(Some(inverse), &mut self.pool))
            }
            (BinaryFn::Div, Value::Factor(f), Value::Pure(p)) => {
                let inverse = self.inverse(p);
                Value::Factor(f.times(Factor::scalar(inverse), &mut self.pool))
            }
            (BinaryFn::Div, Value::Pure(p), Value::Factor(f)) => {
                let inverse = self.inverse_factor(f);
                Value::Factor(Factor::scalar(p).times(inverse, &mut self.pool))
            }
            (BinaryFn::Div, Value::Factor(f), Value::Factor(g)) => {
                let inverse = self.inverse_factor(g);
                Value::Factor(f.times(inverse, &mut self.pool))
            }
            // What is linear stays so beside another state's value: that is a gate.
            (BinaryFn::Mul | BinaryFn::Div, Value::Vector(v), Value::Vector(gate))
                if self.is_updated(&v) =>
            {
                let gate = Value::Pure(self.pure_vector(gate, id));
                self.binary_values(function, Value::Vector(v), gate, id)
            }
            (BinaryFn::Mul, Value::Vector(gate), Value::Vector(v)) if self.is_updated(&v) => {
                let gate = Value::Pure(self.pure_vector(gate, id));
                self.binary_values(function, gate, Value::Vector(v), id)
            }
            (
                function @ (BinaryFn::Mul | BinaryFn::Div),
                left @ (Value::Matrix(_) | Value::Factor(_) | Value::Full),
                Value::Vector(gate),
            ) => {
                let gate = Value::Pure(self.pure_vector(gate, id));
                self.binary_values(function, left, gate, id)
            }
            (
                function @ (BinaryFn::Mul | BinaryFn::Div),
                Value::Vector(gate),
                right @ (Value::Matrix(_) | Value::Factor(_) | Value::Full),
            ) => {
                let gate = Value::Pure(self.pure_vector(gate, id));
                self.binary_values(function, gate, right, id)
            }
            (function, left, right) => {
                if left.is_matrix() || right.is_matrix() {
                    self.nonlinear_matrix(&left, id);
                    self.nonlinear_matrix(&right, id);
                    return Value::Full;
                }
                let (a, b) = (self.pure_value(left, id), self.pure_value(right, id));
                Value::Pure(self.pool.binary(function, a, b))
            }
        }
    }

    /// A function of operands through which a state may be kept.
    fn kept(
        &mut self,
        operands: &[ExprId],
        id: ExprId,
        by: Option<BinaryFn>,
        function: impl FnOnce(&mut Pool, &[PureId]) -> PureId,
    ) -> Value {
        let (mut of, mut same) = (vec![], by);
        let mut pures = vec![];
        for &operand in operands {
            let found = self.found(operand);
            let pure = self.pure_value(found.clone(), id);
            match found {
                Value::Kept(kept) => {
                    same = same.filter(|_| kept.function == by);
                    of.extend(kept.of);
                }
                Value::Vector(vector) => of.push(vector),
                _ => of.push(Vector {
                    reads: vec![],
                    pure: Some(pure),
                }),
            }
            pures.push(pure);
        }
        let pure = function(&mut self.pool, &pures);
        let terms: usize = of.iter().map(|vector| vector.reads.len() + 1).sum();
        match terms <= MAX_TERMS && of.iter().any(|vector| !vector.reads.is_empty()) {
            true => Value::Kept(Kept {
                of,
                function: same,
                pure,
                obstacle: by.map_or(Obstacle::Angle, |_| Obstacle::Extreme),
            }),
            false => Value::Pure(pure),
        }
    }

    /// Whether a vector is made of the state whose update is evaluated.
    pub(super) fn is_updated(&self, vector: &Vector) -> bool {
        let mut states = vector.reads.iter().map(|read| Some(read.version.0));
        states.any(|state| state == self.updated)
    }

    fn inverse(&mut self, a: PureId) -> PureId {
        let one = self.pool.number(1.0);
        self.pool.binary(BinaryFn::Div, one, a)
    }

    fn inverse_factor(&mut self, f: Factor) -> Factor {
        let [scalar, row, col] =
            [f.scalar, f.row, f.col].map(|part| part.map(|part| self.inverse(part)));
        Factor { scalar, row, col }
    }

    /// The product of a scalar that is affine in the states and a sum of outer products.
    fn spread(&mut self, scalar: Vector, matrix: Matrix) -> Matrix {
        let mut to = Matrix::default();
        for (l, r) in matrix.outers {
            for read in &scalar.reads {
                let scale = self.pool.times(read.scale, Some(r));
                let term = LowRank {
                    side: Side::Row,
                    left: l,
                    read: Read { scale, ..*read },
                };
                to.push_low_rank(term, &mut self.pool);
            }
            if let Some(pure) = scalar.pure {
                let l = self.pool.mul(pure, l);
                to.push_outer((l, r), &mut self.pool);
            }
        }
        to
    }

    fn add_values(&mut self, left: Value, right: Value, subtract: bool) -> Value {
        let minus = subtract.then(|| self.pool.number(-1.0));
        if left.is_matrix() || right.is_matrix() {
            let [mut left, mut right] = [left, right].map(|value| match value {
                Value::Matrix(matrix) => matrix,
                _ => Matrix::unknown(Obstacle::FullAddition),
            });
            if let Some(minus) = minus {
                right = right.scaled(Factor::scalar(minus), &mut self.pool);
            }
            left.extend(right, &mut self.pool);
            return Value::Matrix(left);
        }
        let [mut left, right] = [left, right].map(|value| match value {
            Value::Vector(vector) => vector,
            Value::Pure(pure) => Vector {
                reads: vec![],
                pure: Some(pure),
            },
            _ => Vector::default(),
        });
        let right = right.scaled(minus, &mut self.pool);
        left.extend(right, &mut self.pool);
        Value::Vector(left)
    }
}
