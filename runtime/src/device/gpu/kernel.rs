//! A recurrence on a GPU: which kernels run, on which memory, in what order.
//!
//! Forward is one launch over heads and sequences. Backward is one launch too, from the states
//! that entered each chunk: kept by the forward run, or rebuilt by one more launch. Gradients that
//! several heads or sequences share come back as parts and are added here, in order.

use super::storage::{bytes, values};
use super::{Machine, Parameter, Schedule, Storage};
use crate::device::check::{self, Extent};
use crate::device::{Call, Forward, Gradients, Kernel, Options, Saved};
use crate::{Error, Tensor, View};
use baton_codegen::backend::mlir::{self, Toolchain, abi};
use baton_codegen::{Compiler, GpuArtifact, Phase};
use baton_ir::recurrence::Port;
use baton_ir::tile::{CarryRole, Pace, PortDecl, Role};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Makes the memory of a run.
pub(crate) type Machines = Box<dyn Fn() -> Box<dyn Machine> + Send + Sync>;

/// A recurrence compiled for a GPU.
pub(crate) struct GpuKernel {
    device: &'static str,
    compiler: Compiler,
    sizes: Vec<usize>,
    chunk: usize,
    schedule: Schedule,
    machines: Machines,
    artifacts: Mutex<HashMap<(Phase, usize), Arc<GpuArtifact>>>,
}

/// The states that entered each chunk, for each state `[chunks, H, dims...]` in storage.
struct Entering {
    chunk: usize,
    states: Vec<Vec<u8>>,
}

/// Outputs, leaving states, and entering states where they were asked for.
type Swept = (Vec<Tensor>, Vec<Tensor>, Option<Entering>);

/// One run: its sizes, and where its tensors are.
struct Run {
    extent: Extent,
    /// Batch, first step, steps, first chunk of each sequence.
    ranges: Vec<[i64; 4]>,
    chunks: usize,
    chunk: usize,
    machine: Box<dyn Machine>,
    places: HashMap<Role, Place>,
    carries: HashMap<CarryRole, [u64; 2]>,
}

/// Where a tensor is; strides in bytes.
#[derive(Clone, Copy)]
struct Place {
    address: u64,
    strides: [i64; 3],
}

impl GpuKernel {
    pub fn new(
        device: &'static str,
        compiler: Compiler,
        sizes: &[usize],
        options: &Options,
        schedule: Schedule,
        machines: Machines,
    ) -> Result<Self, Error> {
        let unsupported = |why: mlir::Error| Error::Unsupported {
            device: device.into(),
            reason: why.to_string(),
        };
        let chunk = match options.chunk {
            Some(chunk) => chunk,
            None => compiler.gpu_chunk(&schedule).map_err(unsupported)?,
        };
        Ok(Self {
            device,
            compiler,
            sizes: sizes.to_vec(),
            chunk,
            schedule,
            machines,
            artifacts: Mutex::default(),
        })
    }

    fn artifact(&self, phase: Phase, chunk: usize) -> Result<Arc<GpuArtifact>, Error> {
        let mut artifacts = self
            .artifacts
            .lock()
            .expect("no holder of this lock panics");
        if let Some(artifact) = artifacts.get(&(phase, chunk)) {
            return Ok(artifact.clone());
        }
        let made = self
            .compiler
            .gpu(&Toolchain::new(), phase, chunk, &self.schedule);
        let artifact = Arc::new(made.map_err(|why| Error::Unsupported {
            device: self.device.into(),
            reason: why.to_string(),
        })?);
        artifacts.insert((phase, chunk), artifact.clone());
        Ok(artifact)
    }

    fn entries(&self, port: &Port) -> usize {
        port.shape
            .iter()
            .map(|dim| self.sizes[dim.index()])
            .product()
    }

    fn shape(&self, outer: &[usize], port: &Port) -> Vec<usize> {
        let dims = port.shape.iter().map(|dim| self.sizes[dim.index()]);
        outer.iter().copied().chain(dims).collect()
    }

    /// The dtype of a role's memory.
    fn storage(&self, role: Role, port: &Port, per_head: bool) -> Storage {
        let decl = PortDecl {
            name: String::new(),
            role,
            pace: Pace::Step,
            per_head,
            dims: port
                .shape
                .iter()
                .map(|dim| self.sizes[dim.index()] as u32)
                .collect(),
        };
        match abi::in_f32(&decl, &self.schedule) {
            true => Storage::F32,
            false => self.schedule.storage,
        }
    }

    /// The run of a call, with inputs and params on the device.
    fn begin(&self, call: &Call<'_>, chunk: usize) -> Result<Run, Error> {
        let recurrence = self.compiler.recurrence();
        let extent = check::bind(recurrence, &self.sizes, call)?;
        let bounds: Vec<(i64, i64, i64)> = match call.cu_seqlens {
            Some(ends) => ends.windows(2).map(|w| (0, w[0], w[1] - w[0])).collect(),
            None => (0..extent.batch as i64)
                .map(|row| (row, 0, extent.time as i64))
                .collect(),
        };
        let (mut ranges, mut chunks) = (vec![], 0);
        for (row, start, len) in bounds {
            ranges.push([row, start, len, chunks]);
            chunks += (len as u64).div_ceil(chunk as u64) as i64;
        }
        let mut run = Run {
            extent,
            ranges,
            chunks: chunks as usize,
            chunk,
            machine: (self.machines)(),
            places: HashMap::new(),
            carries: HashMap::new(),
        };
        for (i, (port, view)) in recurrence.inputs.iter().zip(&call.inputs).enumerate() {
            let role = Role::Input(i as u32);
            let storage = self.storage(role, port, !port.per_group);
            run.bind_steps(role, &view.to_tensor(), storage)?;
        }
        for (i, (port, view)) in recurrence.params.iter().zip(&call.params).enumerate() {
            let address = run
                .machine
                .input(&bytes(&view.to_tensor().data, Storage::F32))?;
            let head = 4 * self.entries(port) as i64;
            run.places.insert(
                Role::Param(i as u32),
                Place {
                    address,
                    strides: [0, 0, head],
                },
            );
        }
        Ok(run)
    }

    fn bind_carries(
        &self,
        run: &mut Run,
        given: &[Option<View<'_>>],
        role: fn(u32) -> CarryRole,
    ) -> Result<Vec<u64>, Error> {
        let recurrence = self.compiler.recurrence();
        let mut leaving = vec![];
        for (i, (port, view)) in recurrence.states.iter().zip(given).enumerate() {
            let entries = run.extent.sequences * run.extent.heads * self.entries(port);
            let from = match view {
                Some(view) => run
                    .machine
                    .input(&bytes(&view.to_tensor().data, Storage::F32))?,
                None => 0,
            };
            let to = run.machine.output(4 * entries)?;
            run.carries.insert(role(i as u32), [from, to]);
            leaving.push(to);
        }
        Ok(leaving)
    }

    fn entering_place(&self, run: &Run, port: &Port, address: u64) -> Place {
        let head = (self.entries(port) as u32 * self.schedule.storage.bytes()) as i64;
        Place {
            address,
            strides: [0, head * run.extent.heads as i64, head],
        }
    }

    fn launch(&self, run: &mut Run, phase: Phase) -> Result<(), Error> {
        if run.ranges.is_empty() || run.extent.heads == 0 {
            return Ok(());
        }
        let artifact = self.artifact(phase, run.chunk)?;
        let table: Vec<u8> = run
            .ranges
            .iter()
            .flatten()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let Extent { heads, groups, .. } = run.extent;
        let mut parameters = vec![
            Parameter::Long(run.machine.input(&table)? as i64),
            Parameter::Int(heads as i32),
            Parameter::Int((heads / groups.max(1)).max(1) as i32),
        ];
        for port in &artifact.program.ports {
            let place = run.places[&port.role];
            parameters.push(Parameter::Long(place.address as i64));
            parameters.extend(place.strides.map(Parameter::Long));
        }
        for carry in &artifact.program.carries {
            let both = run.carries[&carry.role];
            parameters.extend(both.map(|address| Parameter::Long(address as i64)));
        }
        let grid = [heads as u32, run.ranges.len() as u32];
        run.machine
            .launch(&artifact.program.name, &artifact.kernel, grid, &parameters)
    }

    fn states(&self, run: &mut Run, addresses: &[u64]) -> Result<Vec<Tensor>, Error> {
        let states = self.compiler.recurrence().states.iter().zip(addresses);
        let outer = [run.extent.sequences, run.extent.heads];
        states
            .map(|(port, &address)| {
                let data = values(&run.machine.read(address)?, Storage::F32);
                Ok(Tensor {
                    shape: self.shape(&outer, port),
                    data,
                })
            })
            .collect()
    }

    /// One sweep forward; `phase` says what it leaves.
    fn sweep(&self, call: &Call<'_>, phase: Phase, chunk: usize) -> Result<Swept, Error> {
        let recurrence = self.compiler.recurrence();
        let mut run = self.begin(call, chunk)?;
        let leaving = self.bind_carries(&mut run, &call.states, CarryRole::State)?;
        let mut outputs = vec![];
        for (i, port) in recurrence.outputs.iter().enumerate() {
            let role = Role::Output(i as u32);
            let storage = self.storage(role, port, true);
            let shape = self.shape(&run.extent.steps(), port);
            outputs.push((run.output_steps(role, &shape, storage)?, shape, storage));
        }
        let mut kept = vec![];
        if matches!(phase, Phase::ForwardKeep | Phase::Entering) {
            for (i, port) in recurrence.states.iter().enumerate() {
                let entries = run.chunks * run.extent.heads * self.entries(port);
                let address = run
                    .machine
                    .output(entries * self.schedule.storage.bytes() as usize)?;
                let place = self.entering_place(&run, port, address);
                run.places.insert(Role::Entering(i as u32), place);
                kept.push(address);
            }
        }
        self.launch(&mut run, phase)?;
        let tensors = match phase {
            Phase::Entering => vec![],
            _ => {
                let read = |(address, shape, storage)| {
                    let data = values(&run.machine.read(address)?, storage);
                    Ok(Tensor { shape, data })
                };
                outputs
                    .into_iter()
                    .map(read)
                    .collect::<Result<_, Error>>()?
            }
        };
        let states = self.states(&mut run, &leaving)?;
        let kept: Result<Vec<_>, Error> = kept.into_iter().map(|a| run.machine.read(a)).collect();
        let kept = kept?;
        let entering = (!kept.is_empty()).then_some(Entering {
            chunk,
            states: kept,
        });
        Ok((tensors, states, entering))
    }
}

impl Run {
    /// A tensor `[B, T, H, dims...]` on the device.
    fn bind_steps(&mut self, role: Role, tensor: &Tensor, storage: Storage) -> Result<(), Error> {
        let address = self.machine.input(&bytes(&tensor.data, storage))?;
        self.places.insert(
            role,
            Place {
                address,
                strides: steps(&tensor.shape, storage),
            },
        );
        Ok(())
    }

    fn output_steps(
        &mut self,
        role: Role,
        shape: &[usize],
        storage: Storage,
    ) -> Result<u64, Error> {
        let entries: usize = shape.iter().product();
        let address = self.machine.output(entries * storage.bytes() as usize)?;
        self.places.insert(
            role,
            Place {
                address,
                strides: steps(shape, storage),
            },
        );
        Ok(address)
    }
}

/// Strides in bytes over batch, steps and heads of a contiguous tensor.
fn steps(shape: &[usize], storage: Storage) -> [i64; 3] {
    let strides = crate::tensor::contiguous(shape);
    [0, 1, 2].map(|i| (strides[i] as u64 * u64::from(storage.bytes())) as i64)
}

impl Kernel for GpuKernel {
    fn forward(&self, call: &Call<'_>, keep: bool) -> Result<Forward, Error> {
        let phase = if keep {
            Phase::ForwardKeep
        } else {
            Phase::Forward
        };
        let (outputs, states, entering) = self.sweep(call, phase, self.chunk)?;
        let saved = entering.map(|entering| Saved(Box::new(entering)));
        Ok(Forward {
            outputs,
            states,
            saved,
        })
    }

    fn backward(
        &self,
        call: &Call<'_>,
        saved: Option<&Saved>,
        d_outputs: &[Option<View<'_>>],
        d_states: &[Option<View<'_>>],
    ) -> Result<Gradients, Error> {
        let recurrence = self.compiler.recurrence();
        let mut run = self.begin(call, self.chunk)?;
        check::arriving(recurrence, &self.sizes, run.extent, d_outputs, d_states)?;
        let rebuilt;
        let entering = match saved {
            Some(saved) => saved
                .0
                .downcast_ref::<Entering>()
                .filter(|kept| kept.chunk == self.chunk),
            None => {
                rebuilt = self.sweep(call, Phase::Entering, self.chunk)?.2;
                rebuilt.as_ref()
            }
        };
        let entering = entering.ok_or_else(|| {
            Error::Argument("`saved` comes from a run of another kernel or shape".into())
        })?;
        for (i, (port, data)) in recurrence.states.iter().zip(&entering.states).enumerate() {
            let address = run.machine.input(data)?;
            let place = self.entering_place(&run, port, address);
            run.places.insert(Role::Entering(i as u32), place);
        }
        for (i, (port, view)) in recurrence.outputs.iter().zip(d_outputs).enumerate() {
            let role = Role::DOutput(i as u32);
            let shape = self.shape(&run.extent.steps(), port);
            let tensor = match view {
                Some(view) => view.to_tensor(),
                None => Tensor::full(&shape, 0.0),
            };
            run.bind_steps(role, &tensor, self.storage(role, port, true))?;
        }
        let Extent {
            batch,
            time,
            heads,
            groups,
            sequences,
        } = run.extent;
        let artifact = self.artifact(Phase::Backward, self.chunk)?;
        let written = |role| artifact.program.ports.iter().any(|port| port.role == role);
        let mut inputs = vec![];
        for (i, port) in recurrence.inputs.iter().enumerate() {
            let role = Role::DInput(i as u32);
            let storage = self.storage(role, port, !port.per_group);
            let shape = self.shape(&[batch, time, heads], port);
            let address = match written(role) {
                true => Some(run.output_steps(role, &shape, storage)?),
                false => None,
            };
            inputs.push((port, address, shape, storage));
        }
        let mut params = vec![];
        for (i, port) in recurrence.params.iter().enumerate() {
            let entries = self.entries(port);
            let address = run.machine.output(4 * sequences * heads * entries)?;
            let head = 4 * entries as i64;
            let place = Place {
                address,
                strides: [head * heads as i64, 0, head],
            };
            let role = Role::DParam(i as u32);
            run.places.insert(role, place);
            params.push((port, written(role).then_some(address)));
        }
        let leaving = self.bind_carries(&mut run, d_states, CarryRole::DState)?;
        self.launch(&mut run, Phase::Backward)?;
        let mut gradients = Gradients {
            inputs: vec![],
            params: vec![],
            states: vec![],
        };
        for (port, address, shape, storage) in inputs {
            let data = match address {
                Some(address) => values(&run.machine.read(address)?, storage),
                None => vec![0.0; shape.iter().product()],
            };
            gradients.inputs.push(match port.per_group {
                true => sum_heads(&Tensor { shape, data }, groups),
                false => Tensor { shape, data },
            });
        }
        for (port, address) in params {
            let shape = self.shape(&[heads], port);
            let row: usize = shape.iter().product();
            let parts = match address {
                Some(address) => values(&run.machine.read(address)?, Storage::F32),
                None => vec![0.0; sequences * row],
            };
            let sum = |i| {
                (0..sequences)
                    .map(|s| f64::from(parts[s * row + i]))
                    .sum::<f64>() as f32
            };
            gradients.params.push(Tensor {
                shape,
                data: (0..row).map(sum).collect(),
            });
        }
        gradients.states = self.states(&mut run, &leaving)?;
        Ok(gradients)
    }

    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error> {
        check::step(self.compiler.recurrence(), &self.sizes, call, states)?;
        let whole = Call {
            inputs: call.inputs.clone(),
            params: call.params.clone(),
            states: states.iter().map(|state| Some(state.view())).collect(),
            cu_seqlens: None,
        };
        let (outputs, leaving, _) = self.sweep(&whole, Phase::Forward, 16)?;
        for (state, new) in states.iter_mut().zip(leaving) {
            *state = new;
        }
        Ok(outputs)
    }
}

/// `[B, T, H, dims...]` summed over the heads of each group, in order.
fn sum_heads(parts: &Tensor, groups: usize) -> Tensor {
    let [batch, time, heads] = [0, 1, 2].map(|i| parts.shape[i]);
    let entries: usize = parts.shape[3..].iter().product();
    let mut shape = parts.shape.clone();
    shape[2] = groups;
    let mut sum = Tensor::full(&shape, 0.0);
    let each = heads / groups.max(1);
    for row in 0..batch * time {
        for head in 0..heads {
            let from = &parts.data[(row * heads + head) * entries..][..entries];
            let to = &mut sum.data[(row * groups + head / each) * entries..][..entries];
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }
    sum
}
