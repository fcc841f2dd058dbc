//! How the states enter: affinity, class, log decays, readouts.
//!
//! The body is evaluated symbolically. A value is *pure* (no state enters), a *factor* (`rows`,
//! `cols` and scalars multiplied together), a *matrix* that is affine in the states, or a
//! *vector* (or scalar) that is affine in them. State values are versioned: version 0 entered
//! the step, each update makes the next. Once the whole body is known, updates are expanded down
//! to version 0, which gives the transition, and readouts to version 0 or the last one.
//!
//! Anything that is not affine becomes a pointwise function of readouts; that is legal in an
//! output and an error in an update.

mod eval;
mod log;

use crate::diag::Diagnostic;
use crate::recurrence::{
    BinaryFn, Class, Expr, ExprId, Facts, Moment, Pure, PureId, Readout, ReadoutId, Recurrence,
    Shape, Side, StateId, Stmt, UnaryFn,
};

/// A product of a scalar, a row and a column factor; `None` is one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Factor {
    scalar: Option<PureId>,
    row: Option<PureId>,
    col: Option<PureId>,
}

/// A value of a state: the state and how many updates it has seen.
type Version = (StateId, usize);

/// `factor o S` of a version, or with `full` a factor of full rank.
#[derive(Clone, Debug)]
struct Scaled {
    version: Version,
    factor: Factor,
    full: bool,
}

/// `scale * (S contracted with weight)`: what a vector or scalar may hold of a state.
#[derive(Clone, Debug)]
struct Read {
    version: Version,
    weight: Option<(Side, PureId)>,
    scale: Option<PureId>,
}

/// A matrix that is affine in the states.
#[derive(Clone, Debug, Default)]
struct Matrix {
    states: Vec<Scaled>,
    outers: Vec<(PureId, PureId)>,
    /// `outer(left, read)`: a transition of low rank; whether `left` is along the rows.
    low_rank: Vec<(PureId, Read, bool)>,
    /// A term that is no sum of outer products.
    full: bool,
}

/// A vector or scalar that is affine in the states.
#[derive(Clone, Debug, Default)]
struct Vector {
    reads: Vec<Read>,
    pure: Option<PureId>,
}

#[derive(Clone, Debug)]
enum Value {
    Pure(PureId),
    Factor(Factor),
    /// A matrix that is neither a factor nor affine in a state.
    Full,
    Matrix(Matrix),
    Vector(Vector),
}

struct Analysis<'a> {
    recurrence: &'a Recurrence,
    shapes: &'a [Shape],
    facts: Facts,
    /// The definition of each version above 0 of each state.
    versions: Vec<Vec<Value>>,
    /// The value of each `let`, once its statement has run.
    lets: Vec<Option<Value>>,
    /// Where each readout became part of a pointwise function.
    places: Vec<(ExprId, Version)>,
    /// Readouts before their version is resolved: version, weight.
    reads: Vec<(Version, Option<(Side, PureId)>)>,
    diagnostics: Vec<Diagnostic>,
}

/// Finds the facts of a well-typed recurrence; `shapes` are those of its expressions.
pub fn check(recurrence: &Recurrence, shapes: &[Shape]) -> Result<Facts, Vec<Diagnostic>> {
    let mut analysis = Analysis {
        recurrence,
        shapes,
        facts: Facts::empty(recurrence),
        versions: vec![vec![]; recurrence.states.len()],
        lets: vec![None; recurrence.lets.len()],
        places: vec![],
        reads: vec![],
        diagnostics: vec![],
    };
    let mut outputs = vec![];
    for (index, stmt) in recurrence.body.iter().enumerate() {
        match *stmt {
            Stmt::Let(binding, value) => {
                let found = analysis.eval(value);
                analysis.lets[binding.index()] = Some(found);
            }
            Stmt::Update(state, value) => analysis.update(state, value, index),
            Stmt::Output(_, value) => {
                let found = analysis.eval(value);
                outputs.push(analysis.pure_value(found, value));
            }
        }
    }
    for state in 0..recurrence.states.len() {
        analysis.transition(StateId(state as u32));
    }
    analysis.resolve_readouts(outputs)
}

impl Analysis<'_> {
    fn update(&mut self, state: StateId, value: ExprId, stmt: usize) {
        let found = self.eval(value);
        let matrix = self.recurrence.states[state.index()].shape.len() == 2;
        let found = match (found, matrix) {
            (Value::Pure(pure), false) => Value::Vector(Vector {
                reads: vec![],
                pure: Some(pure),
            }),
            (Value::Factor(_) | Value::Full, _) => Value::Matrix(Matrix {
                full: true,
                ..Matrix::default()
            }),
            (found, _) => found,
        };
        for pure in pures(&found) {
            if let Some(readout) = self.facts.reads_state(pure) {
                self.nonlinear(readout);
            }
        }
        for (other, _) in versions(&found) {
            if other != state {
                let (name, into) = (self.state_name(other), self.state_name(state));
                self.diagnostics.push(
                    Diagnostic::new(
                        "R041",
                        self.recurrence.spans.body[stmt],
                        format!("state `{name}` enters the update of state `{into}`"),
                    )
                    .found(format!("an update of `{into}` that reads `{name}`"))
                    .expected(format!("an update of `{into}` that is affine in `{into}` alone"))
                    .remedy("states that feed each other have no chunked form here; keep them apart and combine their readouts in the outputs"),
                );
            }
        }
        self.versions[state.index()].push(found);
    }

    fn nonlinear(&mut self, readout: ReadoutId) {
        let (place, (state, _)) = self.places[readout.index()];
        let name = self.state_name(state);
        let what = match self.recurrence.expr(place) {
            Expr::Unary(function, _) => format!("`{}`", function.name()),
            Expr::Binary(function, ..) => format!("`{}`", function.name()),
            Expr::Dot(..) => "a second `dot`".into(),
            _ => "a pointwise function".into(),
        };
        let span = self.recurrence.spans.exprs[place.index()];
        if self
            .diagnostics
            .iter()
            .any(|d| d.code == "R040" && d.span == span)
        {
            return;
        }
        self.diagnostics.push(
            Diagnostic::new(
                "R040",
                span,
                format!("state `{name}` enters {what} here: a recurrence that is non-linear in its state has no chunked form"),
            )
            .found(format!("{what} of a value that depends on `{name}`, on the way into an update"))
            .expected("an update that is affine in the old states")
            .remedy("apply the function to inputs and params before the update, or to a readout in an output"),
        );
    }

    fn state_name(&self, state: StateId) -> String {
        self.recurrence.states[state.index()].name.clone()
    }

    /// Expands the last version of a state down to version 0 and reads off its transition.
    fn transition(&mut self, state: StateId) {
        let last = self.versions[state.index()].len();
        let port = &self.recurrence.states[state.index()];
        let span = self.recurrence.spans.states[state.index()];
        let mut class = Class::Scalar;
        let mut factors = vec![];
        let mut added = vec![];
        if port.shape.len() == 2 {
            let matrix = self.expand_matrix(state, last);
            if matrix.full || matrix.states.iter().any(|s| s.full) {
                class = class.max(Class::Elementwise);
            }
            for (left, read, _) in &matrix.low_rank {
                let delta = read.weight.is_some_and(|(_, w)| self.parallel(*left, w));
                class = class.max(if delta {
                    Class::Delta
                } else {
                    Class::DiagonalPlusLowRank
                });
            }
            factors.extend(matrix.states.into_iter().map(|s| s.factor));
            added.extend(matrix.outers.into_iter().map(|(l, r)| (l, Some(r))));
        } else {
            let vector = self.expand_vector(state, last);
            for read in &vector.reads {
                if read.weight.is_some() {
                    class = class.max(Class::DiagonalPlusLowRank);
                    continue;
                }
                let along = read.scale.and_then(|s| self.facts.dim(s));
                factors.push(match along {
                    Some(_) => Factor {
                        row: read.scale,
                        ..Factor::default()
                    },
                    None => Factor {
                        scalar: read.scale,
                        ..Factor::default()
                    },
                });
            }
            added.extend(vector.pure.map(|pure| (pure, None)));
        }
        let factor = self.sum_factors(factors, &mut class);
        let name = self.state_name(state);
        let Some(factor) = factor else {
            // What became non-linear has been reported where it did.
            let named = format!("`{name}`");
            let non_linear = |d: &Diagnostic| d.code == "R040" && d.message.contains(&named);
            let known = self.diagnostics.iter().any(non_linear);
            if class <= Class::Diagonal && !known {
                self.diagnostics.push(
                    Diagnostic::new(
                        "R042",
                        span,
                        format!("state `{name}` forgets its old value"),
                    )
                    .found(format!(
                        "an update in which the old `{name}` does not stand"
                    ))
                    .expected(format!("`{name} = decay * {name} + ...`"))
                    .remedy("what is not carried from step to step is a `let`, not a state"),
                );
            }
            self.facts.class = self.facts.class.max(class);
            return;
        };
        if factor.row.is_some() || factor.col.is_some() {
            class = class.max(Class::Diagonal);
        }
        let mut logs = [None; 3];
        for (log, factor) in logs.iter_mut().zip([factor.scalar, factor.row, factor.col]) {
            let Some(factor) = factor else { continue };
            *log = log::log(&mut self.facts, factor);
            if log.is_none() && class <= Class::Diagonal {
                self.diagnostics.push(
                    Diagnostic::new(
                        "R043",
                        span,
                        format!("the decay of state `{name}` may be zero or negative"),
                    )
                    .found("a factor on the old state that is not provably positive")
                    .expected("a product of `exp`, `sigmoid` and positive numbers")
                    .remedy("decays are kept in log space: give the input as a log decay and write `exp(g)`, or squash it with `sigmoid`"),
                );
            }
        }
        self.facts.class = self.facts.class.max(class);
        let transition = &mut self.facts.transitions[state.index()];
        [transition.scalar, transition.row, transition.col] = logs;
        transition.added = added;
    }

    /// Whether two vectors differ by a scalar factor only.
    fn parallel(&self, a: PureId, b: PureId) -> bool {
        self.direction(a) == self.direction(b)
    }

    fn direction(&self, a: PureId) -> PureId {
        match self.facts.pure(a) {
            Pure::Unary(UnaryFn::Neg, x) => self.direction(x),
            Pure::Binary(BinaryFn::Mul, x, y) if self.facts.dim(x).is_none() => self.direction(y),
            Pure::Binary(BinaryFn::Mul | BinaryFn::Div, x, y) if self.facts.dim(y).is_none() => {
                self.direction(x)
            }
            _ => a,
        }
    }

    /// The sum of factors as one factor; sums that are no product are of full rank.
    fn sum_factors(&mut self, factors: Vec<Factor>, class: &mut Class) -> Option<Factor> {
        let mut factors = factors.into_iter();
        let first = factors.next()?;
        let mut sum = first;
        for next in factors {
            if sum.col.is_some() || next.col.is_some() || *class > Class::Diagonal {
                *class = (*class).max(Class::Elementwise);
                return Some(sum);
            }
            let whole = |facts: &mut Facts, f: &Factor| {
                let parts: Vec<_> = f.scalar.into_iter().chain(f.row).collect();
                match parts[..] {
                    [] => facts.number(1.0),
                    [one] => one,
                    [a, b, ..] => facts.binary(BinaryFn::Mul, a, b),
                }
            };
            let (a, b) = (whole(&mut self.facts, &sum), whole(&mut self.facts, &next));
            let total = self.facts.binary(BinaryFn::Add, a, b);
            sum = match self.facts.dim(total) {
                Some(_) => Factor {
                    row: Some(total),
                    ..Factor::default()
                },
                None => Factor {
                    scalar: Some(total),
                    ..Factor::default()
                },
            };
        }
        Some(sum)
    }

    fn expand_matrix(&mut self, state: StateId, version: usize) -> Matrix {
        if version == 0 {
            let scaled = Scaled {
                version: (state, 0),
                factor: Factor::default(),
                full: false,
            };
            return Matrix {
                states: vec![scaled],
                ..Matrix::default()
            };
        }
        let Value::Matrix(matrix) = self.versions[state.index()][version - 1].clone() else {
            return Matrix {
                full: true,
                ..Matrix::default()
            };
        };
        let mut expanded = Matrix {
            outers: matrix.outers,
            low_rank: matrix.low_rank,
            full: matrix.full,
            states: vec![],
        };
        for scaled in matrix.states {
            let (of, at) = scaled.version;
            let mut inner = self.expand_matrix(of, at);
            self.scale_matrix(&mut inner, &scaled.factor);
            inner.states.iter_mut().for_each(|s| s.full |= scaled.full);
            expanded.full |= inner.full || (scaled.full && !inner.outers.is_empty());
            expanded.states.extend(inner.states);
            expanded.outers.extend(inner.outers);
            expanded.low_rank.extend(inner.low_rank);
        }
        expanded
    }

    fn expand_vector(&mut self, state: StateId, version: usize) -> Vector {
        if version == 0 {
            let read = Read {
                version: (state, 0),
                weight: None,
                scale: None,
            };
            return Vector {
                reads: vec![read],
                pure: None,
            };
        }
        let Value::Vector(vector) = self.versions[state.index()][version - 1].clone() else {
            return Vector::default();
        };
        let mut expanded = Vector {
            reads: vec![],
            pure: vector.pure,
        };
        for read in vector.reads {
            let (of, at) = read.version;
            if read.weight.is_some() {
                expanded.reads.push(read);
                continue;
            }
            let inner = self.expand_vector(of, at);
            let inner = self.scale_vector(inner, read.scale);
            expanded.reads.extend(inner.reads);
            expanded.pure = self.add_pure(expanded.pure, inner.pure);
        }
        expanded
    }

    /// Gives every readout its moment; a readout of a version in between becomes one of the
    /// entering state plus what this step added until then.
    fn resolve_readouts(mut self, outputs: Vec<PureId>) -> Result<Facts, Vec<Diagnostic>> {
        let mut meaning: Vec<Option<PureId>> = vec![None; self.reads.len()];
        // Expansion appends readouts of version 0, which resolve in their turn.
        let mut next = 0;
        while let Some(&((state, version), weight)) = self.reads.get(next) {
            let last = self.versions[state.index()].len();
            let moment = match version {
                0 => Moment::Entering,
                _ if version == last => Moment::Leaving,
                _ if self.facts.class > Class::Diagonal => Moment::Leaving,
                _ => {
                    meaning[next] = Some(self.expand_readout(state, version, weight));
                    Moment::Entering
                }
            };
            self.facts.readouts.push(Readout {
                state,
                moment,
                weight,
            });
            next += 1;
        }
        let outputs = outputs
            .into_iter()
            .map(|o| self.substitute(o, &meaning))
            .collect();
        self.facts.outputs = outputs;
        match self.diagnostics.is_empty() {
            true => Ok(self.facts),
            false => {
                self.diagnostics.sort_by_key(|d| (d.span.start, d.code));
                Err(self.diagnostics)
            }
        }
    }

    fn expand_readout(
        &mut self,
        state: StateId,
        version: usize,
        weight: Option<(Side, PureId)>,
    ) -> PureId {
        let matrix = self.recurrence.states[state.index()].shape.len() == 2;
        let value = match (matrix, weight) {
            (true, Some((side, weight))) => {
                let expanded = self.expand_matrix(state, version);
                self.contract(expanded, side, weight)
            }
            (_, weight) => {
                let expanded = self.expand_vector(state, version);
                match weight {
                    Some((_, weight)) => self.contract_vector(expanded, weight),
                    None => expanded,
                }
            }
        };
        let mut sum = value.pure;
        for read in value.reads {
            self.reads.push((read.version, read.weight));
            let id = ReadoutId(self.reads.len() as u32 - 1);
            let dim = self.read_dim(&read);
            let leaf = self.facts.add(Pure::Readout(id), dim);
            let scaled = match read.scale {
                Some(scale) => self.facts.binary(BinaryFn::Mul, scale, leaf),
                None => leaf,
            };
            sum = self.add_pure(sum, Some(scaled));
        }
        sum.unwrap_or_else(|| self.facts.number(0.0))
    }

    fn substitute(&mut self, id: PureId, meaning: &[Option<PureId>]) -> PureId {
        match self.facts.pure(id) {
            Pure::Readout(readout) => meaning
                .get(readout.index())
                .copied()
                .flatten()
                .unwrap_or(id),
            Pure::Unary(function, a) => {
                let a = self.substitute(a, meaning);
                self.facts.unary(function, a)
            }
            Pure::Binary(function, a, b) => {
                let (a, b) = (self.substitute(a, meaning), self.substitute(b, meaning));
                self.facts.binary(function, a, b)
            }
            Pure::Sum(a) => {
                let a = self.substitute(a, meaning);
                self.facts.add(Pure::Sum(a), None)
            }
            _ => id,
        }
    }
}

/// Every pure expression that enters a value.
fn pures(value: &Value) -> Vec<PureId> {
    let factor = |f: &Factor| {
        [f.scalar, f.row, f.col]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    let read = |r: &Read| {
        r.scale
            .into_iter()
            .chain(r.weight.map(|(_, w)| w))
            .collect::<Vec<_>>()
    };
    match value {
        Value::Pure(pure) => vec![*pure],
        Value::Factor(f) => factor(f),
        Value::Full => vec![],
        Value::Matrix(m) => {
            let mut all: Vec<_> = m.states.iter().flat_map(|s| factor(&s.factor)).collect();
            all.extend(m.outers.iter().flat_map(|&(a, b)| [a, b]));
            all.extend(m.low_rank.iter().flat_map(|(l, r, _)| {
                let mut parts = read(r);
                parts.push(*l);
                parts
            }));
            all
        }
        Value::Vector(v) => v.reads.iter().flat_map(read).chain(v.pure).collect(),
    }
}

/// Every version that a value reads.
fn versions(value: &Value) -> Vec<Version> {
    match value {
        Value::Matrix(m) => {
            let low_rank = m.low_rank.iter().map(|(_, read, _)| read.version);
            m.states.iter().map(|s| s.version).chain(low_rank).collect()
        }
        Value::Vector(v) => v.reads.iter().map(|read| read.version).collect(),
        _ => vec![],
    }
}
