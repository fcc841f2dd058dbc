//! Kernels on memory of a GPU: addresses in, addresses out, on a stream of the caller's.
//!
//! A caller says shapes first and is told in what dtypes and shapes the kernels read and write; then it gives
//! addresses of memory that is so. Whether an address is good memory is its promise. `emulator` takes addresses of
//! the host in the place of a GPU's and interprets the same kernels.

use crate::array::offsets;
use crate::definition::Definition;
use crate::failure::guarded;
use crate::recurrence::PyRecurrence;
use baton_ir::recurrence::Port;
use baton_ir::tile::Role;
use baton_runtime::device::check::{Extent, bind, infer_sizes};
use baton_runtime::device::cuda::Cuda;
use baton_runtime::device::gpu::{Emulator, Gpu, Storage};
use baton_runtime::device::raw::{
    DeviceBackward, DeviceCall, DeviceForward, DeviceTensor, RawKernel,
};
use baton_runtime::tensor::contiguous;
use baton_runtime::{Call, Error, Options, View};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Kernels are for every length: what was loaded is found by device, dtype, text and sizes.
type Key = (String, usize, bool, String, Vec<usize>);

static LOADED: LazyLock<Mutex<HashMap<Key, Arc<dyn RawKernel>>>> = LazyLock::new(Mutex::default);
static GPUS: LazyLock<Mutex<HashMap<usize, Cuda>>> = LazyLock::new(Mutex::default);

/// An address and strides in bytes.
type Place = (u64, Vec<i64>);

/// A recurrence on the memory of one device, for one call's shapes.
#[pyclass(frozen, module = "baton._baton", name = "Addressed")]
pub struct Addressed {
    definition: Arc<Definition>,
    raw: Arc<dyn RawKernel>,
    extent: Extent,
    cu_seqlens: Option<Vec<i64>>,
}

#[pymethods]
impl Addressed {
    /// `device` is "cuda" with its number or "emulator"; `low` asks for kernels with matrices in bfloat16; shapes are
    /// those of inputs and params in order, and of states, absent ones `None`.
    #[new]
    #[pyo3(signature = (recurrence, device, number, low, shapes, states, cu_seqlens = None))]
    #[allow(clippy::too_many_arguments)] // as Python says them
    fn new(
        py: Python<'_>,
        recurrence: &PyRecurrence,
        device: &str,
        number: usize,
        low: bool,
        shapes: Vec<Vec<usize>>,
        states: Vec<Option<Vec<usize>>>,
        cu_seqlens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let definition = recurrence.definition().clone();
        let of = &definition.recurrence;
        let cu_seqlens = cu_seqlens.map(offsets).transpose()?;
        let found = py.detach(|| {
            guarded(|| {
                let (sizes, extent) = sizes(&definition, &shapes, &states, cu_seqlens.as_deref())?;
                let key = (
                    device.to_string(),
                    number,
                    low,
                    definition.canonical.clone(),
                    sizes.clone(),
                );
                let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
                let raw = match loaded.get(&key) {
                    Some(raw) => raw.clone(),
                    None => {
                        let storage = if low { Storage::Bf16 } else { Storage::F32 };
                        let target = Gpu::sm_80(storage);
                        let options = Options::default();
                        let raw = match device {
                            "emulator" => Emulator::new(target).raw(of, &sizes, &options)?,
                            _ => gpu(number, target)?.raw(of, &sizes, &options)?,
                        };
                        loaded.insert(key, raw.clone());
                        raw
                    }
                };
                Ok((raw, extent))
            })
        });
        let (raw, extent) = found.map_err(|why| definition.source.raised(py, why))?;
        if extent.sequences == 0 || extent.time == 0 {
            let text = format!(
                "{} sequences of T={} given, expected at least one sequence and one step on a GPU",
                extent.sequences, extent.time
            );
            return Err(PyValueError::new_err(text));
        }
        Ok(Self {
            definition,
            raw,
            extent,
            cu_seqlens,
        })
    }

    /// The dtypes in which inputs are read, in order; params and states are float32.
    #[getter]
    fn inputs(&self) -> Vec<&'static str> {
        self.dtypes(&self.definition.recurrence.inputs, Role::Input)
    }

    /// The dtype and shape of every output.
    #[getter]
    fn outputs(&self) -> Vec<(&'static str, Vec<usize>)> {
        let ports = &self.definition.recurrence.outputs;
        let dtypes = self.dtypes(ports, Role::Output).into_iter();
        let shapes = ports.iter().map(|p| self.shape(&self.extent.steps(), p));
        dtypes.zip(shapes).collect()
    }

    /// The shape of every state.
    #[getter]
    fn states(&self) -> Vec<Vec<usize>> {
        let outer = [self.extent.sequences, self.extent.heads];
        let ports = self.definition.recurrence.states.iter();
        ports.map(|port| self.shape(&outer, port)).collect()
    }

    /// Puts a forward run on a stream. `given` are inputs and params; an absent state is 0.
    fn forward(
        &self,
        py: Python<'_>,
        stream: u64,
        given: Vec<Place>,
        states: Vec<u64>,
        outputs: Vec<Place>,
        final_states: Vec<u64>,
    ) -> PyResult<()> {
        let to = DeviceForward {
            outputs: outputs.iter().map(steps).collect(),
            states: final_states,
            kept: 0,
        };
        self.run(py, given, states, |raw, call| {
            // SAFETY: addresses are memory of the device, as whoever calls this promises.
            unsafe { raw.forward(call, &to, stream) }
        })
    }

    /// Puts a backward run on a stream; an absent gradient of an output has address 0.
    #[allow(clippy::too_many_arguments)] // as Python says them
    fn backward(
        &self,
        py: Python<'_>,
        stream: u64,
        given: Vec<Place>,
        states: Vec<u64>,
        d_outputs: Vec<Place>,
        d_final_states: Vec<u64>,
        gradients: Vec<Place>,
        d_states: Vec<u64>,
    ) -> PyResult<()> {
        let (d_inputs, d_params) = self.split(&gradients);
        let with = DeviceBackward {
            kept: 0,
            d_outputs: d_outputs.iter().map(steps).collect(),
            d_states_out: d_final_states,
            d_inputs,
            d_params,
            d_states_in: d_states,
        };
        self.run(py, given, states, |raw, call| {
            // SAFETY: as above.
            unsafe { raw.backward(call, &with, stream) }
        })
    }
}

impl Addressed {
    fn run(
        &self,
        py: Python<'_>,
        given: Vec<Place>,
        states: Vec<u64>,
        run: impl FnOnce(&dyn RawKernel, &DeviceCall<'_>) -> Result<(), Error> + Send,
    ) -> PyResult<()> {
        let (inputs, params) = self.split(&given);
        let Extent {
            batch,
            time,
            heads,
            groups,
            ..
        } = self.extent;
        let call = DeviceCall {
            batch,
            time,
            heads,
            groups,
            inputs,
            params,
            states,
            cu_seqlens: self.cu_seqlens.as_deref(),
        };
        let ran = py.detach(|| guarded(|| run(&*self.raw, &call)));
        ran.map_err(|why| self.definition.source.raised(py, why))
    }

    /// Inputs, and params.
    fn split(&self, places: &[Place]) -> (Vec<DeviceTensor>, Vec<DeviceTensor>) {
        let count = self.definition.recurrence.inputs.len().min(places.len());
        let (inputs, params) = places.split_at(count);
        let inputs = inputs.iter().map(steps).collect();
        (inputs, params.iter().map(heads).collect())
    }

    fn dtypes(&self, ports: &[Port], role: fn(u32) -> Role) -> Vec<&'static str> {
        let roles = (0..ports.len() as u32).map(role);
        let dtype = |role| match self.raw.dtype(role) {
            Some(Storage::Bf16) => "bfloat16",
            Some(Storage::F16) => "float16",
            Some(Storage::F32) | None => "float32",
        };
        roles.map(dtype).collect()
    }

    fn shape(&self, outer: &[usize], port: &Port) -> Vec<usize> {
        let dims = port.shape.iter().map(|dim| self.raw.sizes()[dim.index()]);
        outer.iter().copied().chain(dims).collect()
    }
}

/// A tensor `[B, T, H, ..]`.
fn steps((address, strides): &Place) -> DeviceTensor {
    let stride = |i: usize| strides.get(i).copied().unwrap_or(0);
    DeviceTensor {
        address: *address,
        strides: [stride(0), stride(1), stride(2)],
    }
}

/// A tensor `[H, ..]`.
fn heads((address, strides): &Place) -> DeviceTensor {
    DeviceTensor {
        address: *address,
        strides: [0, 0, strides.first().copied().unwrap_or(0)],
    }
}

/// The GPU of a number, whose context is made once.
fn gpu(number: usize, target: Gpu) -> Result<Cuda, Error> {
    let mut gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = gpus.get(&number) {
        return known.with_target(target);
    }
    let made = Cuda::new(number, target)?;
    gpus.insert(number, made.clone());
    Ok(made)
}

/// The sizes of dims and of the call, where the shapes fit each other.
fn sizes(
    of: &Definition,
    shapes: &[Vec<usize>],
    states: &[Option<Vec<usize>>],
    cu_seqlens: Option<&[i64]>,
) -> Result<(Vec<usize>, Extent), Error> {
    let every = shapes.iter().chain(states.iter().flatten());
    let most = every.map(|shape| shape.iter().fold(1usize, |n, &size| n.saturating_mul(size)));
    // Elements of no size: only shapes are looked at.
    let nothing = vec![(); most.max().unwrap_or(0)];
    let view = |shape: &Vec<usize>| View {
        data: &nothing[..],
        strides: contiguous(shape),
        shape: shape.clone(),
    };
    let (inputs, params) = shapes.split_at(of.recurrence.inputs.len().min(shapes.len()));
    let call = Call {
        inputs: inputs.iter().map(view).collect(),
        params: params.iter().map(view).collect(),
        states: states
            .iter()
            .map(|shape| shape.as_ref().map(view))
            .collect(),
        cu_seqlens,
    };
    let sizes = infer_sizes(&of.recurrence, &call)?;
    let extent = bind(&of.recurrence, &sizes, &call)?;
    Ok((sizes, extent))
}
