//! What measures, and a loop of one's own, need of a model: that it reads a segment from states to states.
//!
//! [`LanguageModel`] is one; so is any module around a recurrence, which then is read by a
//! [`Stream`](crate::eval::Stream), measured by position and over time, and trained from any initial state. Weights, gradients,
//! updates and the optimiser ask for a Burn module alone. Logits are apart from what they are made of, as most
//! readers want those of the last token, or none.

use super::{LanguageModel, States};
use crate::Error;
use burn::Tensor;

/// A model of tokens that goes on from states.
pub trait Recurrent {
    /// Reads `ids`, [B, T] in row order, from the states before them (absent: zero); gives what logits are made of,
    /// [B, T, D], and the states after them.
    fn hidden(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
    ) -> Result<(Tensor<3>, States), Error>;

    /// [B, T, D] of [`hidden`](Self::hidden) to logits [B, T, V].
    fn logits(&self, hidden: Tensor<3>) -> Tensor<3>;

    /// The layers, from 0, whose states are a recurrence's; absent: all. Those of others are windows and chunks of what was
    /// read.
    fn recurrences(&self) -> Option<Vec<usize>> {
        None
    }

    /// Reads `ids` to logits [B, T, V] and the states after them.
    fn forward(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
    ) -> Result<(Tensor<3>, States), Error> {
        let (hidden, after) = self.hidden(ids, shape, states)?;
        Ok((self.logits(hidden), after))
    }
}

impl Recurrent for LanguageModel {
    fn hidden(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
    ) -> Result<(Tensor<3>, States), Error> {
        LanguageModel::hidden(self, ids, shape, states)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        LanguageModel::logits(self, hidden)
    }

    fn recurrences(&self) -> Option<Vec<usize>> {
        let layers = self.backbone.layers.iter().enumerate();
        let own = layers.filter(|(_, layer)| layer.mixer.is_recurrence());
        Some(own.map(|(number, _)| number).collect())
    }
}
