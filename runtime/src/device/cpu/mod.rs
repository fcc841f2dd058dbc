//! The CPU: compiled code, threads over heads, sequences and segments.
//!
//! A kernel is compiled on first use and kept; the [`engine`](crate::engine) runs them. Work is cut by a plan that looks at shapes only,
//! each task writes memory of its own, and what tasks share is added up afterwards in a fixed
//! order: the same inputs give the same bits for every number of threads.

mod chain;
mod kernels;
mod memory;
mod share;
mod task;
mod threads;

use crate::Error;
use crate::device::{Device, Kernel, Options, check};
use crate::engine::host::HostKernel;
use crate::engine::machine::HostMachine;
use baton_codegen::schedule::CHUNKS;
use baton_ir::recurrence::Recurrence;
pub use kernels::Choices;
use kernels::{CpuKernels, NAME, failed};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use threads::Threads;

/// What a kernel is loaded for: the text, the sizes and the choices.
type Key = (String, Vec<usize>, Options);

/// The CPU device.
pub struct Cpu {
    pool: Arc<ThreadPool>,
    choices: Option<Arc<dyn Choices>>,
    loaded: Mutex<HashMap<Key, Arc<HostKernel>>>,
}

impl Cpu {
    /// A device with `threads` threads; every core when absent.
    pub fn new(threads: Option<usize>) -> Result<Self, Error> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|i| format!("baton-{i}"))
            .build()
            .map_err(|why| failed(format!("cannot start threads: {why}")))?;
        Ok(Self {
            pool: Arc::new(pool),
            choices: None,
            loaded: Mutex::default(),
        })
    }

    /// The same device, whose plans are made by `choices` where the caller's [`Options`] leave them open.
    pub fn with_choices(self, choices: Arc<dyn Choices>) -> Self {
        Self {
            choices: Some(choices),
            loaded: Mutex::default(),
            ..self
        }
    }
}

impl Device for Cpu {
    fn name(&self) -> &str {
        NAME
    }

    fn load(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Arc<dyn Kernel>, Error> {
        if let Some(chunk) = options.chunk
            && !CHUNKS.contains(&chunk)
        {
            return Err(Error::Argument(format!(
                "chunk {chunk} given, expected 16, 32, 64 or 128"
            )));
        }
        check::sizes(recurrence, sizes)?;
        baton_ir::verify::sound(recurrence).map_err(|breach| Error::Invalid(vec![breach]))?;
        let text = baton_ir::text::print(recurrence);
        let key = (text, sizes.to_vec(), options.clone());
        let mut loaded = self.loaded.lock().expect("no holder of this lock panics");
        if let Some(kernel) = loaded.get(&key) {
            return Ok(kernel.clone());
        }
        let kernels = Arc::new(CpuKernels::new(
            recurrence,
            sizes,
            options,
            self.choices.clone(),
        )?);
        let (pool, of) = (self.pool.clone(), kernels.clone());
        let machines =
            move || -> Box<dyn HostMachine> { Box::new(Threads::new(of.clone(), pool.clone())) };
        let kernel = Arc::new(HostKernel::new(kernels, Box::new(machines)));
        loaded.insert(key, kernel.clone());
        Ok(kernel)
    }
}
