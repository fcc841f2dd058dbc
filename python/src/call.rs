//! One call: the runtime between arguments and results by name, without the interpreter's lock.

use crate::arguments::{Arguments, views};
use crate::array::{Array, Number, Precision, owned};
use crate::definition::Definition;
use crate::device;
use crate::failure::{guarded, package};
use crate::watch::watched;
use baton_ir::recurrence::{Port, Recurrence};
use baton_runtime::device::check::infer_sizes;
use baton_runtime::device::cpu::Cpu;
use baton_runtime::device::interpreter::{backward64, forward64};
use baton_runtime::{Call, Device, Error, Forward, Gradients, Options, Saved, Tensor, View};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use std::time::Instant;

/// Numbers that a recurrence runs on.
pub trait Runs: Number + Send + Sync + 'static {
    /// Work, in numbers read times the widest dimension, from which a run is a long one: a millisecond or so.
    const LONG: usize;

    fn forward(
        cpu: &Cpu,
        of: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, Self>,
        keep: bool,
    ) -> Result<Forward<Self>, Error>;

    fn backward(
        cpu: &Cpu,
        of: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, Self>,
        saved: Option<&Saved>,
        arriving: [&[Option<View<'_, Self>>]; 2],
    ) -> Result<Gradients<Self>, Error>;
}

impl Runs for f32 {
    const LONG: usize = 1 << 24;

    fn forward(
        cpu: &Cpu,
        of: &Recurrence,
        sizes: &[usize],
        call: &Call<'_>,
        keep: bool,
    ) -> Result<Forward, Error> {
        cpu.load(of, sizes, &Options::default())?
            .forward(call, keep)
    }

    fn backward(
        cpu: &Cpu,
        of: &Recurrence,
        sizes: &[usize],
        call: &Call<'_>,
        saved: Option<&Saved>,
        [d_outputs, d_states]: [&[Option<View<'_>>]; 2],
    ) -> Result<Gradients, Error> {
        let kernel = cpu.load(of, sizes, &Options::default())?;
        kernel.backward(call, saved, d_outputs, d_states)
    }
}

impl Runs for f64 {
    const LONG: usize = 1 << 14;

    fn forward(
        _: &Cpu,
        of: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, f64>,
        _: bool,
    ) -> Result<Forward<f64>, Error> {
        forward64(of, sizes, call)
    }

    fn backward(
        _: &Cpu,
        of: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, f64>,
        _: Option<&Saved>,
        [d_outputs, d_states]: [&[Option<View<'_, f64>>]; 2],
    ) -> Result<Gradients<f64>, Error> {
        backward64(of, sizes, call, d_outputs, d_states)
    }
}

/// Results by name.
fn dict<'py, T: Number>(
    py: Python<'py>,
    ports: &[Port],
    tensors: Vec<Tensor<T>>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (port, tensor) in ports.iter().zip(tensors) {
        dict.set_item(&port.name, owned(py, tensor)?)?;
    }
    Ok(dict)
}

/// Runs forward: a `Run` with all states, and what the backward needs where it is asked for.
pub fn forward<'py>(
    py: Python<'py>,
    definition: &Arc<Definition>,
    arguments: &Arc<Arguments>,
    keep: bool,
) -> PyResult<(Bound<'py, PyAny>, Option<Saved>)> {
    match arguments.precision {
        Precision::F32 => forward_in::<f32>(py, definition, arguments, keep),
        Precision::F64 => forward_in::<f64>(py, definition, arguments, keep),
    }
}

fn forward_in<'py, T: Runs>(
    py: Python<'py>,
    definition: &Arc<Definition>,
    arguments: &Arc<Arguments>,
    keep: bool,
) -> PyResult<(Bound<'py, PyAny>, Option<Saved>)> {
    arguments.room()?;
    let cpu = device::cpu(py)?;
    let (of, given) = (definition.clone(), arguments.clone());
    let run = watched(py, arguments.work() >= T::LONG, move || {
        let call = given.call::<T>();
        let sizes = infer_sizes(&of.recurrence, &call)?;
        T::forward(&cpu, &of.recurrence, &sizes, &call, keep)
    })?;
    let recurrence = &definition.recurrence;
    let run = run.map_err(|why| definition.source.raised(py, why))?;
    let outputs = dict(py, &recurrence.outputs, run.outputs)?;
    let states = dict(py, &recurrence.states, run.states)?;
    Ok((package(py, "Run")?.call1((outputs, states))?, run.saved))
}

/// The seconds of so many forward runs in f32, one after another.
pub fn seconds(
    py: Python<'_>,
    definition: &Definition,
    arguments: &Arguments,
    runs: u32,
) -> PyResult<f64> {
    let cpu = device::cpu(py)?;
    let of = &definition.recurrence;
    let all = py.detach(|| {
        guarded(|| {
            let begun = Instant::now();
            for _ in 0..runs {
                let call = arguments.call::<f32>();
                f32::forward(&cpu, of, &infer_sizes(of, &call)?, &call, false)?;
            }
            Ok(begun.elapsed().as_secs_f64())
        })
    });
    all.map_err(|why| definition.source.raised(py, why))
}

/// Runs backward: `Gradients` of all that was given, absent states included.
pub fn backward<'py>(
    py: Python<'py>,
    definition: &Arc<Definition>,
    arguments: &Arc<Arguments>,
    saved: Option<Arc<Saved>>,
    d_outputs: Option<&Bound<'py, PyAny>>,
    d_final_state: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arriving = arguments.arriving(definition, d_outputs, d_final_state)?;
    match arguments.precision {
        Precision::F32 => backward_in::<f32>(py, definition, arguments, saved, arriving),
        Precision::F64 => backward_in::<f64>(py, definition, arguments, saved, arriving),
    }
}

fn backward_in<'py, T: Runs>(
    py: Python<'py>,
    definition: &Arc<Definition>,
    arguments: &Arc<Arguments>,
    saved: Option<Arc<Saved>>,
    [d_outputs, d_states]: [Vec<Option<Array>>; 2],
) -> PyResult<Bound<'py, PyAny>> {
    arguments.room()?;
    let cpu = device::cpu(py)?;
    let (of, given) = (definition.clone(), arguments.clone());
    let gradients = watched(py, arguments.work() >= T::LONG, move || {
        let call = given.call::<T>();
        let sizes = infer_sizes(&of.recurrence, &call)?;
        let arriving = [&*views(&d_outputs), &*views(&d_states)];
        let saved = saved.as_deref();
        T::backward(&cpu, &of.recurrence, &sizes, &call, saved, arriving)
    })?;
    let recurrence = &definition.recurrence;
    let gradients = gradients.map_err(|why| definition.source.raised(py, why))?;
    package(py, "Gradients")?.call1((
        dict(py, &recurrence.inputs, gradients.inputs)?,
        dict(py, &recurrence.params, gradients.params)?,
        dict(py, &recurrence.states, gradients.states)?,
    ))
}
