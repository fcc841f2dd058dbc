//! A recurrence on the CPU: which kernels run on which tasks, in what order.
//!
//! Forward is one launch, or three where time is cut into segments (`segment`); backward mirrors
//! it in reverse. The states that entered each chunk are kept by the forward run, or kept at
//! checkpoints and rebuilt window by window (`window`), or rebuilt as a whole when the caller kept
//! nothing.

use super::bound::Memory;
use super::run::{Run, states_from, unwritten};
use super::task::{Major, Place, Places, Scratch, Task, call};
use super::unsupported;
use crate::device::{Call, Forward, Gradients, Kernel, Options, Saved, check};
use crate::{Error, Tensor, View};
use baton_codegen::target::Native;
use baton_codegen::{Artifact, Compiler, Phase};
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::tile::{CarryRole, Role};
use rayon::ThreadPool;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A loaded recurrence.
pub(super) struct CpuKernel {
    compiler: Compiler,
    sizes: Vec<usize>,
    options: Options,
    pool: Arc<ThreadPool>,
    artifacts: Mutex<HashMap<(Phase, usize), Arc<Artifact<Native>>>>,
}

/// The states that entered each window of chunks: for each state `[windows, H, dims...]`.
struct Entering {
    chunk: usize,
    states: Vec<Vec<f32>>,
}

/// What a sweep forward leaves.
struct Swept {
    outputs: Vec<Tensor>,
    states: Vec<Tensor>,
    entering: Option<Entering>,
}

impl CpuKernel {
    pub fn new(
        compiler: Compiler,
        sizes: &[usize],
        options: &Options,
        pool: Arc<ThreadPool>,
    ) -> Self {
        let artifacts = Mutex::default();
        Self {
            compiler,
            sizes: sizes.to_vec(),
            options: options.clone(),
            pool,
            artifacts,
        }
    }

    pub fn recurrence(&self) -> &Recurrence {
        self.compiler.recurrence()
    }

    pub fn artifact(&self, phase: Phase, chunk: usize) -> Result<Arc<Artifact<Native>>, Error> {
        let mut artifacts = self
            .artifacts
            .lock()
            .expect("no holder of this lock panics");
        if let Some(artifact) = artifacts.get(&(phase, chunk)) {
            return Ok(artifact.clone());
        }
        let artifact = self.compiler.compile(&Native, phase, chunk);
        let artifact = Arc::new(artifact.map_err(|why| unsupported(why.to_string()))?);
        artifacts.insert((phase, chunk), artifact.clone());
        Ok(artifact)
    }

    /// Elements of one head of a port at one step.
    pub fn entries(&self, port: &Port) -> usize {
        port.shape
            .iter()
            .map(|dim| self.sizes[dim.index()])
            .product()
    }

    /// The size of the second dim of a state; one for vectors and scalars.
    pub fn columns(&self, port: &Port) -> usize {
        port.shape.get(1).map_or(1, |dim| self.sizes[dim.index()])
    }

    pub fn shape(&self, outer: &[usize], port: &Port) -> Vec<usize> {
        outer
            .iter()
            .copied()
            .chain(port.shape.iter().map(|dim| self.sizes[dim.index()]))
            .collect()
    }

    /// Whether kept states have the size that a run needs.
    fn fits(&self, kept: &Entering, run: &Run) -> bool {
        let ports = self.recurrence().states.iter().zip(&kept.states);
        ports
            .into_iter()
            .all(|(port, data)| data.len() == run.windows() * run.heads * self.entries(port))
    }

    /// Runs `work` on the device's threads.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    fn extents(&self, call: &Call<'_>, options: &Options) -> Result<(Run, check::Extent), Error> {
        let extent = check::bind(self.recurrence(), &self.sizes, call)?;
        let extents = [extent.batch, extent.time, extent.heads, extent.groups];
        let state_bytes = self
            .recurrence()
            .states
            .iter()
            .map(|p| 4 * self.entries(p))
            .sum();
        let run = Run::new(extents, call, self.compiler.class(), state_bytes, options);
        Ok((run, extent))
    }

    /// Runs `work` on every task, on the device's threads.
    pub fn each(&self, tasks: &[Task], work: impl Fn(&mut Scratch, &Task) + Sync) {
        self.install(|| {
            tasks
                .par_iter()
                .with_max_len(1)
                .for_each_init(Scratch::default, &work);
        });
    }

    pub fn launch(&self, artifact: &Artifact<Native>, tasks: &[Task], places: &dyn Places) {
        self.each(tasks, |scratch, task| call(artifact, task, places, scratch));
    }

    /// Buffers `[slots, H, dims...]` for every state, zero.
    pub fn state_buffers(&self, slots: usize, heads: usize) -> Vec<Tensor> {
        let states = self.recurrence().states.iter();
        states
            .map(|port| Tensor::full(&self.shape(&[slots, heads], port), 0.0))
            .collect()
    }

    fn states(&self, given: &[Option<View<'_>>], run: &Run) -> Vec<Tensor> {
        let ports = self.recurrence().states.iter().zip(given);
        let shape = |port| self.shape(&[run.sequences, run.heads], port);
        ports
            .map(|(port, view)| states_from(view.as_ref(), &shape(port)))
            .collect()
    }

    /// Leaving states, and on request outputs and the entering states of each window.
    fn sweep(&self, call: &Call<'_>, outputs: bool, keep: bool) -> Result<Swept, Error> {
        let (run, extent) = self.extents(call, &self.options)?;
        let mut memory = Memory::default();
        let mut bound = self.bind(call, &mut memory);
        let mut states = self.states(&call.states, &run);
        let mut results = vec![];
        for (i, port) in self
            .recurrence()
            .outputs
            .iter()
            .enumerate()
            .filter(|_| outputs)
        {
            let mut tensor = unwritten(&self.shape(&extent.steps(), port));
            bound
                .ports
                .insert(Role::Output(i as u32), Place::steps(&mut tensor));
            results.push(tensor);
        }
        let mut entering = Entering {
            chunk: run.plan.chunk,
            states: vec![],
        };
        if keep {
            let slots = run.windows();
            let buffers = self.state_buffers(slots, run.heads);
            entering.states = buffers.into_iter().map(|buffer| buffer.data).collect();
        }
        let kept = self.entering_places(&mut entering, &run);
        if run.plan.window > 1 && !run.whole.is_empty() {
            self.bind_carries(&mut bound, run.heads, &mut states, CarryRole::State);
            self.forward_windows(&run, &bound, outputs, keep.then_some(&kept[..]))?;
        } else if !run.whole.is_empty() {
            let phase = match (outputs, keep) {
                (true, true) => Phase::ForwardKeep,
                (true, false) => Phase::Forward,
                (false, _) => Phase::Entering,
            };
            for (i, place) in kept.iter().enumerate() {
                bound.ports.insert(Role::Entering(i as u32), *place);
            }
            let artifact = self.artifact(phase, run.plan.chunk)?;
            if run.segmented() {
                let mut borders = self.segment_states(&run, &mut bound, &states)?;
                self.bind_carries(&mut bound, run.heads, &mut borders, CarryRole::State);
                self.launch(&artifact, &run.tasks(&run.segments, |i, _| Some(i)), &bound);
                run.take_borders(&borders, &mut states, false);
            } else {
                self.bind_carries(&mut bound, run.heads, &mut states, CarryRole::State);
                self.launch(&artifact, &run.sequence_tasks(), &bound);
            }
        }
        drop(memory);
        Ok(Swept {
            outputs: results,
            states,
            entering: keep.then_some(entering),
        })
    }

    fn entering_places(&self, entering: &mut Entering, run: &Run) -> Vec<Place> {
        let ports = self.recurrence().states.iter().zip(&mut entering.states);
        let place = |(port, data): (&Port, &mut Vec<f32>)| {
            Place::heads(
                data.as_mut_ptr(),
                Major::Chunk,
                run.heads,
                self.entries(port),
            )
        };
        ports.map(place).collect()
    }
}

impl Kernel for CpuKernel {
    fn forward(&self, call: &Call<'_>, keep: bool) -> Result<Forward, Error> {
        let Swept {
            outputs,
            states,
            entering,
        } = self.sweep(call, true, keep)?;
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
        let (run, extent) = self.extents(call, &self.options)?;
        check::arriving(self.recurrence(), &self.sizes, extent, d_outputs, d_states)?;
        let rebuilt;
        let entering = match saved {
            Some(saved) => saved
                .0
                .downcast_ref::<Entering>()
                .filter(|kept| kept.chunk == run.plan.chunk && self.fits(kept, &run))
                .ok_or_else(|| {
                    Error::Argument("`saved` comes from a run of another kernel or shape".into())
                })?,
            None => {
                rebuilt = self.sweep(call, false, true)?.entering;
                rebuilt
                    .as_ref()
                    .ok_or_else(|| unsupported("no entering states were kept"))?
            }
        };
        let zeros = self.arriving(d_outputs, extent.steps());
        let mut memory = Memory::default();
        let mut bound = self.bind(call, &mut memory);
        self.bind_arriving(&mut bound, d_outputs, &zeros, &mut memory);
        let artifact = self.artifact(Phase::Backward, run.plan.chunk)?;
        let written: Vec<Role> = artifact
            .program
            .ports
            .iter()
            .map(|port| port.role)
            .collect();
        let mut gradients = self.gradient_buffers(&run, extent, &written);
        self.bind_gradients(&mut bound, &mut gradients, &run);
        let mut d_states = self.states(d_states, &run);
        let kept: Vec<Place> = self
            .recurrence()
            .states
            .iter()
            .zip(&entering.states)
            .map(|(port, data)| {
                let base = data.as_ptr().cast_mut();
                Place::heads(base, Major::Chunk, run.heads, self.entries(port))
            })
            .collect();
        if run.plan.window > 1 && !run.whole.is_empty() {
            self.bind_carries(&mut bound, run.heads, &mut d_states, CarryRole::DState);
            self.backward_windows(&run, &bound, &kept)?;
        } else if !run.whole.is_empty() {
            for (i, place) in kept.iter().enumerate() {
                bound.ports.insert(Role::Entering(i as u32), *place);
            }
            if run.segmented() {
                let mut borders = self.segment_gradients(&run, &mut bound, &d_states)?;
                self.bind_carries(&mut bound, run.heads, &mut borders, CarryRole::DState);
                self.launch(&artifact, &run.tasks(&run.segments, |i, _| Some(i)), &bound);
                run.take_borders(&borders, &mut d_states, true);
            } else {
                self.bind_carries(&mut bound, run.heads, &mut d_states, CarryRole::DState);
                self.launch(&artifact, &run.sequence_tasks(), &bound);
            }
        }
        drop(memory);
        Ok(self.finish_gradients(gradients, d_states, &run))
    }

    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error> {
        check::step(self.recurrence(), &self.sizes, call, states)?;
        let (run, extent) = self.extents(
            call,
            &Options {
                chunk: Some(1),
                ..Options::default()
            },
        )?;
        let mut memory = Memory::default();
        let mut bound = self.bind(call, &mut memory);
        let mut outputs = vec![];
        for (i, port) in self.recurrence().outputs.iter().enumerate() {
            let mut tensor = unwritten(&self.shape(&extent.steps(), port));
            bound
                .ports
                .insert(Role::Output(i as u32), Place::steps(&mut tensor));
            outputs.push(tensor);
        }
        let artifact = self.artifact(Phase::Forward, 1)?;
        self.bind_carries(&mut bound, run.heads, states, CarryRole::State);
        self.launch(&artifact, &run.sequence_tasks(), &bound);
        drop(memory);
        Ok(outputs)
    }
}
