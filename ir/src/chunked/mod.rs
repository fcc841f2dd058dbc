//! Level 2: one chunk of time steps as tensor algebra.
//!
//! A [`Chunked`] program is straight-line SSA. It is run once per chunk, in order of time when
//! `direction` is [`Direction::Forward`] and against it when [`Direction::Reverse`]; the states
//! (or their gradients) are carried from one chunk to the next. Values are tensors over named
//! axes: `h` the heads of a group, `t` the steps of the chunk, `s` the same steps as a source, `r`
//! once more those between the two, and the dims of the recurrence. Axes broadcast by name, so a value without `h` is shared by the
//! heads of a group, and the adjoint of a broadcast is a sum over the axes that it added.
//!
//! Two kinds of op carry all the numerics: [`Op::Decay`], the exponential of a sum of log decays
//! over an interval, and [`Op::Trilinear`], the masked product with a decay for each channel. No
//! value has both `t`, `s` and a dim: such a tensor exists only inside a `Trilinear`. A third,
//! [`Op::Solve`], is what makes a state that is read in its own update one of those two; a fourth,
//! [`Op::Running`], is a running maximum, whose gradient is made of the first. [`Op::Delay`] and
//! [`Op::Edge`] move along the steps.
//!
//! Steps past the end of a sequence (a chunk may be shorter than C) read as the last step and are
//! taken out by [`Op::Valid`] wherever they would be summed.

mod axes;
mod build;
pub(crate) mod typing;

pub use build::Builder;

use crate::recurrence::{
    BinaryFn, DimId, InputId, OutputId, ParamId, Port, StateId, UnaryFn, handle,
};
use crate::running::Scan;
use crate::verify::Verified;

handle!(
    /// A value of a [`Chunked`] program; the op at the same index defines it.
    ValueId
);

/// A named axis. The order of the variants is the order of a value's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Axis {
    /// `h`: the heads of a group.
    Head,
    /// `t`: a step of the chunk.
    Time,
    /// `r`: a step of the chunk between two others, where products of `[t, s]` values meet.
    Middle,
    /// `s`: a step of the chunk, as the source of what step `t` sees.
    Source,
    /// A dim of the recurrence.
    Dim(DimId),
    /// A dim as the second axis of a state whose first is the same or a later dim; printed with a
    /// prime.
    Prime(DimId),
}

/// Which interval of the chunk a decay spans. For a strict decay the reader stands *before* its
/// own step's decay: `r < t` in place of `r <= t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interval {
    /// `s < r <= t`, for pairs `t >= s` (strict: `s < r < t`, for `t > s`); zero elsewhere.
    Between,
    /// `r <= t` (strict: `r < t`): from the chunk's start to the reader.
    Start,
    /// `r > t`: from the writer to the chunk's end.
    End,
    /// Every step of the chunk.
    Total,
}

/// Which partial of the trilinear form `T(m, q, k) = sum_{t,s,c} m[t,s] q[t,c] k[s,c] D[t,s,c]`
/// is meant, where `D` is [`Interval::Between`] of a log decay `l[t,c]` for each channel `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Partial {
    /// By `m`: `[t,s]` from `q`, `k`, `l`.
    Weights,
    /// By `q`: `[t,c]` from `m`, `k`, `l`.
    Query,
    /// By `k`: `[s,c]` from `m`, `q`, `l`.
    Key,
    /// By `l`: `[t,c]` from `m`, `q`, `k`, `l`.
    LogDecay,
}

/// An operation. Operands come before users.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// An input over the chunk: `[h, t, dims]`, without `h` when per group.
    Input(InputId),
    /// A param: `[h, dims]`.
    Param(ParamId),
    /// The entering state: `[h, dims]`.
    State(StateId),
    /// The gradient that arrives for an output: `[h, t, dims]`; zero past the end.
    DOutput(OutputId),
    /// The gradient that arrives for the leaving state: `[h, dims]`.
    DState(StateId),
    /// A number.
    Number(f64),
    /// The size of a dim as a number.
    Size(DimId),
    /// A pointwise function.
    Unary(UnaryFn, ValueId),
    /// A pointwise function; axes broadcast by name.
    Binary(BinaryFn, ValueId, ValueId),
    /// `Select(x, y, a, b)`: `a` where `x > y`, else `b`; NaN where `x` or `y` is. Axes broadcast
    /// by name.
    Select(ValueId, ValueId, ValueId, ValueId),
    /// The value for steps `t` of the sequence, zero for steps past its end. A value without `t`
    /// is repeated along it.
    Valid(ValueId),
    /// The value repeated along an axis that it does not have.
    Broadcast(ValueId, Axis),
    /// The value where `t >= s` (strict: `t > s`), zero elsewhere; `[t, s]`.
    Causal(ValueId, bool),
    /// The value with one axis renamed.
    Relabel(ValueId, Axis, Axis),
    /// The sum over an axis.
    Sum(ValueId, Axis),
    /// The sum over an axis of a product of two values that share no other axis but `h`.
    Contract(ValueId, ValueId, Axis),
    /// `exp` of the sum of log decays `l[t, ..]` over an interval: `[t, s]` (Between, of an
    /// `l[t]` only), `[t, ..]` (Start, End) or `[..]` (Total). The flag is strictness.
    Decay(Interval, bool, ValueId),
    /// The adjoint of a sum of log decays over an interval: spreads `x` (shaped as the decay) to
    /// the steps inside its interval, giving `[t, ..]`. Of Between only pairs `t > s` count.
    Spread(Interval, bool, ValueId),
    /// A partial of the trilinear form. `m`, `q`, `k` are the operands in this order without the
    /// one it is a partial by; `l` is the log decay. The flag is strictness.
    Trilinear(Partial, bool, Vec<ValueId>, ValueId),
    /// `Solve(transposed, L, R)` is the U with `U = R + L U`, U and R being `[t, x]` for any one
    /// axis x: `U[t] = R[t] + sum_{s<t} L[t,s] U[s]`, one step after the other. With the flag L is
    /// transposed: `U[t] = R[t] + sum_{s>t} L[s,t] U[s]`. Of L only pairs `t > s` are read.
    Solve(bool, ValueId, ValueId),
    /// A running extreme or an angle, one step after the other: `m[t] = bound(m[t-1] + shift[t])`, the operands of
    /// each step being `[t, x]` for any one axis x or none, and what entered `[x]`. Past the end nothing moves.
    Running(Scan<ValueId>),
    /// `Delay(reverse, X, B)`: the value of the step before, `X[t-1]`, and B at the first, X being `[t, ..]` and
    /// B `[..]`. In reverse that of the step after, and B at the last; zero past the end then.
    Delay(bool, ValueId, ValueId),
    /// The value of the last step of the sequence in the chunk, `[..]` of `[t, ..]`; in reverse of the first.
    Edge(bool, ValueId),
}

/// A log decay that leaves nothing: its exponential is zero in f64 and in f32, and sums of it over a chunk
/// are exact.
pub const FORGOTTEN: f64 = -1000.0;

/// What a result of the program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// An output: `[h, t, dims]`.
    Output(OutputId),
    /// The leaving state: `[h, dims]`.
    State(StateId),
    /// The gradient of an input, shaped as the input.
    DInput(InputId),
    /// The gradient of a param, to be summed over chunks and batch.
    DParam(ParamId),
    /// The gradient of the entering state.
    DState(StateId),
    /// The log decay of a state summed over the chunk, to be summed over chunks: `[h]`.
    LogScalar(StateId),
    /// The same for each row: `[h, first dim]`.
    LogRow(StateId),
    /// The same for each column: `[h, second dim]`.
    LogCol(StateId),
}

/// Order of the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// First to last.
    Forward,
    /// Last to first.
    Reverse,
}

/// A program over one chunk. It comes from a [`Builder`] or from the verifier
/// ([`crate::verify::chunked`]), so it is well-formed.
pub type Chunked = Verified<Draft>;

/// A program over one chunk that nobody verified yet: what a text says and a builder holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The recurrence's name, with a suffix for its phase.
    pub name: String,
    /// Dim names.
    pub dims: Vec<String>,
    /// Inputs of the recurrence.
    pub inputs: Vec<Port>,
    /// Params of the recurrence.
    pub params: Vec<Port>,
    /// States of the recurrence.
    pub states: Vec<Port>,
    /// Outputs of the recurrence.
    pub outputs: Vec<Port>,
    /// Order of the chunks.
    pub direction: Direction,
    /// Ops in order; `ops[i]` defines value `i`.
    pub ops: Vec<Op>,
    /// Axes of each value, sorted.
    pub axes: Vec<Vec<Axis>>,
    /// Results.
    pub results: Vec<(Target, ValueId)>,
}

impl Op {
    /// The operands, in order.
    pub fn operands(&self) -> Vec<ValueId> {
        match self {
            Op::Input(_)
            | Op::Param(_)
            | Op::State(_)
            | Op::DOutput(_)
            | Op::DState(_)
            | Op::Number(_)
            | Op::Size(_) => vec![],
            Op::Unary(_, a)
            | Op::Valid(a)
            | Op::Causal(a, _)
            | Op::Relabel(a, ..)
            | Op::Broadcast(a, _)
            | Op::Sum(a, _)
            | Op::Decay(_, _, a)
            | Op::Spread(_, _, a)
            | Op::Edge(_, a) => {
                vec![*a]
            }
            Op::Binary(_, a, b)
            | Op::Contract(a, b, _)
            | Op::Solve(_, a, b)
            | Op::Delay(_, a, b) => vec![*a, *b],
            Op::Select(x, y, a, b) => vec![*x, *y, *a, *b],
            Op::Running(scan) => scan.operands(),
            Op::Trilinear(_, _, operands, l) => operands.iter().copied().chain([*l]).collect(),
        }
    }

    /// The same op on other operands.
    pub fn map_operands(&self, mut f: impl FnMut(ValueId) -> ValueId) -> Op {
        match self.clone() {
            op @ (Op::Input(_)
            | Op::Param(_)
            | Op::State(_)
            | Op::DOutput(_)
            | Op::DState(_)
            | Op::Number(_)
            | Op::Size(_)) => op,
            Op::Unary(function, a) => Op::Unary(function, f(a)),
            Op::Binary(function, a, b) => Op::Binary(function, f(a), f(b)),
            Op::Select(x, y, a, b) => Op::Select(f(x), f(y), f(a), f(b)),
            Op::Valid(a) => Op::Valid(f(a)),
            Op::Broadcast(a, axis) => Op::Broadcast(f(a), axis),
            Op::Causal(a, strict) => Op::Causal(f(a), strict),
            Op::Relabel(a, from, to) => Op::Relabel(f(a), from, to),
            Op::Sum(a, axis) => Op::Sum(f(a), axis),
            Op::Contract(a, b, axis) => Op::Contract(f(a), f(b), axis),
            Op::Solve(transposed, l, r) => Op::Solve(transposed, f(l), f(r)),
            Op::Delay(reverse, x, border) => Op::Delay(reverse, f(x), f(border)),
            Op::Edge(reverse, x) => Op::Edge(reverse, f(x)),
            Op::Running(scan) => Op::Running(scan.map(f)),
            Op::Decay(interval, strict, a) => Op::Decay(interval, strict, f(a)),
            Op::Spread(interval, strict, a) => Op::Spread(interval, strict, f(a)),
            Op::Trilinear(partial, strict, operands, l) => Op::Trilinear(
                partial,
                strict,
                operands.into_iter().map(&mut f).collect(),
                f(l),
            ),
        }
    }
}

impl Draft {
    /// The op behind a value.
    pub fn op(&self, value: ValueId) -> &Op {
        &self.ops[value.index()]
    }

    /// The axes of a value.
    pub fn axes(&self, value: ValueId) -> &[Axis] {
        &self.axes[value.index()]
    }

    /// The draft without the ops that no result of `keep` needs.
    pub(crate) fn kept(&self, keep: impl Fn(Target) -> bool) -> Draft {
        let results: Vec<_> = self
            .results
            .iter()
            .copied()
            .filter(|(target, _)| keep(*target))
            .collect();
        let mut live = vec![false; self.ops.len()];
        results
            .iter()
            .for_each(|(_, value)| live[value.index()] = true);
        for i in (0..self.ops.len())
            .rev()
            .filter(|&i| live[i])
            .collect::<Vec<_>>()
        {
            self.mark(i, &mut live);
        }
        let mut renamed = vec![ValueId(u32::MAX); self.ops.len()];
        let mut next = Draft {
            ops: vec![],
            axes: vec![],
            results: vec![],
            ..self.clone()
        };
        for i in (0..self.ops.len()).filter(|&i| live[i]) {
            renamed[i] = ValueId(next.ops.len() as u32);
            next.ops
                .push(self.ops[i].map_operands(|v| renamed[v.index()]));
            next.axes.push(self.axes[i].clone());
        }
        next.results = results
            .iter()
            .map(|&(t, v)| (t, renamed[v.index()]))
            .collect();
        next
    }

    fn mark(&self, from: usize, live: &mut [bool]) {
        let mut stack = vec![from];
        while let Some(i) = stack.pop() {
            for v in self.ops[i].operands() {
                if !std::mem::replace(&mut live[v.index()], true) {
                    stack.push(v.index());
                }
            }
        }
    }
}
