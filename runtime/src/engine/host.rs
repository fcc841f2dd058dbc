//! Tensors of the host as the memory of a run: lent before it, taken after it.
//!
//! On the CPU that moves nothing; elsewhere numbers are rounded to the dtype of storage on the way in, and
//! what comes back is f32. Gradients that heads of a group share are added in f32 and come back so, whatever
//! the storage.

use super::call::{Arguments, Strided, Wanted};
use super::cut::Cut;
use super::machine::{HostMachine, Kernels, nothing};
use super::plan::{cut, kept_bytes};
use super::run::Engine;
use crate::device::check::{self, Extent};
use crate::device::{Call, Forward, Gradients, Kernel, Saved};
use crate::{Error, Tensor, View};
use baton_codegen::target::Storage;
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::tile::Role;
use std::sync::Arc;

/// Makes the machine of a run.
pub(crate) type Machines = Box<dyn Fn() -> Box<dyn HostMachine> + Send + Sync>;

/// A recurrence on a device, for tensors of the host.
pub(crate) struct HostKernel {
    kernels: Arc<dyn Kernels>,
    machines: Machines,
}

/// What a forward run kept, state by state.
struct Kept {
    chunk: usize,
    states: Vec<Tensor>,
}

/// A result in memory of the machine.
struct Written {
    at: Strided,
    shape: Vec<usize>,
    storage: Storage,
}

impl HostKernel {
    pub fn new(kernels: Arc<dyn Kernels>, machines: Machines) -> Self {
        Self { kernels, machines }
    }

    fn recurrence(&self) -> &Recurrence {
        &self.kernels.shapes().recurrence
    }

    /// The extents and the cut of a call.
    fn bind(&self, call: &Call<'_>, chunk: Option<usize>) -> Result<(Extent, Cut), Error> {
        let shapes = self.kernels.shapes();
        let extent = check::bind(&shapes.recurrence, &shapes.sizes, call)?;
        let cut = cut(&*self.kernels, chunk, extent, call.cu_seqlens)?;
        Ok((extent, cut))
    }

    /// A tensor `[B, T, H, dims...]` in memory of the machine.
    fn steps(
        &self,
        machine: &mut dyn HostMachine,
        view: &View<'_>,
        port: &Port,
        role: Role,
    ) -> Result<Strided, Error> {
        let storage = self.kernels.storage(role, port);
        let (address, strides) = machine.lend(view, port.shape.len(), storage)?;
        Ok(Strided {
            address,
            strides: [strides[0], strides[1], strides[2]],
        })
    }

    /// Inputs, params and states of a call.
    fn arguments(
        &self,
        machine: &mut dyn HostMachine,
        call: &Call<'_>,
    ) -> Result<Arguments, Error> {
        let Recurrence { inputs, params, .. } = self.recurrence();
        let inputs = inputs.iter().zip(&call.inputs).zip((0..).map(Role::Input));
        let inputs = inputs.map(|((port, view), role)| self.steps(machine, view, port, role));
        let inputs = inputs.collect::<Result<_, Error>>()?;
        let params = params.iter().zip(&call.params).map(|(port, view)| {
            let (address, strides) = machine.lend(view, port.shape.len(), Storage::F32)?;
            let strides = [0, 0, strides[0]];
            Ok(Strided { address, strides })
        });
        let params = params.collect::<Result<_, Error>>()?;
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
        machine: &mut dyn HostMachine,
        outer: &[usize],
        port: &Port,
        storage: Storage,
    ) -> Result<Written, Error> {
        let shape = self.kernels.shapes().shape(outer, port);
        let size = storage.bytes() as usize;
        let address = machine.room(shape.iter().product::<usize>() * size)?;
        let mut strides = [0; 3];
        let mut bytes = (self.kernels.shapes().entries(port) * size) as u64;
        // Of [B, T, H, ..] all three, of [H, ..] the last.
        for (stride, &count) in strides.iter_mut().rev().zip(outer.iter().rev()) {
            *stride = bytes as i64;
            bytes *= count as u64;
        }
        Ok(Written {
            at: Strided { address, strides },
            shape,
            storage,
        })
    }

    fn outputs(
        &self,
        machine: &mut dyn HostMachine,
        extent: &Extent,
    ) -> Result<Vec<Written>, Error> {
        let ports = self
            .recurrence()
            .outputs
            .iter()
            .zip((0..).map(Role::Output));
        let one = |(port, role)| {
            let storage = self.kernels.storage(role, port);
            self.result(machine, &extent.steps(), port, storage)
        };
        ports.map(one).collect()
    }

    /// Memory for states `[S, H, dims...]`.
    fn states(
        &self,
        machine: &mut dyn HostMachine,
        extent: &Extent,
    ) -> Result<Vec<Written>, Error> {
        let outer = [extent.sequences, extent.heads];
        let ports = self.recurrence().states.iter();
        ports
            .map(|port| self.result(machine, &outer, port, Storage::F32))
            .collect()
    }

    /// The dtype, and the length in numbers of it, of what is kept of each state.
    fn kept(&self, cut: &Cut) -> Vec<(Storage, usize)> {
        let ports = self
            .recurrence()
            .states
            .iter()
            .zip((0..).map(Role::Entering));
        let bytes = kept_bytes(&*self.kernels, cut).into_iter();
        let one = |((port, role), bytes)| {
            let storage = match cut.keeps_all() {
                true => self.kernels.storage(role, port),
                false => Storage::F32,
            };
            (storage, bytes / storage.bytes() as usize)
        };
        ports.zip(bytes).map(one).collect()
    }
}

/// States or their gradients `[S, H, dims...]` without gaps, null where absent.
fn carried(machine: &mut dyn HostMachine, given: &[Option<View<'_>>]) -> Result<Vec<u64>, Error> {
    let one = |view: &Option<View<'_>>| match view {
        Some(view) => Ok(machine.lend(view, view.shape.len(), Storage::F32)?.0),
        None => Ok(0),
    };
    given.iter().map(one).collect()
}

fn tensors(results: &[Written]) -> Vec<Strided> {
    results.iter().map(|result| result.at).collect()
}

fn addresses(results: &[Written]) -> Vec<u64> {
    results.iter().map(|result| result.at.address).collect()
}

/// The tensors that a run wrote.
fn taken(machine: &mut dyn HostMachine, results: Vec<Written>) -> Result<Vec<Tensor>, Error> {
    let one = |result: Written| machine.take(result.at.address, result.shape, result.storage);
    results.into_iter().map(one).collect()
}

impl Kernel for HostKernel {
    fn forward(&self, call: &Call<'_>, keep: bool) -> Result<Forward, Error> {
        let (extent, cut) = self.bind(call, None)?;
        let machine = &mut *(self.machines)();
        let arguments = self.arguments(machine, call)?;
        let outputs = self.outputs(machine, &extent)?;
        let states = self.states(machine, &extent)?;
        let kept = match keep {
            true => self.kept(&cut),
            false => vec![],
        };
        let rooms: Vec<u64> = (kept.iter())
            .map(|(storage, count)| machine.room(count * storage.bytes() as usize))
            .collect::<Result<_, Error>>()?;
        Engine::new(&*self.kernels, &mut *machine, &cut, arguments).forward(
            &tensors(&outputs),
            &addresses(&states),
            keep.then_some(&rooms),
        )?;
        let saved = rooms.into_iter().zip(kept);
        let saved = saved.map(|(at, (storage, count))| machine.take(at, vec![count], storage));
        let saved = Kept {
            chunk: cut.chunk(),
            states: saved.collect::<Result<_, Error>>()?,
        };
        Ok(Forward {
            outputs: taken(machine, outputs)?,
            states: taken(machine, states)?,
            saved: keep.then(|| Saved(Box::new(saved))),
        })
    }

    fn backward(
        &self,
        call: &Call<'_>,
        saved: Option<&Saved>,
        d_outputs: &[Option<View<'_>>],
        d_states: &[Option<View<'_>>],
    ) -> Result<Gradients, Error> {
        let (extent, cut) = self.bind(call, None)?;
        let shapes = self.kernels.shapes();
        let recurrence = &shapes.recurrence;
        check::arriving(recurrence, &shapes.sizes, extent, d_outputs, d_states)?;
        let machine = &mut *(self.machines)();
        let arguments = self.arguments(machine, call)?;
        let kept = match saved {
            None => None,
            Some(saved) => {
                let kept = self.kept(&cut);
                let fits = |saved: &&Kept| {
                    let counts = saved.states.iter().map(|state| state.data.len());
                    saved.chunk == cut.chunk() && counts.eq(kept.iter().map(|(_, count)| *count))
                };
                let saved = saved.0.downcast_ref::<Kept>().filter(fits).ok_or_else(|| {
                    Error::Argument("`saved` comes from a run of another kernel or shape".into())
                })?;
                let lend = |(state, (storage, _)): (&Tensor, (Storage, usize))| {
                    Ok(machine.lend(&state.view(), 1, storage)?.0)
                };
                let states = saved.states.iter().zip(kept).map(lend);
                Some(states.collect::<Result<Vec<u64>, Error>>()?)
            }
        };
        let mut arriving = vec![];
        for ((port, view), i) in recurrence.outputs.iter().zip(d_outputs).zip(0..) {
            let role = Role::DOutput(i);
            arriving.push(match view {
                Some(view) => self.steps(machine, view, port, role)?,
                None => nothing(&*self.kernels, &mut *machine, port, role)?,
            });
        }
        let d_states = carried(machine, d_states)?;
        let mut inputs = vec![];
        for (port, i) in recurrence.inputs.iter().zip(0..) {
            let (lanes, storage) = match port.per_group {
                true => (extent.groups, Storage::F32),
                false => (extent.heads, self.kernels.storage(Role::DInput(i), port)),
            };
            let outer = [extent.batch, extent.time, lanes];
            inputs.push(self.result(machine, &outer, port, storage)?);
        }
        let mut params = vec![];
        for port in &recurrence.params {
            params.push(self.result(machine, &[extent.heads], port, Storage::F32)?);
        }
        let states = self.states(machine, &extent)?;
        let wanted = Wanted {
            inputs: tensors(&inputs),
            dtypes: inputs.iter().map(|input| input.storage).collect(),
            params: tensors(&params),
            states: addresses(&states),
        };
        let engine = Engine::new(&*self.kernels, &mut *machine, &cut, arguments);
        engine.backward(&arriving, &d_states, kept.as_deref(), &wanted)?;
        Ok(Gradients {
            inputs: taken(machine, inputs)?,
            params: taken(machine, params)?,
            states: taken(machine, states)?,
        })
    }

    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error> {
        let shapes = self.kernels.shapes();
        let extent = check::step(&shapes.recurrence, &shapes.sizes, call, states)?;
        let cut = cut(
            &*self.kernels,
            Some(self.kernels.step_chunk()),
            extent,
            None,
        )?;
        let machine = &mut *(self.machines)();
        let mut arguments = self.arguments(machine, call)?;
        let outputs = self.outputs(machine, &extent)?;
        let mut leaving = vec![];
        let mut elsewhere = vec![];
        for (i, state) in states.iter_mut().enumerate() {
            let (from, to) = match machine.in_place(state) {
                Some(address) => (address, address),
                None => {
                    let view = state.view();
                    let (from, _) = machine.lend(&view, view.shape.len(), Storage::F32)?;
                    let to = machine.room(4 * state.data.len())?;
                    elsewhere.push((i, to));
                    (from, to)
                }
            };
            arguments.states[i] = from;
            leaving.push(to);
        }
        let engine = Engine::new(&*self.kernels, &mut *machine, &cut, arguments);
        engine.forward(&tensors(&outputs), &leaving, None)?;
        for (i, to) in elsewhere {
            states[i] = machine.take(to, states[i].shape.clone(), Storage::F32)?;
        }
        taken(machine, outputs)
    }
}
