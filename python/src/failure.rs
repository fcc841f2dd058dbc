//! What goes wrong, as Python's exceptions: a wrong name or dtype is a `TypeError`, a wrong shape or value a
//! `ValueError`, a mistake in a text a `baton.DiagnosticError`, what lies with us a `RuntimeError`.

use baton_ir::diag::Diagnostic;
use baton_ir::text::{Place, place, render};
use baton_runtime::Error;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A text and what it is called in messages.
pub struct Source {
    pub name: String,
    pub text: String,
}

/// An item of the package's module of types.
pub fn package<'py>(py: Python<'py>, item: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("baton._types")?.getattr(item)
}

/// Runs what must not panic; if it does, that is an error like others, and says so.
pub fn guarded<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        Err(Error::Unsupported {
            device: "cpu".into(),
            reason: format!("a fault of Baton, please report it: {}", said(&*panic)),
        })
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

impl Source {
    /// The exception of an error of the runtime.
    pub fn raised(&self, py: Python<'_>, error: Error) -> PyErr {
        match error {
            Error::Invalid(diagnostics) => self.diagnosed(py, &diagnostics),
            Error::Dtype { .. } => PyTypeError::new_err(error.to_string()),
            Error::Unsupported { .. } => PyRuntimeError::new_err(error.to_string()),
            error => PyValueError::new_err(error.to_string()),
        }
    }

    /// The exception of mistakes in the text, all of them.
    pub fn diagnosed(&self, py: Python<'_>, diagnostics: &[Diagnostic]) -> PyErr {
        let exception = || {
            let one = package(py, "Diagnostic")?;
            let all = diagnostics.iter().map(|diagnostic| {
                let Place {
                    line,
                    column,
                    length,
                } = place(&self.text, diagnostic.span);
                one.call1((
                    diagnostic.code,
                    &diagnostic.message,
                    line,
                    column,
                    length,
                    &diagnostic.found,
                    &diagnostic.expected,
                    &diagnostic.remedy,
                ))
            });
            let all = PyTuple::new(py, all.collect::<PyResult<Vec<_>>>()?)?;
            let text = render(&self.name, &self.text, diagnostics);
            package(py, "DiagnosticError")?.call1((text.trim_end(), all))
        };
        match exception() {
            Ok(exception) => PyErr::from_value(exception),
            Err(why) => why,
        }
    }
}
