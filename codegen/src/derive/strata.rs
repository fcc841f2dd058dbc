//! States above others: what enters an update from another state is a readout, of every step of the
//! chunk, and so a value like any input once that state is derived.
//!
//! A state is derived after all that enter its decays, additions, weights and reads. What enters itself by
//! way of others has no such order: it would be solved for together, with them.

use super::Derivation;
use baton_ir::chunked::{Axis, ValueId};
use baton_ir::recurrence::{PureId, Read, ReadoutId, Side};

impl Derivation<'_> {
    /// The weight of a readout, where it holds readouts itself.
    pub(super) fn weight_of_states(&self, readout: ReadoutId) -> Option<PureId> {
        let (_, weight) = self.facts.readouts[readout.index()].weight?;
        self.stateful[weight.index()].then_some(weight)
    }

    /// What an update reads of another state, as an addition.
    pub(super) fn read_of_another(
        &mut self,
        read: &Read,
        row: Option<Axis>,
        col: Option<Axis>,
    ) -> (ValueId, Option<ValueId>) {
        let readout = self.facts.readouts[read.readout.index()];
        let mut value = self.readout(read.readout);
        if let (Some(across), Some(axis)) = (readout.across, self.own_axis(value)) {
            let across = self.along(across, Some(axis));
            value = self.build.contract(value, across, axis);
        }
        let value = self.mask(value);
        let on_row = read.along != Some(Side::Col);
        let mut side = |factor: Option<PureId>, axis: Option<Axis>, value: Option<ValueId>| {
            let factor = factor.map(|factor| self.along(factor, axis));
            let value = value.map(|value| self.spread(value, axis));
            match (factor, value) {
                (Some(factor), Some(value)) => self.build.mul(factor, value),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => self.constant(None, 1.0, axis),
            }
        };
        let left = side(read.row, row, on_row.then_some(value));
        let right = col.map(|_| side(read.col, col, (!on_row).then_some(value)));
        (left, right)
    }

    /// The axis of a vector that is known for every step.
    fn own_axis(&self, value: ValueId) -> Option<Axis> {
        let axes = self.build.axes(value);
        axes.into_iter().find(|axis| matches!(axis, Axis::Dim(_)))
    }
}
