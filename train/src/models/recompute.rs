//! Loss and gradients of one batch, with and without gradient checkpointing.
//!
//! A graph over the whole model keeps what every layer needs for its backward. With recomputation
//! (`segments.rs`, of which a batch is one) it is a graph over one layer at a time. Losses, final states and gradients have
//! the same bits with and without it.

use super::passage::Whole;
use super::segments::{self, Segment, scalar};
use super::{LanguageModel, Parameter, States, gradients};
use crate::Error;
use crate::op::{Packing, backward};
use burn::Tensor;

/// What a batch is run from.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    /// Tokens, [B, T] in row order.
    pub ids: &'a [u32],
    /// [B, T].
    pub shape: [usize; 2],
    /// States before them; absent is zero.
    pub states: Option<States>,
    /// Documents inside of the rows.
    pub packing: Option<&'a Packing>,
    /// The seed of the noise of choices, where a model chooses.
    pub noise: Option<u64>,
}

/// What a batch gives.
#[derive(Debug)]
pub struct Passed {
    /// The loss.
    pub loss: f32,
    /// The gradient of every weight that has one, in the order of the model.
    pub gradients: Vec<Parameter>,
    /// States after the batch, cut off from any graph.
    pub finals: States,
}

impl Pass<'_> {
    /// Forward and backward through `model`; `loss` is that of logits [B, T, V].
    pub fn run(
        self,
        model: &LanguageModel,
        recompute: bool,
        loss: impl FnOnce(Tensor<3>) -> Result<Tensor<1>, Error>,
    ) -> Result<Passed, Error> {
        let Pass {
            ids,
            shape,
            states,
            packing,
            noise,
        } = self;
        if recompute {
            let segment = Segment {
                ids,
                shape,
                packing,
            };
            let segments = vec![(segment, loss)];
            let (parts, finals) = segments::run(model, segments, states, &Whole)?;
            let (loss, gradients) = parts.into_iter().next().unwrap_or_default();
            return Ok(Passed {
                loss,
                gradients,
                finals,
            });
        }
        let (logits, finals) = model.forward_noised(ids, shape, states, packing, noise)?;
        let loss = loss(logits)?;
        Ok(Passed {
            loss: scalar(&loss)?,
            finals: finals.iter().map(|state| state.detach()).collect(),
            gradients: gradients(model, &mut backward(&loss)?),
        })
    }
}
