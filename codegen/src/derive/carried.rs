//! States that nothing sums over the steps: overwritten ones, running extremes and angles.
//!
//! Their value after each step is known at once: what was added, or one scan. Before a step it is that of the step
//! before, moved along the steps (`Delay`) and not multiplied by a zero, so that what a step forgets
//! reaches no later one. A matrix that is overwritten is a sum of outer products, of whose vectors the same holds.

use super::{Derivation, State};
use baton_ir::chunked::{Axis, Op, ValueId};
use baton_ir::recurrence::{Moment, Readout};
use baton_ir::running::Scan;

impl Derivation<'_> {
    /// A readout of a state that is overwritten, a running extreme or an angle, its weight over the rows if it has one.
    pub(super) fn carried_readout(
        &mut self,
        state: &State,
        readout: Readout,
        entering: ValueId,
    ) -> ValueId {
        let before = readout.moment == Moment::Entering;
        let Some((_, weight)) = readout.weight else {
            return self.carried(state, entering, before);
        };
        let row = state.row.expect("a weight meets a side");
        let query = self.along(weight, Some(row));
        let Some(col) = state.col else {
            let value = self.carried(state, entering, before);
            return self.build.contract(value, query, row);
        };
        let mut sum = None;
        for (left, right) in state.added.clone() {
            let mut vectors = [left, right.expect("a matrix has two sides")];
            if before {
                vectors = vectors.map(|vector| self.delayed(vector, None));
            }
            let product = self.build.contract(query, vectors[0], row);
            let term = self.build.mul(product, vectors[1]);
            sum = Some(sum.map_or(term, |sum| self.build.plus(sum, term)));
        }
        let mut sum = sum.unwrap_or_else(|| self.nothing(Some(col)));
        if before {
            // The first step sees what entered.
            let first = self.build.add(Op::Edge(true, query));
            let read = self.build.contract(first, entering, row);
            let none = self.nothing(Some(col));
            let read = self.build.add(Op::Delay(false, none, read));
            sum = self.build.plus(sum, read);
        }
        match col {
            Axis::Prime(dim) => self.build.relabel(sum, col, Axis::Dim(dim)),
            _ => sum,
        }
    }

    /// The number or vector that each step finds or leaves.
    fn carried(&mut self, state: &State, entering: ValueId, before: bool) -> ValueId {
        let after = match state.running {
            Some((bound, shift)) => self.build.add(Op::Running(Scan {
                bound,
                shift,
                entering,
            })),
            None => self.added(state),
        };
        match before {
            true => self.delayed(after, Some(entering)),
            false => after,
        }
    }

    /// What the chunk leaves.
    pub(super) fn carried_last(&mut self, state: &State, entering: ValueId) -> ValueId {
        let Some(_) = state.col else {
            let after = self.carried(state, entering, false);
            return self.build.add(Op::Edge(false, after));
        };
        let mut sum = None;
        for (left, right) in state.added.clone() {
            let right = right.expect("a matrix has two sides");
            let [left, right] = [left, right].map(|side| self.build.add(Op::Edge(false, side)));
            let term = self.build.mul(left, right);
            sum = Some(sum.map_or(term, |sum| self.build.plus(sum, term)));
        }
        sum.expect("what overwrites a matrix is a sum of outer products")
    }

    /// The sum of what overwrites a number or a vector.
    fn added(&mut self, state: &State) -> ValueId {
        let mut terms = state.added.iter().map(|&(term, _)| term);
        match terms.next() {
            Some(first) => terms.fold(first, |sum, term| self.build.plus(sum, term)),
            None => self.nothing(state.row),
        }
    }

    /// The value of the step before; at the first what entered, or zero.
    fn delayed(&mut self, value: ValueId, entering: Option<ValueId>) -> ValueId {
        let border = entering.unwrap_or_else(|| {
            let mut zero = self.build.number(0.0);
            for axis in self.build.axes(value) {
                if !matches!(axis, Axis::Time | Axis::Head) {
                    zero = self.build.add(Op::Broadcast(zero, axis));
                }
            }
            zero
        });
        self.build.add(Op::Delay(false, value, border))
    }

    /// Zero at every step.
    fn nothing(&mut self, axis: Option<Axis>) -> ValueId {
        self.constant(None, 0.0, axis)
    }
}
