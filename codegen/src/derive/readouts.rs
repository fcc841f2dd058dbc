//! Readouts: what a state is for every step of the chunk, contracted or element by element.
//!
//! The entering state with its decay since the chunk began, and what the steps before have added, weighted by what
//! of it is left. A readout of the entering state is the same with strict intervals.

use super::{Derivation, State};
use baton_ir::chunked::{Axis, Interval, Op, Partial, ValueId};
use baton_ir::recurrence::{Moment, PureId, ReadoutId, Side};

impl Derivation<'_> {
    pub(super) fn readout(&mut self, id: ReadoutId) -> ValueId {
        let readout = self.facts.readouts[id.index()];
        let strict = readout.moment == Moment::Entering;
        let entering = self.build.add(Op::State(readout.state));
        let state = self.states[readout.state.index()].clone();
        let mut state = state.expect("states come in the order in which they are read");
        if matches!(readout.weight, Some((Side::Col, _))) {
            state = state.transposed();
        }
        if state.overwritten || state.running.is_some() {
            return self.carried_readout(&state, readout, entering);
        }
        let Some((_, weight)) = readout.weight else {
            return self.elementwise_readout(&state, entering, strict);
        };
        let sum = self.read(&state, entering, weight, strict);
        match state.col {
            Some(prime @ Axis::Prime(dim)) => self.build.relabel(sum, prime, Axis::Dim(dim)),
            _ => sum,
        }
    }

    /// The state contracted with `weight` over its rows.
    pub(super) fn read(
        &mut self,
        state: &State,
        entering: ValueId,
        weight: PureId,
        strict: bool,
    ) -> ValueId {
        let row = state.row.expect("a weight meets a side");
        let start = self.decay(Interval::Start, strict, state.log);
        let start_row = self.decay(Interval::Start, strict, state.log_row);
        let start_col = self.decay(Interval::Start, strict, state.log_col);
        let query = self.along(weight, Some(row));
        let scaled = self.scaled(query, start_row);
        let scaled = self.scaled(scaled, start);
        let inter = self.build.contract(scaled, entering, row);
        let mut sum = self.scaled(inter, start_col);
        for (key, value) in state.added.clone() {
            let weights = self.seen(state, query, key, strict);
            let intra = match value {
                Some(value) => self.apply(weights, value, strict, state.log_col),
                None => self.build.add(Op::Sum(weights, Axis::Source)),
            };
            sum = self.build.plus(sum, intra);
        }
        sum
    }

    /// How much of what step s adds along `key` step t sees along `query`: `[t, s]`.
    pub(super) fn seen(
        &mut self,
        state: &State,
        query: ValueId,
        key: ValueId,
        strict: bool,
    ) -> ValueId {
        let row = state.row.expect("a weight meets a side");
        let key = self.source(key);
        let weights = match state.log_row {
            Some(log) => self.build.add(Op::Trilinear(
                Partial::Weights,
                strict,
                vec![query, key],
                log,
            )),
            None => self.build.contract(query, key, row),
        };
        self.weights(weights, strict, state.log)
    }

    /// A vector or scalar state read element by element.
    pub(super) fn elementwise_readout(
        &mut self,
        state: &State,
        entering: ValueId,
        strict: bool,
    ) -> ValueId {
        let mut sum = [state.log, state.log_row]
            .map(|log| self.decay(Interval::Start, strict, log))
            .into_iter()
            .fold(entering, |value, by| self.scaled(value, by));
        let one = self.build.number(1.0);
        for &(added, _) in &state.added {
            let weights = self.weights(one, strict, state.log);
            let intra = self.apply(weights, added, strict, state.log_row);
            sum = self.build.plus(sum, intra);
        }
        sum
    }

    /// `[t, s]` weights with their scalar decay, causal.
    pub(super) fn weights(
        &mut self,
        weights: ValueId,
        strict: bool,
        log: Option<ValueId>,
    ) -> ValueId {
        let between = self.decay(Interval::Between, strict, log);
        let weights = self.scaled(weights, between);
        self.build.add(Op::Causal(weights, strict))
    }

    /// Causal weights applied to the values of the sources.
    pub(super) fn apply(
        &mut self,
        weights: ValueId,
        value: ValueId,
        strict: bool,
        log: Option<ValueId>,
    ) -> ValueId {
        let value = self.source(value);
        match log {
            Some(log) => self.build.add(Op::Trilinear(
                Partial::Query,
                strict,
                vec![weights, value],
                log,
            )),
            None => self.build.contract(weights, value, Axis::Source),
        }
    }
}
