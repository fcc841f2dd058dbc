//! A language model of bytes around a recurrence of its own.

use baton::burn::module::{Module, Param};
use baton::burn::tensor::TensorData;
use baton::burn::{self, Tensor};
use baton::data::rng::{Purpose, Rng};
use baton::train::models::{Compiled, Embedding, LayerState, Linear, Recurrent, RmsNorm, States};
use baton::train::{Error, op};

baton::recurrence! {
    /// A memory that forgets by what it reads, each head at a pace of its own.
    recurrence pages {
        dims   { K, V }
        inputs { q: [K], k: [K], v: [V], forget: [] }
        params { pace: [] }
        state  { S: [K, V] }
        S = sigmoid(forget + pace) * S + outer(l2norm(k), v);
        output o: [V] = dot(l2norm(q), S);
    }
}

pub const LAYERS: usize = 2;
pub const HEADS: usize = 2;
pub const SIZES: pages::Sizes = pages::Sizes { K: 8, V: 16 };
const WIDTH: usize = 32;

#[derive(Module, Debug)]
struct Layer {
    norm: RmsNorm,
    /// The stream to q, k, v and forget of all heads.
    into: Linear,
    /// [HEADS].
    pace: Param<Tensor<1>>,
    back: Linear,
    #[module(skip)]
    pages: Compiled<pages::Definition>,
}

impl Layer {
    /// [B, T, D] and the state before it to [B, T, D] and the state after it.
    fn forward(
        &self,
        x: Tensor<3>,
        before: Option<LayerState>,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        let [batch, time, _] = x.dims();
        let (k, v) = (SIZES.K, SIZES.V);
        let all = self.into.forward(self.norm.forward(x.clone())?);
        let columns: [&[usize]; 4] = [&[HEADS, k], &[HEADS, k], &[HEADS, v], &[HEADS]];
        let parts = op::split(all, &columns)?.try_into();
        let [q, k, v, forget]: [op::Value; 4] = parts.expect("as many as columns");
        let inputs = pages::Inputs {
            q: q.tensor()?,
            k: k.tensor()?,
            v: v.tensor()?,
            forget: forget.tensor()?,
        };
        let params = pages::Params {
            pace: self.pace.val(),
        };
        let before = before.map(|state| state.recurrence);
        let (outputs, recurrence) = self.pages.apply(inputs, params, before)?;
        let y = self
            .back
            .forward(outputs.o.reshape([batch, time, HEADS * SIZES.V]));
        let after = LayerState {
            recurrence,
            ..LayerState::default()
        };
        Ok((x + y, after))
    }
}

/// The model; its fields' names are the names of its weights.
#[derive(Module, Debug)]
pub struct Model {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
}

impl Model {
    /// With fresh weights drawn from `seed`, its recurrences on `target`.
    pub fn new(target: &dyn baton::Device, seed: u64) -> Result<Self, Error> {
        let (k, v) = (SIZES.K, SIZES.V);
        let device = &op::device(target)?.autodiff();
        let rng = &mut Rng::at(seed, Purpose::Weights, 0);
        let mut layer = || {
            Ok(Layer {
                norm: RmsNorm::new(WIDTH, 1e-5, device),
                into: Linear::new(WIDTH, HEADS * (2 * k + v + 1), 1.0, rng, device),
                pace: Param::from_data(TensorData::from([2.0f32, 5.0]), device),
                back: Linear::new(HEADS * v, WIDTH, 0.5, rng, device),
                pages: Compiled::new(target, SIZES)?,
            })
        };
        Ok(Model {
            layers: (0..LAYERS).map(|_| layer()).collect::<Result<_, Error>>()?,
            embedding: Embedding::new(256, WIDTH, 0.1, rng, device),
            norm: RmsNorm::new(WIDTH, 1e-5, device),
        })
    }
}

impl Recurrent for Model {
    fn hidden(
        &self,
        ids: &[u32],
        shape: [usize; 2],
        states: Option<States>,
    ) -> Result<(Tensor<3>, States), Error> {
        let mut x = self.embedding.forward(ids, shape)?;
        let mut after = States::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let before = states.as_ref().map(|states| states[i].clone());
            let (y, state) = layer.forward(x, before)?;
            x = y;
            after.push(state);
        }
        Ok((self.norm.forward(x)?, after))
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.embedding.logits(hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton::train::models::gradients;
    use baton::train::op::{backward, cross_entropy};

    /// Whatever a model does between two segments, it must be what it does between two tokens.
    #[test]
    fn gradients_go_through_the_states_between_segments() -> Result<(), Error> {
        let model = Model::new(&baton::Cpu::new(None)?, 1)?;
        let ids: Vec<u32> = (0..64).map(|i| i * i % 251).collect();
        let pulled = |cut: usize| {
            let (first, states) = model.forward(&ids[..cut], [1, cut], None)?;
            let (rest, _) = model.forward(&ids[cut..], [1, 64 - cut], Some(states))?;
            let loss = cross_entropy(Tensor::cat(vec![first, rest], 1), vec![7; 64])?;
            Ok::<_, Error>(gradients(&model, &mut backward(&loss)?))
        };
        for (a, b) in pulled(32)?.iter().zip(pulled(13)?) {
            let largest = b
                .value
                .data
                .iter()
                .fold(0.0f32, |most, x| most.max(x.abs()));
            let pairs = a.value.data.iter().zip(&b.value.data);
            let worst = pairs.fold(0.0f32, |most, (x, y)| most.max((x - y).abs()));
            assert!(
                largest > 0.0 && worst <= 1e-4 * largest,
                "{}: {worst} of {largest}",
                a.name
            );
        }
        Ok(())
    }
}
