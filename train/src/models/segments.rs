//! Backpropagation layer by layer through rows that are cut into segments in time: the same gradients in less
//! memory, and on several ranks.
//!
//! The forward runs without a graph and keeps each layer's input and states only; backward, each layer is run again with
//! a graph of its own, and pulls the gradient that arrives from above and, in the states that leave it, from the segment
//! after. The second run repeats the first in every bit: it reads the same inputs and states, and nothing is drawn or
//! observed in it. A layer runs through all segments before the next one does, as whoever runs the segment after waits for
//! the last of them.
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
    // The stream of each segment, and what each layer was entered with.
    let mut streams = Vec::with_capacity(segments.len());
    for (segment, _) in &segments {
        streams.push(plain.embed(segment.ids, segment.shape, segment.packing)?);
    }
    let mut entered = Vec::with_capacity(plain.layers.len());
    for (layer, state) in plain.layers.iter().zip(&mut states) {
        let mut runs = Vec::with_capacity(segments.len());
        for (number, ((segment, _), stream)) in segments.iter().zip(&mut streams).enumerate() {
            let mut passage = Passage::new(state.take(), segment.packing);
            if number == 0 && borders.continues() {
                passage = passage.from(borders, &device);
            }
            if number == last {
                passage = passage.to(borders);
            }
            let y = layer.pass(stream.clone(), &mut passage)?;
            let (before, after) = passage.end();
            runs.push(Entered {
                x: std::mem::replace(stream, y),
                state: before,
            });
            *state = Some(after);
        }
        entered.push(runs);
    }
    // What arrives from above at each segment, its loss and what its weights' gradients come to.
    let (mut arrived, mut found) = (Vec::new(), Vec::new());
    let mut cut = Vec::with_capacity(segments.len());
    for ((segment, loss), x) in segments.into_iter().zip(streams) {
        let mut own = BTreeMap::new();
        let top = x.autodiff().require_grad();
        let logits = model.logits(backbone.read(top.clone())?);
        let [_, _, vocab] = logits.dims();
        let [rows, length] = segment.shape;
        let loss = loss(logits.reshape([rows, length, vocab]))?;
        let value = scalar(&loss)?;
        arrived.push(of(&top, &mut pull(model, &mut own, loss)?)?);
        found.push((value, own));
        cut.push(segment);
    }
    for (layer, runs) in backbone.layers.iter().zip(entered).rev() {
        // The gradients in the states that a segment leaves.
        let mut after: Option<Vec<Value>> = None;
        for (number, Entered { x, state }) in runs.into_iter().enumerate().rev() {
            let x = x.autodiff().require_grad();
            let begins = number == 0 && !borders.continues();
            let leaves = match &state {
                Some(state) if !begins => Some(Leaves::new(state)?),
                _ => None,
            };
            let state = leaves.as_ref().map(|leaves| leaves.state.clone()).or(state);
            let (y, left) = layer.forward(x.clone(), state, cut[number].packing)?;
            // What the rank after this one hands back is asked for when nothing is left to do without it.
            if number == last
                && let Some(gradients) = borders.arrive()
            {
                let gradients = gradients.into_iter();
                after = Some(gradients.map(|g| Value::from_host(g).on(&device)).collect());
            }
            // The gradient of these sums in what leaves the layer is what arrived, to the bit.
            let mut product = (y * arrived[number].clone()).sum();
            for (left, gradient) in left.values().zip(after.take().iter().flatten()) {
                product = product + (flat(left)? * flat(gradient)?).sum();
            }
            let mut all = pull(model, &mut found[number].1, product)?;
            arrived[number] = of(&x, &mut all)?;
            if let Some(leaves) = leaves {
                let gradients = leaves.gradients(&mut all)?;
                match number {
                    0 => borders.hand_back(&gradients),
                    _ => after = Some(gradients),
                }
            }
        }
    }
    let mut parts = Vec::with_capacity(cut.len());
    for ((segment, arrived), (value, mut own)) in cut.into_iter().zip(arrived).zip(found) {
        let x = backbone.embed(segment.ids, segment.shape, segment.packing)?;
        pull(model, &mut own, (x * arrived).sum())?;
        let gradients = names(model).into_iter().filter_map(|name| {
            let value = own.remove(&name)?;
            Some(Parameter { name, value })
        });
        parts.push((value, gradients.collect()));
    }
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
