//! What of the facts a chunk can hold: an order of the states in which each comes after those that it sees, and
//! reads that can be solved for. Nothing here makes an op.

use baton_ir::recurrence::{
    BinaryFn, Facts, Pure, PureId, Read, Recurrence, Side, Transition, UnaryFn,
};
use std::collections::BTreeSet;

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
    let ordered = order_of_reads(facts, &reads).is_some();
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
pub(super) fn order_of_reads(facts: &Facts, reads: &[Read]) -> Option<Vec<usize>> {
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
            pure => open.extend(pure.operands().map(|operand| (operand, inside))),
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
            Pure::Readout(readout) => {
                let readout = &facts.readouts[readout.index()];
                found.insert(readout.state.index());
                open.extend(readout.weight.map(|(_, weight)| weight));
            }
            pure => open.extend(pure.operands()),
        }
    }
    found
}

/// The expressions of a transition, without the weights of its reads.
pub(super) fn parts(transition: &Transition) -> Vec<PureId> {
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
            .flat_map(|r| [r.shift, r.bound.floor()]),
    );
    parts.into_iter().flatten().collect()
}

/// Whether what a segment does to a state is a decay and an addition: none enters its update, and of what
/// enters something is left. `stateful` says which expressions hold readouts.
pub(super) fn is_plain(stateful: &[bool], transition: &Transition) -> bool {
    let decays =
        transition.reads.is_empty() && transition.running.is_none() && !transition.overwritten;
    decays
        && parts(transition)
            .into_iter()
            .all(|part| !stateful[part.index()])
}

/// Which expressions hold readouts.
pub(super) fn stateful(facts: &Facts) -> Vec<bool> {
    let mut found: Vec<bool> = vec![];
    for expr in &facts.pure {
        let mut operands = expr.operands();
        let any = operands.any(|operand| found[operand.index()]);
        found.push(any || matches!(expr, Pure::Readout(_)));
    }
    found
}
