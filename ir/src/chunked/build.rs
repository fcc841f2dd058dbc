//! The only way to make a [`Chunked`] program: every op is typed as it is added.
//!
//! Typing is checking: [`Builder::push`] returns the axes or says what is wrong. Equal ops are
//! one value (operands are already unique, so equality of ops is equality of what they compute),
//! and the identities of zero and one are applied, so that derived gradients stay readable.
//!
//! Equal ops are found by hash and compared; of several the first is taken, so no order comes
//! from the hash.

use super::{Axis, Chunked, Direction, Interval, Op, Partial, Target, ValueId};
use crate::recurrence::{BinaryFn, Port, Recurrence, UnaryFn};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Builds a program op by op.
pub struct Builder {
    program: Chunked,
    /// Ops by their hash, first to last.
    index: HashMap<u64, Vec<u32>>,
}

impl Builder {
    /// An empty program with the ports of `recurrence`.
    pub fn new(recurrence: &Recurrence, name: String, direction: Direction) -> Self {
        Self::from(Chunked {
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
    pub fn from(program: Chunked) -> Self {
        let mut index: HashMap<u64, Vec<u32>> = HashMap::new();
        for (i, op) in program.ops.iter().enumerate() {
            index.entry(hash(op)).or_default().push(i as u32);
        }
        Self { program, index }
    }

    /// The program so far.
    pub fn program(&self) -> &Chunked {
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
        let axes = self.infer(&op).map_err(|why| format!("{op:?}: {why}"))?;
        self.append(op, axes);
        Ok(ValueId(self.program.ops.len() as u32 - 1))
    }

    /// Adds an op whose axes are known.
    pub(crate) fn append(&mut self, op: Op, axes: Vec<Axis>) {
        let next = self.program.ops.len() as u32;
        self.index.entry(hash(&op)).or_default().push(next);
        self.program.ops.push(op);
        self.program.axes.push(axes);
    }

    /// Declares a result.
    pub fn result(&mut self, target: Target, value: ValueId) {
        self.program.results.push((target, value));
    }

    /// The program, without ops that no result needs.
    pub fn finish(self) -> Chunked {
        self.program.keep(|_| true)
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
                    (_, Some(x), Some(y)) => {
                        Some(self.number(crate::pointwise::binary(function, x, y)))
                    }
                    _ => None,
                }
            }
            Op::Unary(function, a) => match (function, &self.program.ops[a.index()]) {
                (UnaryFn::Neg, Op::Unary(UnaryFn::Neg, inner)) => Some(*inner),
                (_, Op::Number(x)) => {
                    let value = crate::pointwise::unary(function, *x);
                    Some(self.number(value))
                }
                _ => None,
            },
            Op::Relabel(a, from, to) if from == to => Some(a),
            Op::Valid(a) if matches!(self.program.ops[a.index()], Op::Valid(_)) => Some(a),
            _ => None,
        }
    }

    /// The axes of an op that is added next: the one typing of level 2.
    pub(crate) fn infer(&self, op: &Op) -> Result<Vec<Axis>, String> {
        let p = &self.program;
        let axes = |v: ValueId| {
            p.axes
                .get(v.index())
                .cloned()
                .ok_or(format!("value %{} is not defined yet", v.0))
        };
        let has = |v: &[Axis], axis: Axis| match v.contains(&axis) {
            true => Ok(()),
            false => Err(format!(
                "operand has axes {v:?}, expected {axis:?} among them"
            )),
        };
        let get = |ports: &[Port], i: usize, time: bool| match ports.get(i) {
            Some(port) => {
                let mut axes = port.axes(time);
                axes.sort();
                Ok(axes)
            }
            None => Err(format!("port {i} does not exist")),
        };
        match op {
            Op::Input(i) => get(&p.inputs, i.index(), true),
            Op::Param(i) => get(&p.params, i.index(), false),
            Op::State(i) | Op::DState(i) => get(&p.states, i.index(), false),
            Op::DOutput(i) => get(&p.outputs, i.index(), true),
            Op::Number(_) => Ok(vec![]),
            Op::Size(dim) if dim.index() < p.dims.len() => Ok(vec![]),
            Op::Size(dim) => Err(format!("dim {} does not exist", dim.0)),
            Op::Unary(_, a) => axes(*a),
            Op::Binary(_, a, b) => pointwise(union(axes(*a)?, axes(*b)?)),
            Op::Select(x, y, a, b) => {
                let (compared, chosen) = (union(axes(*x)?, axes(*y)?), union(axes(*a)?, axes(*b)?));
                pointwise(union(compared, chosen))
            }
            Op::Valid(a) => pointwise(union(axes(*a)?, vec![Axis::Time])),
            Op::Broadcast(a, axis) => match axes(*a)? {
                v if v.contains(axis) => Err(format!("operand already has {axis:?}")),
                v => pointwise(union(v, vec![*axis])),
            },
            Op::Causal(a, _) => {
                let v = union(axes(*a)?, vec![Axis::Time, Axis::Source]);
                pointwise(v)
            }
            Op::Relabel(a, from, to) => {
                let mut v = axes(*a)?;
                has(&v, *from)?;
                if v.contains(to) {
                    return Err(format!("operand already has {to:?}"));
                }
                v.retain(|axis| axis != from);
                v.push(*to);
                v.sort();
                Ok(v)
            }
            Op::Sum(a, axis) => {
                let mut v = axes(*a)?;
                has(&v, *axis)?;
                v.retain(|x| x != axis);
                Ok(v)
            }
            Op::Contract(a, b, axis) => {
                let (left, right) = (axes(*a)?, axes(*b)?);
                has(&left, *axis)?;
                has(&right, *axis)?;
                if let Some(shared) = left
                    .iter()
                    .find(|x| **x != *axis && **x != Axis::Head && right.contains(x))
                {
                    return Err(format!(
                        "operands share {shared:?} beside the contracted axis"
                    ));
                }
                let mut v = union(left, right);
                v.retain(|x| x != axis);
                pointwise(v)
            }
            Op::Decay(interval, _, l) => {
                let v = axes(*l)?;
                has(&v, Axis::Time)?;
                let rest = || {
                    v.iter()
                        .copied()
                        .filter(|x| *x != Axis::Time)
                        .collect::<Vec<_>>()
                };
                match interval {
                    Interval::Between if rest().iter().all(|x| *x == Axis::Head) => {
                        Ok(union(v.clone(), vec![Axis::Source]))
                    }
                    Interval::Between => Err("a Between decay takes one log decay a step".into()),
                    Interval::Start | Interval::End => Ok(v),
                    Interval::Total => Ok(rest()),
                }
            }
            Op::Spread(interval, _, x) => {
                let mut v = axes(*x)?;
                match interval {
                    Interval::Between => {
                        has(&v, Axis::Time)?;
                        has(&v, Axis::Source)?;
                        v.retain(|axis| *axis != Axis::Source);
                    }
                    Interval::Start | Interval::End => has(&v, Axis::Time)?,
                    Interval::Total => v = union(v, vec![Axis::Time]),
                }
                Ok(v)
            }
            Op::Trilinear(partial, _, operands, l) => {
                let l = axes(*l)?;
                let channel = *l.last().ok_or("the log decay has no channel")?;
                has(&l, Axis::Time)?;
                if !matches!(channel, Axis::Dim(_) | Axis::Prime(_)) {
                    return Err("the log decay has no channel".into());
                }
                let m = [Axis::Time, Axis::Source];
                let q = [Axis::Time, channel];
                let k = [Axis::Source, channel];
                let (expected, result): (Vec<&[Axis]>, &[Axis]) = match partial {
                    Partial::Weights => (vec![&q, &k], &m),
                    Partial::Query => (vec![&m, &k], &q),
                    Partial::Key => (vec![&m, &q], &k),
                    Partial::LogDecay => (vec![&m, &q, &k], &q),
                };
                let mut head = l.contains(&Axis::Head);
                if operands.len() != expected.len() {
                    return Err(format!("takes {} operands", expected.len()));
                }
                for (operand, expected) in operands.iter().zip(expected) {
                    let mut v = axes(*operand)?;
                    head |= v.contains(&Axis::Head);
                    v.retain(|axis| *axis != Axis::Head);
                    if v != expected {
                        return Err(format!("operand has axes {v:?}, expected {expected:?}"));
                    }
                }
                let head = if head { vec![Axis::Head] } else { vec![] };
                Ok(union(head, result.to_vec()))
            }
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
        Op::Select(..) | Op::Valid(_) => {}
    }
    hasher.finish()
}

fn union(mut a: Vec<Axis>, b: Vec<Axis>) -> Vec<Axis> {
    a.extend(b);
    a.sort();
    a.dedup();
    a
}

fn pointwise(axes: Vec<Axis>) -> Result<Vec<Axis>, String> {
    match axes.iter().filter(|axis| **axis != Axis::Head).count() {
        0..=2 => Ok(axes),
        _ => Err(format!("a value with axes {axes:?} would have rank 3")),
    }
}
