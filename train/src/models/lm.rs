//! A language model over any block: embedding, pre-norm residual blocks, norm, logits.

use super::around::Around;
use super::config::LayerConfig;
use super::hybrid::{
    Beside, Chunking, CrossAttention, Grouped, Maker, Plan, Retrieval, WindowAttention, join, row,
    select, unpacked,
};
use super::layers::{Norm, parameter, soft_cap};
use super::{
    BlockConfig, ChannelMix, Delta, Embedding, LayerState, Linear, Mamba1, Mamba2, Mlp, Mlstm,
    ModelConfig, RecurrenceBlock, Rwkv7, States,
};
use crate::Error;
use crate::op::{self, Packing, Value};
use crate::rng::{Purpose, Rng};
use baton_retrieval::Keeping;
use burn::Tensor;
use burn::module::{Module, Param};

/// A causal language model.
#[derive(Module, Debug)]
pub struct LanguageModel {
    /// Everything up to the logits.
    pub backbone: Backbone,
    /// To logits; the embedding's weights where absent.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    cap: Option<f64>,
    #[module(skip)]
    plan: Option<Plan>,
}

/// Embedding, blocks and the last norm.
#[derive(Module, Debug)]
pub struct Backbone {
    /// Tokens to the residual stream, and back to logits.
    pub embeddings: Embedding,
    /// What stands in the stream after a chunk's tokens, [D], where anything does.
    pub landmark: Option<Param<Tensor<1>>>,
    /// What replaces the stream before the first block; RWKV-7 has it.
    pub pre_norm: Option<Norm>,
    /// First to last.
    pub layers: Vec<Layer>,
    /// Before the logits.
    pub norm_f: Norm,
}

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
fn apart(x: Tensor<3>, width: usize) -> (Tensor<3>, Option<Tensor<3>>) {
    let [batch, time, all] = x.dims();
    if all == width {
        return (x, None);
    }
    let columns = |range| x.clone().slice([0..batch, 0..time, range]);
    (columns(0..width), Some(columns(width..all)))
}

/// Columns beside each other, where there are some.
fn beside(x: Tensor<3>, more: Option<Tensor<3>>) -> Tensor<3> {
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

impl LanguageModel {
    /// A model with fresh weights drawn from `seed`, its recurrences on `target`. Ready to train;
    /// [`Module::valid`] gives the same model without a graph.
    pub fn new(
        config: &ModelConfig,
        target: &dyn baton_runtime::Device,
        seed: u64,
    ) -> Result<Self, Error> {
        LanguageModel::drawn(config, target, &mut Rng::at(seed, Purpose::Weights, 0))
    }

    /// A model whose weights are replaced at once: drawing those of a large one takes as long as
    /// reading them.
    pub(crate) fn blank(
        config: &ModelConfig,
        target: &dyn baton_runtime::Device,
    ) -> Result<Self, Error> {
        LanguageModel::drawn(config, target, &mut Rng::blank())
    }

    fn drawn(
        config: &ModelConfig,
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
    ) -> Result<Self, Error> {
        config.check()?;
        let device = &op::device(target)?.autodiff();
        let (hidden, layers) = (config.hidden_size, config.num_hidden_layers);
        let eps = config.layer_norm_epsilon;
        let around = Around::of(config);
        let shape = [config.vocab_size, hidden];
        let embeddings = Embedding::drawn(shape, around.embedding, rng, device);
        let hybrid = config.hybrid();
        let maker = hybrid.map(|hybrid| Maker {
            config: hybrid,
            hidden,
            eps,
            device,
        });
        let mut layer = |layer: usize| {
            let mut own = (&config.block, config.intermediate_size);
            if let Some(maker) = &maker {
                match (&maker.config.layers[layer], maker.layer(layer, rng)) {
                    (_, Some(made)) => return Ok(made),
                    (LayerConfig::Recurrent { block, mlp }, None) => own = (block, *mlp),
                    (_, None) => unreachable!("only a recurrence is made here"),
                }
            }
            let (block, inner) = own;
            let mixer = match block {
                BlockConfig::Mamba1(block) => {
                    Mixer::Mamba1(Mamba1::new(block, [hidden, layers], target, rng, device)?)
                }
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
                BlockConfig::GatedDeltaNet(block) | BlockConfig::Kda(block) => {
                    let keyed = matches!(own.0, BlockConfig::Kda(_));
                    let delta = Delta::new(block, keyed, hidden, eps, target, rng, device)?;
                    Mixer::Delta(delta)
                }
                BlockConfig::Mlstm(block) => {
                    let mlstm = Mlstm::new(block, [hidden, layers], eps, target, rng, device)?;
                    Mixer::Mlstm(mlstm)
                }
                BlockConfig::Rwkv7(block) => {
                    let place = [hidden, layer, layers];
                    Mixer::Rwkv7(Rwkv7::new(block, place, eps, target, rng, device)?)
                }
                BlockConfig::Hybrid(_) => {
                    let what = "a hybrid given in a layer, expected one block";
                    return Err(Error::Config(what.into()));
                }
            };
            let mlp = inner.map(|width| match mixer {
                Mixer::Rwkv7(_) => {
                    let place = [layer, layers];
                    let mix = ChannelMix::new([hidden, width], place, rng, device);
                    FeedForward::Mixed(mix)
                }
                _ => {
                    let draws = [around.inner, around.back];
                    FeedForward::Gated(Mlp::new([hidden, width], draws, rng, device))
                }
            });
            Ok(Layer {
                norm: around.norm(hidden, eps, device),
                mixer,
                mlp_norm: mlp.as_ref().map(|_| around.norm(hidden, eps, device)),
                mlp,
            })
        };
        let all = (0..layers).map(&mut layer).collect::<Result<_, Error>>()?;
        let norm_f = around.norm(hidden, eps, device);
        let centred = around.centred.is_some();
        let pre_norm = centred.then(|| around.norm(hidden, eps, device));
        let plan = hybrid.map(Plan::new);
        let inserts = plan.as_ref().is_some_and(Plan::inserts);
        let landmark = inserts.then(|| parameter([hidden], device, || 0.02 * rng.normal()));
        let own = !config.tie_word_embeddings;
        let lm_head =
            own.then(|| Linear::drawn([hidden, config.vocab_size], around.head, rng, device));
        Ok(LanguageModel {
            lm_head,
            cap: config.output_logit_soft_cap,
            plan,
            backbone: Backbone {
                embeddings,
                landmark,
                pre_norm,
                layers: all,
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
        self.forward_noised(ids, shape, states, packing, None)
    }

    /// As [`forward_packed`](Self::forward_packed), with the seed of the noise of choices.
    pub(super) fn forward_noised(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
        packing: Option<&Packing>,
        noise: Option<u64>,
    ) -> Result<(Tensor<3>, States), Error> {
        let (x, after) = match &self.plan {
            None => self.hidden_packed(ids, shape, states, packing)?,
            Some(plan) => {
                unpacked(packing.is_some())?;
                self.hybrid(plan, ids, shape, states, noise)?
            }
        };
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
        if let Some(plan) = &self.plan {
            unpacked(packing.is_some())?;
            return self.hybrid(plan, ids, shape, states, None);
        }
        let layers = &self.backbone.layers;
        let mut before = self.each_layer(states)?;
        let mut after = Vec::with_capacity(layers.len());
        let mut x = self.backbone.embed(ids, shape, packing)?;
        for (layer, state) in layers.iter().zip(&mut before) {
            let (y, state) = layer.forward(x, state.take(), packing)?;
            x = y;
            after.push(state);
        }
        Ok((self.backbone.read(x)?, after))
    }

    /// [`hidden`](Self::hidden) of a model of different layers.
    fn hybrid(
        &self,
        plan: &Plan,
        ids: &[u32],
        [batch, time]: [usize; 2],
        states: Option<States>,
        noise: Option<u64>,
    ) -> Result<(Tensor<3>, States), Error> {
        let mut before = self.each_layer(states)?;
        let width = self.backbone.norm_f.width();
        let open = plan.open(&before, batch, width);
        if open.iter().any(|places| *places != open[0]) {
            // A landmark stands at one place of a row: rows in different places of a chunk are run apart.
            let apart = (0..batch).map(|b| {
                let ids = &ids[b * time..(b + 1) * time];
                self.hybrid(plan, ids, [1, time], Some(row(&before, b)), noise)
            });
            let (x, after): (Vec<_>, Vec<_>) = apart
                .collect::<Result<Vec<_>, Error>>()?
                .into_iter()
                .unzip();
            return Ok((Tensor::cat(x, 0), join(after)));
        }
        let mut x = self.backbone.embed(ids, [batch, time], None)?;
        let (places, tokens) = plan.places(open.first().copied().unwrap_or(0), time);
        if let Some(landmark) = &self.backbone.landmark {
            let landmark = landmark
                .val()
                .reshape([1, 1, width])
                .expand([batch, 1, width]);
            x = select(Tensor::cat(vec![x, landmark], 1), &places);
        }
        let mut beside = Beside::new(noise);
        let mut after = Vec::with_capacity(before.len());
        for (layer, state) in self.backbone.layers.iter().zip(&mut before) {
            let (y, state) = layer.forward_beside(x, state.take(), &mut beside)?;
            x = y;
            after.push(state);
        }
        if self.backbone.landmark.is_some() {
            x = select(x, &tokens);
        }
        Ok((self.backbone.read(x)?, after))
    }

    /// Whether layers are of different kinds.
    pub fn is_hybrid(&self) -> bool {
        self.plan.is_some()
    }

    /// How chunks of what it reads are kept.
    pub fn keeping(&self) -> Keeping {
        let layers = self.backbone.layers.iter();
        let mut own = layers.rev().filter_map(|layer| match &layer.mixer {
            Mixer::Chunking(own) => Some(own.keeping().clone()),
            _ => None,
        });
        own.next().unwrap_or_default()
    }

    /// The same model, which keeps the chunks of texts that it reads from now on as `keeping` says.
    pub fn keep(mut self, keeping: &Keeping) -> Self {
        for layer in &mut self.backbone.layers {
            if let Mixer::Chunking(own) = &mut layer.mixer {
                own.keep(keeping);
            }
        }
        self
    }

    /// [B, T, D] of [`hidden`](Self::hidden) to [B, T, V].
    pub fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        let logits = match &self.lm_head {
            Some(head) => head.forward(x),
            None => self.backbone.embeddings.logits(x),
        };
        match self.cap {
            Some(cap) => soft_cap(logits, cap),
            None => logits,
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
    /// Tokens [B, T] to the residual stream: [B, T, D], or with `packing` [1, B T, D]. Where layers
    /// pass on the first one's values, zeros stand beside it.
    pub(super) fn embed(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        packing: Option<&Packing>,
    ) -> Result<Tensor<3>, Error> {
        let tokens = shape[0] * shape[1];
        let x = match packing {
            None => self.embeddings.forward(ids, shape),
            Some(packing) if packing.len() == tokens => self.embeddings.forward(ids, [1, tokens]),
            Some(packing) => Err(Error::Tensor(format!(
                "{} packed tokens given, expected [B, T] = {shape:?}",
                packing.len()
            ))),
        }?;
        let x = match &self.pre_norm {
            Some(norm) => norm.forward(x)?,
            None => x,
        };
        let passed = self.layers.first().map(|layer| &layer.mixer);
        let zeros = match passed {
            Some(Mixer::Rwkv7(_)) => {
                let device = x.device().without_autodiff();
                Some(Tensor::zeros(x.dims(), &device))
            }
            _ => None,
        };
        Ok(beside(x, zeros))
    }

    /// The residual stream to what logits are made from.
    pub(super) fn read(&self, x: Tensor<3>) -> Result<Tensor<3>, Error> {
        self.norm_f.forward(apart(x, self.norm_f.width()).0)
    }
}
