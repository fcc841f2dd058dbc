//! A recurrence compiled for a block: what a module holds instead of a parameter.

use crate::Error;
use crate::op::{Given, Returned, Value, apply_values};
use baton_runtime::{Device, Kernel, Options};
use std::fmt;
use std::sync::Arc;

/// A kernel with the name and the number of states of its recurrence.
#[derive(Clone)]
pub struct Compiled {
    name: String,
    states: usize,
    kernel: Arc<dyn Kernel>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compiled({})", self.name)
    }
}

impl Compiled {
    /// Loads the recurrence of `text` with dims of `sizes` on `device`.
    pub fn new(device: &dyn Device, text: &str, sizes: &[usize]) -> Result<Self, Error> {
        let recurrence = baton_ir::text::parse(text).map_err(baton_runtime::Error::Invalid)?;
        let kernel = device.load(&recurrence, sizes, &Options::default())?;
        Ok(Compiled {
            name: recurrence.name.clone(),
            states: recurrence.states.len(),
            kernel,
        })
    }

    /// Applies it; everything given may require gradients.
    pub fn apply(
        &self,
        inputs: Vec<Value>,
        params: Vec<Value>,
        states: Option<Vec<Value>>,
    ) -> Result<Returned, Error> {
        let given = Given {
            inputs,
            params,
            states,
            cu_seqlens: None,
        };
        apply_values(&self.kernel, self.states, given)
    }

    /// The kernel itself, for the typed interface of [`op::apply`](crate::op::apply).
    pub fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }
}
