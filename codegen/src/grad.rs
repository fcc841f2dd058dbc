//! Gradients: reverse mode over a forward chunk program, giving the program of the reversed sweep.
//!
//! The forward ops are kept (what the gradient does not need falls away), then every value's
//! adjoint is pushed to its operands, last value first. The adjoint of the leaving state arrives
//! as `DState`, that of the entering state leaves as the result of the same name, so the carried
//! loop reverses by itself. There is one rule for each op and none for any recurrence.
//!
//! Sums of log decays are differentiated as sums over intervals ([`Op::Spread`]), never as
//! differences of prefix sums: a pair `t > s` contributes to the steps between them and to no
//! other, so nothing cancels however strong the decay is.

mod pointwise;
mod range;
mod running;

use baton_ir::chunked::{Axis, Builder, Chunked, Direction, Op, Partial, Target, ValueId};
use baton_ir::recurrence::{InputId, ParamId, StateId};
use range::Range;

/// The reverse program of `forward`: its results are the gradients of every input, param and
/// entering state.
pub fn grad(forward: &Chunked) -> Chunked {
    let program = forward.keep(|t| matches!(t, Target::Output(_) | Target::State(_)));
    let mut program = program.into_draft();
    let results = std::mem::take(&mut program.results);
    program.direction = Direction::Reverse;
    program.name = program.name.replace("_forward", "_backward");
    let count = program.ops.len();
    let mut reverse = Reverse {
        adjoints: vec![None; count],
        range: Range::default(),
        build: Builder::from(program),
    };
    for (target, value) in results {
        let arriving = match target {
            Target::Output(output) => reverse.build.add(Op::DOutput(output)),
            Target::State(state) => reverse.build.add(Op::DState(state)),
            _ => unreachable!("kept above"),
        };
        reverse.give(value, arriving);
    }
    for i in (0..count).rev() {
        if let Some(adjoint) = reverse.adjoints[i] {
            reverse.pull(ValueId(i as u32), adjoint);
        }
    }
    reverse.unreached();
    reverse.build.finish()
}

struct Reverse {
    build: Builder,
    adjoints: Vec<Option<ValueId>>,
    range: Range,
}

impl Reverse {
    /// Adds to the adjoint of a value, summing away the axes along which it was broadcast.
    fn give(&mut self, value: ValueId, adjoint: ValueId) {
        let axes = self.build.axes(value);
        let adjoint = self.build.sum_to(adjoint, &axes);
        assert_eq!(
            self.build.axes(adjoint),
            axes,
            "an adjoint has the axes of its value"
        );
        let known = &mut self.adjoints[value.index()];
        *known = Some(match *known {
            Some(known) => self.build.plus(known, adjoint),
            None => adjoint,
        });
    }

    /// The part of a product's adjoint that goes to the operand with the axes `keep`.
    fn product(&mut self, adjoint: ValueId, other: ValueId, keep: &[Axis]) -> ValueId {
        let axes = self.build.axes(other);
        let shared = self
            .build
            .axes(adjoint)
            .into_iter()
            .find(|axis| *axis != Axis::Head && !keep.contains(axis) && axes.contains(axis));
        match shared {
            Some(axis) => self.build.contract(adjoint, other, axis),
            None => self.build.mul(adjoint, other),
        }
    }

    /// Zero, shaped as a value but for its heads.
    fn zeros(&mut self, value: ValueId) -> ValueId {
        let mut zero = self.build.number(0.0);
        for axis in self.build.axes(value) {
            if axis != Axis::Head {
                zero = self.build.add(Op::Broadcast(zero, axis));
            }
        }
        zero
    }

    /// What nothing came back to has a gradient of zero: a state that is replaced before it is read, and
    /// what is only compared.
    fn unreached(&mut self) {
        let program = self.build.program();
        let states = (0..)
            .map(|i| Target::DState(StateId(i)))
            .zip(&program.states);
        let params = (0..)
            .map(|i| Target::DParam(ParamId(i)))
            .zip(&program.params);
        let inputs = (0..)
            .map(|i| Target::DInput(InputId(i)))
            .zip(&program.inputs);
        let all = (states
            .chain(params)
            .map(|(target, port)| (target, port.axes(false))))
        .chain(inputs.map(|(target, port)| (target, port.axes(true))));
        let reached = |target| program.results.iter().any(|(known, _)| *known == target);
        let missing: Vec<_> = all.filter(|&(target, _)| !reached(target)).collect();
        for (target, axes) in missing {
            let mut zero = self.build.number(0.0);
            for axis in axes {
                zero = self.build.add(Op::Broadcast(zero, axis));
            }
            self.build.result(target, zero);
        }
    }

    fn pull(&mut self, value: ValueId, adjoint: ValueId) {
        let op = self.build.program().op(value).clone();
        match op {
            Op::Input(i) => self.build.result(Target::DInput(i), adjoint),
            Op::Param(i) => self.build.result(Target::DParam(i), adjoint),
            Op::State(i) => self.build.result(Target::DState(i), adjoint),
            Op::Number(_) | Op::Size(_) => {}
            Op::Unary(function, x) => self.pull_unary(function, x, value, adjoint),
            Op::Binary(function, a, b) => self.pull_binary(function, a, b, value, adjoint),
            // What decides has no slope.
            Op::Select(x, y, a, b) => {
                let zero = self.build.number(0.0);
                let to_a = self.build.select(x, y, adjoint, zero);
                let to_b = self.build.select(x, y, zero, adjoint);
                self.give(a, to_a);
                self.give(b, to_b);
            }
            Op::Valid(x) => {
                let part = self.build.add(Op::Valid(adjoint));
                self.give(x, part);
            }
            Op::Broadcast(x, _) => self.give(x, adjoint),
            Op::Causal(x, strict) => {
                let part = self.build.add(Op::Causal(adjoint, strict));
                self.give(x, part);
            }
            Op::Relabel(x, from, to) => {
                let part = self.build.relabel(adjoint, to, from);
                self.give(x, part);
            }
            Op::Sum(x, axis) => {
                let part = self.build.add(Op::Broadcast(adjoint, axis));
                self.give(x, part);
            }
            Op::Contract(a, b, _) => {
                for (x, y) in [(a, b), (b, a)] {
                    let axes = self.build.axes(x);
                    let part = self.product(adjoint, y, &axes);
                    self.give(x, part);
                }
            }
            Op::Decay(interval, strict, l) => {
                let spread = self.build.mul(adjoint, value);
                let part = self.build.add(Op::Spread(interval, strict, spread));
                self.give(l, part);
            }
            Op::Trilinear(partial, strict, operands, l) => {
                self.pull_trilinear(partial, strict, &operands, l, adjoint);
            }
            Op::Solve(false, l, r) => self.pull_solve(l, r, value, adjoint),
            Op::Running(scan) => self.pull_running(scan, value, adjoint),
            Op::Delay(false, x, border) => {
                let first = self.build.add(Op::Edge(true, adjoint));
                self.give(border, first);
                let none = self.zeros(border);
                let part = self.build.add(Op::Delay(true, adjoint, none));
                self.give(x, part);
            }
            Op::Edge(reverse, x) => {
                let none = self.zeros(x);
                let part = self.build.add(Op::Delay(!reverse, none, adjoint));
                self.give(x, part);
            }
            Op::DOutput(_)
            | Op::DState(_)
            | Op::Spread(..)
            | Op::Solve(true, ..)
            | Op::Delay(true, ..) => {
                unreachable!("a forward program has no op of a gradient")
            }
        }
    }

    /// `dR = dU + L' dR`, and `dL = dR U'` for the pairs that L has.
    fn pull_solve(&mut self, l: ValueId, r: ValueId, value: ValueId, adjoint: ValueId) {
        let d_r = self.build.add(Op::Solve(true, l, adjoint));
        self.give(r, d_r);
        let axes = self.build.axes(value);
        let along = |axis: &Axis| !matches!(axis, Axis::Head | Axis::Time);
        let over = axes.into_iter().find(along).expect("a solve is for [t, x]");
        let step = match over {
            Axis::Source => Axis::Middle,
            _ => Axis::Source,
        };
        let earlier = self.build.relabel(value, Axis::Time, step);
        let d_l = self.build.contract(d_r, earlier, over);
        let d_l = self.build.relabel(d_l, step, Axis::Source);
        let d_l = self.build.add(Op::Causal(d_l, true));
        self.give(l, d_l);
    }

    fn pull_trilinear(
        &mut self,
        partial: Partial,
        strict: bool,
        operands: &[ValueId],
        l: ValueId,
        adjoint: ValueId,
    ) {
        let mut part = |partial, operands: &[ValueId], to| {
            let part = Op::Trilinear(partial, strict, operands.to_vec(), l);
            let part = self.build.add(part);
            self.give(to, part);
        };
        match (partial, operands) {
            (Partial::Weights, &[q, k]) => {
                part(Partial::Query, &[adjoint, k], q);
                part(Partial::Key, &[adjoint, q], k);
                part(Partial::LogDecay, &[adjoint, q, k], l);
            }
            (Partial::Query, &[m, k]) => {
                part(Partial::Weights, &[adjoint, k], m);
                part(Partial::Key, &[m, adjoint], k);
                part(Partial::LogDecay, &[m, adjoint, k], l);
            }
            _ => unreachable!("a forward program has only these partials"),
        }
    }
}
