//! The gradients of running extremes and angles, by sums over intervals.
//!
//! An angle is a sum as far as its slope goes: the whole turns that are taken off do not move with it. Of an extreme,
//! at each step either what is kept moves on or the floor takes its place. Which of the two is
//! decided, so the value is linear in everything: a state whose decay is one where it was kept and
//! nothing ([`FORGOTTEN`]) where it was replaced. What arrives for the values of the steps t goes back
//! to the steps s over the intervals between them, as with every state.

use super::Reverse;
use baton_ir::chunked::{Axis, FORGOTTEN, Interval, Op, Partial, ValueId};
use baton_ir::recurrence::BinaryFn;
use baton_ir::running::{Bound, Scan};

impl Reverse {
    pub(super) fn pull_running(&mut self, scan: Scan<ValueId>, value: ValueId, adjoint: ValueId) {
        let zero = self.build.number(0.0);
        let Scan {
            bound,
            shift,
            entering,
        } = scan;
        let Bound::Extreme {
            function,
            first,
            floor,
        } = bound
        else {
            let mut log = self.build.add(Op::Broadcast(zero, Axis::Time));
            log = self.build.add(Op::Valid(log));
            self.enter(entering, log, adjoint);
            let arriving = self.later(log, adjoint);
            return self.give(shift, arriving);
        };
        let before = self.build.add(Op::Delay(false, value, entering));
        let kept = self.build.plus(before, shift);
        // Of equals the first is taken.
        let (x, y) = match (function, first) {
            (BinaryFn::Max, true) | (BinaryFn::Min, false) => (floor, kept),
            _ => (kept, floor),
        };
        // Whether `x > y` says that the state is kept.
        let says_kept = !first;
        let choose = |this: &mut Self, if_kept, if_replaced| match says_kept {
            true => this.build.select(x, y, if_kept, if_replaced),
            false => this.build.select(x, y, if_replaced, if_kept),
        };
        let forgotten = self.build.number(FORGOTTEN);
        let log = choose(self, zero, forgotten);
        let log = self.build.add(Op::Valid(log));

        self.enter(entering, log, adjoint);
        let at_source = self.later(log, adjoint);
        let d_kept = choose(self, at_source, zero);
        let d_floor = choose(self, zero, at_source);
        self.give(shift, d_kept);
        self.give(floor, d_floor);
    }

    /// What arrives at every step, for what entered the chunk, with what is left of it.
    fn enter(&mut self, entering: ValueId, log: ValueId, adjoint: ValueId) {
        let whole = self.build.add(Op::Decay(Interval::Start, false, log));
        let arriving = self.build.mul(whole, adjoint);
        self.give(entering, arriving);
    }

    /// What arrives at steps t, summed at each step s over the t behind it with what is left of it.
    fn later(&mut self, log: ValueId, adjoint: ValueId) -> ValueId {
        let channel = { self.build.axes(log).into_iter() }.any(|axis| matches!(axis, Axis::Dim(_)));
        let found = match channel {
            false => {
                let weights = Op::Decay(Interval::Between, false, log);
                let weights = self.build.add(weights);
                self.build.contract(weights, adjoint, Axis::Time)
            }
            true => {
                let mut ones = self.build.number(1.0);
                for axis in [Axis::Time, Axis::Source] {
                    ones = self.build.add(Op::Broadcast(ones, axis));
                }
                let ones = self.build.add(Op::Causal(ones, false));
                let operands = vec![ones, adjoint];
                self.build
                    .add(Op::Trilinear(Partial::Key, false, operands, log))
            }
        };
        self.build.relabel(found, Axis::Source, Axis::Time)
    }
}
