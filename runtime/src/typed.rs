//! Recurrences with named fields: what `recurrence!` expands to stands on these traits.
//!
//! A [`Definition`] says its tensors as structs of named fields, generic in a [`Family`] of
//! tensors: [`Host`] here, an automatic-differentiation framework's in `baton-train`. So one
//! definition serves plain runs and training, and nothing is written twice.

use crate::{Call, Error, Kernel, Tensor};

/// A family of tensors indexed by their rank.
pub trait Family {
    /// A tensor of rank D.
    type Tensor<const D: usize>;
    /// A tensor whose rank is known at run time.
    type Any;
    /// Forgets the rank.
    fn erase<const D: usize>(tensor: Self::Tensor<D>) -> Self::Any;
    /// Remembers the rank; the caller knows that it fits.
    fn typed<const D: usize>(tensor: Self::Any) -> Self::Tensor<D>;
}

/// The tensors of the host; a rank is only documentation here, and shapes are checked by the run.
pub struct Host;

impl Family for Host {
    type Tensor<const D: usize> = Tensor;
    type Any = Tensor;
    fn erase<const D: usize>(tensor: Tensor) -> Tensor {
        tensor
    }
    fn typed<const D: usize>(tensor: Tensor) -> Tensor {
        tensor
    }
}

/// A struct of tensors with named fields, in order of declaration.
pub trait Fields<F: Family> {
    /// The field names.
    const NAMES: &'static [&'static str];
    /// The tensors in order.
    fn into_vec(self) -> Vec<F::Any>;
    /// The struct from tensors in order; `from.len()` is the number of names.
    fn from_vec(from: Vec<F::Any>) -> Self;
}

/// A recurrence that was said by macro.
pub trait Definition {
    /// Its text, canonical.
    const TEXT: &'static str;
    /// Inputs by name.
    type Inputs<F: Family>: Fields<F>;
    /// Params by name.
    type Params<F: Family>: Fields<F>;
    /// States by name.
    type States<F: Family>: Fields<F>;
    /// Outputs by name.
    type Outputs<F: Family>: Fields<F>;
}

/// Outputs and states of a typed run.
pub struct Run<D: Definition> {
    /// Outputs by name.
    pub outputs: D::Outputs<Host>,
    /// States by name.
    pub states: D::States<Host>,
}

/// Runs a kernel of `D` forward on named tensors; `None` is the zero state.
pub fn forward<D: Definition>(
    kernel: &dyn Kernel,
    inputs: D::Inputs<Host>,
    params: D::Params<Host>,
    states: Option<D::States<Host>>,
) -> Result<Run<D>, Error> {
    let (inputs, params) = (inputs.into_vec(), params.into_vec());
    let states = states.map(Fields::into_vec);
    let call = Call {
        inputs: inputs.iter().map(Tensor::view).collect(),
        params: params.iter().map(Tensor::view).collect(),
        states: match &states {
            Some(states) => states.iter().map(|s| Some(s.view())).collect(),
            None => vec![None; <D::States<Host> as Fields<Host>>::NAMES.len()],
        },
        cu_seqlens: None,
    };
    let run = kernel.forward(&call, false)?;
    Ok(Run {
        outputs: Fields::from_vec(run.outputs),
        states: Fields::from_vec(run.states),
    })
}
