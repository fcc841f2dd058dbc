//! The CPU: compiled code, threads over heads, sequences and segments.
//!
//! A kernel is compiled on first use and kept. Work is cut by a plan that looks at shapes only,
//! each task writes memory of its own, and what tasks share is added up afterwards in a fixed
//! order: the same inputs give the same bits for every number of threads.

mod bound;
mod kernel;
mod run;
mod segment;
mod task;
mod window;

use crate::Error;
use crate::device::{Device, Kernel, Options};
use baton_codegen::Compiler;
use baton_ir::recurrence::Recurrence;
use kernel::CpuKernel;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Name of this device.
const NAME: &str = "cpu";

/// What a kernel is loaded for: the text, the sizes and the choices.
type Key = (String, Vec<usize>, Options);

/// The CPU device.
pub struct Cpu {
    pool: Arc<ThreadPool>,
    loaded: Mutex<HashMap<Key, Arc<CpuKernel>>>,
}

impl Cpu {
    /// A device with `threads` threads; every core when absent.
    pub fn new(threads: Option<usize>) -> Result<Self, Error> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|i| format!("baton-{i}"))
            .build()
            .map_err(|why| unsupported(format!("cannot start threads: {why}")))?;
        Ok(Self {
            pool: Arc::new(pool),
            loaded: Mutex::default(),
        })
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
            && ![16, 32, 64, 128].contains(&chunk)
        {
            return Err(Error::Argument(format!(
                "chunk {chunk} given, expected 16, 32, 64 or 128"
            )));
        }
        let text = baton_ir::text::print(recurrence);
        let key = (text, sizes.to_vec(), options.clone());
        let mut loaded = self.loaded.lock().expect("no holder of this lock panics");
        if let Some(kernel) = loaded.get(&key) {
            return Ok(kernel.clone());
        }
        let compiler = Compiler::new(recurrence, sizes).map_err(Error::Invalid)?;
        let kernel = Arc::new(CpuKernel::new(compiler, sizes, options, self.pool.clone()));
        loaded.insert(key, kernel.clone());
        Ok(kernel)
    }
}

fn unsupported(reason: impl Into<String>) -> Error {
    Error::Unsupported {
        device: NAME.into(),
        reason: reason.into(),
    }
}
