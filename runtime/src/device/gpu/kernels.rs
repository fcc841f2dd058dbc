//! The kernels of a recurrence for a GPU, by phase, made at first use.

use super::made::{self, Made};
use super::memory::Ptx;
use crate::Error;
use crate::device::Options;
use crate::device::check::{self, Extent};
use crate::engine::cut::Cut;
use crate::engine::machine::{Kernels, Signed};
use crate::engine::shapes::Shapes;
use baton_codegen::schedule::{Load, Plan, held};
use baton_codegen::target::{Gpu, Storage};
use baton_codegen::{Compiler, Phase, Service, Summary};
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::tile::{Role, TileProgram};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Blocks that a grid may have along y.
pub(super) const MOST_RANGES: usize = 65535;

/// A recurrence compiled for a GPU.
pub(crate) struct GpuKernels {
    device: &'static str,
    compiler: Compiler,
    shapes: Shapes,
    chunk: usize,
    /// The caller's bound on kept states, if any.
    keep_bytes: Option<usize>,
    pub target: Gpu,
    made: Mutex<HashMap<(Phase, usize, u32), Arc<Made>>>,
    /// Whether a phase shares what a number of heads of a group have in common.
    shares: Mutex<HashMap<(Phase, usize, u32), bool>>,
    services: Mutex<HashMap<Service, Arc<Ptx>>>,
}

impl Signed for Made {
    fn program(&self) -> &TileProgram {
        &self.program
    }
}

impl GpuKernels {
    /// Verifies, derives, and finds the chunk length where none is said; in strips where the whole does not fit.
    pub fn new(
        device: &'static str,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
        target: Gpu,
    ) -> Result<Self, Error> {
        check::sizes(recurrence, sizes)?;
        let compiler = Compiler::new(recurrence, sizes).map_err(Error::Invalid)?;
        let (compiler, chunk) =
            { compiler.fit(&target, options.chunk) }.map_err(|why| Error::Unsupported {
                device: device.into(),
                reason: why.to_string(),
            })?;
        let shapes = Shapes::new(recurrence, sizes).in_strips(compiler.strips());
        Ok(Self {
            device,
            compiler,
            shapes,
            chunk,
            keep_bytes: options.keep_bytes,
            target,
            made: Mutex::default(),
            shares: Mutex::default(),
            services: Mutex::default(),
        })
    }

    /// Heads that a block of this phase runs, of the number that the caller wishes.
    fn heads(&self, phase: Phase, cut: &Cut) -> u32 {
        let wished = self.target.heads();
        let group = cut.extent.heads / cut.extent.groups.max(1);
        if wished <= 1 || !group.is_multiple_of(wished as usize) {
            return 1;
        }
        let mut shares = self.shares.lock().expect("no holder of this lock panics");
        let known = shares
            .entry((phase, cut.chunk(), wished))
            .or_insert_with(|| {
                self.compiler
                    .shares(&self.target, phase, cut.chunk(), wished)
            });
        if *known { wished } else { 1 }
    }

    /// The kernel of a phase for a run with this cut.
    pub fn made(&self, phase: Phase, cut: &Cut) -> Result<Arc<Made>, Error> {
        let key = (phase, cut.chunk(), self.heads(phase, cut));
        let mut all = self.made.lock().expect("no holder of this lock panics");
        if let Some(made) = all.get(&key) {
            return Ok(made.clone());
        }
        let target = self.target.with_heads(key.2);
        let made = made::kernel(self.device, &self.compiler, phase, cut.chunk(), &target)?;
        let made = Arc::new(made);
        all.insert(key, made.clone());
        Ok(made)
    }

    /// A kernel that no recurrence is in, with its name.
    pub fn service(&self, service: Service) -> Result<(String, Arc<Ptx>), Error> {
        let name = service.name(&self.target);
        let mut services = self.services.lock().expect("no holder of this lock panics");
        if let Some(kernel) = services.get(&service) {
            return Ok((name, kernel.clone()));
        }
        let made = made::ptx(&name, service.source(&self.target), || name.clone());
        let kernel = Arc::new(made.map_err(|why| self.refused(why))?);
        services.insert(service, kernel.clone());
        Ok((name, kernel))
    }

    /// What this device cannot do.
    pub fn refused(&self, reason: String) -> Error {
        Error::Unsupported {
            device: self.device.into(),
            reason,
        }
    }
}

impl Kernels for GpuKernels {
    fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    fn plan(&self, load: Load, chunk: Option<usize>) -> Plan {
        let chunk = chunk.unwrap_or(self.chunk);
        let beside = self.compiler.settled(&self.target).beside();
        Plan::of_blocks(self.compiler.traits(), load, chunk, self.keep_bytes, beside)
    }

    fn admits(&self, extent: &Extent) -> Result<(), Error> {
        let largest = i32::MAX as usize;
        let most = MOST_RANGES / self.shapes.strips();
        if extent.sequences > most || extent.time > largest || extent.heads > largest {
            return Err(self.refused(format!(
                "{} sequences, T={} and H={}: at most {most}, {largest} and {largest}",
                extent.sequences, extent.time, extent.heads
            )));
        }
        Ok(())
    }

    fn step_chunk(&self) -> usize {
        16
    }

    fn leaves(&self, phase: Phase) -> bool {
        self.compiler.leaves(phase)
    }

    fn summary(&self, state: usize) -> Summary {
        self.compiler.summaries()[state]
    }

    fn kernel(&self, phase: Phase, cut: &Cut) -> Result<Arc<dyn Signed>, Error> {
        Ok(self.made(phase, cut)?)
    }

    fn parts(&self, cut: &Cut) -> Option<usize> {
        let group = cut.extent.heads / cut.extent.groups.max(1);
        Some(group / self.heads(Phase::Backward, cut) as usize)
    }

    fn storage(&self, role: Role, port: &Port) -> Storage {
        self.target.dtype(held(role, port))
    }
}
