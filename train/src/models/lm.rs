//! A language model over any block: embedding, pre-norm residual blocks, norm, logits.

use super::around::Around;
use super::hybrid::{Beside, Maker, Plan, join, row, select, unpacked};
use super::layer::{FeedForward, Layer, Mixer};
use super::layers::{Norm, parameter, soft_cap};
use super::passage::{apart, beside};
use super::{
    ChannelMix, Delta, Embedding, LayerState, Linear, Mamba1, Mamba2, Mlp, Mlstm, RecurrenceBlock,
    Rwkv7, States,
};
use crate::Error;
use crate::op::{self, Packing};
use baton_config::{BlockConfig, LayerConfig, ModelConfig};
use baton_data::rng::{Purpose, Rng};
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
    /// What stands in the stream after a chunk's tokens, `[D]`, where anything does.
    pub landmark: Option<Param<Tensor<1>>>,
    /// What replaces the stream before the first block; RWKV-7 has it.
    pub pre_norm: Option<Norm>,
    /// First to last.
    pub layers: Vec<Layer>,
    /// Before the logits.
    pub norm_f: Norm,
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

    /// Whether layers cut or choose chunks of what is read, which states alone do not hold.
    pub fn has_memory(&self) -> bool {
        let mut layers = self.backbone.layers.iter();
        layers.any(|layer| matches!(layer.mixer, Mixer::Chunking(_) | Mixer::Retrieval(_)))
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
