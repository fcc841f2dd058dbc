//! The states that a layer enters with and leaves with, each asked for where it is read and given where it is made.
//!
//! So a rank does what needs no state while it waits for one, and the rank after has a state before what follows it in this
//! layer is done. Messages have no names: every layer asks and gives in the same order, the convolution's inputs, the
//! recurrence's states, the step before that a feed-forward reads. States are those of rows outside, and of sequences inside.

use super::LayerState;
use crate::Error;
use crate::op::{Packing, Value};
use baton_runtime::Tensor as HostTensor;
use burn::Tensor;
use burn::tensor::Device;

/// Who runs what is before the first segment and after the last; nobody by default.
pub trait Borders {
    /// Whether something is before the first segment, which gives the states that it is entered with and wants their gradients.
    fn continues(&self) -> bool {
        false
    }

    /// The next states of a layer that the first segment is entered with.
    fn enter(&self) -> Vec<HostTensor> {
        Vec::new()
    }

    /// Takes the next states of a layer that the last segment is left with.
    fn leave(&self, _states: &[Value]) {}

    /// The gradients in all states of a layer that the last segment was left with, where something is after it.
    fn arrive(&self) -> Option<Vec<HostTensor>> {
        None
    }

    /// Takes the gradients in all states of a layer that the first was entered with.
    fn hand_back(&self, _gradients: &[Value]) {}
}

/// Rows that are whole.
pub struct Whole;

impl Borders for Whole {}

/// The way of one layer's states through one run of it.
pub struct Passage<'a> {
    entered: Option<LayerState>,
    left: LayerState,
    packing: Option<&'a Packing>,
    before: Option<(&'a dyn Borders, &'a Device)>,
    after: Option<&'a dyn Borders>,
    /// The columns of the convolution's inputs, where a feed-forward's step before stands beside them.
    width: Option<usize>,
}

impl<'a> Passage<'a> {
    /// From states that are there, absent is zero; with `packing` one row of its sequences.
    pub fn new(state: Option<LayerState>, packing: Option<&'a Packing>) -> Self {
        Passage {
            entered: state,
            left: LayerState::default(),
            packing,
            before: None,
            after: None,
            width: None,
        }
    }

    /// From states that `borders` has, on `device`.
    pub(super) fn from(mut self, borders: &'a dyn Borders, device: &'a Device) -> Self {
        self.before = Some((borders, device));
        self
    }

    /// To states that `borders` takes as soon as they are there.
    pub(super) fn to(mut self, borders: &'a dyn Borders) -> Self {
        self.after = Some(borders);
        self
    }

    /// The convolution's inputs have so many columns; more are the feed-forward's.
    pub(super) fn beside(&mut self, width: usize) {
        self.width = Some(width);
    }

    /// The sequences of the row.
    pub fn packing(&self) -> Option<&'a Packing> {
        self.packing
    }

    /// The last inputs of the convolution, [B, W - 1, C].
    pub fn conv(&mut self) -> Result<Option<Tensor<3>>, Error> {
        if let Some(mut received) = self.received() {
            self.entered.get_or_insert_default().conv = received.pop();
        }
        let own = match (self.entered_conv()?, self.width) {
            (Some(conv), Some(width)) => Some(apart(conv, width).0),
            (conv, _) => conv,
        };
        self.inside(own)
    }

    /// The states of the recurrence.
    pub fn recurrence(&mut self) -> Result<Option<Vec<Value>>, Error> {
        if let Some(received) = self.received() {
            self.entered.get_or_insert_default().recurrence = received;
        }
        let states = self.entered.as_ref().map(|state| &state.recurrence);
        let inside = states.map(|states| match self.packing {
            Some(packing) => states.iter().map(|state| packing.enter(state)).collect(),
            None => Ok(states.clone()),
        });
        inside.transpose()
    }

    /// The step before that the feed-forward reads, [B, 1, D].
    pub(super) fn shift(&mut self) -> Result<Option<Tensor<3>>, Error> {
        if let Some(mut received) = self.received()
            && let Some(shift) = received.pop()
            && let Some(own) = self.entered_conv()?
        {
            let conv = beside(own, Some(shift.tensor()?));
            self.entered.get_or_insert_default().conv = Some(Value::new(conv)?);
        }
        let shift = match (self.entered_conv()?, self.width) {
            (Some(conv), Some(width)) => apart(conv, width).1,
            _ => None,
        };
        self.inside(shift)
    }

    /// Gives the last inputs of the convolution.
    pub fn leave_conv(&mut self, conv: Tensor<3>) -> Result<(), Error> {
        self.left.conv = self.outside(vec![Value::new(conv)?])?.pop();
        Ok(())
    }

    /// Gives the states of the recurrence.
    pub fn leave_recurrence(&mut self, states: Vec<Value>) -> Result<(), Error> {
        self.left.recurrence = self.outside(states)?;
        Ok(())
    }

    /// Gives the last step that the feed-forward read.
    pub(super) fn leave_shift(&mut self, last: Tensor<3>) -> Result<(), Error> {
        let last = self.outside(vec![Value::new(last)?])?.pop();
        if let (Some(own), Some(last)) = (self.left.conv.take(), last) {
            let conv = beside(own.tensor()?, Some(last.tensor()?));
            self.left.conv = Some(Value::new(conv)?);
        }
        Ok(())
    }

    /// All states at once, for a layer that is not cut over ranks.
    pub(super) fn whole(&self) -> Option<LayerState> {
        self.entered.clone()
    }

    /// Gives all states at once.
    pub(super) fn leave_whole(&mut self, state: LayerState) {
        self.left = state;
    }

    /// The states that the layer was entered with and was left with.
    pub fn end(self) -> (Option<LayerState>, LayerState) {
        (self.entered, self.left)
    }

    fn received(&self) -> Option<Vec<Value>> {
        let (borders, device) = self.before?;
        let states = borders.enter().into_iter();
        Some(states.map(|s| Value::from_host(s).on(device)).collect())
    }

    fn entered_conv(&self) -> Result<Option<Tensor<3>>, Error> {
        let conv = self.entered.as_ref().and_then(|state| state.conv.clone());
        conv.map(Value::tensor).transpose()
    }

    fn inside(&self, rows: Option<Tensor<3>>) -> Result<Option<Tensor<3>>, Error> {
        match (rows, self.packing) {
            (Some(rows), Some(packing)) => packing.enter(&Value::new(rows)?)?.tensor().map(Some),
            (rows, _) => Ok(rows),
        }
    }

    fn outside(&self, states: Vec<Value>) -> Result<Vec<Value>, Error> {
        let states = match self.packing {
            Some(packing) => {
                let rows = states.iter().map(|state| packing.leave(state));
                rows.collect::<Result<_, _>>()?
            }
            None => states,
        };
        if let Some(after) = self.after {
            after.leave(&states);
        }
        Ok(states)
    }
}

/// The first `width` columns, and what is beside them.
pub(super) fn apart(x: Tensor<3>, width: usize) -> (Tensor<3>, Option<Tensor<3>>) {
    let [batch, time, all] = x.dims();
    if all == width {
        return (x, None);
    }
    let columns = |range| x.clone().slice([0..batch, 0..time, range]);
    (columns(0..width), Some(columns(width..all)))
}

/// Columns beside each other, where there are some.
pub(super) fn beside(x: Tensor<3>, more: Option<Tensor<3>>) -> Tensor<3> {
    match more {
        Some(more) => Tensor::cat(vec![x, more], 2),
        None => x,
    }
}
