//! One residual layer: a mixer of any kind and what follows it.

use super::hybrid::{Beside, Chunking, CrossAttention, Grouped, Retrieval, WindowAttention};
use super::layers::Norm;
use super::{ChannelMix, Delta, LayerState, Mamba1, Mamba2, Mlp, Mlstm, RecurrenceBlock, Rwkv7};
use crate::Error;
use crate::op::{Packing, Value};
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
    /// [B, T, D] and the state before it to [B, T, D] and the state after it; with `packing` one
    /// row of its sequences, each with its own state. `first` are the values of the first layer, which
    /// RWKV-7 passes on beside the stream.
    pub fn forward(
        &self,
        x: Tensor<3>,
        first: Option<Tensor<3>>,
        state: Option<LayerState>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, Option<Tensor<3>>, LayerState), Error> {
        let (y, state) = match self {
            Mixer::Rwkv7(block) => {
                let (y, first, state) = block.forward(x, first, state, packing)?;
                return Ok((y, Some(first), state));
            }
            Mixer::Mamba1(block) => block.forward(x, state, packing),
            Mixer::Mamba2(block) => block.forward(x, state, packing),
            Mixer::Recurrence(block) => block.forward(x, state, packing),
            Mixer::Delta(block) => block.forward(x, state, packing),
            Mixer::Mlstm(block) => block.forward(x, state, packing),
            Mixer::Attention(block) => block.forward(x, state),
            Mixer::Chunking(_) | Mixer::Retrieval(_) | Mixer::Grouped(_) | Mixer::Sparse(_) => {
                Err(Error::Tensor("a layer of chunks run by itself".into()))
            }
        }?;
        Ok((y, None, state))
    }
}

impl FeedForward {
    /// [B, T, D] to [B, T, D], and from the step before to the last one where it reads that.
    fn forward(
        &self,
        x: Tensor<3>,
        shift: Option<Tensor<3>>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, Option<Tensor<3>>), Error> {
        match self {
            FeedForward::Gated(mlp) => Ok((mlp.forward(x), None)),
            FeedForward::Mixed(mix) => {
                let (y, last) = mix.forward(x, shift, packing)?;
                Ok((y, Some(last)))
            }
        }
    }
}

/// The first `width` columns of the stream, and what is beside them.
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
        let (y, _) = mlp.forward(norm.forward(found)?, None, None)?;
        Ok((x + y, state))
    }

    /// The residual stream `x` after the layer, and the states after it.
    ///
    /// States are those of rows, also with `packing`. What stands beside the stream is passed on; the
    /// step before that a feed-forward reads stands beside the convolution's inputs.
    pub fn forward(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        let mut state = match (packing, state) {
            (Some(packing), Some(state)) => Some(state.map(|s| packing.enter(s))?),
            (_, state) => state,
        };
        let width = self.norm.width();
        let shift = match (&self.mlp, &mut state) {
            (Some(FeedForward::Mixed(_)), Some(state)) => {
                let conv = state.conv.take().map(Value::tensor).transpose()?;
                let (own, shift) = conv.map_or((None, None), |conv| {
                    let (own, shift) = apart(conv, width);
                    (Some(own), shift)
                });
                state.conv = own.map(Value::new).transpose()?;
                shift
            }
            _ => None,
        };
        let (x, first) = apart(x, width);
        let h = self.norm.forward(x.clone())?;
        let (y, first, mut state) = self.mixer.forward(h, first, state, packing)?;
        let mut x = x + y;
        if let (Some(norm), Some(mlp)) = (&self.mlp_norm, &self.mlp) {
            let (y, last) = mlp.forward(norm.forward(x.clone())?, shift, packing)?;
            x = x + y;
            if let (Some(own), Some(last)) = (&state.conv, last) {
                state.conv = Some(Value::new(beside(own.clone().tensor()?, Some(last)))?);
            }
        }
        let state = match packing {
            Some(packing) => state.map(|s| packing.leave(s))?,
            None => state,
        };
        Ok((beside(x, first), state))
    }
}
