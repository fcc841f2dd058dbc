//! What a model of different layers needs beside its layers: where landmarks stand in the stream, and which
//! sequences can be run side by side.

use super::super::layer::{FeedForward, Layer, Mixer};
use super::super::layers::Draw;
use super::super::{LayerState, Mlp, States};
use super::{Chunking, CrossAttention, Grouped, Memory, Retrieval, WindowAttention};
use crate::Error;
use crate::models::RmsNorm;
use crate::models::layers::Norm;
use baton_config::{HybridConfig, Landmark, LayerConfig};
use baton_data::rng::Rng;
use burn::Tensor;
use burn::tensor::{Device, Int, TensorData};

/// Of a model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Positions of a chunk.
    chunk: usize,
    /// Whether a landmark stands in the stream after each chunk's tokens.
    inserted: bool,
    /// The layer that cuts.
    chunking: Option<usize>,
}

impl Plan {
    pub fn new(config: &HybridConfig) -> Self {
        Plan {
            chunk: config.chunk,
            inserted: config.landmark == Landmark::Position && config.chunking().is_some(),
            chunking: config.chunking().map(|(layer, _)| layer),
        }
    }

    /// Whether landmarks stand in the stream.
    pub fn inserts(&self) -> bool {
        self.inserted
    }

    /// Positions in the open chunk of each sequence.
    pub fn open(&self, states: &[Option<LayerState>], batch: usize, width: usize) -> Vec<usize> {
        let state = self.chunking.and_then(|layer| states[layer].as_ref());
        let memory = state.and_then(|state| state.memory.as_ref());
        match memory {
            Some(Memory(own)) => own.iter().map(|own| own.open.len() / width).collect(),
            None => vec![0; batch],
        }
    }

    /// For a segment of `time` tokens after `open` positions, the places of the stream: a token, or `time` for
    /// a landmark; and where the tokens stand.
    pub fn places(&self, open: usize, time: usize) -> (Vec<usize>, Vec<usize>) {
        let (mut places, mut tokens) = (Vec::new(), Vec::new());
        for t in 0..time {
            tokens.push(places.len());
            places.push(t);
            if (open + places.len()) % self.chunk == self.chunk - 1 {
                places.push(time);
            }
        }
        (places, tokens)
    }
}

/// Chosen positions of [B, T, D].
pub fn select(x: Tensor<3>, places: &[usize]) -> Tensor<3> {
    let device = x.device().without_autodiff();
    let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
    let count = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &device);
    x.select(1, places)
}

/// Makes the layers that are no recurrences.
pub struct Maker<'a> {
    pub config: &'a HybridConfig,
    pub hidden: usize,
    pub eps: f64,
    pub device: &'a Device,
}

impl Maker<'_> {
    /// Layer number `place`; `None` for a recurrence.
    pub fn layer(&self, place: usize, rng: &mut Rng) -> Option<Layer> {
        let Maker {
            config,
            hidden,
            eps,
            device,
        } = *self;
        let norm = || RmsNorm::new(hidden, eps, device);
        let chunks = config.chunking().map(|(_, own)| own);
        let each = chunks.map_or(1, |chunks| chunks.head_dim);
        let (mixer, mlp) = match &config.layers[place] {
            LayerConfig::Recurrent { .. } => return None,
            LayerConfig::Attention { attention, mlp } => {
                let own = WindowAttention::new(attention, hidden, rng, device);
                (Mixer::Attention(own), *mlp)
            }
            LayerConfig::Chunking(own) => {
                let own = Chunking::new(config, own, hidden, eps, rng, device);
                (Mixer::Chunking(own), None)
            }
            LayerConfig::Retrieval(own) => {
                let to = chunks.and_then(|chunks| chunks.retrieval);
                let own = Retrieval::new(own, place, [Some(hidden), to], rng, device);
                (Mixer::Retrieval(own), None)
            }
            LayerConfig::Grouped {
                attention,
                queries,
                one,
                bypass,
                mlp,
            } => {
                let how = [*one, *bypass];
                let own = Grouped {
                    attention: WindowAttention::new(attention, hidden, rng, device),
                    cross_norm: norm(),
                    cross: CrossAttention::new(hidden, [*queries, each], how, rng, device),
                };
                (Mixer::Grouped(own), Some(*mlp))
            }
            LayerConfig::Sparse {
                queries,
                one,
                bypass,
                mlp,
            } => {
                let how = [*one, *bypass && mlp.is_some()];
                let own = CrossAttention::new(hidden, [*queries, each], how, rng, device);
                (Mixer::Sparse(own), *mlp)
            }
        };
        let mlp = mlp.map(|width| {
            FeedForward::Gated(Mlp::new([hidden, width], [Draw::Uniform; 2], rng, device))
        });
        Some(Layer {
            norm: Norm::Rms(norm()),
            mixer,
            mlp_norm: mlp.as_ref().map(|_| Norm::Rms(norm())),
            mlp,
        })
    }
}

/// The states of one sequence.
pub fn row(states: &[Option<LayerState>], row: usize) -> States {
    let hosts = states.iter().flatten().map(LayerState::to_host).collect();
    let own = crate::initial_state::sequences::rows(&hosts, row..row + 1);
    own.into_iter().map(LayerState::from_host).collect()
}

/// The states of sequences that were run apart.
pub fn join(apart: Vec<States>) -> States {
    let hosts = apart
        .iter()
        .map(|states| states.iter().map(LayerState::to_host).collect());
    let joined = crate::initial_state::sequences::join(hosts.collect());
    joined.into_iter().map(LayerState::from_host).collect()
}

/// Refuses what cannot be run.
pub fn unpacked(packed: bool) -> Result<(), Error> {
    match packed {
        false => Ok(()),
        true => Err(Error::Config(
            "documents inside of rows given to a hybrid model, expected rows of one text each: its windows and \
             chunks know no documents"
                .into(),
        )),
    }
}
