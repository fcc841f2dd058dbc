//! What a segment does to a state, whatever enters it, beside what it adds of its own: its summary.
//!
//! Where a state is read in its own update, the reads multiply it by one matrix a step on the side that they are
//! over, the same for everything on the other side. So what all steps of a segment do is a product of such
//! matrices, and that is the same recurrence again: without additions, of a square state, begun at the identity
//! (docs/numerics.md, "Segments"). It is derived like any other.

use super::held::{is_plain, parts, stateful};
use baton_ir::recurrence::{Facts, Recurrence, Side, Transition};

/// The kind of a state's summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// A factor for each entry, from log decays.
    Diagonal,
    /// A matrix, `M S` over the rows or `S M` over the columns.
    Dense(Side),
    /// None: what a segment does depends on what enters it.
    Open,
}

/// The summary of each state.
pub fn summaries(facts: &Facts) -> Vec<Summary> {
    let stateful = stateful(facts);
    let states = facts.transitions.iter().enumerate();
    let summary = |(state, transition)| match over(facts, &stateful, state, transition) {
        _ if is_plain(&stateful, transition) => Summary::Diagonal,
        Some(side) => Summary::Dense(side),
        None => Summary::Open,
    };
    states.map(summary).collect()
}

/// The side over which a state is read that nothing else enters.
fn over(facts: &Facts, stateful: &[bool], state: usize, transition: &Transition) -> Option<Side> {
    let mut found = parts(transition);
    for read in &transition.reads {
        let readout = facts.readouts[read.readout.index()];
        if readout.state.index() != state {
            return None;
        }
        found.extend(readout.weight.map(|(_, weight)| weight));
    }
    let first = facts.readouts[transition.reads.first()?.readout.index()];
    let (side, _) = first.weight?;
    let alone = found.into_iter().all(|part| !stateful[part.index()]);
    alone.then_some(side)
}

/// The recurrence whose states, begun at the identity, become the matrices of dense summaries: without additions, of
/// square states; none where there are no such, or where some state has no summary.
pub fn squared(recurrence: &Recurrence, facts: &Facts) -> Option<(Recurrence, Facts)> {
    let summaries = summaries(facts);
    let is_dense = |summary: &Summary| matches!(summary, Summary::Dense(_));
    if summaries.contains(&Summary::Open) || !summaries.iter().any(is_dense) {
        return None;
    }
    let (mut recurrence, mut facts) = (recurrence.clone(), facts.clone());
    for (state, summary) in summaries.iter().enumerate() {
        if let Summary::Dense(side) = *summary {
            let shape = &mut recurrence.states[state].shape;
            *shape = vec![shape[side as usize]; 2];
            facts.transitions[state].added.clear();
        }
    }
    recurrence.outputs.clear();
    facts.outputs.clear();
    Some((recurrence, facts))
}
