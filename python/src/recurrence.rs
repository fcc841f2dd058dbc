//! A recurrence as Python sees it: what it declares, what is derived from it, and how it is called.

use crate::arguments::Arguments;
use crate::call;
use crate::definition::{Definition, PARAM, STATE, steps};
use crate::failure::{Source, package};
use crate::pullback::Pullback;
use baton_ir::text::chunked::print;
use baton_ir::{builtin, text};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

/// The names of the built-in recurrences.
#[pyfunction]
pub fn builtins(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, builtin::NAMES)
}

/// A linear recurrence: `Recurrence("gla")` is the built-in one of that name.
#[pyclass(frozen, module = "baton", name = "Recurrence")]
pub struct PyRecurrence(Arc<Definition>);

#[pymethods]
impl PyRecurrence {
    #[new]
    fn new(py: Python<'_>, name: &str) -> PyResult<Self> {
        let text = builtin::text(name).ok_or_else(|| {
            PyValueError::new_err(format!(
                "there is no built-in recurrence `{name}`, only {}; one of your own is given by \
                 Recurrence.from_text or Recurrence.from_file",
                builtin::NAMES.join(", ")
            ))
        })?;
        Self::of(py, name, text.into())
    }

    /// The recurrence that a text says; `name` is what messages call the text.
    #[classmethod]
    #[pyo3(signature = (text, name = "<text>"))]
    fn from_text(_: &Bound<'_, PyType>, py: Python<'_>, text: &str, name: &str) -> PyResult<Self> {
        Self::of(py, name, text.into())
    }

    /// The recurrence of a file.
    #[classmethod]
    fn from_file(_: &Bound<'_, PyType>, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let name = path.display().to_string();
        let file = py.import("pathlib")?.getattr("Path")?.call1((path,))?;
        let text: String = file.call_method1("read_text", ("utf-8",))?.extract()?;
        Self::of(py, &name, text)
    }

    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.recurrence.name
    }

    /// The text, as it is printed: two recurrences are equal when these are.
    #[getter]
    fn text(&self) -> &str {
        &self.0.canonical
    }

    /// The names of its dimensions.
    #[getter]
    fn dims<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.recurrence.dims)
    }

    /// What it reads at every step.
    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.0.ports(py, &self.0.recurrence.inputs, steps)
    }

    /// What it reads that is the same at every step.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.0.ports(py, &self.0.recurrence.params, |_| PARAM)
    }

    /// What it carries from step to step.
    #[getter]
    fn states<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.0.ports(py, &self.0.recurrence.states, |_| STATE)
    }

    /// What it gives at every step.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.0.ports(py, &self.0.recurrence.outputs, steps)
    }

    /// The class of its transition: "scalar", "diagonal", "delta" and so on, the most general of its states.
    #[getter]
    fn class_(&self) -> &str {
        self.0.facts.class().name()
    }

    /// What is derived: one chunk of steps as tensor algebra, with `gradient` its reverse too.
    #[pyo3(signature = (*, gradient = false))]
    fn derivation(&self, py: Python<'_>, gradient: bool) -> PyResult<String> {
        let Definition {
            recurrence, facts, ..
        } = &*self.0;
        let (forward, steps) = baton_codegen::derive_any(recurrence, facts)
            .map_err(|mistake| self.0.source.diagnosed(py, &[mistake]))?;
        let mut text = String::new();
        if steps {
            text.push_str("// No chunked form: what follows is a chunk of one step.\n");
        }
        text.push_str(&print(&forward));
        if gradient {
            text.push('\n');
            text.push_str(&print(&baton_codegen::grad(&forward)));
        }
        Ok(text)
    }

    /// Runs it over all steps: `Run(outputs, final_state)`, arrays by name; `final_state` is `None` unless
    /// `output_final_state`.
    #[pyo3(signature = (*, initial_state = None, output_final_state = false, cu_seqlens = None, **tensors))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        initial_state: Option<&Bound<'py, PyAny>>,
        output_final_state: bool,
        cu_seqlens: Option<&Bound<'py, PyAny>>,
        tensors: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = Arguments::take(py, &self.0, tensors, initial_state, cu_seqlens)?;
        let arguments = Arc::new(arguments);
        let (run, _) = call::forward(py, &self.0, &arguments, false)?;
        match output_final_state {
            true => Ok(run),
            false => package(py, "Run")?.call1((run.getattr("outputs")?, py.None())),
        }
    }

    /// Runs it and gives `(Run, Pullback)`: the pullback takes gradients of the outputs and final states to
    /// those of everything that was given, and keeps what it needs for that.
    #[pyo3(signature = (*, initial_state = None, cu_seqlens = None, **tensors))]
    fn vjp<'py>(
        &self,
        py: Python<'py>,
        initial_state: Option<&Bound<'py, PyAny>>,
        cu_seqlens: Option<&Bound<'py, PyAny>>,
        tensors: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Bound<'py, PyAny>, Pullback)> {
        let arguments = Arguments::take(py, &self.0, tensors, initial_state, cu_seqlens)?;
        let arguments = Arc::new(arguments);
        let (run, saved) = call::forward(py, &self.0, &arguments, true)?;
        Ok((run, Pullback::new(self.0.clone(), arguments, saved)))
    }

    /// The gradients alone, without a forward run kept: the states on the way are computed again.
    #[pyo3(signature = (*, d_outputs = None, d_final_state = None, initial_state = None, cu_seqlens = None, **tensors))]
    fn backward<'py>(
        &self,
        py: Python<'py>,
        d_outputs: Option<&Bound<'py, PyAny>>,
        d_final_state: Option<&Bound<'py, PyAny>>,
        initial_state: Option<&Bound<'py, PyAny>>,
        cu_seqlens: Option<&Bound<'py, PyAny>>,
        tensors: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = Arguments::take(py, &self.0, tensors, initial_state, cu_seqlens)?;
        let arguments = Arc::new(arguments);
        Pullback::new(self.0.clone(), arguments, None).__call__(py, d_outputs, d_final_state)
    }

    /// The seconds that so many runs take without Python around them; for measuring what a call adds.
    #[pyo3(name = "_seconds", signature = (runs, **tensors))]
    fn seconds(
        &self,
        py: Python<'_>,
        runs: u32,
        tensors: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<f64> {
        let arguments = Arguments::take(py, &self.0, tensors, None, None)?;
        call::seconds(py, &self.0, &arguments, runs)
    }

    fn __repr__(&self) -> String {
        let name = self.name();
        match builtin::text(name).and_then(|text| text::parse(text).ok()) {
            Some(known) if known == self.0.recurrence => format!("baton.Recurrence({name:?})"),
            _ => format!("baton.Recurrence.from_text({:?})", self.0.canonical),
        }
    }

    fn __str__(&self) -> &str {
        &self.0.canonical
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        let other = other.cast::<PyRecurrence>();
        other.is_ok_and(|other| other.get().0.canonical == self.0.canonical)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.canonical.hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (&str, &str))> {
        let from_text = py.get_type::<PyRecurrence>().getattr("from_text")?;
        Ok((from_text, (&self.0.source.text, &self.0.source.name)))
    }
}

impl PyRecurrence {
    /// What it is.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.0
    }

    fn of(py: Python<'_>, name: &str, text: String) -> PyResult<Self> {
        let name = name.to_string();
        Definition::new(py, Source { name, text }).map(|definition| Self(Arc::new(definition)))
    }
}
