//! Recurrences with named fields: what `recurrence!` expands to stands on these traits.
//!
//! A [`Definition`] says its tensors as structs of named fields, generic in a [`Family`] of
//! tensors: [`Host`] here, an automatic-differentiation framework's in `baton-train`. So one
//! definition serves plain runs and training, and nothing is written twice.
//!
//! The functions of this module find the sizes of the dims in the tensors that they are given;
//! the device's cache makes loading again cheap. [`load`] does both once, for a loop of steps.

use crate::device::check;
use crate::{Call, Device, Error, Kernel, Options, Saved, Tensor, View};
pub use baton_ir::recurrence::Recurrence;
use baton_ir::text;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

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
#[derive(Clone, Copy, Debug)]
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
pub trait Definition: Sized {
    /// Its name.
    const NAME: &'static str;
    /// Its text, canonical.
    const TEXT: &'static str;
    /// Sizes of the dims by name; in order as a vector.
    type Sizes: Into<Vec<usize>>;
    /// Inputs by name.
    type Inputs<F: Family>: Fields<F>;
    /// Params by name.
    type Params<F: Family>: Fields<F>;
    /// States by name.
    type States<F: Family>: Fields<F>;
    /// Outputs by name.
    type Outputs<F: Family>: Fields<F>;
    /// The recurrence that the text says.
    fn recurrence() -> &'static Recurrence;
}

/// Reads the text of a definition.
///
/// # Panics
/// When the text does not parse; the macro has parsed it when it expanded.
pub fn read(definition: &str) -> Recurrence {
    text::parse(definition)
        .unwrap_or_else(|errors| panic!("{}", text::render("definition", definition, &errors)))
}

/// Outputs and states of a typed run.
pub struct Run<D: Definition> {
    /// Outputs by name.
    pub outputs: D::Outputs<Host>,
    /// States by name.
    pub states: D::States<Host>,
}

/// Gradients of everything that was given to a typed run.
pub struct Gradients<D: Definition> {
    /// Of the inputs.
    pub inputs: D::Inputs<Host>,
    /// Of the params.
    pub params: D::Params<Host>,
    /// Of the states in; also where they were absent.
    pub states: D::States<Host>,
}

/// What a run was given and keeps for its gradient.
pub struct Tape<D: Definition> {
    loaded: Loaded<D>,
    given: Given,
    saved: Option<Saved>,
}

/// A recurrence loaded for certain sizes of its dims.
pub struct Loaded<D: Definition> {
    kernel: Arc<dyn Kernel>,
    definition: PhantomData<fn() -> D>,
}

/// The arguments of a run, in order.
struct Given {
    inputs: Vec<Tensor>,
    params: Vec<Tensor>,
    states: Option<Vec<Tensor>>,
    cu_seqlens: Option<Vec<i64>>,
}

impl Given {
    fn new<D: Definition>(
        inputs: D::Inputs<Host>,
        params: D::Params<Host>,
        states: Option<D::States<Host>>,
        cu_seqlens: Option<&[i64]>,
    ) -> Self {
        Given {
            inputs: inputs.into_vec(),
            params: params.into_vec(),
            states: states.map(Fields::into_vec),
            cu_seqlens: cu_seqlens.map(<[i64]>::to_vec),
        }
    }

    fn call<D: Definition>(&self) -> Call<'_> {
        Call {
            inputs: self.inputs.iter().map(Tensor::view).collect(),
            params: self.params.iter().map(Tensor::view).collect(),
            states: match &self.states {
                Some(states) => states.iter().map(|s| Some(s.view())).collect(),
                None => vec![None; <D::States<Host> as Fields<Host>>::NAMES.len()],
            },
            cu_seqlens: self.cu_seqlens.as_deref(),
        }
    }
}

/// Loads `D` for sizes given by name.
pub fn load<D: Definition>(device: &dyn Device, sizes: D::Sizes) -> Result<Loaded<D>, Error> {
    load_for(device, &sizes.into(), &Options::default())
}

fn load_for<D: Definition>(
    device: &dyn Device,
    sizes: &[usize],
    options: &Options,
) -> Result<Loaded<D>, Error> {
    Ok(Loaded {
        kernel: device.load(D::recurrence(), sizes, options)?,
        definition: PhantomData,
    })
}

fn infer<D: Definition>(device: &dyn Device, given: &Given) -> Result<Loaded<D>, Error> {
    let sizes = check::infer_sizes(D::recurrence(), &given.call::<D>())?;
    load_for(device, &sizes, &Options::default())
}

/// Runs `D` forward; `None` is the zero state.
pub fn forward<D: Definition>(
    device: &dyn Device,
    inputs: D::Inputs<Host>,
    params: D::Params<Host>,
    states: Option<D::States<Host>>,
) -> Result<Run<D>, Error> {
    let given = Given::new::<D>(inputs, params, states, None);
    Ok(infer::<D>(device, &given)?.run(&given, false)?.0)
}

/// Runs `D` forward and keeps what its gradient needs.
pub fn record<D: Definition>(
    device: &dyn Device,
    inputs: D::Inputs<Host>,
    params: D::Params<Host>,
    states: Option<D::States<Host>>,
) -> Result<(Run<D>, Tape<D>), Error> {
    let given = Given::new::<D>(inputs, params, states, None);
    infer::<D>(device, &given)?.taped(given)
}

/// The gradients of a run of `D`, from those of its outputs and states out; `None` is zero.
/// Nothing of the forward run is needed: the entering states are rebuilt.
pub fn backward<D: Definition>(
    device: &dyn Device,
    inputs: D::Inputs<Host>,
    params: D::Params<Host>,
    states: Option<D::States<Host>>,
    d_outputs: Option<D::Outputs<Host>>,
    d_states: Option<D::States<Host>>,
) -> Result<Gradients<D>, Error> {
    let given = Given::new::<D>(inputs, params, states, None);
    infer::<D>(device, &given)?.pull(&given, None, d_outputs, d_states)
}

/// One time step (T = 1) of `D` from and to the states.
pub fn step<D: Definition>(
    device: &dyn Device,
    inputs: D::Inputs<Host>,
    params: D::Params<Host>,
    states: D::States<Host>,
) -> Result<Run<D>, Error> {
    let given = Given::new::<D>(inputs, params, Some(states), None);
    infer::<D>(device, &given)?.stepped(given)
}

impl<D: Definition> Loaded<D> {
    /// Runs forward; `None` is the zero state. With `cu_seqlens` the batch holds one row of
    /// packed sequences, and each has its own state.
    pub fn forward(
        &self,
        inputs: D::Inputs<Host>,
        params: D::Params<Host>,
        states: Option<D::States<Host>>,
        cu_seqlens: Option<&[i64]>,
    ) -> Result<Run<D>, Error> {
        let given = Given::new::<D>(inputs, params, states, cu_seqlens);
        Ok(self.run(&given, false)?.0)
    }

    /// Runs forward as [`forward`](Self::forward) and keeps what the gradient needs.
    pub fn record(
        &self,
        inputs: D::Inputs<Host>,
        params: D::Params<Host>,
        states: Option<D::States<Host>>,
        cu_seqlens: Option<&[i64]>,
    ) -> Result<(Run<D>, Tape<D>), Error> {
        let given = Given::new::<D>(inputs, params, states, cu_seqlens);
        self.clone().taped(given)
    }

    /// One time step (T = 1) from and to the states.
    pub fn step(
        &self,
        inputs: D::Inputs<Host>,
        params: D::Params<Host>,
        states: D::States<Host>,
    ) -> Result<Run<D>, Error> {
        self.stepped(Given::new::<D>(inputs, params, Some(states), None))
    }

    fn run(&self, given: &Given, keep: bool) -> Result<(Run<D>, Option<Saved>), Error> {
        let run = self.kernel.forward(&given.call::<D>(), keep)?;
        let typed = Run {
            outputs: Fields::from_vec(run.outputs),
            states: Fields::from_vec(run.states),
        };
        Ok((typed, run.saved))
    }

    fn taped(self, given: Given) -> Result<(Run<D>, Tape<D>), Error> {
        let (run, saved) = self.run(&given, true)?;
        let tape = Tape {
            loaded: self,
            given,
            saved,
        };
        Ok((run, tape))
    }

    fn pull(
        &self,
        given: &Given,
        saved: Option<&Saved>,
        d_outputs: Option<D::Outputs<Host>>,
        d_states: Option<D::States<Host>>,
    ) -> Result<Gradients<D>, Error> {
        let d_outputs = d_outputs.map(Fields::into_vec);
        let d_states = d_states.map(Fields::into_vec);
        let gradients = self.kernel.backward(
            &given.call::<D>(),
            saved,
            &views(&d_outputs, <D::Outputs<Host> as Fields<Host>>::NAMES.len()),
            &views(&d_states, <D::States<Host> as Fields<Host>>::NAMES.len()),
        )?;
        Ok(Gradients {
            inputs: Fields::from_vec(gradients.inputs),
            params: Fields::from_vec(gradients.params),
            states: Fields::from_vec(gradients.states),
        })
    }

    fn stepped(&self, mut given: Given) -> Result<Run<D>, Error> {
        let mut states = given.states.take().unwrap_or_default();
        let outputs = self.kernel.step(&given.call::<D>(), &mut states)?;
        Ok(Run {
            outputs: Fields::from_vec(outputs),
            states: Fields::from_vec(states),
        })
    }
}

impl<D: Definition> Tape<D> {
    /// The gradients of what was given, from those of the outputs and of the states out; `None`
    /// is zero.
    pub fn backward(
        &self,
        d_outputs: Option<D::Outputs<Host>>,
        d_states: Option<D::States<Host>>,
    ) -> Result<Gradients<D>, Error> {
        let saved = self.saved.as_ref();
        self.loaded.pull(&self.given, saved, d_outputs, d_states)
    }
}

fn views(tensors: &Option<Vec<Tensor>>, count: usize) -> Vec<Option<View<'_>>> {
    match tensors {
        Some(tensors) => tensors.iter().map(|tensor| Some(tensor.view())).collect(),
        None => vec![None; count],
    }
}

impl<D: Definition> Clone for Loaded<D> {
    fn clone(&self) -> Self {
        Loaded {
            kernel: self.kernel.clone(),
            definition: PhantomData,
        }
    }
}

impl<D: Definition> fmt::Debug for Loaded<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loaded({})", D::NAME)
    }
}
