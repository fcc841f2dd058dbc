//! Running extremes and angles: `f(m + shift, floor)` and `wrap(m + shift)` of the value that entered the step.
//!
//! Of extremes the form is closed under further updates by the same function, as is `max(max(m + a, b), c)`. Not under a shift
//! in between: `max(max(m, b) + c, d)` compares m with b, and `m + c` with `b + c` rounds the difference away.

use super::analysis::{Analysis, Expanded, Running};
use super::value::{Kept, Read, Vector};
use crate::recurrence::{BinaryFn, ExprId, PureId, StateId, UnaryFn};
use crate::running::Bound;

impl Analysis<'_> {
    /// An update by `wrap` in terms of what entered the step; `None` where it goes through more.
    pub(super) fn angle(&mut self, state: StateId, kept: Kept, place: ExprId) -> Option<Running> {
        let [mut vector] = <[Vector; 1]>::try_from(kept.of).ok()?;
        let at = { vector.reads.iter() }.position(|read| read.version.0 == state)?;
        let (_, version) = vector.reads.remove(at).version;
        let before = match (version, &self.versions[state.index()][version]) {
            (0, _) => None,
            (_, Expanded::Running(inner)) if inner.bound == Bound::Turns => inner.shift,
            _ => return None,
        };
        let bare = vector.reads.is_empty() && vector.pure.is_none();
        let by = (!bare).then(|| self.pure_vector(vector, place));
        Some(Running {
            bound: Bound::Turns,
            shift: self.pool.total(before, by),
            place,
        })
    }

    /// An update by comparisons in terms of what entered the step; `None` where it mixes `max` and `min`, has no rest, or has
    /// the rest on both sides of the state: of equals the first is taken.
    pub(super) fn running(&mut self, state: StateId, kept: Kept, place: ExprId) -> Option<Running> {
        let function = kept.function?;
        let (mut shift, mut floor) = (None, None);
        let mut is_kept = false;
        let own = |read: &Read| read.version.0 == state;
        let stands: Vec<bool> = (kept.of.iter())
            .map(|vector| vector.reads.iter().any(own))
            .collect();
        let first = stands[0];
        if !stands.is_sorted_by_key(|stands| stands != &first) {
            return None;
        }
        for mut vector in kept.of {
            let Some(at) = vector.reads.iter().position(own) else {
                let other = self.pure_vector(vector, place);
                floor = Some(self.either(function, floor, other));
                continue;
            };
            let (_, version) = vector.reads.remove(at).version;
            let (own_shift, own_floor) = match (version, &self.versions[state.index()][version]) {
                (0, _) => (None, None),
                (_, Expanded::Running(inner)) => match inner.bound {
                    Bound::Extreme {
                        function: known,
                        first: stands,
                        floor,
                    } if (known, stands) == (function, first) => (inner.shift, Some(floor)),
                    _ => return None,
                },
                _ => return None,
            };
            let is_bare = vector.reads.is_empty() && vector.pure.is_none();
            if own_floor.is_some() && !is_bare {
                return None;
            }
            let by = (!is_bare).then(|| self.pure_vector(vector, place));
            if let Some(own_floor) = own_floor {
                floor = Some(self.either(function, floor, own_floor));
            }
            let own_shift = self.pool.total(own_shift, by);
            shift = match is_kept {
                false => own_shift,
                true => {
                    let zero = self.pool.number(0.0);
                    let [a, b] = [shift, own_shift].map(|shift| shift.unwrap_or(zero));
                    Some(self.pool.binary(function, a, b))
                }
            };
            is_kept = true;
        }
        Some(Running {
            bound: Bound::Extreme {
                function,
                first,
                floor: floor?,
            },
            shift,
            place,
        })
    }

    fn either(&mut self, function: BinaryFn, known: Option<PureId>, next: PureId) -> PureId {
        known.map_or(next, |known| self.pool.binary(function, known, next))
    }

    /// The value of a version as a function of what entered the step.
    pub(super) fn running_value(&mut self, state: StateId, running: Running) -> PureId {
        let entering = Read {
            version: (state, 0),
            weight: None,
            across: None,
            scale: None,
        };
        let moved = Vector {
            reads: vec![entering],
            pure: running.shift,
        };
        let moved = self.pure_vector(moved, running.place);
        match running.bound {
            Bound::Extreme {
                function,
                first: true,
                floor,
            } => self.pool.binary(function, moved, floor),
            Bound::Extreme {
                function, floor, ..
            } => self.pool.binary(function, floor, moved),
            Bound::Turns => self.pool.unary(UnaryFn::Wrap, moved),
        }
    }
}
