//! Recurrences with named fields on Burn tensors: the typed face of [`apply`](super::apply).
//!
//! `recurrence!` makes a [`Definition`] whose structs are generic in a [`Family`] of tensors. With
//! [`Burn`] as the family, the same definition that runs on host memory trains: a model fills the
//! struct of inputs by field name and gets outputs and states by field name.

use super::given::Given;
use super::packing::Packing;
use super::recurrence;
use super::value::Value;
use crate::Error;
use baton_runtime::Kernel;
use baton_runtime::typed::{Definition, Family, Fields};
use std::sync::Arc;

/// The family of Burn's float tensors.
pub struct Burn;

impl Family for Burn {
    type Tensor<const D: usize> = burn::Tensor<D>;
    type Any = Result<Value, Error>;

    fn erase<const D: usize>(tensor: burn::Tensor<D>) -> Self::Any {
        Value::new(tensor)
    }

    fn typed<const D: usize>(tensor: Self::Any) -> burn::Tensor<D> {
        tensor
            .and_then(Value::tensor)
            .expect("a kernel returns its ports in the ranks of their declaration")
    }
}

/// Outputs and states out of a recurrence, by name.
pub struct Applied<D: Definition> {
    /// Outputs by name.
    pub outputs: D::Outputs<Burn>,
    /// States out by name.
    pub states: D::States<Burn>,
}

/// Applies a kernel of `D` to named tensors; absent states are zero. Gradients flow to inputs,
/// params and states in, and from outputs and states out.
pub fn apply<D: Definition>(
    kernel: &Arc<dyn Kernel>,
    inputs: D::Inputs<Burn>,
    params: D::Params<Burn>,
    states: Option<D::States<Burn>>,
) -> Result<Applied<D>, Error> {
    apply_packed(kernel, inputs, params, states, None)
}

/// As [`apply`]; with `packing` the inputs are one row of its sequences, each with its own state.
pub fn apply_packed<D: Definition>(
    kernel: &Arc<dyn Kernel>,
    inputs: D::Inputs<Burn>,
    params: D::Params<Burn>,
    states: Option<D::States<Burn>>,
    packing: Option<&Packing>,
) -> Result<Applied<D>, Error> {
    let values = |tensors: Vec<Result<Value, Error>>| tensors.into_iter().collect();
    let returned = recurrence::apply(
        kernel,
        <D::States<Burn> as Fields<Burn>>::NAMES.len(),
        Given {
            inputs: values(inputs.into_vec())?,
            params: values(params.into_vec())?,
            states: states.map(|states| values(states.into_vec())).transpose()?,
            cu_seqlens: packing.map(Packing::offsets),
        },
    )?;
    Ok(Applied {
        outputs: Fields::from_vec(returned.outputs.into_iter().map(Ok).collect()),
        states: Fields::from_vec(returned.states.into_iter().map(Ok).collect()),
    })
}
