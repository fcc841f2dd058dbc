//! The one CPU device of the process and its threads.
//!
//! Invariant: the lock is held only with the interpreter's lock and for a moment, so a fork never copies it
//! held. Threads do not survive a fork: a child starts a device of its own.

use baton_runtime::device::cpu::Cpu;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Running {
    process: u32,
    cpu: Arc<Cpu>,
}

struct Pool {
    /// As set; absent is as followed.
    threads: Option<usize>,
    /// As the library has it that calls; absent is one for each core.
    followed: Option<usize>,
    running: Option<Running>,
}

impl Pool {
    /// Threads that are no longer as many as wanted are given up; runs that they are in keep them.
    fn change(&mut self, change: impl FnOnce(&mut Pool)) {
        let before = self.threads.or(self.followed);
        change(self);
        if before != self.threads.or(self.followed)
            && let Some(running) = self.running.take()
            && running.process != std::process::id()
        {
            mem::forget(running);
        }
    }
}

/// More threads than this are a mistake.
const MOST: usize = 4096;

static POOL: Mutex<Pool> = Mutex::new(Pool {
    threads: None,
    followed: None,
    running: None,
});

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device, started where there is none in this process. With the interpreter's lock.
pub fn cpu(_: Python<'_>) -> PyResult<Arc<Cpu>> {
    let mut pool = pool();
    let process = std::process::id();
    if (pool.running.as_ref()).is_none_or(|running| running.process != process) {
        let cpu = Cpu::new(pool.threads.or(pool.followed));
        let cpu = cpu.map_err(|why| PyRuntimeError::new_err(why.to_string()))?;
        let cpu = Arc::new(cpu);
        // A parent's pool must not be dropped here: its threads, which dropping wakes, are not there.
        mem::forget(pool.running.replace(Running { process, cpu }));
    }
    let running = pool.running.as_ref().map(|running| running.cpu.clone());
    running.ok_or_else(|| PyRuntimeError::new_err("the device is gone"))
}

/// The number of threads that kernels run on, from the next call on: `None` is that of PyTorch for its tensors,
/// and one for each core before there were any.
/// Results do not depend on it, to the bit.
#[pyfunction]
#[pyo3(signature = (threads))]
pub fn set_num_threads(threads: Option<i64>) -> PyResult<()> {
    let threads = match threads.map(usize::try_from) {
        None => None,
        Some(Ok(threads @ 1..=MOST)) => Some(threads),
        Some(_) => {
            let given = threads.unwrap_or_default();
            let text = format!("threads={given} given, expected 1 to 4096, or None for every core");
            return Err(PyValueError::new_err(text));
        }
    };
    pool().change(|pool| pool.threads = threads);
    Ok(())
}

/// The number of threads where none is set: that of the library whose operator runs.
#[pyfunction]
pub fn follow_num_threads(threads: usize) {
    pool().change(|pool| pool.followed = Some(threads.clamp(1, MOST)));
}

/// The number of threads that kernels run on.
#[pyfunction]
pub fn get_num_threads() -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let pool = pool();
    pool.threads.or(pool.followed).unwrap_or_else(cores)
}

/// Keeps freed memory in the process from now on, for every library in it; meant for programs of their own.
/// Runs return fresh arrays, and giving their memory back to the system each time can cost half of a run.
/// Does nothing where the allocator is not GNU's.
#[pyfunction]
pub fn keep_memory() {
    baton_runtime::memory::keep();
}
