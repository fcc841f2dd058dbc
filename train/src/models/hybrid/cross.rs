//! Attention to the chunks that were chosen.

use super::super::{Linear, RmsNorm};
use super::{Beside, WindowAttention};
use crate::Error;
use crate::op::attention::attend_chunks;
use baton_data::rng::Rng;
use burn::Tensor;
use burn::module::Module;
use burn::tensor::Device;

/// Queries to chunks, and what is found back into the stream.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// `[D]` to queries [Hq d].
    pub q_proj: Linear,
    /// [Hq d] to `[D]`.
    pub o_proj: Linear,
    #[module(skip)]
    one: bool,
    /// Whether what is found reaches the stream through the feed-forward alone.
    #[module(skip)]
    bypass: bool,
    #[module(skip)]
    heads: [usize; 2],
}

/// Grouped cross attention after attention with a window.
#[derive(Module, Debug)]
pub struct Grouped {
    /// The window's.
    pub attention: WindowAttention,
    /// Before the queries to chunks.
    pub cross_norm: RmsNorm,
    /// To chunks.
    pub cross: CrossAttention,
}

impl CrossAttention {
    /// For a stream of `hidden` and so many query heads of so many numbers; with or without the one, and the
    /// bypass.
    pub(super) fn new(
        hidden: usize,
        heads: [usize; 2],
        [one, bypass]: [bool; 2],
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let width = heads[0] * heads[1];
        CrossAttention {
            q_proj: Linear::new(hidden, width, 1.0, rng, device),
            o_proj: Linear::new(width, hidden, 1.0, rng, device),
            one,
            bypass,
            heads,
        }
    }

    /// Whether what is found reaches the stream through the feed-forward alone.
    pub(crate) fn bypasses(&self) -> bool {
        self.bypass
    }

    /// [B, T, D], normalised, to what is found, [B, T, D].
    pub fn forward(&self, x: Tensor<3>, beside: &Beside) -> Result<Tensor<3>, Error> {
        let Some((read, choice)) = &beside.found else {
            return Err(Error::Tensor("attention to chunks without a choice".into()));
        };
        let [batch, time, _] = x.dims();
        let [heads, each] = self.heads;
        let q = self.q_proj.forward(x).reshape([batch * time, heads, each]);
        let o = attend_chunks(q, read, choice, self.one)?;
        Ok(self.o_proj.forward(o.reshape([batch, time, heads * each])))
    }
}
