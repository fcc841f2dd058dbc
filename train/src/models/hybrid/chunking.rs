//! The layer that cuts the stream into chunks and encodes each: a landmark, keys and values.
//!
//! The stream goes on as it is. Positions of a chunk that is not complete are carried and encoded with
//! the rest of it, so that it does not matter where a text is cut. A chunk whose last position is its
//! landmark's has keys and values of the others.

use super::super::layers::parameter;
use super::super::{LayerState, Linear, RmsNorm};
use super::memory::Memory;
use super::{Beside, Cut, EncoderLayer};
use crate::Error;
use crate::op::Value;
use baton_config::{ChunkingConfig, HybridConfig, Landmark};
use baton_data::rng::Rng;
use baton_retrieval::{Keeping, Layout, Store};
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::{Device, TensorData};

/// A layer that cuts chunks.
#[derive(Module, Debug)]
pub struct Chunking {
    /// See a chunk in both directions.
    pub encoder: Vec<EncoderLayer>,
    /// After them.
    pub encoder_norm: RmsNorm,
    /// The vector that stands after a chunk's positions in the encoder, `[D]`.
    pub cls: Option<Param<Tensor<1>>>,
    /// To landmarks, where they are projected.
    pub landmark_proj: Option<Linear>,
    /// To keys.
    pub k_proj: Linear,
    /// To values.
    pub v_proj: Linear,
    #[module(skip)]
    chunk: usize,
    #[module(skip)]
    heads: [usize; 2],
    #[module(skip)]
    keeping: Keeping,
}

impl Chunking {
    pub(super) fn new(
        hybrid: &HybridConfig,
        own: &ChunkingConfig,
        hidden: usize,
        eps: f64,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let keys = own.kv_heads * own.head_dim;
        let encoder = (0..own.encoder).map(|_| EncoderLayer::new(own, hidden, eps, rng, device));
        let encoder = encoder.collect();
        let cls = (hybrid.landmark == Landmark::Encoder)
            .then(|| parameter([hidden], device, || 0.02 * rng.normal()));
        let to = own.retrieval;
        Chunking {
            encoder,
            encoder_norm: RmsNorm::new(hidden, eps, device),
            cls,
            landmark_proj: to.map(|to| Linear::new(hidden, to, 1.0, rng, device)),
            k_proj: Linear::new(hidden, keys, 1.0, rng, device),
            v_proj: Linear::new(hidden, keys, 1.0, rng, device),
            chunk: hybrid.chunk,
            heads: [own.kv_heads, own.head_dim],
            keeping: Keeping::default(),
        }
    }

    /// Where chunks of texts that are read from now on are kept.
    pub(crate) fn keep(&mut self, keeping: &Keeping) {
        self.keeping = keeping.clone();
    }

    /// How they are kept.
    pub(crate) fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// Positions of a chunk that have keys and values.
    fn span(&self) -> usize {
        match self.cls {
            Some(_) => self.chunk,
            None => self.chunk - 1,
        }
    }

    /// Cuts the stream x, given here normalised, and hands the chunks on.
    pub fn forward(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
        beside: &mut Beside,
    ) -> Result<LayerState, Error> {
        let [batch, time, width] = x.dims();
        let memory = state.and_then(|state| state.memory);
        let memory = memory.unwrap_or_else(|| Memory::new(batch));
        let open = memory.0.first().map_or(0, |own| own.open.len() / width);
        if memory.0.len() != batch || memory.0.iter().any(|own| own.open.len() != open * width) {
            return Err(Error::Tensor(format!(
                "open chunks of {} sequences given to {batch}, expected as many positions in each",
                memory.0.len()
            )));
        }
        let device = x.device().without_autodiff();
        let recorded = x.is_autodiff();
        let x = match open {
            0 => x,
            _ => {
                let data: Vec<f32> = memory.0.iter().flat_map(|own| own.open.clone()).collect();
                let data = TensorData::new(data, [batch, open, width]);
                let before = Tensor::<3>::from_data(data, &device);
                let before = if recorded { before.autodiff() } else { before };
                Tensor::cat(vec![before, x], 1)
            }
        };
        let count = (open + time) / self.chunk;
        let whole = count * self.chunk;
        let rest = open + time - whole;
        let (own, landmarks) = match count {
            0 => (None, None),
            _ => {
                let chunks = x.clone().slice([0..batch, 0..whole, 0..width]);
                let (own, landmarks) = self.encode(chunks, count)?;
                (Some(own), Some(landmarks))
            }
        };
        let [heads, each] = self.heads;
        let layout = Layout {
            landmark: landmarks.as_ref().map_or(0, |l| l.dims()[2]),
            keys: self.span() * heads * each,
            values: self.span() * heads * each,
        };
        let layout = Layout {
            landmark: match &self.landmark_proj {
                Some(proj) => proj.weight.dims()[0],
                None => width,
            },
            ..layout
        };
        let store = |own: &super::memory::Own| match &own.store {
            Some(store) => store.clone(),
            None => Store::new(layout, self.keeping.clone()),
        };
        let stores: Vec<Store> = memory.0.iter().map(store).collect();
        let mut after = None;
        if !recorded {
            let tail = x.slice([
                0..batch,
                whole..whole + rest.max(1).min(open + time - whole),
                0..width,
            ]);
            after = Some(self.remember(
                &stores,
                own.as_ref(),
                landmarks.as_ref(),
                (rest > 0).then_some(tail),
            )?);
        }
        beside.cut = Some(Cut {
            chunk: self.chunk,
            open,
            count,
            own,
            landmarks,
            stores,
            size: [self.span(), heads, each],
        });
        Ok(LayerState {
            recurrence: Vec::new(),
            conv: None,
            memory: after,
        })
    }

    /// Keys and values [B C, S, Hk, d] and landmarks [B, C, W] of complete chunks [B, C S, D].
    fn encode(&self, x: Tensor<3>, count: usize) -> Result<([Tensor<4>; 2], Tensor<3>), Error> {
        let [batch, _, width] = x.dims();
        let all = batch * count;
        let mut e = x.reshape([all, self.chunk, width]);
        if let Some(cls) = &self.cls {
            let cls = cls.val().reshape([1, 1, width]).expand([all, 1, width]);
            e = Tensor::cat(vec![e, cls], 1);
        }
        for layer in &self.encoder {
            e = layer.forward(e)?;
        }
        let e = self.encoder_norm.forward(e)?;
        let span = self.span();
        let landmark = e.clone().slice([0..all, span..span + 1, 0..width]);
        let landmark = match &self.landmark_proj {
            Some(proj) => proj.forward(landmark),
            None => landmark,
        };
        let [_, _, numbers] = landmark.dims();
        let e = e.slice([0..all, 0..span, 0..width]);
        let [heads, each] = self.heads;
        let split = |x: Tensor<3>| x.reshape([all, span, heads, each]);
        let own = [
            split(self.k_proj.forward(e.clone())),
            split(self.v_proj.forward(e)),
        ];
        Ok((own, landmark.reshape([batch, count, numbers])))
    }

    /// The memory after the segment.
    fn remember(
        &self,
        stores: &[Store],
        own: Option<&[Tensor<4>; 2]>,
        landmarks: Option<&Tensor<3>>,
        tail: Option<Tensor<3>>,
    ) -> Result<Memory, Error> {
        let host = |x: Tensor<4>| Ok::<_, Error>(Value::new(x)?.to_host().data);
        let batch = stores.len();
        let mut memory = Memory::new(batch);
        let parts = match (own, landmarks) {
            (Some([k, v]), Some(landmarks)) => {
                let landmarks = Value::new(landmarks.clone())?.to_host().data;
                Some([landmarks, host(k.clone())?, host(v.clone())?])
            }
            _ => None,
        };
        let tail = tail.map(|tail| Ok::<_, Error>(Value::new(tail)?.to_host().data));
        let tail = tail.transpose()?.unwrap_or_default();
        let open = tail.len() / batch;
        for (b, (own, store)) in memory.0.iter_mut().zip(stores).enumerate() {
            let mut store = store.clone();
            if let Some([landmarks, keys, values]) = &parts {
                let layout = store.layout();
                let count = landmarks.len() / layout.landmark / batch;
                for chunk in b * count..(b + 1) * count {
                    let part =
                        |x: &[f32], size: usize| x[chunk * size..(chunk + 1) * size].to_vec();
                    store.push(
                        &part(landmarks, layout.landmark),
                        &part(keys, layout.keys),
                        &part(values, layout.values),
                    )?;
                }
            }
            own.store = Some(store);
            own.open = tail[b * open..(b + 1) * open].to_vec();
        }
        Ok(memory)
    }
}
