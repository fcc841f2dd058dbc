//! Loss and gradients of one batch, and gradient checkpointing: the same gradients in less memory.
//!
//! A graph over the whole model keeps what every layer needs for its backward. With recomputation
//! the forward runs without a graph and keeps each layer's input and states only; backward, each
//! layer is run again with a graph of its own, from the last to the first, and pulls the gradient
//! that arrives from above. The second run repeats the first in every bit: it reads the same
//! inputs and states, and nothing is drawn or observed in it. So losses, final states and
//! gradients have the same bits with and without it.

use super::{LanguageModel, Parameter, States, gradients, parameters::names};
use crate::Error;
use crate::op::{Packing, Value, backward};
use burn::Tensor;
use burn::module::Module;
use std::collections::BTreeMap;

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
        if recompute {
            return self.recomputed(model, loss);
        }
        let (logits, finals) =
            model.forward_packed(self.ids, self.shape, self.states, self.packing)?;
        let loss = loss(logits)?;
        Ok(Passed {
            loss: scalar(&loss)?,
            finals: finals.iter().map(|state| state.detach()).collect(),
            gradients: gradients(model, &mut backward(&loss)?),
        })
    }

    fn recomputed(
        self,
        model: &LanguageModel,
        loss: impl FnOnce(Tensor<3>) -> Result<Tensor<1>, Error>,
    ) -> Result<Passed, Error> {
        let (backbone, plain) = (&model.backbone, model.valid().backbone);
        let before = model.each_layer(self.states)?;
        let mut entered = Vec::with_capacity(before.len());
        let mut finals = Vec::with_capacity(before.len());
        let mut x = plain.embed(self.ids, self.shape, self.packing)?;
        for (layer, state) in plain.layers.iter().zip(&before) {
            let (y, after) = layer.forward(x.clone(), state.clone(), self.packing)?;
            entered.push(x);
            finals.push(after);
            x = y;
        }
        let mut found = BTreeMap::new();
        let top = x.autodiff().require_grad();
        let logits = model.logits(backbone.read(top.clone())?);
        let [_, _, vocab] = logits.dims();
        let loss = loss(logits.reshape([self.shape[0], self.shape[1], vocab]))?;
        let value = scalar(&loss)?;
        let unreached = || Error::Tensor("the loss does not depend on the logits".into());
        let mut arrived = pull(model, &mut found, loss, Some(&top))?.ok_or_else(unreached)?;
        for ((layer, x), state) in backbone.layers.iter().zip(entered).zip(before).rev() {
            let x = x.autodiff().require_grad();
            let (y, _) = layer.forward(x.clone(), state, self.packing)?;
            // The gradient of this sum in what leaves the layer is what arrived, to the bit.
            let product = (y * arrived).sum();
            arrived = pull(model, &mut found, product, Some(&x))?.ok_or_else(unreached)?;
        }
        let x = backbone.embed(self.ids, self.shape, self.packing)?;
        pull(model, &mut found, (x * arrived).sum(), None)?;
        let gradients = names(model).into_iter().filter_map(|name| {
            let value = found.remove(&name)?;
            Some(Parameter { name, value })
        });
        Ok(Passed {
            loss: value,
            gradients: gradients.collect(),
            finals,
        })
    }
}

/// Runs backward from `from`, adds the weights' gradients to `found` and returns that of `leaf`.
fn pull(
    model: &LanguageModel,
    found: &mut BTreeMap<String, baton_runtime::Tensor>,
    from: Tensor<1>,
    leaf: Option<&Tensor<3>>,
) -> Result<Option<Tensor<3>>, Error> {
    let mut all = backward(&from)?;
    for Parameter { name, value } in gradients(model, &mut all) {
        match found.get_mut(&name) {
            Some(sum) => {
                let pairs = sum.data.iter_mut().zip(value.data);
                pairs.for_each(|(sum, more)| *sum += more);
            }
            None => {
                found.insert(name, value);
            }
        }
    }
    Ok(leaf.and_then(|leaf| leaf.grad_remove(&mut all)))
}

fn scalar(loss: &Tensor<1>) -> Result<f32, Error> {
    let value = Value::new(loss.clone())?.to_host().data;
    let none = || Error::Tensor("an empty loss given, expected a scalar".into());
    value.first().copied().ok_or_else(none)
}
