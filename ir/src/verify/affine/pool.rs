//! The pure expressions while they are found: equal ones are one, and what is asked of an
//! expression again and again is known when it is made.
//!
//! Operands stand before users, so every question that a walk over an expression would answer
//! (does a state enter, may it be negative, how large can it be) is answered from the operands'
//! answers. A `let` that is used twice makes a graph with exponentially many paths; nothing here
//! follows paths.

use crate::recurrence::{BinaryFn, DimId, Pure, PureId, ReadoutId, UnaryFn};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// An expression and its dimension as a key; numbers are equal when their bits are.
#[derive(Clone, Copy, Debug)]
struct Key(Pure, Option<DimId>);

impl Key {
    /// The kind, and what it is made of.
    fn parts(&self) -> (u8, u64, u64, u64) {
        let id = |id: PureId| u64::from(id.0);
        match self.0 {
            Pure::Number(x) => (0, x.to_bits(), 0, 0),
            Pure::Size(dim) => (1, u64::from(dim.0), 0, 0),
            Pure::Input(input) => (2, u64::from(input.0), 0, 0),
            Pure::Param(param) => (3, u64::from(param.0), 0, 0),
            Pure::Readout(readout) => (4, u64::from(readout.0), 0, 0),
            Pure::Unary(f, a) => (5, f as u64, id(a), 0),
            Pure::Binary(f, a, b) => (6, f as u64, id(a), id(b)),
            Pure::Sum(a) => (7, id(a), 0, 0),
            Pure::Select([x, y, a, b]) => (8, id(x) << 32 | id(y), id(a) << 32 | id(b), 0),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1 && self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.parts(), self.1).cmp(&(other.parts(), other.1))
    }
}

/// What is known of an expression.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Certainly above zero.
    positive: bool,
    /// Perhaps below zero.
    negative: bool,
    /// A bound that the value stays strictly below (or equals, for an exponential that rounds).
    upper: Option<f64>,
    /// The first readout inside.
    readout: Option<ReadoutId>,
}

/// Expressions, each once.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub pure: Vec<Pure>,
    pub dims: Vec<Option<DimId>>,
    known: Vec<Known>,
    index: BTreeMap<Key, PureId>,
}

impl Pool {
    pub fn pure(&self, id: PureId) -> Pure {
        self.pure[id.index()]
    }

    /// The dimension of an expression; `None` is a scalar.
    pub fn dim(&self, id: PureId) -> Option<DimId> {
        self.dims[id.index()]
    }

    /// The first readout anywhere inside.
    pub fn readout_in(&self, id: PureId) -> Option<ReadoutId> {
        self.known[id.index()].readout
    }

    /// Whether the value is provably above zero.
    pub fn positive(&self, id: PureId) -> bool {
        self.known[id.index()].positive
    }

    /// A bound that the value stays below.
    pub fn upper(&self, id: PureId) -> Option<f64> {
        self.known[id.index()].upper
    }

    /// The handle of `expr`, with constants folded and the identities of zero and one applied. What
    /// is no finite number (`1 / 0`) is not folded: it is said as it was, and computed where it is run.
    pub fn add(&mut self, expr: Pure, dim: Option<DimId>) -> PureId {
        let number = |id: PureId| match self.pure[id.index()] {
            Pure::Number(x) => Some(x),
            _ => None,
        };
        if let Pure::Binary(function, a, b) = expr {
            match (function, number(a), number(b)) {
                (BinaryFn::Mul, Some(1.0), _) | (BinaryFn::Add, Some(0.0), _)
                    if self.dims[b.index()] == dim =>
                {
                    return b;
                }
                (BinaryFn::Mul | BinaryFn::Div, _, Some(1.0))
                | (BinaryFn::Add | BinaryFn::Sub, _, Some(0.0))
                    if self.dims[a.index()] == dim =>
                {
                    return a;
                }
                (_, Some(x), Some(y)) => {
                    let value = crate::pointwise::binary(function, x, y);
                    if value.is_finite() {
                        return self.add(Pure::Number(value), None);
                    }
                }
                _ => {}
            }
        }
        let next = PureId(self.pure.len() as u32);
        let id = *self.index.entry(Key(expr, dim)).or_insert(next);
        if id == next {
            let known = self.learn(expr);
            self.pure.push(expr);
            self.dims.push(dim);
            self.known.push(known);
        }
        id
    }

    pub fn number(&mut self, value: f64) -> PureId {
        self.add(Pure::Number(value), None)
    }

    pub fn unary(&mut self, function: UnaryFn, a: PureId) -> PureId {
        let dim = self.dim(a);
        self.add(Pure::Unary(function, a), dim)
    }

    pub fn binary(&mut self, function: BinaryFn, a: PureId, b: PureId) -> PureId {
        let dim = self.dim(a).or(self.dim(b));
        self.add(Pure::Binary(function, a, b), dim)
    }

    /// `a` where `x > y`, else `b`.
    pub fn select(&mut self, operands: [PureId; 4]) -> PureId {
        let dim = operands.iter().find_map(|&operand| self.dim(operand));
        self.add(Pure::Select(operands), dim)
    }

    pub fn mul(&mut self, a: PureId, b: PureId) -> PureId {
        self.binary(BinaryFn::Mul, a, b)
    }

    pub fn plus(&mut self, a: PureId, b: PureId) -> PureId {
        self.binary(BinaryFn::Add, a, b)
    }

    /// The sum of a value along `dim`; a scalar in the place of a vector is repeated along it.
    pub fn sum(&mut self, a: PureId, dim: DimId) -> PureId {
        match self.dim(a) {
            Some(_) => self.add(Pure::Sum(a), None),
            None => {
                let size = self.add(Pure::Size(dim), None);
                self.mul(size, a)
            }
        }
    }

    /// The sum of `a * b` along `dim`.
    pub fn dot(&mut self, a: PureId, b: PureId, dim: DimId) -> PureId {
        let product = self.mul(a, b);
        self.sum(product, dim)
    }

    /// The product of two factors of which `None` is one.
    pub fn times(&mut self, a: Option<PureId>, b: Option<PureId>) -> Option<PureId> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.mul(a, b)),
            (a, b) => a.or(b),
        }
    }

    /// The product of an expression with a factor of which `None` is one.
    pub fn scaled(&mut self, by: Option<PureId>, a: PureId) -> PureId {
        by.map_or(a, |by| self.mul(by, a))
    }

    /// The sum of two terms of which `None` is zero.
    pub fn total(&mut self, a: Option<PureId>, b: Option<PureId>) -> Option<PureId> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.plus(a, b)),
            (a, b) => a.or(b),
        }
    }

    /// The sum of two factors of which `None` is one; that of equals is twice the factor.
    pub fn sum_of_factors(&mut self, a: Option<PureId>, b: Option<PureId>) -> PureId {
        let [a, b] = [a, b].map(|factor| factor.unwrap_or_else(|| self.number(1.0)));
        self.plus(a, b)
    }

    fn learn(&self, expr: Pure) -> Known {
        let of = |id: PureId| self.known[id.index()];
        let readout = match expr {
            Pure::Readout(readout) => Some(readout),
            expr => expr.operands().find_map(|operand| of(operand).readout),
        };
        let positive = match expr {
            Pure::Number(x) => x > 0.0,
            Pure::Size(_) => true,
            Pure::Unary(UnaryFn::Exp | UnaryFn::Sigmoid | UnaryFn::Softplus, _) => true,
            Pure::Unary(UnaryFn::Sqrt | UnaryFn::Rsqrt, a) => of(a).positive,
            Pure::Binary(BinaryFn::Mul | BinaryFn::Div | BinaryFn::Min, a, b) => {
                of(a).positive && of(b).positive
            }
            Pure::Select([_, _, a, b]) => of(a).positive && of(b).positive,
            Pure::Binary(BinaryFn::Max, a, b) => of(a).positive || of(b).positive,
            Pure::Binary(BinaryFn::Add, a, b) => {
                (of(a).positive && !of(b).negative) || (of(b).positive && !of(a).negative)
            }
            Pure::Binary(BinaryFn::Sub, a, b) => match self.pure(a) {
                Pure::Number(a) => of(b).upper.is_some_and(|b| b <= a),
                _ => false,
            },
            _ => false,
        };
        let negative = match expr {
            Pure::Number(x) => x < 0.0,
            // The last is zero in f32 from about -14 on.
            Pure::Unary(UnaryFn::Abs | UnaryFn::Relu | UnaryFn::Ndtr, _) => false,
            Pure::Unary(UnaryFn::Sqrt, a) | Pure::Sum(a) => of(a).negative,
            Pure::Select([_, _, a, b]) => of(a).negative || of(b).negative,
            Pure::Binary(BinaryFn::Mul | BinaryFn::Add | BinaryFn::Min, a, b) => {
                of(a).negative || of(b).negative
            }
            Pure::Binary(BinaryFn::Max, a, b) => of(a).negative && of(b).negative,
            _ => !positive,
        };
        let upper = match expr {
            Pure::Number(x) => Some(x.next_up()),
            Pure::Unary(UnaryFn::Sigmoid | UnaryFn::Tanh, _) => Some(1.0),
            Pure::Unary(UnaryFn::Exp, x) => match self.pure(x) {
                Pure::Unary(UnaryFn::Neg, x) if of(x).positive => Some(1.0),
                _ => None,
            },
            // Where little is missing it rounds to one.
            Pure::Unary(UnaryFn::Ndtr, _) => Some(1f64.next_up()),
            Pure::Unary(UnaryFn::Neg, x) if of(x).positive => Some(0.0),
            Pure::Binary(BinaryFn::Mul, a, b) if !of(a).negative && !of(b).negative => {
                of(a).upper.zip(of(b).upper).map(|(a, b)| a * b)
            }
            Pure::Select([_, _, a, b]) => of(a).upper.zip(of(b).upper).map(|(a, b)| a.max(b)),
            Pure::Binary(BinaryFn::Min, a, b) => match (of(a).upper, of(b).upper) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            _ => None,
        };
        Known {
            positive,
            negative,
            upper,
            readout,
        }
    }
}
