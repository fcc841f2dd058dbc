//! One residual layer: a mixer of any kind and what follows it.

use super::hybrid::{Beside, Chunking, CrossAttention, Grouped, Retrieval, WindowAttention};
use super::layers::Norm;
use super::passage::{Passage, apart, beside};
use super::{ChannelMix, Delta, LayerState, Mamba1, Mamba2, Mlp, Mlstm, RecurrenceBlock, Rwkv7};
use crate::Error;
use crate::op::Packing;
use burn::Tensor;
use burn::module::Module;

/// One residual block.
#[derive(Module, Debug)]
pub struct Layer {
    /// Before the mixer.
    pub norm: Norm,
    /// The block.
    pub mixer: Mixer,
    /// Before the feed-forward.
    pub mlp_norm: Option<Norm>,
    /// The feed-forward, where the model has one.
    pub mlp: Option<FeedForward>,
}

/// Which feed-forward a layer has.
#[derive(Module, Debug)]
pub enum FeedForward {
    /// Gated by SiLU.
    Gated(Mlp),
    /// RWKV-7's, which reads the step before.
    Mixed(ChannelMix),
}

/// Which block a layer has.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Mixer {
    /// Mamba, the first.
    Mamba1(Mamba1),
    /// Mamba-2.
    Mamba2(Mamba2),
    /// That of a text.
    Recurrence(RecurrenceBlock),
    /// Gated DeltaNet or KDA.
    Delta(Delta),
    /// mLSTM.
    Mlstm(Mlstm),
    /// RWKV-7.
    Rwkv7(Rwkv7),
    /// Attention with a window.
    Attention(WindowAttention),
    /// Cuts chunks.
    Chunking(Chunking),
    /// Chooses chunks.
    Retrieval(Retrieval),
    /// Attention with a window, then to what was chosen.
    Grouped(Grouped),
    /// Attention to what was chosen.
    Sparse(CrossAttention),
}

impl Mixer {
    /// Whether its states are a recurrence's, and no window or chunks of what was read.
    pub fn is_recurrence(&self) -> bool {
        match self {
            Mixer::Mamba1(_)
            | Mixer::Mamba2(_)
            | Mixer::Recurrence(_)
            | Mixer::Delta(_)
            | Mixer::Mlstm(_)
            | Mixer::Rwkv7(_) => true,
            Mixer::Attention(_)
            | Mixer::Chunking(_)
            | Mixer::Retrieval(_)
            | Mixer::Grouped(_)
            | Mixer::Sparse(_) => false,
        }
    }

    /// [B, T, D] to [B, T, D], from states to states. `first` are the values of the first layer, which
    /// RWKV-7 passes on beside the stream.
    pub fn forward(
        &self,
        x: Tensor<3>,
        first: Option<Tensor<3>>,
        passage: &mut Passage<'_>,
    ) -> Result<(Tensor<3>, Option<Tensor<3>>), Error> {
        let y = match self {
            Mixer::Rwkv7(block) => {
                let (y, first) = block.forward(x, first, passage)?;
                return Ok((y, Some(first)));
            }
            Mixer::Mamba1(block) => block.forward(x, passage),
            Mixer::Mamba2(block) => block.forward(x, passage),
            Mixer::Recurrence(block) => block.forward(x, passage),
            Mixer::Delta(block) => block.forward(x, passage),
            Mixer::Mlstm(block) => block.forward(x, passage),
            Mixer::Attention(block) => {
                let (y, state) = block.forward(x, passage.whole())?;
                passage.leave_whole(state);
                Ok(y)
            }
            Mixer::Chunking(_) | Mixer::Retrieval(_) | Mixer::Grouped(_) | Mixer::Sparse(_) => {
                Err(Error::Tensor("a layer of chunks run by itself".into()))
            }
        }?;
        Ok((y, None))
    }
}

impl FeedForward {
    /// [B, T, D] to [B, T, D], from the step before to the last one where it reads that.
    fn forward(&self, x: Tensor<3>, passage: &mut Passage<'_>) -> Result<Tensor<3>, Error> {
        match self {
            FeedForward::Gated(mlp) => Ok(mlp.forward(x)),
            FeedForward::Mixed(mix) => {
                let (y, last) = mix.forward(x, passage.shift()?, passage.packing())?;
                passage.leave_shift(last)?;
                Ok(y)
            }
        }
    }
}

impl Layer {
    /// As [`forward`](Self::forward), in a model whose layers hand chunks on in `beside`.
    pub(super) fn forward_beside(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
        beside: &mut Beside,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        let h = || self.norm.forward(x.clone());
        let none = LayerState {
            recurrence: Vec::new(),
            conv: None,
            memory: None,
        };
        // The stream, what the feed-forward reads, and the states.
        let (x, found, state) = match &self.mixer {
            Mixer::Chunking(own) => {
                let state = own.forward(h()?, state, beside)?;
                return Ok((x, state));
            }
            Mixer::Retrieval(own) => {
                let state = own.forward(h()?, state, beside)?;
                return Ok((x, state));
            }
            Mixer::Grouped(own) => {
                let (y, state) = own.attention.forward(h()?, state)?;
                let x = x + y;
                let cross = own.cross_norm.forward(x.clone())?;
                let found = x.clone() + own.cross.forward(cross, beside)?;
                match own.cross.bypasses() {
                    true => (x, found, state),
                    false => (found.clone(), found, state),
                }
            }
            Mixer::Sparse(own) => {
                let found = x.clone() + own.forward(h()?, beside)?;
                match own.bypasses() {
                    true => (x, found, none),
                    false => (found.clone(), found, none),
                }
            }
            _ => return self.forward(x, state, None),
        };
        let (Some(norm), Some(mlp)) = (&self.mlp_norm, &self.mlp) else {
            return Ok((found, state));
        };
        let y = mlp.forward(norm.forward(found)?, &mut Passage::new(None, None))?;
        Ok((x + y, state))
    }

    /// The residual stream `x` after the layer, and the states after it; states are those of rows, also with `packing`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        let mut passage = Passage::new(state, packing);
        let x = self.pass(x, &mut passage)?;
        Ok((x, passage.end().1))
    }

    /// The residual stream `x` after the layer, whose states go through `passage`. What stands beside the stream is
    /// passed on; the step before that a feed-forward reads stands beside the convolution's inputs.
    pub(super) fn pass(&self, x: Tensor<3>, passage: &mut Passage<'_>) -> Result<Tensor<3>, Error> {
        let width = self.norm.width();
        if let Some(FeedForward::Mixed(_)) = self.mlp {
            passage.beside(width);
        }
        let (x, first) = apart(x, width);
        let h = self.norm.forward(x.clone())?;
        let (y, first) = self.mixer.forward(h, first, passage)?;
        let mut x = x + y;
        if let (Some(norm), Some(mlp)) = (&self.mlp_norm, &self.mlp) {
            let y = mlp.forward(norm.forward(x.clone())?, passage)?;
            x = x + y;
        }
        Ok(beside(x, first))
    }
}
