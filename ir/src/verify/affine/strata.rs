//! Strata: which states enter which updates, and that none enters its own in a way that is not linear.
//!
//! A state may be read in any pointwise way by the update of another one, as long as no way leads
//! back: given the states below, every state is then linear in itself and its like.

use super::analysis::Analysis;
use crate::diag::Diagnostic;
use crate::recurrence::{Expr, ExprId, Pure, PureId, StateId};
use crate::verify::remedy::RESET;
use crate::verify::structure::span;
use std::collections::BTreeMap;

impl Analysis<'_> {
    /// Notes that `other` enters an update of `state` linearly.
    pub(super) fn enters(&mut self, state: StateId, other: StateId) {
        self.entering[state.index()].states.insert(other);
    }

    /// Notes that `other` enters an update of `state` at `place` in a way that is not linear.
    pub(super) fn enters_at(&mut self, state: StateId, other: StateId, place: ExprId) {
        let entering = &mut self.entering[state.index()];
        entering.states.insert(other);
        entering.bent.entry(other).or_insert(place);
    }

    /// Notes every state in `root` as one that enters an update of `state` in a way that is not
    /// linear, and says whether there is one.
    pub(super) fn enters_bent(&mut self, state: StateId, root: PureId) -> bool {
        if self.pool.readout_in(root).is_none() {
            return false;
        }
        let entering = &mut self.entering[state.index()];
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if self.pool.readout_in(id).is_none() || !entering.walked.insert(id) {
                continue;
            }
            match self.pool.pure(id) {
                Pure::Readout(readout) => {
                    let seen = &self.seen[readout.index()];
                    entering.states.insert(seen.version.0);
                    entering.bent.entry(seen.version.0).or_insert(seen.place);
                    open.extend(seen.weight.map(|(_, weight)| weight));
                }
                pure => open.extend(pure.operands()),
            }
        }
        true
    }

    /// Reports every state that enters its own update through a function, over others or at once.
    pub(super) fn strata(&mut self) {
        for state in 0..self.entering.len() {
            let state = StateId(state as u32);
            let bent = std::mem::take(&mut self.entering[state.index()].bent);
            for (other, place) in bent {
                if let Some(path) = self.path(other, state) {
                    self.broken[state.index()] = true;
                    self.not_linear(&path, place);
                }
            }
        }
    }

    /// The states over which `from` is entered by `to`, first and last included.
    fn path(&self, from: StateId, to: StateId) -> Option<Vec<StateId>> {
        let mut before = BTreeMap::from([(from, from)]);
        let mut open = std::collections::VecDeque::from([from]);
        while let Some(at) = open.pop_front() {
            if at == to {
                let mut path = vec![at];
                while path[path.len() - 1] != from {
                    path.push(before[&path[path.len() - 1]]);
                }
                path.reverse();
                return Some(path);
            }
            for &next in &self.entering[at.index()].states {
                before.entry(next).or_insert_with(|| {
                    open.push_back(next);
                    at
                });
            }
        }
        None
    }

    /// Reports that the first state enters what follows through a function at `place`.
    pub(super) fn not_linear(&mut self, path: &[StateId], place: ExprId) {
        let function = match self.recurrence.expr(place) {
            Expr::Unary(function, _) => format!("`{}`", function.name()),
            Expr::Binary(function, ..) => format!("`{}`", function.name()),
            Expr::Select(_) => "`select`".into(),
            Expr::Dot(..) => "a second `dot`".into(),
            _ => "a pointwise function".into(),
        };
        let span = span(self.recurrence, &self.recurrence.spans.exprs, place.index());
        let mut known = self.diagnostics.iter();
        if known.any(|d| d.code == "R040" && d.span == span) {
            return;
        }
        let name = |state: StateId| format!("`{}`", self.recurrence.states[state.index()].name);
        let first = name(path[0]);
        let circle: Vec<String> = path.iter().skip(1).map(|&state| name(state)).collect();
        let (message, mut remedy) = match circle.as_slice() {
            [] => (
                format!(
                    "state {first} enters {function} on the way into its own update: it is not linear in itself"
                ),
                "apply the function to inputs and params, to another state, or to a readout in an output; \
                 a running maximum is `m = max(m + a, b)`, an angle `t = wrap(t + a)`"
                    .to_string(),
            ),
            circle => (
                format!(
                    "state {first} enters {function} on the way into {}, and {} enters the update of {first}",
                    circle[circle.len() - 1],
                    circle[0],
                ),
                "break the circle: a state may be read in any way by those that it does not depend on".into(),
            ),
        };
        if matches!(self.recurrence.expr(place), Expr::Select(_)) {
            remedy = format!("{remedy}; {RESET}");
        }
        let found = match circle.as_slice() {
            [] => format!("{function} of a value that depends on {first}"),
            circle => format!("the circle {first}, {}, {first}", circle.join(", ")),
        };
        self.diagnostics.push(
            Diagnostic::new("R040", span, message)
                .found(found)
                .expected("an update that is affine in its own state, given the states below")
                .remedy(remedy),
        );
    }
}
