//! A recurrence that was read and verified, and what it declares.

use crate::failure::{Source, package};
use baton_ir::recurrence::{Facts, Port, Recurrence};
use baton_ir::{text, verify};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The arguments of a call that are no tensors, whose names no tensor can have.
const TAKEN: [&str; 5] = [
    "initial_state",
    "output_final_state",
    "cu_seqlens",
    "d_outputs",
    "d_final_state",
];

/// A verified recurrence with its text.
pub struct Definition {
    pub recurrence: Recurrence,
    pub facts: Facts,
    pub source: Source,
    /// The text as printed: equal where recurrences are.
    pub canonical: String,
}

/// What stands before the dims of a kind of tensor.
pub const PARAM: &[&str] = &["H"];
pub const STATE: &[&str] = &["B", "H"];

/// What stands before the dims of an input or output.
pub fn steps(port: &Port) -> &'static [&'static str] {
    match port.per_group {
        true => &["B", "T", "G"],
        false => &["B", "T", "H"],
    }
}

impl Definition {
    /// Reads and verifies a text.
    pub fn new(py: Python<'_>, source: Source) -> PyResult<Self> {
        let read = || {
            let recurrence = text::parse(&source.text)?;
            verify::verify(&recurrence).map(|facts| (recurrence, facts))
        };
        let (recurrence, facts) = read().map_err(|all| source.diagnosed(py, &all))?;
        let tensors = recurrence.inputs.iter().chain(&recurrence.params);
        if let Some(port) = tensors
            .into_iter()
            .find(|p| TAKEN.contains(&p.name.as_str()))
        {
            return Err(PyValueError::new_err(format!(
                "tensor `{}` of `{}` has the name of an argument of calls: give it another",
                port.name, recurrence.name
            )));
        }
        Ok(Definition {
            canonical: text::print(&recurrence),
            recurrence,
            facts,
            source,
        })
    }

    /// The layout of a tensor, outermost first.
    pub fn layout<'a>(&'a self, outer: &[&'a str], port: &Port) -> Vec<&'a str> {
        let dims = port.shape.iter();
        let dims = dims.map(|dim| self.recurrence.dims[dim.index()].as_str());
        outer.iter().copied().chain(dims).collect()
    }

    /// What it declares of one kind, as Python sees it.
    pub fn ports<'py>(
        &self,
        py: Python<'py>,
        ports: &[Port],
        outer: impl Fn(&Port) -> &'static [&'static str],
    ) -> PyResult<Bound<'py, PyTuple>> {
        let class = package(py, "Port")?;
        let one = |port: &Port| {
            let dims = PyTuple::new(py, self.layout(&[], port))?;
            let layout = PyTuple::new(py, self.layout(outer(port), port))?;
            class.call1((&port.name, dims, port.per_group, layout))
        };
        PyTuple::new(py, ports.iter().map(one).collect::<PyResult<Vec<_>>>()?)
    }
}
