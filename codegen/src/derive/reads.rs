//! Reads of a state in its own update: a triangular solve, and one more addition.
//!
//! A read `outer(b_i, a_i' S)` of the entering state adds `outer(b_i, u_i)`, where `u_i` is a strict
//! readout. It sees what the state without reads leaves, and what reads have added at steps before
//! (docs/numerics.md, "Reads"):
//!
//! ```text
//! U_i = R_i + sum_j L_ij U_j,      L_ij[t,s] = strict decayed weights (a_i,t . b_j,s),  s < t
//! ```
//!
//! An addition `outer(b_i, v)` with the same left joins its read: `v + u_i` is the unknown then, and
//! R needs no product with v. Several reads are eliminated one after the other, by the same op
//! with `[t, s]` on its right; all L are strictly lower, so nothing is divided by. The order is that of
//! the updates: what the first reads alone do to a state is then what the first updates do, so no
//! factor of the elimination grows where the recurrence does not.
//!
//! Decays of the side that is contracted, and of the whole state, sit in L and R like in any readout.
//! On the other side a decay would give each channel an L of its own: that is refused.

use super::held::{order_of_reads, own};
use super::{Derivation, State};
use baton_ir::chunked::{Axis, Op, ValueId};
use baton_ir::recurrence::{PureId, Side, StateId};

impl Derivation<'_> {
    /// The state with what its reads add among its additions.
    pub(super) fn with_reads(&mut self, id: StateId, state: State) -> State {
        let facts = self.facts;
        let reads = own(facts, id.index());
        let order = order_of_reads(facts, &reads).unwrap_or_default();
        let reads: Vec<(Side, PureId, Option<PureId>)> = { order.into_iter() }
            .filter_map(|i| {
                let (side, weight) = facts.readouts[reads[i].readout.index()].weight?;
                Some((side, weight, reads[i].left()))
            })
            .collect();
        let Some(&(side, ..)) = reads.first() else {
            return state;
        };
        let turned = side == Side::Col;
        let mut state = if turned { state.transposed() } else { state };
        let queries: Vec<ValueId> = { reads.iter() }
            .map(|&(_, weight, _)| self.along(weight, state.row))
            .collect();
        let keys: Vec<ValueId> = { reads.iter() }
            .map(|&(.., left)| self.constant(left, 1.0, state.row))
            .collect();
        let joined: Vec<Option<ValueId>> = { keys.iter() }
            .map(|key| {
                let at = state.added.iter().position(|(left, _)| left == key)?;
                state.added.remove(at).1
            })
            .collect();
        let entering = self.build.add(Op::State(id));
        let right = { reads.iter().zip(joined) }
            .map(|(&(_, weight, _), joined)| {
                let read = self.read(&state, entering, weight, true);
                joined.map_or(read, |joined| self.build.plus(joined, read))
            })
            .collect();
        let weights = { queries.iter() }
            .map(|&query| {
                let of = keys.iter().map(|&key| self.seen(&state, query, key, true));
                of.collect()
            })
            .collect();
        let unknowns = self.eliminate(weights, right);
        let found = keys.into_iter().zip(unknowns.into_iter().map(Some));
        state.added.extend(found);
        if turned { state.transposed() } else { state }
    }

    /// The unknowns of `U_i = R_i + sum_j L_ij U_j`, whose L are strictly lower.
    fn eliminate(&mut self, mut l: Vec<Vec<ValueId>>, mut r: Vec<ValueId>) -> Vec<ValueId> {
        let count = r.len();
        for k in 0..count {
            let pivot = l[k][k];
            r[k] = self.build.add(Op::Solve(false, pivot, r[k]));
            for weights in &mut l[k][k + 1..] {
                let solved = self.build.add(Op::Solve(false, pivot, *weights));
                *weights = self.build.add(Op::Causal(solved, true));
            }
            for i in k + 1..count {
                let more = self.through(l[i][k], r[k]);
                r[i] = self.build.plus(r[i], more);
                for j in k + 1..count {
                    let more = self.through(l[i][k], l[k][j]);
                    let sum = self.build.plus(l[i][j], more);
                    l[i][j] = self.build.add(Op::Causal(sum, true));
                }
            }
        }
        for k in (0..count).rev() {
            for j in k + 1..count {
                let more = self.through(l[k][j], r[j]);
                r[k] = self.build.plus(r[k], more);
            }
        }
        r
    }

    /// `[t, s]` weights applied to a value of the sources, which may be weights itself.
    fn through(&mut self, weights: ValueId, value: ValueId) -> ValueId {
        let step = match self.build.has(value, Axis::Source) {
            true => Axis::Middle,
            false => Axis::Source,
        };
        let weights = self.build.relabel(weights, Axis::Source, step);
        let value = self.build.relabel(value, Axis::Time, step);
        self.build.contract(weights, value, step)
    }
}
