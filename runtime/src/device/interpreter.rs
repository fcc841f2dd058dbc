//! The interpreter as a device: f64 inside, and in f64 outside too by [`forward64`] and
//! [`backward64`].
//!
//! It runs every recurrence that types, chunked form or not, one head after the other: the truth
//! to compare with, and never fast.

use super::check::{self, Extent};
use crate::{Call, Device, Error, Forward, Gradients, Kernel, Options, Saved, Sizes, Tensor, View};
use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{forward, gradient};
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::verify::typing;
use std::sync::Arc;

/// The device `interpreter`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

impl Device for Interpreter {
    fn name(&self) -> &str {
        "interpreter"
    }

    fn load(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        _options: &Options,
    ) -> Result<Arc<dyn Kernel>, Error> {
        typing::check(recurrence).map_err(Error::Invalid)?;
        check::sizes(recurrence, sizes)?;
        Ok(Arc::new(Interpreted {
            recurrence: recurrence.clone(),
            sizes: sizes.to_vec(),
        }))
    }
}

/// Runs forward in f64.
pub fn forward64(
    recurrence: &Recurrence,
    sizes: &[usize],
    call: &Call<'_, f64>,
) -> Result<Forward<f64>, Error> {
    run(recurrence, sizes, call)
}

/// The gradients in f64; an absent arriving gradient is zero.
pub fn backward64(
    recurrence: &Recurrence,
    sizes: &[usize],
    call: &Call<'_, f64>,
    d_outputs: &[Option<View<'_, f64>>],
    d_states: &[Option<View<'_, f64>>],
) -> Result<Gradients<f64>, Error> {
    pull(recurrence, sizes, call, d_outputs, d_states)
}

struct Interpreted {
    recurrence: Recurrence,
    sizes: Sizes,
}

impl Kernel for Interpreted {
    fn forward(&self, call: &Call<'_>, _keep: bool) -> Result<Forward, Error> {
        run(&self.recurrence, &self.sizes, call)
    }

    fn backward(
        &self,
        call: &Call<'_>,
        _saved: Option<&Saved>,
        d_outputs: &[Option<View<'_>>],
        d_states: &[Option<View<'_>>],
    ) -> Result<Gradients, Error> {
        pull(&self.recurrence, &self.sizes, call, d_outputs, d_states)
    }

    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error> {
        check::step(&self.recurrence, &self.sizes, call, states)?;
        let whole = Call {
            inputs: call.inputs.clone(),
            params: call.params.clone(),
            states: states.iter().map(|state| Some(state.view())).collect(),
            cu_seqlens: None,
        };
        let run = run(&self.recurrence, &self.sizes, &whole)?;
        for (state, new) in states.iter_mut().zip(run.states) {
            *state = new;
        }
        Ok(run.outputs)
    }
}

/// A type that tensors are stored in.
trait Real: Copy {
    fn widen(self) -> f64;
    fn round(value: f64) -> Self;
}

impl Real for f32 {
    fn widen(self) -> f64 {
        self.into()
    }

    fn round(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn widen(self) -> f64 {
        self
    }

    fn round(value: f64) -> Self {
        value
    }
}

fn widen<T: Real>(view: &View<'_, T>) -> Vec<f64> {
    view.to_tensor().data.into_iter().map(T::widen).collect()
}

/// The arguments of a run in f64, contiguous.
struct Arguments {
    extent: Extent,
    inputs: Vec<Vec<f64>>,
    params: Vec<Vec<f64>>,
    states: Vec<Option<Vec<f64>>>,
    ends: Option<Vec<usize>>,
}

impl Arguments {
    fn new<T: Real>(
        recurrence: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, T>,
    ) -> Result<Self, Error> {
        typing::check(recurrence).map_err(Error::Invalid)?;
        let extent = check::bind(recurrence, sizes, call)?;
        let ends = call
            .cu_seqlens
            .map(|ends| ends.iter().map(|&end| end as usize).collect());
        Ok(Self {
            extent,
            inputs: call.inputs.iter().map(widen).collect(),
            params: call.params.iter().map(widen).collect(),
            states: call
                .states
                .iter()
                .map(|state| state.as_ref().map(widen))
                .collect(),
            ends,
        })
    }

    fn problem<'a>(&'a self, recurrence: &'a Recurrence, sizes: &[usize]) -> Problem<'a> {
        Problem {
            recurrence,
            sizes: sizes.to_vec(),
            batch: self.extent.batch,
            time: self.extent.time,
            heads: self.extent.heads,
            groups: self.extent.groups,
            cu_seqlens: self.ends.clone(),
            inputs: self.inputs.iter().map(Vec::as_slice).collect(),
            params: self.params.iter().map(Vec::as_slice).collect(),
            states: self.states.iter().map(Option::as_deref).collect(),
        }
    }
}

fn run<T: Real>(
    recurrence: &Recurrence,
    sizes: &[usize],
    call: &Call<'_, T>,
) -> Result<Forward<T>, Error> {
    let arguments = Arguments::new(recurrence, sizes, call)?;
    let outcome = forward(&arguments.problem(recurrence, sizes)).map_err(Error::Argument)?;
    let narrow = Narrow {
        sizes,
        extent: arguments.extent,
    };
    Ok(Forward {
        outputs: narrow.all(&recurrence.outputs, outcome.outputs, Narrow::steps),
        states: narrow.all(&recurrence.states, outcome.states, Narrow::state),
        saved: None,
    })
}

fn pull<T: Real>(
    recurrence: &Recurrence,
    sizes: &[usize],
    call: &Call<'_, T>,
    d_outputs: &[Option<View<'_, T>>],
    d_states: &[Option<View<'_, T>>],
) -> Result<Gradients<T>, Error> {
    let arguments = Arguments::new(recurrence, sizes, call)?;
    check::arriving(recurrence, sizes, arguments.extent, d_outputs, d_states)?;
    let all = |views: &[Option<View<'_, T>>]| -> Vec<Option<Vec<f64>>> {
        views.iter().map(|view| view.as_ref().map(widen)).collect()
    };
    let (d_outputs, d_states) = (all(d_outputs), all(d_states));
    let d_outputs: Vec<Option<&[f64]>> = d_outputs.iter().map(Option::as_deref).collect();
    let d_states: Vec<Option<&[f64]>> = d_states.iter().map(Option::as_deref).collect();
    let problem = arguments.problem(recurrence, sizes);
    let gradient = gradient(&problem, &d_outputs, &d_states).map_err(Error::Argument)?;
    let narrow = Narrow {
        sizes,
        extent: arguments.extent,
    };
    Ok(Gradients {
        inputs: narrow.all(&recurrence.inputs, gradient.inputs, Narrow::steps),
        params: narrow.all(&recurrence.params, gradient.params, Narrow::head),
        states: narrow.all(&recurrence.states, gradient.states, Narrow::state),
    })
}

/// From flat f64 results to tensors of the caller's type.
struct Narrow<'a> {
    sizes: &'a [usize],
    extent: Extent,
}

impl Narrow<'_> {
    fn all<T: Real>(
        &self,
        ports: &[Port],
        data: Vec<Vec<f64>>,
        outer: fn(&Self, &Port) -> Vec<usize>,
    ) -> Vec<Tensor<T>> {
        let tensor = |(port, data): (&Port, Vec<f64>)| {
            let mut shape = outer(self, port);
            shape.extend(port.shape.iter().map(|dim| self.sizes[dim.index()]));
            Tensor {
                shape,
                data: data.into_iter().map(T::round).collect(),
            }
        };
        ports.iter().zip(data).map(tensor).collect()
    }

    fn steps(&self, port: &Port) -> Vec<usize> {
        let Extent {
            batch,
            time,
            heads,
            groups,
            ..
        } = self.extent;
        vec![batch, time, if port.per_group { groups } else { heads }]
    }

    fn head(&self, _: &Port) -> Vec<usize> {
        vec![self.extent.heads]
    }

    fn state(&self, _: &Port) -> Vec<usize> {
        vec![self.extent.sequences, self.extent.heads]
    }
}

#[cfg(test)]
mod tests;
