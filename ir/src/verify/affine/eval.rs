//! The symbolic evaluator: one rule for each expression.
//!
//! Expressions of a statement are evaluated in the order of the arena, operands first, each once.

use super::analysis::{Analysis, Seen};
use super::value::{Factor, LowRank, MAX_TERMS, Matrix, Read, Scaled, Value, Vector};
use crate::diag::Diagnostic;
use crate::recurrence::{
    DimId, Expr, ExprId, L2NORM_EPSILON, Pure, PureId, ReadoutId, Side, StateId, UnaryFn,
};
use crate::verify::structure::span;

impl Analysis<'_> {
    /// The value of a statement's expression.
    pub(super) fn eval(&mut self, root: ExprId) -> Value {
        let needed = self.recurrence.parts(root, |_| false);
        for &id in &needed {
            let found = self.expression(id);
            let found = self.bounded(found, id);
            if let Value::Pure(pure) = found {
                self.said[id.index()] = Some(pure);
            }
            self.values[id.index()] = Some(found);
        }
        let value = self.found(root);
        for id in needed {
            self.values[id.index()] = None;
        }
        value
    }

    /// The value of an operand; what a state may be kept through is a function like any other.
    pub(super) fn value(&self, id: ExprId) -> Value {
        match self.found(id) {
            Value::Kept(kept) => Value::Pure(kept.pure),
            value => value,
        }
    }

    pub(super) fn found(&self, id: ExprId) -> Value {
        let value = self.values[id.index()].clone();
        value.expect("operands stand before users")
    }

    /// The value, or a part of it after a report when it has too many terms.
    fn bounded(&mut self, value: Value, place: ExprId) -> Value {
        let terms = match &value {
            Value::Matrix(matrix) => matrix.terms(),
            Value::Vector(vector) => vector.terms(),
            _ => 0,
        };
        if terms <= MAX_TERMS {
            return value;
        }
        let place = span(self.recurrence, &self.recurrence.spans.exprs, place.index());
        self.too_many_terms(place, terms);
        match value {
            Value::Matrix(mut matrix) => {
                matrix.states.truncate(1);
                matrix.outers.truncate(1);
                matrix.low_rank.truncate(1);
                Value::Matrix(matrix)
            }
            Value::Vector(mut vector) => {
                vector.reads.truncate(1);
                Value::Vector(vector)
            }
            value => value,
        }
    }

    fn expression(&mut self, id: ExprId) -> Value {
        let dim = self.shapes[id.index()].first().copied();
        if self.shapes[id.index()].len() == 2
            && matches!(self.recurrence.expr(id), Expr::Input(_) | Expr::Param(_))
        {
            return Value::Full;
        }
        match *self.recurrence.expr(id) {
            Expr::Number(x) => Value::Pure(self.pool.number(x)),
            Expr::Size(dim) => Value::Pure(self.pool.add(Pure::Size(dim), None)),
            Expr::Input(input) => Value::Pure(self.pool.add(Pure::Input(input), dim)),
            Expr::Param(param) => Value::Pure(self.pool.add(Pure::Param(param), dim)),
            Expr::Let(binding) => self.lets[binding.index()]
                .clone()
                .expect("a let stands above its use"),
            Expr::State(state) => self.state(state),
            Expr::Unary(function, a) => self.eval_unary(function, a, id),
            Expr::Binary(function, a, b) => self.eval_binary(function, a, b, id),
            Expr::Select(operands) => {
                let operands = operands.map(|operand| {
                    let value = self.value(operand);
                    self.pure_value(value, id)
                });
                Value::Pure(self.pool.select(operands))
            }
            Expr::Rows(a) => {
                let row = Some(self.eval_pure(a));
                Value::Factor(Factor {
                    row,
                    ..Factor::default()
                })
            }
            Expr::Cols(a) => {
                let col = Some(self.eval_pure(a));
                Value::Factor(Factor {
                    col,
                    ..Factor::default()
                })
            }
            Expr::Outer(a, b) => self.eval_outer(a, b, id),
            Expr::Dot(a, b) => self.eval_dot(a, b, id),
            Expr::Sum(a) => {
                let dim = self.vector_dim(a);
                match self.value(a) {
                    Value::Vector(vector) if self.linear(&vector) => {
                        let one = self.pool.number(1.0);
                        self.contract_vector(vector, dim, one).value()
                    }
                    value => {
                        let pure = self.pure_value(value, id);
                        Value::Pure(self.pool.sum(pure, dim))
                    }
                }
            }
            Expr::L2norm(a) => {
                let dim = self.vector_dim(a);
                let value = self.value(a);
                let a = self.pure_value(value, id);
                let sum = self.pool.dot(a, a, dim);
                let epsilon = self.pool.number(L2NORM_EPSILON);
                let sum = self.pool.plus(sum, epsilon);
                let scale = self.pool.unary(UnaryFn::Rsqrt, sum);
                Value::Pure(self.pool.mul(a, scale))
            }
        }
    }

    fn vector_dim(&self, id: ExprId) -> DimId {
        self.shapes[id.index()][0]
    }

    fn eval_pure(&mut self, id: ExprId) -> PureId {
        let value = self.value(id);
        self.pure_value(value, id)
    }

    /// Whether no scale of a vector depends on a state.
    fn linear(&self, vector: &Vector) -> bool {
        let scales = vector.reads.iter().filter_map(|read| read.scale);
        scales
            .into_iter()
            .all(|scale| self.pool.readout_in(scale).is_none())
    }

    fn state(&self, state: StateId) -> Value {
        let version = (state, self.versions[state.index()].len() - 1);
        match self.recurrence.states[state.index()].shape.len() {
            2 => Value::Matrix(Matrix {
                states: vec![Scaled {
                    version,
                    factor: Factor::default(),
                }],
                ..Matrix::default()
            }),
            _ => Value::Vector(Vector {
                reads: vec![Read {
                    version,
                    weight: None,
                    across: None,
                    scale: None,
                }],
                pure: None,
            }),
        }
    }

    /// Reports that a matrix with a state in it met something that is not linear.
    pub(super) fn nonlinear_matrix(&mut self, value: &Value, id: ExprId) {
        if let Some(&(state, _)) = value.versions().first() {
            self.not_linear(&[state], id);
        }
    }

    fn eval_outer(&mut self, a: ExprId, b: ExprId, id: ExprId) -> Value {
        let (left, right) = (self.value(a), self.value(b));
        let (vector, left, side) = match (left, right) {
            (Value::Pure(l), Value::Vector(v)) => (v, l, Side::Row),
            (Value::Vector(v), Value::Pure(r)) => (v, r, Side::Col),
            (left, right) => {
                let (l, r) = (self.pure_value(left, id), self.pure_value(right, id));
                return Value::Matrix(Matrix {
                    outers: vec![(l, r)],
                    ..Matrix::default()
                });
            }
        };
        let mut matrix = Matrix::default();
        for read in vector.reads {
            matrix.push_low_rank(LowRank { side, left, read }, &mut self.pool);
        }
        matrix.outers.extend(vector.pure.map(|v| match side {
            Side::Row => (left, v),
            Side::Col => (v, left),
        }));
        Value::Matrix(matrix)
    }

    fn eval_dot(&mut self, a: ExprId, b: ExprId, id: ExprId) -> Value {
        let (left, right) = (self.value(a), self.value(b));
        let shapes = self.shapes;
        let (shape_a, shape_b) = (&shapes[a.index()], &shapes[b.index()]);
        let (matrix, vector, shape, side) = match (shape_a.as_slice(), shape_b.as_slice()) {
            (&[m, n], v) => (left, right, [m, n], side([m, n], v, Side::Col)),
            (v, &[m, n]) => (right, left, [m, n], side([m, n], v, Side::Row)),
            _ => return self.dot_vectors(left, right, self.vector_dim(a), id),
        };
        let weight = self.pure_value(vector, id);
        match matrix {
            Value::Matrix(matrix) if matrix.obstacle.is_none() => {
                self.contract(matrix, shape, side, weight).value()
            }
            _ => {
                let place = span(self.recurrence, &self.recurrence.spans.exprs, id.index());
                self.diagnostics.push(
                    Diagnostic::new(
                        "R045",
                        place,
                        "a matrix that is no state cannot be contracted at every step",
                    )
                    .found("`dot` with a matrix that is no state and no sum of outer products")
                    .expected("a state, or `outer(a, b)`")
                    .remedy("contract it before the recurrence and give the vector as an input"),
                );
                Value::Pure(self.pool.number(0.0))
            }
        }
    }

    fn dot_vectors(&mut self, left: Value, right: Value, dim: DimId, id: ExprId) -> Value {
        // What is linear in the state that is updated stays so beside other states' values: those are weights.
        let (left, right) = match (left, right) {
            (Value::Vector(v), Value::Vector(weight))
                if self.is_updated(&v) && !self.is_updated(&weight) =>
            {
                (Value::Vector(v), Value::Pure(self.pure_vector(weight, id)))
            }
            (Value::Vector(weight), Value::Vector(v))
                if self.is_updated(&v) && !self.is_updated(&weight) =>
            {
                (Value::Pure(self.pure_vector(weight, id)), Value::Vector(v))
            }
            both => both,
        };
        match (left, right) {
            (Value::Vector(v), Value::Pure(p)) | (Value::Pure(p), Value::Vector(v))
                if self.is_updated(&v) || self.pool.readout_in(p).is_none() && self.linear(&v) =>
            {
                self.contract_vector(v, dim, p).value()
            }
            (left, right) => {
                let (a, b) = (self.pure_value(left, id), self.pure_value(right, id));
                Value::Pure(self.pool.dot(a, b, dim))
            }
        }
    }

    /// A value as a pointwise function of readouts.
    pub(super) fn pure_value(&mut self, value: Value, place: ExprId) -> PureId {
        match value {
            Value::Pure(pure) => pure,
            Value::Kept(kept) => kept.pure,
            Value::Vector(vector) => self.pure_vector(vector, place),
            value => {
                self.nonlinear_matrix(&value, place);
                self.pool.number(0.0)
            }
        }
    }

    /// The sum of a vector's terms, with readouts in it.
    pub(super) fn pure_vector(&mut self, vector: Vector, place: ExprId) -> PureId {
        let mut sum = vector.pure;
        for read in vector.reads {
            let readout = ReadoutId(self.seen.len() as u32);
            self.seen.push(Seen {
                version: read.version,
                weight: read.weight,
                place,
            });
            let plain = Read {
                across: None,
                ..read
            };
            let dim = self.read_dim(&plain);
            let mut leaf = self.pool.add(Pure::Readout(readout), dim);
            if let (Some(across), Some(dim)) = (read.across, dim) {
                leaf = self.pool.dot(across, leaf, dim);
            }
            let scaled = self.pool.scaled(read.scale, leaf);
            sum = self.pool.total(sum, Some(scaled));
        }
        sum.unwrap_or_else(|| self.pool.number(0.0))
    }
}

/// Which side of a matrix a vector meets; `tie` when both dims have the same name.
fn side(matrix: [DimId; 2], vector: &[DimId], tie: Side) -> Side {
    match (
        vector.first() == Some(&matrix[0]),
        vector.first() == Some(&matrix[1]),
    ) {
        (true, true) => tie,
        (true, false) => Side::Row,
        _ => Side::Col,
    }
}
