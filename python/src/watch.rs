//! A run that a signal ends: long ones run beside the caller, who looks for signals meanwhile.
//!
//! The interpreter handles signals on the thread that made the call, which is why the run is not there. On one
//! (Ctrl-C, or a handler that raises) the call returns with its exception at once, and the run is asked to
//! stop: kernels do so within a task, while the f64 interpreter goes on to its end unheard. What a run
//! reads it therefore owns. A short run stays on the thread: no signal waits for it, and a thread costs as much.

use crate::failure::guarded;
use baton_runtime::Error;
use baton_runtime::stop::Stop;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Runs without the interpreter's lock: the run's own result inside, an exception of a signal outside.
pub fn watched<T: Send + 'static>(
    py: Python<'_>,
    long: bool,
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> PyResult<Result<T, Error>> {
    if !long {
        return Ok(py.detach(|| guarded(run)));
    }
    let (stop, (give, take)) = (Stop::default(), channel());
    let bound = stop.clone();
    let beside = thread::Builder::new().name("baton-call".into());
    let begun = beside.spawn(move || {
        // Nobody listens any more after a signal.
        let _ = give.send(bound.during(|| guarded(run)));
    });
    if let Err(why) = begun {
        return Err(PyRuntimeError::new_err(format!(
            "no thread for a run: {why}"
        )));
    }
    py.detach(move || {
        loop {
            match take.recv_timeout(LOOK) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(signal) = Python::attach(|py| py.check_signals()) {
                        stop.request();
                        return Err(signal);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(PyRuntimeError::new_err("the thread of a run is gone"));
                }
            }
        }
    })
}
