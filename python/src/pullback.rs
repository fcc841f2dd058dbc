//! What a forward run leaves for its gradients.

use crate::arguments::Arguments;
use crate::call;
use crate::definition::Definition;
use baton_runtime::Saved;
use pyo3::prelude::*;
use std::sync::Arc;

/// From gradients of outputs and final states to `Gradients` of inputs, params and initial states. It holds
/// the arrays of its run, which must not change meanwhile, and may be called any number of times.
#[pyclass(frozen, module = "baton")]
pub struct Pullback {
    definition: Arc<Definition>,
    arguments: Arc<Arguments>,
    saved: Option<Arc<Saved>>,
}

impl Pullback {
    pub fn new(
        definition: Arc<Definition>,
        arguments: Arc<Arguments>,
        saved: Option<Saved>,
    ) -> Self {
        Self {
            definition,
            arguments,
            saved: saved.map(Arc::new),
        }
    }
}

#[pymethods]
impl Pullback {
    #[pyo3(signature = (d_outputs = None, d_final_state = None))]
    pub fn __call__<'py>(
        &self,
        py: Python<'py>,
        d_outputs: Option<&Bound<'py, PyAny>>,
        d_final_state: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let saved = self.saved.clone();
        call::backward(
            py,
            &self.definition,
            &self.arguments,
            saved,
            d_outputs,
            d_final_state,
        )
    }
}
