//! Tensors of the host as the memory of a run: up before it, down after it.
//!
//! Numbers are rounded to the dtype of storage on the way in; what comes back is f32. Gradients that
//! heads of a group share are added in f32 and come back so, whatever the storage.

use super::cut::Cut;
use super::gradient::Wanted;
use super::kernel::GpuKernel;
use super::run::{Arguments, Place, Run, kept_bytes};
use super::storage::{bytes, values};
use super::{HostMachine, Machine, Storage};
use crate::device::check;
use crate::device::{Call, Forward, Gradients, Kernel, Saved};
use crate::{Error, Tensor, View};
use baton_ir::recurrence::Port;
use baton_ir::tile::Role;
use std::sync::Arc;

/// Makes the memory of a run.
pub(crate) type Machines = Box<dyn Fn() -> Box<dyn HostMachine> + Send + Sync>;

/// A recurrence on a GPU, for tensors of the host.
pub(crate) struct HostKernel {
    kernel: Arc<GpuKernel>,
    machines: Machines,
}

/// What a forward run kept, state by state, as the device has it.
struct Kept(Vec<Vec<u8>>);

/// A result on the device.
struct Written {
    place: Place,
    shape: Vec<usize>,
    storage: Storage,
}

impl HostKernel {
    pub fn new(kernel: impl Into<Arc<GpuKernel>>, machines: Machines) -> Self {
        let kernel = kernel.into();
        Self { kernel, machines }
    }

    /// Inputs, params and states of a call on the device.
    fn arguments(&self, machine: &mut dyn Machine, call: &Call<'_>) -> Result<Arguments, Error> {
        let recurrence = self.kernel.recurrence();
        let mut inputs = vec![];
        for (i, (port, view)) in recurrence.inputs.iter().zip(&call.inputs).enumerate() {
            let storage = self.kernel.storage(Role::Input(i as u32), port);
            inputs.push(steps(machine, view, storage)?);
        }
        let mut params = vec![];
        for (port, view) in recurrence.params.iter().zip(&call.params) {
            let address = machine.input(&bytes(&view.to_tensor().data, Storage::F32))?;
            let head = 4 * self.kernel.entries(port) as i64;
            let strides = [0, 0, head];
            params.push(Place { address, strides });
        }
        let states = carried(machine, &call.states)?;
        Ok(Arguments {
            inputs,
            params,
            states,
        })
    }

    /// Memory for a result `[outer.., dims...]`.
    fn result(
        &self,
        machine: &mut dyn Machine,
        outer: &[usize],
        port: &Port,
        storage: Storage,
    ) -> Result<Written, Error> {
        let shape = self.kernel.shape(outer, port);
        let entries: usize = shape.iter().product();
        let address = machine.output(entries * storage.bytes() as usize)?;
        let strides = match outer.len() {
            3 => step_strides(&shape, storage),
            _ => [0, 0, 4 * self.kernel.entries(port) as i64],
        };
        let place = Place { address, strides };
        Ok(Written {
            place,
            shape,
            storage,
        })
    }

    /// Memory for states `[S, H, dims...]`.
    fn states(&self, machine: &mut dyn Machine, cut: &Cut) -> Result<Vec<Written>, Error> {
        let outer = [cut.extent.sequences, cut.extent.heads];
        let ports = self.kernel.recurrence().states.iter();
        ports
            .map(|port| self.result(machine, &outer, port, Storage::F32))
            .collect()
    }

    /// A forward run in chunks of `chunk` steps.
    fn run(&self, call: &Call<'_>, chunk: usize, keep: bool) -> Result<Forward, Error> {
        let recurrence = self.kernel.recurrence();
        let extent = check::bind(recurrence, &self.kernel.sizes, call)?;
        let cut = Cut::new(&self.kernel, chunk, extent, call.cu_seqlens)?;
        let mut machine = (self.machines)();
        let arguments = self.arguments(&mut *machine, call)?;
        let mut outputs = vec![];
        for (i, port) in recurrence.outputs.iter().enumerate() {
            let storage = self.kernel.storage(Role::Output(i as u32), port);
            outputs.push(self.result(&mut *machine, &extent.steps(), port, storage)?);
        }
        let states = self.states(&mut *machine, &cut)?;
        let kept = match keep {
            true => kept_bytes(&self.kernel, &cut),
            false => vec![],
        };
        let kept: Vec<u64> = (kept.into_iter())
            .map(|bytes| machine.output(bytes))
            .collect::<Result<_, Error>>()?;
        Run::new(&self.kernel, &mut *machine, &cut, arguments).forward(
            &places(&outputs),
            &addresses(&states),
            keep.then_some(&kept),
        )?;
        let saved = kept.into_iter().map(|address| machine.read(address));
        let saved = saved.collect::<Result<_, Error>>()?;
        Ok(Forward {
            outputs: read(&mut *machine, outputs)?,
            states: read(&mut *machine, states)?,
            saved: keep.then(|| Saved(Box::new(Kept(saved)))),
        })
    }
}

/// A tensor `[B, T, H, dims...]` on the device.
fn steps(machine: &mut dyn Machine, view: &View<'_>, storage: Storage) -> Result<Place, Error> {
    let tensor = view.to_tensor();
    Ok(Place {
        address: machine.input(&bytes(&tensor.data, storage))?,
        strides: step_strides(&tensor.shape, storage),
    })
}

/// Strides in bytes over batch, steps and heads of a contiguous tensor.
fn step_strides(shape: &[usize], storage: Storage) -> [i64; 3] {
    let strides = crate::tensor::contiguous(shape);
    [0, 1, 2].map(|i| (strides[i] as u64 * u64::from(storage.bytes())) as i64)
}

/// States or their gradients on the device, null where absent.
fn carried(machine: &mut dyn Machine, given: &[Option<View<'_>>]) -> Result<Vec<u64>, Error> {
    let one = |view: &Option<View<'_>>| match view {
        Some(view) => machine.input(&bytes(&view.to_tensor().data, Storage::F32)),
        None => Ok(0),
    };
    given.iter().map(one).collect()
}

fn places(results: &[Written]) -> Vec<Place> {
    results.iter().map(|result| result.place).collect()
}

fn addresses(results: &[Written]) -> Vec<u64> {
    results.iter().map(|result| result.place.address).collect()
}

/// The tensors that a run wrote.
fn read(machine: &mut dyn HostMachine, results: Vec<Written>) -> Result<Vec<Tensor>, Error> {
    let one = |result: Written| {
        let data = values(&machine.read(result.place.address)?, result.storage);
        Ok(Tensor {
            shape: result.shape,
            data,
        })
    };
    results.into_iter().map(one).collect()
}

impl Kernel for HostKernel {
    fn forward(&self, call: &Call<'_>, keep: bool) -> Result<Forward, Error> {
        self.run(call, self.kernel.chunk, keep)
    }

    fn backward(
        &self,
        call: &Call<'_>,
        saved: Option<&Saved>,
        d_outputs: &[Option<View<'_>>],
        d_states: &[Option<View<'_>>],
    ) -> Result<Gradients, Error> {
        let recurrence = self.kernel.recurrence();
        let extent = check::bind(recurrence, &self.kernel.sizes, call)?;
        check::arriving(recurrence, &self.kernel.sizes, extent, d_outputs, d_states)?;
        let cut = Cut::new(&self.kernel, self.kernel.chunk, extent, call.cu_seqlens)?;
        let mut machine = (self.machines)();
        let arguments = self.arguments(&mut *machine, call)?;
        let kept = match saved {
            None => None,
            Some(saved) => {
                let sizes = kept_bytes(&self.kernel, &cut);
                let fits = |Kept(states): &&Kept| states.iter().map(Vec::len).eq(sizes);
                let kept = saved.0.downcast_ref::<Kept>().filter(fits).ok_or_else(|| {
                    Error::Argument("`saved` comes from a run of another kernel or shape".into())
                })?;
                let states = kept.0.iter().map(|state| machine.input(state));
                Some(states.collect::<Result<Vec<u64>, Error>>()?)
            }
        };
        let mut d_places = vec![];
        for (i, (port, view)) in recurrence.outputs.iter().zip(d_outputs).enumerate() {
            let storage = self.kernel.storage(Role::DOutput(i as u32), port);
            d_places.push(match view {
                Some(view) => steps(&mut *machine, view, storage)?,
                None => self.kernel.nothing(&mut *machine, port, storage)?,
            });
        }
        let d_states = carried(&mut *machine, d_states)?;
        let mut inputs = vec![];
        for (i, port) in recurrence.inputs.iter().enumerate() {
            let (lanes, storage) = match port.per_group {
                true => (extent.groups, Storage::F32),
                false => {
                    let storage = self.kernel.storage(Role::DInput(i as u32), port);
                    (extent.heads, storage)
                }
            };
            let outer = [extent.batch, extent.time, lanes];
            inputs.push(self.result(&mut *machine, &outer, port, storage)?);
        }
        let mut params = vec![];
        for port in &recurrence.params {
            params.push(self.result(&mut *machine, &[extent.heads], port, Storage::F32)?);
        }
        let states = self.states(&mut *machine, &cut)?;
        let wanted = Wanted {
            inputs: places(&inputs),
            shared: Storage::F32,
            params: places(&params),
            states: addresses(&states),
        };
        let run = Run::new(&self.kernel, &mut *machine, &cut, arguments);
        run.backward(&d_places, &d_states, kept.as_deref(), &wanted)?;
        Ok(Gradients {
            inputs: read(&mut *machine, inputs)?,
            params: read(&mut *machine, params)?,
            states: read(&mut *machine, states)?,
        })
    }

    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error> {
        check::step(self.kernel.recurrence(), &self.kernel.sizes, call, states)?;
        let whole = Call {
            inputs: call.inputs.clone(),
            params: call.params.clone(),
            states: states.iter().map(|state| Some(state.view())).collect(),
            cu_seqlens: None,
        };
        let ran = self.run(&whole, 16, false)?;
        for (state, new) in states.iter_mut().zip(ran.states) {
            *state = new;
        }
        Ok(ran.outputs)
    }
}
