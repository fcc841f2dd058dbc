//! A recurrence compiled for a GPU: its kernels by phase, made at first use, and what their memory holds.
//!
//! Which of them run on which memory in what order is [`run`](super::run)'s; here is what does not
//! depend on a run.

use super::cut::Cut;
use super::made::{self, Made};
use super::run::Place;
use super::{Machine, Ptx, Schedule, Storage};
use crate::Error;
use crate::device::Options;
use baton_codegen::{Compiler, Phase, Service};
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::tile::{Pace, PortDecl, Role};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A recurrence compiled for a GPU.
pub(crate) struct GpuKernel {
    pub device: &'static str,
    compiler: Compiler,
    pub sizes: Vec<usize>,
    pub chunk: usize,
    /// The caller's bound on kept states, if any.
    pub keep_bytes: Option<usize>,
    pub schedule: Schedule,
    artifacts: Mutex<HashMap<(Phase, usize, u32), Arc<Made>>>,
    /// Whether a phase shares what a number of heads of a group have in common.
    shares: Mutex<HashMap<(Phase, usize, u32), bool>>,
    services: Mutex<HashMap<Service, Arc<Ptx>>>,
}

impl GpuKernel {
    pub fn new(
        device: &'static str,
        compiler: Compiler,
        sizes: &[usize],
        options: &Options,
        schedule: Schedule,
    ) -> Result<Self, Error> {
        let chunk = match options.chunk {
            Some(chunk) => chunk,
            None => compiler
                .chunk(&schedule)
                .map_err(|why| Error::Unsupported {
                    device: device.into(),
                    reason: why.to_string(),
                })?,
        };
        Ok(Self {
            device,
            compiler,
            sizes: sizes.to_vec(),
            chunk,
            keep_bytes: options.keep_bytes,
            schedule,
            artifacts: Mutex::default(),
            shares: Mutex::default(),
            services: Mutex::default(),
        })
    }

    /// Heads that a block of this phase runs, of the number that a cut or the caller wishes.
    pub(super) fn heads(&self, phase: Phase, cut: &Cut) -> u32 {
        let wished = self.schedule.heads.unwrap_or(cut.side_by_side());
        let group = cut.extent.heads / cut.extent.groups.max(1);
        if wished <= 1 || !group.is_multiple_of(wished as usize) {
            return 1;
        }
        let mut shares = self.shares.lock().expect("no holder of this lock panics");
        let key = (phase, cut.chunk(), wished);
        let compiler = &self.compiler;
        let known = shares
            .entry(key)
            .or_insert_with(|| compiler.shares(&self.schedule, phase, cut.chunk(), wished));
        if *known { wished } else { 1 }
    }

    /// The kernel of a phase for a run with this cut.
    pub(super) fn artifact(&self, phase: Phase, cut: &Cut) -> Result<Arc<Made>, Error> {
        let (chunk, heads) = (cut.chunk(), self.heads(phase, cut));
        let mut artifacts = self
            .artifacts
            .lock()
            .expect("no holder of this lock panics");
        if let Some(artifact) = artifacts.get(&(phase, chunk, heads)) {
            return Ok(artifact.clone());
        }
        let schedule = self.schedule.with_heads(heads);
        let made = made::artifact(self.device, &self.compiler, phase, chunk, &schedule)?;
        let artifact = Arc::new(made);
        artifacts.insert((phase, chunk, heads), artifact.clone());
        Ok(artifact)
    }

    /// A kernel that no recurrence is in.
    pub fn service(&self, service: Service) -> Result<Arc<Ptx>, Error> {
        let mut services = self.services.lock().expect("no holder of this lock panics");
        if let Some(kernel) = services.get(&service) {
            return Ok(kernel.clone());
        }
        let name = service.name(&self.schedule);
        let made = made::ptx(&name, service.source(&self.schedule), || name.clone());
        let kernel = Arc::new(made.map_err(|why| self.unsupported(why))?);
        services.insert(service, kernel.clone());
        Ok(kernel)
    }

    /// What this device cannot do.
    pub fn unsupported(&self, why: impl ToString) -> Error {
        Error::Unsupported {
            device: self.device.into(),
            reason: why.to_string(),
        }
    }

    pub fn recurrence(&self) -> &Recurrence {
        self.compiler.recurrence()
    }

    /// Numbers of one head (at one step, of what has steps).
    pub fn entries(&self, port: &Port) -> usize {
        self.shape(&[], port).into_iter().product()
    }

    /// `outer` and the sizes of the port's dims.
    pub fn shape(&self, outer: &[usize], port: &Port) -> Vec<usize> {
        let dims = port.shape.iter().map(|dim| self.sizes[dim.index()]);
        outer.iter().copied().chain(dims).collect()
    }

    /// Bytes of all states of one head in the dtype in which they are kept.
    pub fn state_bytes(&self) -> usize {
        let states = self.recurrence().states.iter();
        let entries: usize = states.map(|port| self.entries(port)).sum();
        entries * self.schedule.storage.bytes() as usize
    }

    /// The dtype of a role's memory, as its kernels read or write it.
    pub fn storage(&self, role: Role, port: &Port) -> Storage {
        let dims = self.shape(&[], port).into_iter();
        let decl = PortDecl {
            name: String::new(),
            role,
            pace: Pace::Step,
            per_head: !port.per_group,
            dims: dims.map(|n| n as u32).collect(),
        };
        self.schedule.dtype(&decl)
    }

    /// The gradient of an output that nothing depends on: one entry of zeros, for every step and head.
    pub fn nothing(
        &self,
        machine: &mut dyn Machine,
        port: &Port,
        storage: Storage,
    ) -> Result<Place, Error> {
        let bytes = self.entries(port) * storage.bytes() as usize;
        Ok(Place {
            address: machine.input(&vec![0; bytes])?,
            strides: [0; 3],
        })
    }
}
