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

use super::{Derivation, State};
use baton_ir::chunked::{Axis, Op, ValueId};
use baton_ir::recurrence::{
    BinaryFn, Facts, Pure, PureId, Read, Recurrence, Side, StateId, UnaryFn,
};

/// The most reads of a step that are solved for: programs grow with the cube of their number.
const MAX_READS: usize = 8;

/// Why a state whose transition is known has no chunked form.
pub(super) fn refusal(recurrence: &Recurrence, facts: &Facts, state: usize) -> Option<String> {
    let transition = &facts.transitions[state];
    let reads = own(facts, state);
    let readouts = reads
        .iter()
        .map(|read| facts.readouts[read.readout.index()]);
    let readouts: Vec<_> = readouts.collect();
    let first = readouts.first()?;
    if recurrence.states[state].shape.len() != 2 {
        return Some("a vector is read in its own update".into());
    }
    let whole = |(side, _): (Side, PureId)| first.weight.is_some_and(|(own, _)| own == side);
    if readouts
        .iter()
        .any(|readout| readout.across.is_some() || !readout.weight.is_some_and(whole))
    {
        return Some("it is read over both of its sides".into());
    }
    let (side, _) = first.weight?;
    let (over, kept) = match side {
        Side::Row => ("rows", "columns"),
        Side::Col => ("columns", "rows"),
    };
    let decay = match side {
        Side::Row => transition.col,
        Side::Col => transition.row,
    };
    if decay.is_some() {
        return Some(format!("it is read over its {over} while its {kept} decay"));
    }
    if reads.iter().any(|read| scale(read, side).is_some()) {
        return Some(format!(
            "what is read over its {over} is scaled along its {kept}"
        ));
    }
    let count = reads.len();
    if count > MAX_READS {
        return Some(format!(
            "its update reads it along {count} vectors, of which {MAX_READS} can be solved for"
        ));
    }
    let ordered = order(facts, &reads).is_some();
    (!ordered)
        .then(|| "its update reads it along one vector twice, and along another between".into())
}

/// What an update reads of the state itself.
pub(super) fn own(facts: &Facts, state: usize) -> Vec<Read> {
    let reads = facts.transitions[state].reads.iter().copied();
    let own = |read: &Read| facts.readouts[read.readout.index()].state.index() == state;
    reads.filter(own).collect()
}

/// The factor along the side that a read keeps.
fn scale(read: &Read, side: Side) -> Option<PureId> {
    match side {
        Side::Row => read.col,
        Side::Col => read.row,
    }
}

/// The order of the updates that reads come from. A read that was brought back through an update has met what
/// that update added, in a dot product of its weight. `None` where two reads have met each other: a vector
/// that is used twice, with another between.
fn order(facts: &Facts, reads: &[Read]) -> Option<Vec<usize>> {
    let after = |i: usize, j: usize| {
        let weight = facts.readouts[reads[i].readout.index()].weight;
        let met = weight.map(|(_, weight)| summed(facts, weight));
        let factors = reads[j].left().map(|left| factors(facts, left));
        match (met, factors) {
            (Some(met), Some(factors)) => factors.iter().any(|factor| met[factor.index()]),
            _ => false,
        }
    };
    let mut order: Vec<usize> = vec![];
    while order.len() < reads.len() {
        let known = |i: &usize| order.contains(i);
        let ready = |i: &usize| {
            !known(i) && (0..reads.len()).all(|j| j == *i || known(&j) || !after(*i, j))
        };
        let next = (0..reads.len()).find(ready)?;
        order.push(next);
    }
    Some(order)
}

/// Which expressions stand in a sum that `root` is made of.
fn summed(facts: &Facts, root: PureId) -> Vec<bool> {
    let mut known = vec![[false; 2]; facts.pure.len()];
    let mut open = vec![(root, false)];
    while let Some((id, inside)) = open.pop() {
        if std::mem::replace(&mut known[id.index()][usize::from(inside)], true) {
            continue;
        }
        match facts.pure(id) {
            Pure::Sum(a) => open.push((a, true)),
            Pure::Unary(_, a) => open.push((a, inside)),
            Pure::Binary(_, a, b) => open.extend([(a, inside), (b, inside)]),
            Pure::Number(_)
            | Pure::Size(_)
            | Pure::Input(_)
            | Pure::Param(_)
            | Pure::Readout(_) => {}
        }
    }
    known.into_iter().map(|[_, inside]| inside).collect()
}

/// The vectors that a vector is a product of.
fn factors(facts: &Facts, root: PureId) -> Vec<PureId> {
    let mut found = vec![];
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        match facts.pure(id) {
            _ if facts.dim(id).is_none() => {}
            Pure::Unary(UnaryFn::Neg, a) => open.push(a),
            Pure::Binary(BinaryFn::Mul, a, b) => open.extend([a, b]),
            Pure::Binary(BinaryFn::Div, a, b) if facts.dim(b).is_none() => open.push(a),
            _ => found.push(id),
        }
    }
    found
}

impl Derivation<'_> {
    /// The state with what its reads add among its additions.
    pub(super) fn with_reads(&mut self, id: StateId, state: State) -> State {
        let facts = self.facts;
        let reads = own(facts, id.index());
        let order = order(facts, &reads).unwrap_or_default();
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
