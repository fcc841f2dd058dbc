//! The ranks that run the segments before and after this one's.
//!
//! States go as the length of their header, the header (how many, and their shapes) and the elements of each: a rank
//! need not know what the blocks of its model carry.

use super::group::Group;
use crate::models::Borders;
use crate::op::Value;
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
    fn send(&self, to: usize, states: &[Value]) {
        let mut header = vec![states.len() as f32];
        for shape in states.iter().map(Value::shape) {
            header.push(shape.len() as f32);
            header.extend(shape.iter().map(|&size| size as f32));
        }
        self.group.send(to, &[header.len() as f32]);
        self.group.send(to, &header);
        for state in states {
            self.group.send(to, &state.to_host().data);
        }
    }

    fn receive(&self, from: usize) -> Vec<Tensor> {
        let take = |count: usize| {
            let mut numbers = vec![0.0; count];
            self.group.receive(from, &mut numbers);
            numbers
        };
        let length = take(1)[0] as usize;
        let mut header = take(length).into_iter().map(|x| x as usize);
        let mut next = || header.next().unwrap_or_default();
        let states = (0..next()).map(|_| {
            let rank = next();
            let shape: Vec<usize> = (0..rank).map(|_| next()).collect();
            Tensor {
                data: take(shape.iter().product()),
                shape,
            }
        });
        states.collect()
    }
}

impl Borders for Neighbours<'_> {
    fn continues(&self) -> bool {
        self.before
    }

    fn enter(&self) -> Vec<Tensor> {
        self.receive(self.group.rank() - 1)
    }

    fn leave(&self, states: &[Value]) {
        if self.after {
            self.send(self.group.rank() + 1, states);
        }
    }

    fn arrive(&self) -> Option<Vec<Tensor>> {
        self.after.then(|| self.receive(self.group.rank() + 1))
    }

    fn hand_back(&self, gradients: &[Value]) {
        if self.before {
            self.send(self.group.rank() - 1, gradients);
        }
    }
}
