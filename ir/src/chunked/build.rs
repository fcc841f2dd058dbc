//! How a pass makes a [`Chunked`] program: every op is typed as it is added, the whole verified at
//! the end.
//!
//! Typing is checking: [`Builder::push`] returns the axes or says what is wrong. Equal ops are
//! one value (operands are already unique, so equality of ops is equality of what they compute),
//! and the identities of zero and one are applied, so that derived gradients stay readable.
//!
//! Equal ops are found by hash and compared; of several the first is taken, so no order comes
//! from the hash.

use super::{Axis, Chunked, Direction, Draft, Op, Target, ValueId, typing};
use crate::recurrence::{BinaryFn, Recurrence, UnaryFn};
use crate::verify::chunked::verified;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

impl Chunked {
    /// The program without the ops that no result of `keep` needs.
    pub fn keep(&self, keep: impl Fn(Target) -> bool) -> Chunked {
        verified(self.kept(keep))
    }
}

/// Builds a program op by op.
pub struct Builder {
    program: Draft,
    /// Ops by their hash, first to last.
    index: BTreeMap<u64, Vec<u32>>,
}

impl Builder {
    /// An empty program with the ports of `recurrence`.
    pub fn new(recurrence: &Recurrence, name: String, direction: Direction) -> Self {
        Self::from(Draft {
            name,
            dims: recurrence.dims.clone(),
            inputs: recurrence.inputs.clone(),
            params: recurrence.params.clone(),
            states: recurrence.states.clone(),
            outputs: recurrence.outputs.clone(),
            direction,
            ops: vec![],
            axes: vec![],
            results: vec![],
        })
    }

    /// Goes on with a program.
    pub fn from(program: Draft) -> Self {
        let mut index: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (i, op) in program.ops.iter().enumerate() {
            index.entry(hash(op)).or_default().push(i as u32);
        }
        Self { program, index }
    }

    /// The program so far.
    pub fn program(&self) -> &Draft {
        &self.program
    }

    /// The axes of a value.
    pub fn axes(&self, value: ValueId) -> Vec<Axis> {
        self.program.axes[value.index()].clone()
    }

    /// Whether a value has an axis.
    pub fn has(&self, value: ValueId, axis: Axis) -> bool {
        self.program.axes[value.index()].contains(&axis)
    }

    /// Adds an op after simplifying it.
    ///
    /// # Panics
    /// When the op is ill-typed: derivation is at fault then, not the user.
    pub fn add(&mut self, op: Op) -> ValueId {
        if let Some(value) = self.simplify(&op) {
            return value;
        }
        self.push(op)
            .unwrap_or_else(|why| panic!("ill-typed level-2 op: {why}"))
    }

    /// Adds an op as it is, or says why it is ill-typed.
    pub fn push(&mut self, op: Op) -> Result<ValueId, String> {
        let alike = self.index.get(&hash(&op)).into_iter().flatten();
        if let Some(&i) = { alike }.find(|&&i| self.program.ops[i as usize] == op) {
            return Ok(ValueId(i));
        }
        let number = self.program.ops.len();
        let axes = typing::axes(&self.program, number, &op);
        let axes = axes.map_err(|why| format!("{op:?}: {why}"))?;
        self.index.entry(hash(&op)).or_default().push(number as u32);
        self.program.ops.push(op);
        self.program.axes.push(axes);
        Ok(ValueId(number as u32))
    }

    /// Declares a result.
    pub fn result(&mut self, target: Target, value: ValueId) {
        self.program.results.push((target, value));
    }

    /// The program, without ops that no result needs.
    ///
    /// # Panics
    /// When it is ill-formed as a whole: derivation is at fault then, not the user.
    pub fn finish(self) -> Chunked {
        verified(self.program.kept(|_| true))
    }

    /// A number.
    pub fn number(&mut self, value: f64) -> ValueId {
        self.add(Op::Number(value))
    }

    /// A pointwise function of one value.
    pub fn unary(&mut self, function: UnaryFn, a: ValueId) -> ValueId {
        self.add(Op::Unary(function, a))
    }

    /// A pointwise function of two values.
    pub fn binary(&mut self, function: BinaryFn, a: ValueId, b: ValueId) -> ValueId {
        self.add(Op::Binary(function, a, b))
    }

    /// `a * b`
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryFn::Mul, a, b)
    }

    /// `a + b`
    pub fn plus(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryFn::Add, a, b)
    }

    /// `a` where `x > y`, else `b`.
    pub fn select(&mut self, x: ValueId, y: ValueId, a: ValueId, b: ValueId) -> ValueId {
        self.add(Op::Select(x, y, a, b))
    }

    /// The sum over `axis` of `a * b`: a product of matrices where that is what it is.
    pub fn contract(&mut self, a: ValueId, b: ValueId, axis: Axis) -> ValueId {
        let (left, right) = (self.axes(a), self.axes(b));
        let shared = left
            .iter()
            .any(|x| *x != axis && *x != Axis::Head && right.contains(x));
        match (left.contains(&axis), right.contains(&axis)) {
            (true, true) if !shared => self.add(Op::Contract(a, b, axis)),
            _ => {
                let product = self.mul(a, b);
                self.add(Op::Sum(product, axis))
            }
        }
    }

    /// The value with `from` renamed to `to`; itself when it has no such axis.
    pub fn relabel(&mut self, value: ValueId, from: Axis, to: Axis) -> ValueId {
        match self.has(value, from) {
            true => self.add(Op::Relabel(value, from, to)),
            false => value,
        }
    }

    /// Sums away every axis of `value` that is not in `axes`: the adjoint of a broadcast.
    pub fn sum_to(&mut self, mut value: ValueId, axes: &[Axis]) -> ValueId {
        // Innermost first, so that the sum over heads comes last and runs on the smallest tile.
        for axis in self
            .axes(value)
            .into_iter()
            .rev()
            .filter(|axis| !axes.contains(axis))
        {
            value = self.add(Op::Sum(value, axis));
        }
        value
    }

    fn number_of(&self, value: ValueId) -> Option<f64> {
        match self.program.ops[value.index()] {
            Op::Number(number) => Some(number),
            _ => None,
        }
    }

    /// A folded number. What is not finite stays an op: a text has no such number.
    fn finite(&mut self, value: f64) -> Option<ValueId> {
        value.is_finite().then(|| self.number(value))
    }

    fn simplify(&mut self, op: &Op) -> Option<ValueId> {
        match *op {
            Op::Binary(function, a, b) => {
                // A broadcast is implied where the other operand has the axis.
                if let Op::Broadcast(inner, axis) = self.program.ops[a.index()]
                    && self.has(b, axis)
                {
                    return Some(self.binary(function, inner, b));
                }
                if let Op::Broadcast(inner, axis) = self.program.ops[b.index()]
                    && self.has(a, axis)
                {
                    return Some(self.binary(function, a, inner));
                }
                let (left, right) = (self.number_of(a), self.number_of(b));
                match (function, left, right) {
                    (BinaryFn::Add, Some(0.0), _) | (BinaryFn::Mul, Some(1.0), _) => Some(b),
                    (BinaryFn::Add | BinaryFn::Sub, _, Some(0.0)) => Some(a),
                    (BinaryFn::Mul | BinaryFn::Div, _, Some(1.0)) => Some(a),
                    (BinaryFn::Mul, Some(-1.0), _) => Some(self.unary(UnaryFn::Neg, b)),
                    (BinaryFn::Mul, _, Some(-1.0)) => Some(self.unary(UnaryFn::Neg, a)),
                    (_, Some(x), Some(y)) => self.finite(crate::pointwise::binary(function, x, y)),
                    _ => None,
                }
            }
            Op::Unary(function, a) => match (function, &self.program.ops[a.index()]) {
                (UnaryFn::Neg, Op::Unary(UnaryFn::Neg, inner)) => Some(*inner),
                (_, Op::Number(x)) => self.finite(crate::pointwise::unary(function, *x)),
                _ => None,
            },
            Op::Relabel(a, from, to) if from == to => Some(a),
            Op::Valid(a) if matches!(self.program.ops[a.index()], Op::Valid(_)) => Some(a),
            _ => None,
        }
    }
}

/// A hash that equal ops share.
fn hash(op: &Op) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::mem::discriminant(op).hash(&mut hasher);
    op.operands().hash(&mut hasher);
    match op {
        Op::Input(id) => id.hash(&mut hasher),
        Op::Param(id) => id.hash(&mut hasher),
        Op::State(id) | Op::DState(id) => id.hash(&mut hasher),
        Op::DOutput(id) => id.hash(&mut hasher),
        // Zero has two signs, which are equal.
        Op::Number(x) => (if *x == 0.0 { 0 } else { x.to_bits() }).hash(&mut hasher),
        Op::Size(dim) => dim.hash(&mut hasher),
        Op::Unary(function, _) => function.hash(&mut hasher),
        Op::Binary(function, ..) => function.hash(&mut hasher),
        Op::Broadcast(_, axis) | Op::Sum(_, axis) | Op::Contract(_, _, axis) => {
            axis.hash(&mut hasher);
        }
        Op::Relabel(_, from, to) => (from, to).hash(&mut hasher),
        Op::Causal(_, strict) => strict.hash(&mut hasher),
        Op::Decay(interval, strict, _) | Op::Spread(interval, strict, _) => {
            (interval, strict).hash(&mut hasher);
        }
        Op::Trilinear(partial, strict, ..) => (partial, strict).hash(&mut hasher),
        Op::Solve(transposed, ..) => transposed.hash(&mut hasher),
        Op::Delay(reverse, ..) | Op::Edge(reverse, _) => reverse.hash(&mut hasher),
        Op::Running(scan) => scan.bound.map(|_| ()).hash(&mut hasher),
        Op::Select(..) | Op::Valid(_) => {}
    }
    hasher.finish()
}
