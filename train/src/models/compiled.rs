//! A recurrence compiled for a block: what a module holds instead of a parameter.

use crate::Error;
use crate::op::{self, Burn, Packing, Value};
use baton_runtime::typed::{Definition, Fields};
use baton_runtime::{Device, Kernel, Options};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A kernel of `D`.
pub struct Compiled<D: Definition> {
    kernel: Arc<dyn Kernel>,
    definition: PhantomData<fn() -> D>,
}

impl<D: Definition> Clone for Compiled<D> {
    fn clone(&self) -> Self {
        Compiled {
            kernel: self.kernel.clone(),
            definition: PhantomData,
        }
    }
}

impl<D: Definition> fmt::Debug for Compiled<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compiled({})", D::NAME)
    }
}

impl<D: Definition> Compiled<D> {
    /// Loads it for dims of `sizes` on `device`.
    pub fn new(device: &dyn Device, sizes: D::Sizes) -> Result<Self, Error> {
        Ok(Compiled {
            kernel: device.load(D::recurrence(), &sizes.into(), &Options::default())?,
            definition: PhantomData,
        })
    }

    /// Applies it, from states that [`LayerState`](super::LayerState) holds (absent: zero);
    /// returns the outputs and the states after them.
    pub fn apply(
        &self,
        inputs: D::Inputs<Burn>,
        params: D::Params<Burn>,
        states: Option<Vec<Value>>,
    ) -> Result<(D::Outputs<Burn>, Vec<Value>), Error> {
        self.apply_packed(inputs, params, states, None)
    }

    /// As [`apply`](Self::apply), for the sequences of `packing` in one row.
    pub fn apply_packed(
        &self,
        inputs: D::Inputs<Burn>,
        params: D::Params<Burn>,
        states: Option<Vec<Value>>,
        packing: Option<&Packing>,
    ) -> Result<(D::Outputs<Burn>, Vec<Value>), Error> {
        let expected = <D::States<Burn> as Fields<Burn>>::NAMES;
        if let Some(states) = &states
            && states.len() != expected.len()
        {
            return Err(Error::Tensor(format!(
                "{} states given to `{}`, expected {expected:?}",
                states.len(),
                D::NAME
            )));
        }
        let states = states.map(|states| Fields::from_vec(states.into_iter().map(Ok).collect()));
        let run = op::apply_packed::<D>(&self.kernel, inputs, params, states, packing)?;
        let states = run
            .states
            .into_vec()
            .into_iter()
            .collect::<Result<_, _>>()?;
        Ok((run.outputs, states))
    }
}
