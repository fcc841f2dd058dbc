//! What an expression is, as far as states enter it.
//!
//! A value is *pure* (no state enters), a *factor* (`rows`, `cols` and scalars multiplied
//! together), a *matrix* that is affine in the states, or a *vector* (or scalar) that is affine in
//! them. State values are versioned: version 0 entered the step, each update makes the next.
//!
//! Terms that differ in a factor only are one as soon as they meet, so that a sum of a value with
//! itself has as many terms as the value: without that, repeated updates would double them.

use super::pool::Pool;
use crate::recurrence::{BinaryFn, Obstacle, Pure, PureId, Side, StateId, UnaryFn};

/// The most terms of a value. Sums that do not collapse would grow with every statement.
pub(super) const MAX_TERMS: usize = 128;

/// A product of a scalar, a row and a column factor; `None` is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Factor {
    pub scalar: Option<PureId>,
    pub row: Option<PureId>,
    pub col: Option<PureId>,
}

impl Factor {
    pub fn scalar(by: PureId) -> Factor {
        Factor {
            scalar: Some(by),
            ..Factor::default()
        }
    }

    pub fn times(self, other: Factor, pool: &mut Pool) -> Factor {
        Factor {
            scalar: pool.times(self.scalar, other.scalar),
            row: pool.times(self.row, other.row),
            col: pool.times(self.col, other.col),
        }
    }

    /// The sum where it is a product again.
    fn plus(self, other: Factor, pool: &mut Pool) -> Option<Factor> {
        let side = |scalar, side, pool: &mut Pool| pool.times(scalar, side);
        if self.col == other.col {
            let a = side(self.scalar, self.row, pool);
            let b = side(other.scalar, other.row, pool);
            let sum = Some(pool.sum_of_factors(a, b));
            let vector = sum.is_some_and(|sum| pool.dim(sum).is_some());
            return Some(Factor {
                scalar: sum.filter(|_| !vector),
                row: sum.filter(|_| vector),
                col: self.col,
            });
        }
        if self.row == other.row {
            let a = side(self.scalar, self.col, pool);
            let b = side(other.scalar, other.col, pool);
            let col = Some(pool.sum_of_factors(a, b));
            return Some(Factor {
                scalar: None,
                row: self.row,
                col,
            });
        }
        None
    }
}

/// A value of a state: the state and how many updates it has seen.
pub(super) type Version = (StateId, usize);

/// `factor o S` of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaled {
    pub version: Version,
    pub factor: Factor,
}

/// `scale * (S contracted with weight, and across with another)`: what a vector or scalar may
/// hold of a state. With `across`, the weight is over the rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub version: Version,
    pub weight: Option<(Side, PureId)>,
    pub across: Option<PureId>,
    pub scale: Option<PureId>,
}

/// `outer(left, read)`, or with `side` the columns `outer(read, left)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LowRank {
    pub side: Side,
    pub left: PureId,
    pub read: Read,
}

/// A matrix that is affine in the states.
#[derive(Clone, Debug, Default)]
pub(super) struct Matrix {
    pub states: Vec<Scaled>,
    pub outers: Vec<(PureId, PureId)>,
    pub low_rank: Vec<LowRank>,
    /// What the terms do not hold.
    pub obstacle: Option<Obstacle>,
}

/// A vector or scalar that is affine in the states.
#[derive(Clone, Debug, Default)]
pub(super) struct Vector {
    pub reads: Vec<Read>,
    pub pure: Option<PureId>,
}

/// A function of vectors that are affine in the states, through which a state may be kept: the largest or
/// smallest of several, or one as an angle.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub of: Vec<Vector>,
    /// `max` or `min`, where it is the same at every place.
    pub function: Option<BinaryFn>,
    /// The same as a function of readouts.
    pub pure: PureId,
    /// What the function is to the state.
    pub obstacle: Obstacle,
}

impl Kept {
    /// Whether a state stands here, and nowhere but as it is.
    pub fn keeps(&self, state: StateId) -> bool {
        let enters = |vector: &&Vector| vector.reads.iter().any(|read| read.version.0 == state);
        let mut own = self.of.iter().filter(enters).peekable();
        own.peek().is_some() && own.all(|vector| vector.plain(state))
    }
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Pure(PureId),
    /// Pure in every place but an update.
    Kept(Kept),
    Factor(Factor),
    /// A matrix that is neither a factor nor affine in a state.
    Full,
    Matrix(Matrix),
    Vector(Vector),
}

impl Matrix {
    pub fn unknown(obstacle: Obstacle) -> Matrix {
        Matrix {
            obstacle: Some(obstacle),
            ..Matrix::default()
        }
    }

    pub fn terms(&self) -> usize {
        self.states.len() + self.outers.len() + self.low_rank.len()
    }

    pub fn push_state(&mut self, next: Scaled, pool: &mut Pool) {
        for known in &mut self.states {
            if known.version == next.version
                && let Some(sum) = known.factor.plus(next.factor, pool)
            {
                known.factor = sum;
                return;
            }
        }
        self.states.push(next);
    }

    pub fn push_outer(&mut self, (left, right): (PureId, PureId), pool: &mut Pool) {
        for (l, r) in &mut self.outers {
            if *r == right {
                *l = pool.plus(*l, left);
                return;
            }
            if *l == left {
                *r = pool.plus(*r, right);
                return;
            }
        }
        self.outers.push((left, right));
    }

    /// Scalars go into the weight of the read, so that what stands beside it is the same wherever
    /// it is the same vector, and such terms are one.
    pub fn push_low_rank(&mut self, mut next: LowRank, pool: &mut Pool) {
        let read = &mut next.read;
        match &mut read.weight {
            Some((_, weight)) => {
                let (scalar, left) = split(pool, next.left);
                let (other, scale) = read.scale.map_or((None, None), |s| split(pool, s));
                let scalar = pool.times(scalar, other);
                *weight = pool.scaled(scalar, *weight);
                read.scale = scale;
                next.left = left.unwrap_or_else(|| pool.number(1.0));
            }
            None => {
                if let Some(scale) = read.scale.filter(|&scale| pool.dim(scale).is_none()) {
                    next.left = pool.mul(scale, next.left);
                    read.scale = None;
                }
            }
        }
        // A number times an outer product has its vectors in one order.
        if next.side == Side::Col && next.read.across.is_some() {
            let row = next.read.scale.unwrap_or_else(|| pool.number(1.0));
            next.read.scale = Some(next.left);
            (next.side, next.left) = (Side::Row, row);
        }
        let alike = |known: &&mut LowRank| {
            let (own, other) = (known.read, next.read);
            (known.side, own.version, own.across, own.scale)
                == (next.side, other.version, other.across, other.scale)
        };
        let weight = next.read.weight;
        for known in self.low_rank.iter_mut().filter(alike) {
            if known.left == next.left
                && let (Some((side, a)), Some((other, b))) = (known.read.weight, weight)
                && side == other
            {
                known.read.weight = Some((side, pool.plus(a, b)));
                return;
            }
        }
        for known in self.low_rank.iter_mut().filter(alike) {
            if known.read.weight == weight {
                known.left = pool.plus(known.left, next.left);
                return;
            }
        }
        self.low_rank.push(next);
    }

    /// Adds the terms of another.
    pub fn extend(&mut self, other: Matrix, pool: &mut Pool) {
        for term in other.states {
            self.push_state(term, pool);
        }
        for term in other.outers {
            self.push_outer(term, pool);
        }
        for term in other.low_rank {
            self.push_low_rank(term, pool);
        }
        self.obstacle = self.obstacle.or(other.obstacle);
    }

    pub fn scaled(self, by: Factor, pool: &mut Pool) -> Matrix {
        let mut to = Matrix {
            obstacle: self.obstacle,
            ..Matrix::default()
        };
        for Scaled { version, factor } in self.states {
            let factor = by.times(factor, pool);
            to.push_state(Scaled { version, factor }, pool);
        }
        let left = pool.times(by.scalar, by.row);
        for (l, r) in self.outers {
            let term = (pool.scaled(left, l), pool.scaled(by.col, r));
            to.push_outer(term, pool);
        }
        for mut term in self.low_rank {
            let (on_left, on_read) = match term.side {
                Side::Row => (by.row, by.col),
                Side::Col => (by.col, by.row),
            };
            term.left = pool.scaled(on_left, term.left);
            let on_read = pool.times(by.scalar, on_read);
            term.read.scale = pool.times(on_read, term.read.scale);
            to.push_low_rank(term, pool);
        }
        to
    }

    /// With a factor of full rank.
    pub fn full(mut self) -> Matrix {
        let stateful = !self.states.is_empty() || !self.low_rank.is_empty();
        self.obstacle = Some(match stateful {
            true => Obstacle::FullDecay,
            false => Obstacle::FullAddition,
        });
        self
    }
}

impl Vector {
    pub fn terms(&self) -> usize {
        self.reads.len()
    }

    pub fn push(&mut self, next: Read, pool: &mut Pool) {
        for known in &mut self.reads {
            if (known.version, known.weight, known.across)
                == (next.version, next.weight, next.across)
            {
                known.scale = Some(pool.sum_of_factors(known.scale, next.scale));
                return;
            }
        }
        self.reads.push(next);
    }

    /// Whether a state stands here as it is: once, with nothing beside it.
    pub fn plain(&self, state: StateId) -> bool {
        let mut own = self.reads.iter().filter(|read| read.version.0 == state);
        let bare = |read: &Read| (read.weight, read.across, read.scale) == (None, None, None);
        own.next().is_some_and(bare) && own.next().is_none()
    }

    pub fn extend(&mut self, other: Vector, pool: &mut Pool) {
        for read in other.reads {
            self.push(read, pool);
        }
        self.pure = pool.total(self.pure, other.pure);
    }

    pub fn scaled(mut self, by: Option<PureId>, pool: &mut Pool) -> Vector {
        for read in &mut self.reads {
            read.scale = pool.times(by, read.scale);
        }
        self.pure = self.pure.map(|pure| pool.scaled(by, pure));
        self
    }

    /// Pure where no state is read.
    pub fn value(self) -> Value {
        match (self.reads.is_empty(), self.pure) {
            (true, Some(pure)) => Value::Pure(pure),
            _ => Value::Vector(self),
        }
    }
}

impl Value {
    pub fn is_matrix(&self) -> bool {
        matches!(self, Value::Matrix(_) | Value::Full | Value::Factor(_))
    }

    /// Every version that the value reads.
    pub fn versions(&self) -> Vec<Version> {
        match self {
            Value::Matrix(m) => {
                let low_rank = m.low_rank.iter().map(|term| term.read.version);
                m.states.iter().map(|s| s.version).chain(low_rank).collect()
            }
            Value::Vector(v) => v.reads.iter().map(|read| read.version).collect(),
            _ => vec![],
        }
    }

    /// Every pure expression that enters the value.
    pub fn pures(&self) -> Vec<PureId> {
        let factor = |f: &Factor| [f.scalar, f.row, f.col];
        let read = |r: &Read| [r.scale, r.weight.map(|(_, w)| w), r.across];
        match self {
            Value::Pure(pure) | Value::Kept(Kept { pure, .. }) => vec![*pure],
            Value::Factor(f) => factor(f).into_iter().flatten().collect(),
            Value::Full => vec![],
            Value::Matrix(m) => {
                let states = m.states.iter().flat_map(|s| factor(&s.factor)).flatten();
                let mut all: Vec<_> = states.collect();
                all.extend(m.outers.iter().flat_map(|&(a, b)| [a, b]));
                for term in &m.low_rank {
                    all.extend(read(&term.read).into_iter().flatten());
                    all.push(term.left);
                }
                all
            }
            Value::Vector(v) => {
                let reads = v.reads.iter().flat_map(read).flatten();
                reads.chain(v.pure).collect()
            }
        }
    }
}

/// An expression as a scalar times a vector; `None` is one.
pub(super) fn split(pool: &mut Pool, mut a: PureId) -> (Option<PureId>, Option<PureId>) {
    let mut scalar = None;
    loop {
        if pool.dim(a).is_none() {
            return (pool.times(scalar, Some(a)), None);
        }
        let (by, rest) = match pool.pure(a) {
            Pure::Unary(UnaryFn::Neg, x) => (pool.number(-1.0), x),
            Pure::Binary(BinaryFn::Mul, x, y) if pool.dim(x).is_none() => (x, y),
            Pure::Binary(BinaryFn::Mul, x, y) if pool.dim(y).is_none() => (y, x),
            Pure::Binary(BinaryFn::Div, x, y) if pool.dim(y).is_none() => {
                let one = pool.number(1.0);
                (pool.binary(BinaryFn::Div, one, y), x)
            }
            _ => return (scalar, Some(a)),
        };
        scalar = pool.times(scalar, Some(by));
        a = rest;
    }
}

/// Whether two vectors differ by a scalar factor only.
pub(super) fn parallel(pool: &mut Pool, a: PureId, b: PureId) -> bool {
    split(pool, a).1 == split(pool, b).1
}
