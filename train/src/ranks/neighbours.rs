//! The ranks that run the segments before and after this one's.
//!
//! A state goes as the length of its header, the header (how many, and their shapes) and the elements of each: a rank
//! need not know what the blocks of its model carry.

use super::group::Group;
use crate::models::segments::Borders;
use crate::models::{HostState, LayerState};
use baton_runtime::Tensor;

/// States from the rank before and to the rank after, gradients the other way.
pub(crate) struct Neighbours<'g> {
    pub group: &'g dyn Group,
    /// Whether the rank before runs the segment before.
    pub before: bool,
    /// Whether the rank after runs the segment after.
    pub after: bool,
}

impl Neighbours<'_> {
    fn send(&self, to: usize, state: HostState) {
        let HostState {
            recurrence, conv, ..
        } = &state;
        let mut header = vec![recurrence.len() as f32, conv.iter().len() as f32];
        for state in recurrence.iter().chain(conv) {
            header.push(state.shape.len() as f32);
            header.extend(state.shape.iter().map(|&size| size as f32));
        }
        self.group.send(to, &[header.len() as f32]);
        self.group.send(to, &header);
        for state in recurrence.iter().chain(conv) {
            self.group.send(to, &state.data);
        }
    }

    fn receive(&self, from: usize) -> HostState {
        let take = |count: usize| {
            let mut numbers = vec![0.0; count];
            self.group.receive(from, &mut numbers);
            numbers
        };
        let length = take(1)[0] as usize;
        let mut header = take(length).into_iter().map(|x| x as usize);
        let mut next = || header.next().unwrap_or_default();
        let (recurrence, conv) = (next(), next());
        let mut state = |_| {
            let rank = next();
            let shape: Vec<usize> = (0..rank).map(|_| next()).collect();
            Tensor {
                data: take(shape.iter().product()),
                shape,
            }
        };
        HostState {
            recurrence: (0..recurrence).map(&mut state).collect(),
            conv: (0..conv).map(&mut state).next(),
            memory: None,
        }
    }
}

impl Borders for Neighbours<'_> {
    fn continues(&self) -> bool {
        self.before
    }

    fn enter(&self, _: usize) -> Option<HostState> {
        self.before.then(|| self.receive(self.group.rank() - 1))
    }

    fn leave(&self, _: usize, state: &LayerState) {
        if self.after {
            self.send(self.group.rank() + 1, state.to_host());
        }
    }

    fn arrive(&self, _: usize) -> Option<HostState> {
        self.after.then(|| self.receive(self.group.rank() + 1))
    }

    fn hand_back(&self, _: usize, gradient: &LayerState) {
        if self.before {
            self.send(self.group.rank() - 1, gradient.to_host());
        }
    }
}
