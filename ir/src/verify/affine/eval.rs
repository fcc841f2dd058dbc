//! The symbolic evaluator: one rule for each expression.

use super::{Analysis, Factor, Matrix, Read, Scaled, Value, Vector, versions};
use crate::diag::Diagnostic;
use crate::recurrence::{
    BinaryFn, DimId, Expr, ExprId, Pure, PureId, ReadoutId, Side, StateId, UnaryFn,
};

/// Added under the root of `l2norm`.
pub(super) const L2NORM_EPSILON: f64 = 1e-6;

impl Analysis<'_> {
    pub(super) fn eval(&mut self, id: ExprId) -> Value {
        let dim = self.shapes[id.index()].first().copied();
        if self.shapes[id.index()].len() == 2
            && matches!(self.recurrence.expr(id), Expr::Input(_) | Expr::Param(_))
        {
            return Value::Full;
        }
        match *self.recurrence.expr(id) {
            Expr::Number(x) => Value::Pure(self.facts.number(x)),
            Expr::Size(dim) => Value::Pure(self.facts.add(Pure::Size(dim), None)),
            Expr::Input(input) => Value::Pure(self.facts.add(Pure::Input(input), dim)),
            Expr::Param(param) => Value::Pure(self.facts.add(Pure::Param(param), dim)),
            Expr::Let(binding) => self.lets[binding.index()]
                .clone()
                .expect("a let stands above its use"),
            Expr::State(state) => self.state(state),
            Expr::Unary(function, a) => self.eval_unary(function, a, id),
            Expr::Binary(function, a, b) => self.eval_binary(function, a, b, id),
            Expr::Rows(a) => {
                let row = self.eval_pure(a);
                Value::Factor(Factor {
                    row: Some(row),
                    ..Factor::default()
                })
            }
            Expr::Cols(a) => {
                let col = self.eval_pure(a);
                Value::Factor(Factor {
                    col: Some(col),
                    ..Factor::default()
                })
            }
            Expr::Outer(a, b) => self.eval_outer(a, b, id),
            Expr::Dot(a, b) => self.eval_dot(a, b, id),
            Expr::Sum(a) => match self.eval(a) {
                Value::Vector(vector) if vector.reads.iter().all(|r| r.weight.is_none()) => {
                    let one = self.facts.number(1.0);
                    Value::Vector(self.contract_vector(vector, one))
                }
                value => {
                    let pure = self.pure_value(value, id);
                    Value::Pure(self.facts.add(Pure::Sum(pure), None))
                }
            },
            Expr::L2norm(a) => {
                let value = self.eval(a);
                let a = self.pure_value(value, id);
                let square = self.facts.binary(BinaryFn::Mul, a, a);
                let sum = self.facts.add(Pure::Sum(square), None);
                let epsilon = self.facts.number(L2NORM_EPSILON);
                let sum = self.facts.binary(BinaryFn::Add, sum, epsilon);
                let scale = self.facts.unary(UnaryFn::Rsqrt, sum);
                Value::Pure(self.facts.binary(BinaryFn::Mul, a, scale))
            }
        }
    }

    fn eval_pure(&mut self, id: ExprId) -> PureId {
        let value = self.eval(id);
        self.pure_value(value, id)
    }

    fn state(&self, state: StateId) -> Value {
        let version = (state, self.versions[state.index()].len());
        match self.recurrence.states[state.index()].shape.len() {
            2 => Value::Matrix(Matrix {
                states: vec![Scaled {
                    version,
                    factor: Factor::default(),
                    full: false,
                }],
                ..Matrix::default()
            }),
            _ => Value::Vector(Vector {
                reads: vec![Read {
                    version,
                    weight: None,
                    scale: None,
                }],
                pure: None,
            }),
        }
    }

    fn eval_unary(&mut self, function: UnaryFn, a: ExprId, id: ExprId) -> Value {
        match (self.eval(a), function) {
            (Value::Matrix(mut matrix), UnaryFn::Neg) => {
                let minus = Factor {
                    scalar: Some(self.facts.number(-1.0)),
                    ..Factor::default()
                };
                self.scale_matrix(&mut matrix, &minus);
                Value::Matrix(matrix)
            }
            (Value::Vector(vector), UnaryFn::Neg) => {
                let minus = self.facts.number(-1.0);
                Value::Vector(self.scale_vector(vector, Some(minus)))
            }
            (value @ (Value::Matrix(_) | Value::Full | Value::Factor(_)), _) => {
                self.nonlinear_matrix(&value, id);
                Value::Full
            }
            (value, function) => {
                let pure = self.pure_value(value, id);
                Value::Pure(self.facts.unary(function, pure))
            }
        }
    }

    /// Reports that a matrix with a state in it met something that is not linear.
    fn nonlinear_matrix(&mut self, value: &Value, id: ExprId) {
        if let Some(&version) = versions(value).first() {
            self.places.push((id, version));
            self.reads.push((version, None));
            self.nonlinear(ReadoutId(self.places.len() as u32 - 1));
        }
    }

    fn eval_binary(&mut self, function: BinaryFn, a: ExprId, b: ExprId, id: ExprId) -> Value {
        let (left, right) = (self.eval(a), self.eval(b));
        match (function, left, right) {
            (function, Value::Pure(a), Value::Pure(b)) => {
                Value::Pure(self.facts.binary(function, a, b))
            }
            (BinaryFn::Add | BinaryFn::Sub, left, right) => {
                self.add_values(left, right, function == BinaryFn::Sub)
            }
            (BinaryFn::Mul, Value::Factor(f), Value::Factor(g)) => {
                Value::Factor(self.mul_factors(&f, &g))
            }
            (BinaryFn::Mul, Value::Factor(f), Value::Pure(p))
            | (BinaryFn::Mul, Value::Pure(p), Value::Factor(f)) => {
                let scalar = Factor {
                    scalar: Some(p),
                    ..Factor::default()
                };
                Value::Factor(self.mul_factors(&f, &scalar))
            }
            (BinaryFn::Mul, Value::Factor(f), Value::Matrix(mut m))
            | (BinaryFn::Mul, Value::Matrix(mut m), Value::Factor(f)) => {
                self.scale_matrix(&mut m, &f);
                Value::Matrix(m)
            }
            (BinaryFn::Mul, Value::Pure(p), Value::Matrix(mut m))
            | (BinaryFn::Mul, Value::Matrix(mut m), Value::Pure(p)) => {
                self.scale_matrix(
                    &mut m,
                    &Factor {
                        scalar: Some(p),
                        ..Factor::default()
                    },
                );
                Value::Matrix(m)
            }
            (BinaryFn::Mul, Value::Matrix(m), Value::Matrix(n)) => {
                let (stateful, other) = if m.states.is_empty() { (n, m) } else { (m, n) };
                let value = Value::Matrix(other);
                if versions(&value).is_empty() {
                    Value::Matrix(full(stateful))
                } else {
                    self.nonlinear_matrix(&value, id);
                    Value::Full
                }
            }
            (BinaryFn::Mul, Value::Full, Value::Matrix(m))
            | (BinaryFn::Mul, Value::Matrix(m), Value::Full) => Value::Matrix(full(m)),
            (BinaryFn::Mul, Value::Pure(p), Value::Vector(v))
            | (BinaryFn::Mul, Value::Vector(v), Value::Pure(p)) => {
                Value::Vector(self.scale_vector(v, Some(p)))
            }
            (BinaryFn::Div, Value::Matrix(mut m), Value::Pure(p)) => {
                let one = self.facts.number(1.0);
                let inverse = self.facts.binary(BinaryFn::Div, one, p);
                self.scale_matrix(
                    &mut m,
                    &Factor {
                        scalar: Some(inverse),
                        ..Factor::default()
                    },
                );
                Value::Matrix(m)
            }
            (BinaryFn::Div, Value::Matrix(mut m), Value::Factor(f)) => {
                let one = self.facts.number(1.0);
                let mut invert = |part: Option<PureId>| {
                    part.map(|part| self.facts.binary(BinaryFn::Div, one, part))
                };
                let inverse = Factor {
                    scalar: invert(f.scalar),
                    row: invert(f.row),
                    col: invert(f.col),
                };
                self.scale_matrix(&mut m, &inverse);
                Value::Matrix(m)
            }
            (BinaryFn::Div, Value::Vector(v), Value::Pure(p)) => {
                let one = self.facts.number(1.0);
                let inverse = self.facts.binary(BinaryFn::Div, one, p);
                Value::Vector(self.scale_vector(v, Some(inverse)))
            }
            (function, left, right) => {
                let matrix =
                    |v: &Value| matches!(v, Value::Matrix(_) | Value::Full | Value::Factor(_));
                if matrix(&left) || matrix(&right) {
                    self.nonlinear_matrix(&left, id);
                    self.nonlinear_matrix(&right, id);
                    return Value::Full;
                }
                let (a, b) = (self.pure_value(left, id), self.pure_value(right, id));
                Value::Pure(self.facts.binary(function, a, b))
            }
        }
    }

    fn add_values(&mut self, left: Value, right: Value, subtract: bool) -> Value {
        let minus = subtract.then(|| self.facts.number(-1.0));
        let is_matrix = |v: &Value| matches!(v, Value::Matrix(_) | Value::Full | Value::Factor(_));
        if is_matrix(&left) || is_matrix(&right) {
            let [mut left, mut right] = [left, right].map(|value| match value {
                Value::Matrix(matrix) => matrix,
                _ => Matrix {
                    full: true,
                    ..Matrix::default()
                },
            });
            if minus.is_some() {
                self.scale_matrix(
                    &mut right,
                    &Factor {
                        scalar: minus,
                        ..Factor::default()
                    },
                );
            }
            left.states.extend(right.states);
            left.outers.extend(right.outers);
            left.low_rank.extend(right.low_rank);
            left.full |= right.full;
            return Value::Matrix(left);
        }
        let [left, right] = [left, right].map(|value| match value {
            Value::Vector(vector) => vector,
            Value::Pure(pure) => Vector {
                reads: vec![],
                pure: Some(pure),
            },
            _ => Vector::default(),
        });
        let right = self.scale_vector(right, minus);
        let pure = self.add_pure(left.pure, right.pure);
        let reads = left.reads.into_iter().chain(right.reads).collect();
        Value::Vector(Vector { reads, pure })
    }

    fn eval_outer(&mut self, a: ExprId, b: ExprId, id: ExprId) -> Value {
        let (left, right) = (self.eval(a), self.eval(b));
        let (vector, pure, rows) = match (left, right) {
            (Value::Pure(l), Value::Pure(r)) => {
                return Value::Matrix(Matrix {
                    outers: vec![(l, r)],
                    ..Matrix::default()
                });
            }
            (Value::Pure(l), Value::Vector(v)) => (v, l, true),
            (Value::Vector(v), Value::Pure(r)) => (v, r, false),
            (left, right) => {
                let (l, r) = (self.pure_value(left, id), self.pure_value(right, id));
                return Value::Matrix(Matrix {
                    outers: vec![(l, r)],
                    ..Matrix::default()
                });
            }
        };
        let mut matrix = Matrix::default();
        matrix
            .low_rank
            .extend(vector.reads.into_iter().map(|read| (pure, read, rows)));
        matrix.outers.extend(
            vector
                .pure
                .map(|v| if rows { (pure, v) } else { (v, pure) }),
        );
        Value::Matrix(matrix)
    }

    fn eval_dot(&mut self, a: ExprId, b: ExprId, id: ExprId) -> Value {
        let (left, right) = (self.eval(a), self.eval(b));
        let (shape_a, shape_b) = (&self.shapes[a.index()], &self.shapes[b.index()]);
        let (matrix, vector, side) = match (shape_a.len(), shape_b.len()) {
            (2, _) => (left, right, side(shape_a, shape_b, Side::Col)),
            (_, 2) => (right, left, side(shape_b, shape_a, Side::Row)),
            _ => return self.dot_vectors(left, right, id),
        };
        let weight = self.pure_value(vector, id);
        if let Some(readout) = self.facts.reads_state(weight) {
            let (_, (state, _)) = self.places[readout.index()];
            let name = self.recurrence.states[state.index()].name.clone();
            self.diagnostics.push(
                Diagnostic::new(
                    "R044",
                    self.recurrence.spans.exprs[id.index()],
                    format!(
                        "this `dot` reads a state with a weight that depends on state `{name}`"
                    ),
                )
                .found("a product of two state-dependent values")
                .expected(
                    "a readout that is linear in the states: a weight made of inputs and params",
                )
                .remedy("use an input as the weight"),
            );
        }
        match matrix {
            Value::Matrix(matrix) => Value::Vector(self.contract(matrix, side, weight)),
            _ => {
                self.diagnostics.push(
                    Diagnostic::new(
                        "R045",
                        self.recurrence.spans.exprs[id.index()],
                        "a matrix input cannot be contracted at every step",
                    )
                    .found("`dot` with a matrix that is no state and no sum of outer products")
                    .expected("a state, or `outer(a, b)`")
                    .remedy("contract it before the recurrence and give the vector as an input"),
                );
                Value::Pure(self.facts.number(0.0))
            }
        }
    }

    fn dot_vectors(&mut self, left: Value, right: Value, id: ExprId) -> Value {
        let plain = |v: &Vector| v.reads.iter().all(|read| read.weight.is_none());
        match (left, right) {
            (Value::Vector(v), Value::Pure(p)) | (Value::Pure(p), Value::Vector(v))
                if plain(&v) =>
            {
                Value::Vector(self.contract_vector(v, p))
            }
            (left, right) => {
                let (a, b) = (self.pure_value(left, id), self.pure_value(right, id));
                let product = self.facts.binary(BinaryFn::Mul, a, b);
                Value::Pure(self.facts.add(Pure::Sum(product), None))
            }
        }
    }

    /// A value as a pointwise function of readouts.
    pub(super) fn pure_value(&mut self, value: Value, place: ExprId) -> PureId {
        match value {
            Value::Pure(pure) => pure,
            Value::Vector(vector) => {
                let mut sum = vector.pure;
                for read in vector.reads {
                    let readout = ReadoutId(self.reads.len() as u32);
                    self.reads.push((read.version, read.weight));
                    self.places.push((place, read.version));
                    let dim = self.read_dim(&read);
                    let leaf = self.facts.add(Pure::Readout(readout), dim);
                    let scaled = match read.scale {
                        Some(scale) => self.facts.binary(BinaryFn::Mul, scale, leaf),
                        None => leaf,
                    };
                    sum = self.add_pure(sum, Some(scaled));
                }
                sum.unwrap_or_else(|| self.facts.number(0.0))
            }
            value => {
                self.nonlinear_matrix(&value, place);
                self.facts.number(0.0)
            }
        }
    }

    /// The dimension of what a read gives; `None` is a scalar.
    pub(super) fn read_dim(&self, read: &Read) -> Option<DimId> {
        let shape = &self.recurrence.states[read.version.0.index()].shape;
        match (shape.len(), read.weight) {
            (2, Some((Side::Row, _))) => Some(shape[1]),
            (2, Some((Side::Col, _))) => Some(shape[0]),
            (_, Some(_)) => None,
            _ => shape.first().copied(),
        }
    }

    pub(super) fn add_pure(&mut self, a: Option<PureId>, b: Option<PureId>) -> Option<PureId> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.facts.binary(BinaryFn::Add, a, b)),
            (a, b) => a.or(b),
        }
    }

    fn mul_pure(&mut self, a: Option<PureId>, b: Option<PureId>) -> Option<PureId> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.facts.binary(BinaryFn::Mul, a, b)),
            (a, b) => a.or(b),
        }
    }

    fn mul_factors(&mut self, a: &Factor, b: &Factor) -> Factor {
        Factor {
            scalar: self.mul_pure(a.scalar, b.scalar),
            row: self.mul_pure(a.row, b.row),
            col: self.mul_pure(a.col, b.col),
        }
    }

    pub(super) fn scale_matrix(&mut self, matrix: &mut Matrix, by: &Factor) {
        for scaled in &mut matrix.states {
            scaled.factor = self.mul_factors(by, &scaled.factor);
        }
        let left = self.mul_pure(by.scalar, by.row);
        for (l, r) in &mut matrix.outers {
            *l = left.map_or(*l, |by| self.facts.binary(BinaryFn::Mul, by, *l));
            *r = by
                .col
                .map_or(*r, |by| self.facts.binary(BinaryFn::Mul, by, *r));
        }
        for (pure, read, rows) in &mut matrix.low_rank {
            let (on_pure, on_read) = if *rows {
                (by.row, by.col)
            } else {
                (by.col, by.row)
            };
            *pure = on_pure.map_or(*pure, |by| self.facts.binary(BinaryFn::Mul, by, *pure));
            let on_read = self.mul_pure(by.scalar, on_read);
            read.scale = self.mul_pure(on_read, read.scale);
        }
    }

    pub(super) fn scale_vector(&mut self, mut vector: Vector, by: Option<PureId>) -> Vector {
        if by.is_some() {
            for read in &mut vector.reads {
                read.scale = self.mul_pure(by, read.scale);
            }
            vector.pure = vector
                .pure
                .map(|pure| self.mul_pure(by, Some(pure)).unwrap_or(pure));
        }
        vector
    }

    /// A matrix contracted with `weight` over `side`.
    pub(super) fn contract(&mut self, matrix: Matrix, side: Side, weight: PureId) -> Vector {
        let mut vector = Vector::default();
        for scaled in matrix.states {
            let Factor { scalar, row, col } = scaled.factor;
            let (inner, outer) = if side == Side::Row {
                (row, col)
            } else {
                (col, row)
            };
            let weight = self.mul_pure(inner, Some(weight)).unwrap_or(weight);
            let scale = self.mul_pure(scalar, outer);
            vector.reads.push(Read {
                version: scaled.version,
                weight: Some((side, weight)),
                scale,
            });
        }
        for (l, r) in matrix.outers {
            let (inner, outer) = if side == Side::Row { (l, r) } else { (r, l) };
            let product = self.facts.binary(BinaryFn::Mul, weight, inner);
            let dot = self.facts.add(Pure::Sum(product), None);
            let term = self.facts.binary(BinaryFn::Mul, dot, outer);
            vector.pure = self.add_pure(vector.pure, Some(term));
        }
        for (pure, read, rows) in matrix.low_rank {
            if rows == (side == Side::Row) {
                let product = self.facts.binary(BinaryFn::Mul, weight, pure);
                let dot = self.facts.add(Pure::Sum(product), None);
                let scale = self.mul_pure(Some(dot), read.scale);
                vector.reads.push(Read { scale, ..read });
            }
        }
        vector
    }

    /// A vector state's value contracted with `weight`.
    pub(super) fn contract_vector(&mut self, vector: Vector, weight: PureId) -> Vector {
        let reads = vector
            .reads
            .into_iter()
            .map(|read| {
                let weight = self.mul_pure(Some(weight), read.scale).unwrap_or(weight);
                Read {
                    version: read.version,
                    weight: Some((Side::Row, weight)),
                    scale: None,
                }
            })
            .collect();
        let pure = vector.pure.map(|pure| {
            let product = self.facts.binary(BinaryFn::Mul, weight, pure);
            self.facts.add(Pure::Sum(product), None)
        });
        Vector { reads, pure }
    }
}

fn full(mut matrix: Matrix) -> Matrix {
    matrix
        .states
        .iter_mut()
        .for_each(|scaled| scaled.full = true);
    matrix.full |= !matrix.outers.is_empty();
    matrix
}

/// Which side of a matrix a vector meets; `tie` when both dims have the same name.
fn side(matrix: &[DimId], vector: &[DimId], tie: Side) -> Side {
    match (
        vector.first() == Some(&matrix[0]),
        vector.first() == Some(&matrix[1]),
    ) {
        (true, true) => tie,
        (true, false) => Side::Row,
        _ => Side::Col,
    }
}
