//! The axes of what stands at the border of a program, in the order of its layout outside.

use super::{Axis, Draft, Target};
use crate::recurrence::Port;

impl Port {
    /// `[h, t, dims]` as declared; without `h` when per group, without `t` when it does not move
    /// along time. They are sorted: a second dim that does not come after the first in the order
    /// of the dims is its primed axis.
    pub fn axes(&self, time: bool) -> Vec<Axis> {
        let mut axes = Vec::new();
        axes.extend((!self.per_group).then_some(Axis::Head));
        axes.extend(time.then_some(Axis::Time));
        for (i, &dim) in self.shape.iter().enumerate() {
            axes.push(match self.shape[..i].iter().any(|first| *first >= dim) {
                true => Axis::Prime(dim),
                false => Axis::Dim(dim),
            });
        }
        axes
    }
}

impl Draft {
    /// The axes of a target; `None` when the program has no such thing.
    pub fn target_axes(&self, target: Target) -> Option<Vec<Axis>> {
        let side = |i: usize, which: usize| {
            let axes = self.states.get(i)?.axes(false);
            Some(vec![Axis::Head, *axes.get(1 + which)?])
        };
        match target {
            Target::Output(i) => self.outputs.get(i.index()).map(|port| port.axes(true)),
            Target::DInput(i) => self.inputs.get(i.index()).map(|port| port.axes(true)),
            Target::DParam(i) => self.params.get(i.index()).map(|port| port.axes(false)),
            Target::State(i) | Target::DState(i) => {
                self.states.get(i.index()).map(|port| port.axes(false))
            }
            Target::LogScalar(i) => self.states.get(i.index()).map(|_| vec![Axis::Head]),
            Target::LogRow(i) => side(i.index(), 0),
            Target::LogCol(i) => side(i.index(), 1),
        }
    }
}
