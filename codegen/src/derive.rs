//! Derivation: from the algebra of a step to the algebra of a chunk (the forward program).
//!
//! For a state `S' = a S + sum_m outer(k_m, v_m)` with log decay `l = log a`, a chunk that is
//! entered with `S` computes, for a readout with weight `q` (docs/numerics.md, "Scalar" and
//! "Diagonal"):
//!
//! ```text
//! o_t = (q_t exp(l_1 + .. + l_t)) S  +  sum_{s<=t} (q_t . k_s) exp(l_{s+1} + .. + l_t) v_s
//! S'  = exp(l_1 + .. + l_C) S  +  sum_s outer(k_s exp(l_{s+1} + .. + l_C), v_s)
//! ```
//!
//! A scalar decay multiplies the `[t, s]` weights; a decay for each row sits inside the product
//! of `q` and `k`, one for each column inside the product with `v`; both are partials of one
//! trilinear form. A readout of the entering state is the same with strict intervals. What a state
//! reads of itself in its update becomes one more addition, by a solve (`reads`).
//!
//! What enters a state from others is known for every step of the chunk before it is derived (`strata`).
//!
//! What is scaled is the smaller cost in the *gradient*: `q` rather than `q S`, so that reverse
//! mode needs no product again, and of `k` and `v` the one that each head has for itself, so that
//! what a group shares stays shared. Everything summed over steps is masked first, so a short
//! last chunk is no special case anywhere below.

mod carried;
mod held;
mod readouts;
mod reads;
mod strata;
mod summary;

pub use summary::Summary;
pub(crate) use summary::summaries;

use baton_ir::chunked::{
    Axis, Builder, Chunked, Direction, FORGOTTEN, Interval, Op, Target, ValueId,
};
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{Facts, OutputId, Pure, PureId, Recurrence, StateId};
use baton_ir::running::Bound;

/// The forward program of a verified recurrence; refuses states whose transition holds more than
/// decays, additions and reads that can be solved for (D001, at the first such state).
pub fn derive(recurrence: &Recurrence, facts: &Facts) -> Result<Chunked, Diagnostic> {
    let (order, circle) = held::order(facts);
    for (index, transition) in facts.transitions.iter().enumerate() {
        let why = refusal(recurrence, facts, index).or_else(|| {
            let circle = circle.contains(&index);
            circle.then(|| "it enters its own update by way of others".into())
        });
        if let Some(why) = why {
            let name = &recurrence.states[index].name;
            let place = recurrence.spans.states.get(index).copied();
            return Err(Diagnostic::new(
                "D001",
                place.unwrap_or(recurrence.spans.name),
                format!("state `{name}` has no derivation: {why}"),
            )
            .found(format!("class {}", transition.class.name()))
            .expected("decays of the whole state, its rows and its columns, additions, and reads of itself over one side")
            .remedy("run it on the CPU, which takes every class, step by step"));
        }
    }
    let name = format!("{}_forward", recurrence.name);
    let mut derivation = Derivation {
        recurrence,
        facts,
        build: Builder::new(recurrence, name, Direction::Forward),
        stateful: held::stateful(facts),
        summaries: summaries(facts),
        values: vec![None; facts.pure.len()],
        states: vec![None; recurrence.states.len()],
        unmasked: false,
    };
    for index in order {
        derivation.states[index] = Some(derivation.state(index));
    }
    for index in 0..recurrence.outputs.len() {
        let value = derivation.pure(facts.outputs[index]);
        derivation
            .build
            .result(Target::Output(OutputId(index as u32)), value);
    }
    for index in 0..recurrence.states.len() {
        derivation.leave(index);
    }
    Ok(derivation.build.finish())
}

/// Why a state cannot be derived.
fn refusal(recurrence: &Recurrence, facts: &Facts, state: usize) -> Option<String> {
    match facts.transitions[state].obstacle {
        Some(obstacle) => Some(obstacle.reason(recurrence)),
        None => held::refusal(recurrence, facts, state),
    }
}

/// The program whose states, begun at the identity, become the matrices of dense summaries, of a recurrence that has
/// a chunked form; none where there are no such, or where some state has no summary.
pub(crate) fn matrices(recurrence: &Recurrence, facts: &Facts) -> Option<Chunked> {
    let summaries = summaries(facts);
    let (recurrence, facts) = summary::squared(recurrence, facts)?;
    let program = derive(&recurrence, &facts);
    let program = program.expect("what is added is no reason to refuse a state");
    Some(program.keep(|target| match target {
        Target::State(state) => matches!(summaries[state.index()], Summary::Dense(_)),
        _ => false,
    }))
}

/// The log decays and added terms of a state, masked past the end.
#[derive(Clone)]
struct State {
    /// What is added is all that there is.
    overwritten: bool,
    /// In place of decays and additions: what bounds the state, and what is added to it.
    running: Option<(Bound<ValueId>, ValueId)>,
    row: Option<Axis>,
    col: Option<Axis>,
    log: Option<ValueId>,
    log_row: Option<ValueId>,
    log_col: Option<ValueId>,
    added: Vec<(ValueId, Option<ValueId>)>,
}

impl State {
    /// The state seen with its sides exchanged.
    fn transposed(self) -> State {
        State {
            row: self.col,
            col: self.row,
            log_row: self.log_col,
            log_col: self.log_row,
            added: self
                .added
                .into_iter()
                .map(|(l, r)| (r.unwrap_or(l), Some(l)))
                .collect(),
            ..self
        }
    }
}

struct Derivation<'a> {
    recurrence: &'a Recurrence,
    facts: &'a Facts,
    build: Builder,
    /// Which expressions hold readouts.
    stateful: Vec<bool>,
    summaries: Vec<Summary>,
    values: Vec<Option<ValueId>>,
    states: Vec<Option<State>>,
    /// Whether what is added now is not summed over steps.
    unmasked: bool,
}

impl Derivation<'_> {
    fn state(&mut self, index: usize) -> State {
        let axes = self.recurrence.states[index].axes(false);
        let (row, col) = (axes.get(1).copied(), axes.get(2).copied());
        let facts = self.facts;
        let transition = &facts.transitions[index];
        let has_reads = !held::own(facts, index).is_empty();
        let overwritten = transition.overwritten && !has_reads;
        let log = match transition.overwritten && has_reads {
            // Nothing is left of the old value but what is read of it.
            true => Some(self.constant(None, FORGOTTEN, None)),
            false => transition.scalar.map(|l| self.masked(l)),
        };
        let log_row = transition.row.map(|l| self.along(l, row));
        let log_col = transition.col.map(|l| self.along(l, col));
        // Nothing sums it over steps, and functions of it are to be finite past the end.
        self.unmasked = overwritten;
        let mut added: Vec<_> = transition
            .added
            .iter()
            .map(|&(left, right)| {
                let left = self.along(left, row);
                (left, right.map(|right| self.along(right, col)))
            })
            .collect();
        for read in &transition.reads {
            if facts.readouts[read.readout.index()].state.index() != index {
                added.push(self.read_of_another(read, row, col));
            }
        }
        self.unmasked = false;
        let running = transition.running.map(|running| {
            let shift = self.constant(running.shift, 0.0, row);
            (running.bound.map(|floor| self.along(floor, row)), shift)
        });
        let state = State {
            overwritten,
            running,
            row,
            col,
            log,
            log_row,
            log_col,
            added,
        };
        self.with_reads(StateId(index as u32), state)
    }

    fn masked(&mut self, pure: PureId) -> ValueId {
        let value = self.pure(pure);
        self.mask(value)
    }

    /// A value of every step, zero past the end where something may sum it.
    fn mask(&mut self, value: ValueId) -> ValueId {
        match self.unmasked {
            false => self.build.add(Op::Valid(value)),
            true if self.build.has(value, Axis::Time) => value,
            true => self.build.add(Op::Broadcast(value, Axis::Time)),
        }
    }

    /// An expression along `axis`, or that number.
    fn constant(&mut self, pure: Option<PureId>, number: f64, axis: Option<Axis>) -> ValueId {
        let Some(pure) = pure else {
            let number = self.build.number(number);
            let number = self.mask(number);
            return self.spread(number, axis);
        };
        self.along(pure, axis)
    }

    /// A masked vector that certainly has `axis`.
    fn along(&mut self, pure: PureId, axis: Option<Axis>) -> ValueId {
        let value = self.masked(pure);
        self.spread(value, axis)
    }

    /// A value that has its own axis or none, along `axis`.
    fn spread(&mut self, value: ValueId, axis: Option<Axis>) -> ValueId {
        match axis {
            Some(Axis::Prime(dim)) if self.build.has(value, Axis::Dim(dim)) => {
                self.build.relabel(value, Axis::Dim(dim), Axis::Prime(dim))
            }
            Some(axis) if !self.build.has(value, axis) => {
                self.build.add(Op::Broadcast(value, axis))
            }
            _ => value,
        }
    }

    /// The value of an expression: operands first, each once, however long the chain. A weight that holds
    /// readouts is one of a readout's operands; any other is computed with it.
    fn pure(&mut self, root: PureId) -> ValueId {
        let mut open = vec![root];
        while let Some(&id) = open.last() {
            if self.values[id.index()].is_none() {
                let pure = self.facts.pure(id);
                let weight = match pure {
                    Pure::Readout(readout) => self.weight_of_states(readout),
                    _ => None,
                };
                let missing = |id: &PureId| self.values[id.index()].is_none();
                if let Some(next) = pure.operands().chain(weight).find(missing) {
                    open.push(next);
                    continue;
                }
                self.values[id.index()] = Some(self.compute(id));
            }
            open.pop();
        }
        self.values[root.index()].expect("computed above")
    }

    /// An expression whose operands have values.
    fn compute(&mut self, id: PureId) -> ValueId {
        let of = |derivation: &Self, id: PureId| {
            derivation.values[id.index()].expect("operands are computed first")
        };
        match self.facts.pure(id) {
            Pure::Number(x) => self.build.number(x),
            Pure::Size(dim) => self.build.add(Op::Size(dim)),
            Pure::Input(input) => self.build.add(Op::Input(input)),
            Pure::Param(param) => self.build.add(Op::Param(param)),
            Pure::Readout(readout) => self.readout(readout),
            Pure::Unary(function, a) => {
                let a = of(self, a);
                self.build.unary(function, a)
            }
            Pure::Binary(function, a, b) => {
                let (a, b) = (of(self, a), of(self, b));
                self.build.binary(function, a, b)
            }
            Pure::Select(operands) => {
                let [x, y, a, b] = operands.map(|operand| of(self, operand));
                self.build.select(x, y, a, b)
            }
            Pure::Sum(a) => {
                let axis = Axis::Dim(self.facts.dim(a).expect("a sum is over a vector"));
                let a = of(self, a);
                self.build.add(Op::Sum(a, axis))
            }
        }
    }

    fn decay(&mut self, interval: Interval, strict: bool, log: Option<ValueId>) -> Option<ValueId> {
        log.map(|log| self.build.add(Op::Decay(interval, strict, log)))
    }

    fn scaled(&mut self, value: ValueId, by: Option<ValueId>) -> ValueId {
        by.map_or(value, |by| self.build.mul(value, by))
    }

    fn source(&mut self, value: ValueId) -> ValueId {
        self.build.relabel(value, Axis::Time, Axis::Source)
    }

    /// The leaving state, and what of its log decay later segments need.
    fn leave(&mut self, index: usize) {
        let id = StateId(index as u32);
        let state = self.states[index].clone().expect("every state is derived");
        let mut next = self.build.add(Op::State(id));
        if state.overwritten || state.running.is_some() {
            let last = self.carried_last(&state, next);
            return self.build.result(Target::State(id), last);
        }
        for log in [state.log_row, state.log_col, state.log] {
            let total = self.decay(Interval::Total, false, log);
            next = self.scaled(next, total);
        }
        let end = self.decay(Interval::End, false, state.log);
        let end_row = self.decay(Interval::End, false, state.log_row);
        let end_col = self.decay(Interval::End, false, state.log_col);
        for (left, right) in state.added {
            let mut left = self.scaled(left, end_row);
            let term = match right.map(|right| self.scaled(right, end_col)) {
                Some(mut right) => {
                    let shared = !self.build.has(left, Axis::Head);
                    match shared || self.build.has(right, Axis::Head) {
                        true => right = self.scaled(right, end),
                        false => left = self.scaled(left, end),
                    }
                    self.build.contract(left, right, Axis::Time)
                }
                None => match end {
                    Some(end) if state.row.is_some() => self.build.contract(end, left, Axis::Time),
                    _ => {
                        let left = self.scaled(left, end);
                        self.build.add(Op::Sum(left, Axis::Time))
                    }
                },
            };
            next = self.build.plus(next, term);
        }
        self.build.result(Target::State(id), next);
        if self.summaries[index] != Summary::Diagonal {
            return;
        }
        let logs = [
            (Target::LogScalar(id), state.log),
            (Target::LogRow(id), state.log_row),
            (Target::LogCol(id), state.log_col),
        ];
        for (target, log) in logs {
            if let Some(log) = log {
                let sum = self.build.add(Op::Sum(log, Axis::Time));
                self.build.result(target, sum);
            }
        }
    }
}
