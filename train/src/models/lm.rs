//! A language model over any block: embedding, pre-norm residual blocks, norm, logits.

use super::{
    BlockConfig, Embedding, LayerState, Linear, Mamba2, ModelConfig, RecurrenceBlock, RmsNorm,
    States,
};
use crate::Error;
use crate::op::{self, Packing};
use crate::rng::{Purpose, Rng};
use burn::Tensor;
use burn::module::Module;

/// A causal language model.
#[derive(Module, Debug)]
pub struct LanguageModel {
    /// Everything up to the logits.
    pub backbone: Backbone,
    /// To logits; the embedding's weights where absent.
    pub lm_head: Option<Linear>,
}

/// Embedding, blocks and the last norm.
#[derive(Module, Debug)]
pub struct Backbone {
    /// Tokens to the residual stream, and back to logits.
    pub embeddings: Embedding,
    /// First to last.
    pub layers: Vec<Layer>,
    /// Before the logits.
    pub norm_f: RmsNorm,
}

/// One residual block.
#[derive(Module, Debug)]
pub struct Layer {
    /// Before the mixer.
    pub norm: RmsNorm,
    /// The block.
    pub mixer: Mixer,
}

/// Which block a layer has.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Mixer {
    /// Mamba-2.
    Mamba2(Mamba2),
    /// That of a text.
    Recurrence(RecurrenceBlock),
}

impl Mixer {
    /// [B, T, D] and the state before it to [B, T, D] and the state after it; with `packing` one
    /// row of its sequences, each with its own state.
    pub fn forward(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        match self {
            Mixer::Mamba2(block) => block.forward(x, state, packing),
            Mixer::Recurrence(block) => block.forward(x, state, packing),
        }
    }
}

impl Layer {
    /// What the layer adds to the residual stream `x`, and the state after it.
    ///
    /// States are those of rows, also with `packing`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        let x = self.norm.forward(x)?;
        let Some(packing) = packing else {
            return self.mixer.forward(x, state, None);
        };
        let state = state.map(|state| state.map(|s| packing.enter(s)));
        let (y, state) = self.mixer.forward(x, state.transpose()?, Some(packing))?;
        Ok((y, state.map(|s| packing.leave(s))?))
    }
}

impl LanguageModel {
    /// A model with fresh weights drawn from `seed`, its recurrences on `target`. Ready to train;
    /// [`Module::valid`] gives the same model without a graph.
    pub fn new(
        config: &ModelConfig,
        target: &dyn baton_runtime::Device,
        seed: u64,
    ) -> Result<Self, Error> {
        config.check()?;
        let device = &op::device(target)?.autodiff();
        let (hidden, layers) = (config.hidden_size, config.num_hidden_layers);
        let eps = config.layer_norm_epsilon;
        let mut rng = Rng::at(seed, Purpose::Weights, 0);
        let rng = &mut rng;
        let embeddings = Embedding::new(config.vocab_size, hidden, rng, device);
        let mut layer = || {
            let mixer = match &config.block {
                BlockConfig::Mamba2(block) => Mixer::Mamba2(Mamba2::new(
                    block,
                    [hidden, layers],
                    eps,
                    target,
                    rng,
                    device,
                )?),
                BlockConfig::Recurrence(block) => Mixer::Recurrence(RecurrenceBlock::new(
                    block, hidden, eps, target, rng, device,
                )?),
            };
            let norm = RmsNorm::new(hidden, eps, device);
            Ok(Layer { norm, mixer })
        };
        let layers = (0..layers).map(|_| layer()).collect::<Result<_, Error>>()?;
        let norm_f = RmsNorm::new(hidden, eps, device);
        let own = !config.tie_word_embeddings;
        let lm_head = own.then(|| Linear::new(hidden, config.vocab_size, 1.0, rng, device));
        Ok(LanguageModel {
            lm_head,
            backbone: Backbone {
                embeddings,
                layers,
                norm_f,
            },
        })
    }

    /// `ids`, [B, T] in row order, and the states before them (absent: zero) to logits [B, T, V]
    /// and the states after them.
    pub fn forward(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
    ) -> Result<(Tensor<3>, States), Error> {
        self.forward_packed(ids, shape, states, None)
    }

    /// As [`forward`](Self::forward); with `packing` rows hold several documents, and states go
    /// into a row's first and come out of its last.
    pub fn forward_packed(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, States), Error> {
        let (x, after) = self.hidden_packed(ids, shape, states, packing)?;
        let logits = self.logits(x);
        let [_, _, vocab] = logits.dims();
        Ok((logits.reshape([shape[0], shape[1], vocab]), after))
    }

    /// What [`logits`](Self::logits) are made from, [B, T, D], and the states after `ids`: a reader
    /// of the last position alone need not pay for the vocabulary at all others.
    pub fn hidden(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
    ) -> Result<(Tensor<3>, States), Error> {
        self.hidden_packed(ids, shape, states, None)
    }

    /// As [`hidden`](Self::hidden), with `packing` in one row [1, B T, D].
    pub(crate) fn hidden_packed(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, States), Error> {
        let layers = &self.backbone.layers;
        let mut before = self.each_layer(states)?;
        let mut after = Vec::with_capacity(layers.len());
        let mut x = self.backbone.embed(ids, shape, packing)?;
        for (layer, state) in layers.iter().zip(&mut before) {
            let (y, state) = layer.forward(x.clone(), state.take(), packing)?;
            x = x + y;
            after.push(state);
        }
        Ok((self.backbone.norm_f.forward(x)?, after))
    }

    /// [B, T, D] of [`hidden`](Self::hidden) to [B, T, V].
    pub fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.lm_head {
            Some(head) => head.forward(x),
            None => self.backbone.embeddings.logits(x),
        }
    }

    /// The states of every layer, on the model's device; absent is zero.
    pub(super) fn each_layer(
        &self,
        states: Option<States>,
    ) -> Result<Vec<Option<LayerState>>, Error> {
        let layers = self.backbone.layers.len();
        match states {
            None => Ok(vec![None; layers]),
            Some(states) if states.len() == layers => {
                let device = self.backbone.embeddings.weight.val().device();
                let states = states.into_iter().map(|state| Some(state.on(&device)));
                Ok(states.collect())
            }
            Some(states) => Err(Error::Tensor(format!(
                "states of {} layers given, expected {layers}",
                states.len()
            ))),
        }
    }
}

impl Backbone {
    /// Tokens [B, T] to the residual stream: [B, T, D], or with `packing` [1, B T, D].
    pub(super) fn embed(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        packing: Option<&Packing>,
    ) -> Result<Tensor<3>, Error> {
        let tokens = shape[0] * shape[1];
        match packing {
            None => self.embeddings.forward(ids, shape),
            Some(packing) if packing.len() == tokens => self.embeddings.forward(ids, [1, tokens]),
            Some(packing) => Err(Error::Tensor(format!(
                "{} packed tokens given, expected [B, T] = {shape:?}",
                packing.len()
            ))),
        }
    }
}
