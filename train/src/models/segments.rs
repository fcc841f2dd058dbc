//! Backpropagation layer by layer through rows that are cut into segments in time: the same gradients in less
//! memory, and on several ranks.
//!
//! The forward runs without a graph and keeps each layer's input and states only; backward, each layer is run again with
//! a graph of its own, from the last segment to the first and from the last layer to the first, and pulls the gradient
//! that arrives from above and, in the states that leave it, from the segment after. The second run repeats the first in
//! every bit: it reads the same inputs and states, and nothing is drawn or observed in it.
//!
//! What lies before the first segment here and after the last is behind [`Borders`]. They are asked state by state of each
//! layer, so that whoever runs the segment before is one recurrence ahead and not one model: several ranks work at once.

use super::parameters::names;
use super::passage::{Borders, Passage};
use super::{LanguageModel, LayerState, Parameter, States, gradients};
use crate::Error;
use crate::op::{Packing, Value, backward};
use burn::Tensor;
use burn::module::Module;
use burn::tensor::Gradients;
use std::collections::BTreeMap;

/// A segment of all rows.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Tokens, [B, T] in row order.
    pub ids: &'a [u32],
    /// [B, T].
    pub shape: [usize; 2],
    /// Documents inside of the rows, or at their beginnings.
    pub packing: Option<&'a Packing>,
}

/// What a segment gives: its loss, and the gradient of every weight that has one, in the order of the model.
pub type Part = (f32, Vec<Parameter>);

/// A layer's run, to be run again.
struct Entered {
    x: Tensor<3>,
    state: Option<LayerState>,
}

/// Forward and backward through `segments`, which follow each other from `states`, each with the loss of its logits
/// [B, T, V]. Gives what each comes to, and the states after the last.
pub fn run<L>(
    model: &LanguageModel,
    segments: Vec<(Segment<'_>, L)>,
    states: Option<States>,
    borders: &dyn Borders,
) -> Result<(Vec<Part>, States), Error>
where
    L: FnOnce(Tensor<3>) -> Result<Tensor<1>, Error>,
{
    if model.is_hybrid() {
        return Err(Error::Config(
            "layers run by themselves (recompute, segments) asked of a hybrid model, expected neither: its layers \
             hand on more than the stream"
                .into(),
        ));
    }
    let (backbone, plain) = (&model.backbone, model.valid().backbone);
    let last = segments.len().saturating_sub(1);
    let device = backbone.embeddings.weight.val().device().without_autodiff();
    let mut states = model.each_layer(states)?;
    let mut runs = Vec::with_capacity(segments.len());
    for (number, (segment, _)) in segments.iter().enumerate() {
        let mut x = plain.embed(segment.ids, segment.shape, segment.packing)?;
        let mut entered = Vec::with_capacity(plain.layers.len());
        for (i, layer) in plain.layers.iter().enumerate() {
            let mut passage = Passage::new(states[i].take(), segment.packing);
            if number == 0 && borders.continues() {
                passage = passage.from(borders, &device);
            }
            if number == last {
                passage = passage.to(borders);
            }
            let y = layer.pass(x.clone(), &mut passage)?;
            let (state, after) = passage.end();
            entered.push(Entered { x, state });
            (x, states[i]) = (y, Some(after));
        }
        runs.push((entered, x));
    }
    // The gradients in the states that each layer leaves.
    let mut after: Vec<Option<Vec<Value>>> = vec![None; backbone.layers.len()];
    let mut parts = Vec::with_capacity(segments.len());
    let runs = segments.into_iter().zip(runs).enumerate().rev();
    for (number, ((segment, loss), (entered, x))) in runs {
        let mut found = BTreeMap::new();
        let top = x.autodiff().require_grad();
        let logits = model.logits(backbone.read(top.clone())?);
        let [_, _, vocab] = logits.dims();
        let [rows, length] = segment.shape;
        let loss = loss(logits.reshape([rows, length, vocab]))?;
        let value = scalar(&loss)?;
        let mut arrived = of(&top, &mut pull(model, &mut found, loss)?)?;
        for (i, (layer, Entered { x, state })) in
            backbone.layers.iter().zip(entered).enumerate().rev()
        {
            let x = x.autodiff().require_grad();
            let begins = number == 0 && !borders.continues();
            let leaves = match &state {
                Some(state) if !begins => Some(Leaves::new(state)?),
                _ => None,
            };
            let state = leaves.as_ref().map(|leaves| leaves.state.clone()).or(state);
            let (y, left) = layer.forward(x.clone(), state, segment.packing)?;
            // What the rank after this one hands back is asked for when nothing is left to do without it.
            if number == last
                && let Some(gradients) = borders.arrive()
            {
                let gradients = gradients.into_iter();
                after[i] = Some(gradients.map(|g| Value::from_host(g).on(&device)).collect());
            }
            // The gradient of these sums in what leaves the layer is what arrived, to the bit.
            let mut product = (y * arrived).sum();
            for (left, gradient) in left.values().zip(after[i].take().iter().flatten()) {
                product = product + (flat(left)? * flat(gradient)?).sum();
            }
            let mut all = pull(model, &mut found, product)?;
            arrived = of(&x, &mut all)?;
            if let Some(leaves) = leaves {
                let gradients = leaves.gradients(&mut all)?;
                match number {
                    0 => borders.hand_back(&gradients),
                    _ => after[i] = Some(gradients),
                }
            }
        }
        let x = backbone.embed(segment.ids, segment.shape, segment.packing)?;
        pull(model, &mut found, (x * arrived).sum())?;
        let gradients = names(model).into_iter().filter_map(|name| {
            let value = found.remove(&name)?;
            Some(Parameter { name, value })
        });
        parts.push((value, gradients.collect()));
    }
    parts.reverse();
    Ok((parts, states.into_iter().flatten().collect()))
}

/// States that gradients are asked for.
struct Leaves {
    state: LayerState,
    /// The elements of each state, in the order of [`LayerState::values`].
    flat: Vec<Tensor<1>>,
}

impl Leaves {
    fn new(state: &LayerState) -> Result<Self, Error> {
        let mut all = Vec::new();
        let state = state.map(|value: &Value| {
            let leaf = flat(value)?.autodiff().require_grad();
            all.push(leaf.clone());
            Ok(Value::new(leaf)?.reshape(&value.shape()))
        })?;
        Ok(Leaves { state, flat: all })
    }

    /// The gradient in each, zero where nothing came back.
    fn gradients(self, all: &mut Gradients) -> Result<Vec<Value>, Error> {
        let leaves = self.flat.iter().zip(self.state.values());
        let gradients = leaves.map(|(leaf, value)| {
            let gradient = leaf.grad_remove(all);
            let zeros = || Tensor::zeros(leaf.dims(), &leaf.device().without_autodiff());
            Ok(Value::new(gradient.unwrap_or_else(zeros))?.reshape(&value.shape()))
        });
        gradients.collect()
    }
}

fn flat(value: &Value) -> Result<Tensor<1>, Error> {
    let elements = value.shape().iter().product();
    value.clone().reshape(&[elements]).tensor()
}

/// Runs backward from `from` and adds the weights' gradients to `found`.
fn pull(
    model: &LanguageModel,
    found: &mut BTreeMap<String, baton_runtime::Tensor>,
    from: Tensor<1>,
) -> Result<Gradients, Error> {
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
    Ok(all)
}

fn of(leaf: &Tensor<3>, all: &mut Gradients) -> Result<Tensor<3>, Error> {
    let unreached = || Error::Tensor("the loss does not depend on the logits".into());
    leaf.grad_remove(all).ok_or_else(unreached)
}

pub(super) fn scalar(loss: &Tensor<1>) -> Result<f32, Error> {
    let value = Value::new(loss.clone())?.to_host().data;
    let none = || Error::Tensor("an empty loss given, expected a scalar".into());
    value.first().copied().ok_or_else(none)
}
