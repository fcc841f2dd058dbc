//! States above others: what enters an update from another state is a readout, of every step of the
//! chunk, and so a value like any input once that state is derived.
//!
//! A state is derived after all that enter its decays, additions, weights and reads. What enters itself by
//! way of others has no such order: it would be solved for together, with them.

use super::Derivation;
use baton_ir::chunked::{Axis, ValueId};
use baton_ir::recurrence::{Facts, Pure, PureId, Read, ReadoutId, Side, Transition};
use std::collections::BTreeSet;

/// Every state that can be derived after those that it sees, in such an order; and the rest.
pub(super) fn order(facts: &Facts) -> (Vec<usize>, BTreeSet<usize>) {
    let count = facts.transitions.len();
    let seen: Vec<BTreeSet<usize>> = (0..count).map(|state| entering(facts, state)).collect();
    let mut order: Vec<usize> = vec![];
    let mut rest: BTreeSet<usize> = (0..count).collect();
    while let Some(&next) = rest.iter().find(|&&state| seen[state].is_disjoint(&rest)) {
        rest.remove(&next);
        order.push(next);
    }
    (order, rest)
}

/// The states that enter the update of another, its own reads left out.
fn entering(facts: &Facts, state: usize) -> BTreeSet<usize> {
    let transition = &facts.transitions[state];
    let mut found = BTreeSet::new();
    let mut open = parts(transition);
    for read in &transition.reads {
        let readout = &facts.readouts[read.readout.index()];
        if readout.state.index() != state {
            found.insert(readout.state.index());
        }
        open.extend(readout.weight.map(|(_, weight)| weight));
        open.extend(readout.across);
    }
    let mut known = vec![false; facts.pure.len()];
    while let Some(id) = open.pop() {
        if std::mem::replace(&mut known[id.index()], true) {
            continue;
        }
        match facts.pure(id) {
            Pure::Unary(_, a) | Pure::Sum(a) => open.push(a),
            Pure::Binary(_, a, b) => open.extend([a, b]),
            Pure::Readout(readout) => {
                let readout = &facts.readouts[readout.index()];
                found.insert(readout.state.index());
                open.extend(readout.weight.map(|(_, weight)| weight));
            }
            Pure::Number(_) | Pure::Size(_) | Pure::Input(_) | Pure::Param(_) => {}
        }
    }
    found
}

/// The expressions of a transition, without the weights of its reads.
fn parts(transition: &Transition) -> Vec<PureId> {
    let mut parts = vec![transition.scalar, transition.row, transition.col];
    parts.extend(transition.added.iter().flat_map(|&(l, r)| [Some(l), r]));
    parts.extend(
        transition
            .reads
            .iter()
            .flat_map(|read| [read.row, read.col]),
    );
    parts.extend(
        transition
            .running
            .iter()
            .flat_map(|r| [r.shift, Some(r.floor)]),
    );
    parts.into_iter().flatten().collect()
}

/// Whether what a segment does to a state is a decay and an addition: none enters its update, and of what
/// enters something is left. `stateful` says which expressions hold readouts.
pub(crate) fn is_plain(stateful: &[bool], transition: &Transition) -> bool {
    let decays =
        transition.reads.is_empty() && transition.running.is_none() && !transition.overwritten;
    decays
        && parts(transition)
            .into_iter()
            .all(|part| !stateful[part.index()])
}

/// Which expressions hold readouts.
pub(crate) fn stateful(facts: &Facts) -> Vec<bool> {
    let mut found = vec![];
    for expr in &facts.pure {
        let of = |id: &PureId| found[id.index()];
        found.push(match expr {
            Pure::Readout(_) => true,
            Pure::Unary(_, a) | Pure::Sum(a) => of(a),
            Pure::Binary(_, a, b) => of(a) || of(b),
            Pure::Number(_) | Pure::Size(_) | Pure::Input(_) | Pure::Param(_) => false,
        });
    }
    found
}

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
