//! A compiled recurrence as one differentiable operation, with its four state ports.
//!
//! State in and state out are ordinary inputs and outputs of the node: the gradient of the state
//! out flows in, that of the state in flows out. Tensors are handed to the kernel as they lie
//! (strided views included) and its results become tensors without a copy.

use super::fault::noted;
use super::flex::{flex, readable, view};
use super::given::{Given, Returned};
use super::node::{ARITY, record};
use super::value::Value;
use crate::Error;
use baton_runtime::{Call, Kernel, Saved, Tensor, View};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use std::sync::Arc;

/// Everything that the backward run reads.
struct Context {
    kernel: Arc<dyn Kernel>,
    inputs: Vec<FlexTensor>,
    params: Vec<FlexTensor>,
    states: Vec<Option<FlexTensor>>,
    cu_seqlens: Option<Arc<[i64]>>,
    saved: Option<Saved>,
    outputs: usize,
}

impl Context {
    fn call(&self) -> Call<'_> {
        Call {
            inputs: self.inputs.iter().map(view).collect(),
            params: self.params.iter().map(view).collect(),
            states: self.states.iter().map(|s| s.as_ref().map(view)).collect(),
            cu_seqlens: self.cu_seqlens.as_deref(),
        }
    }

    fn backward(
        &self,
        arrived: &[Option<FlexTensor>],
    ) -> Result<Vec<Tensor>, baton_runtime::Error> {
        let arrived: Vec<_> = arrived.iter().map(|g| g.as_ref().map(readable)).collect();
        let arrived: Vec<Option<View<'_>>> = arrived.iter().map(|g| g.as_ref().map(view)).collect();
        let (outputs, states) = arrived.split_at(self.outputs);
        let gradients = self
            .kernel
            .backward(&self.call(), self.saved.as_ref(), outputs, states)?;
        let given = self.states.iter().any(Option::is_some);
        let states = if given { gradients.states } else { Vec::new() };
        Ok([gradients.inputs, gradients.params, states].concat())
    }
}

/// Applies a kernel of `state_count` states; everything given may require gradients.
pub fn apply(
    kernel: &Arc<dyn Kernel>,
    state_count: usize,
    given: Given,
) -> Result<Returned, Error> {
    let values: Vec<Value> = given
        .inputs
        .iter()
        .chain(&given.params)
        .chain(given.states.iter().flatten())
        .cloned()
        .collect();
    if values.len() > ARITY {
        return Err(Error::Tensor(format!(
            "a recurrence of {} inputs, params and states: expected at most {ARITY}",
            values.len()
        )));
    }
    if let Some(value) = values.iter().find(|value| !value.on_host()) {
        #[cfg(feature = "cuda")]
        if let Some(raw) = kernel.raw() {
            return super::cuda::apply(raw, given);
        }
        return Err(Error::Tensor(format!(
            "a tensor on {:?} given to a kernel for memory of the host, expected one that was loaded \
             for that device",
            value.device()
        )));
    }
    let readable = |values: &[Value]| values.iter().map(|v| readable(v.flex())).collect();
    let mut context = Context {
        kernel: kernel.clone(),
        inputs: readable(&given.inputs),
        params: readable(&given.params),
        states: match &given.states {
            Some(states) => states
                .iter()
                .map(|s| Some(super::flex::readable(s.flex())))
                .collect(),
            None => vec![None; state_count],
        },
        cu_seqlens: given.cu_seqlens,
        saved: None,
        outputs: 0,
    };
    let keep = values.iter().any(Value::recorded);
    let run = kernel.forward(&context.call(), keep)?;
    context.saved = run.saved;
    context.outputs = run.outputs.len();
    let outputs = context.outputs;
    let count = values.len();
    let results = run.outputs.into_iter().chain(run.states);
    let results = results.map(|t| flex(t.data, &t.shape)).collect();
    let mut results = record(&values, results, move |arrived, _| {
        let found = context.backward(&arrived).map_err(Error::from);
        let tensor = |t: Tensor| Some(flex(t.data, &t.shape));
        noted::<Flex>(
            found.map(|found| found.into_iter().map(tensor).collect()),
            count,
        )
    });
    let states = results.split_off(outputs);
    Ok(Returned {
        outputs: results,
        states,
    })
}
