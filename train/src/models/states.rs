//! The states of a model between two segments.

use super::hybrid::Memory;
use crate::Error;
use crate::op::Value;
use baton_runtime::Tensor;
use burn::tensor::Device;

/// The states of one layer.
#[derive(Clone, Debug, Default)]
pub struct LayerState {
    /// Of the recurrence, in order of declaration: `[B, H, dims...]` each.
    pub recurrence: Vec<Value>,
    /// Of the causal convolution, [B, W - 1, C]; absent is zero, and so is a block without one.
    pub conv: Option<Value>,
    /// Of a layer that cuts or chooses chunks; absent is empty.
    pub memory: Option<Memory>,
}

/// The states of all layers, first to last.
pub type States = Vec<LayerState>;

/// The states of one layer on the host: what interventions work on and checkpoints hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostState {
    /// Of the recurrence, in order of declaration.
    pub recurrence: Vec<Tensor>,
    /// Of the causal convolution; absent is zero.
    pub conv: Option<Tensor>,
    /// Of a layer that cuts or chooses chunks; absent is empty. No intervention sees it.
    pub memory: Option<Memory>,
}

/// The states of all layers on the host.
pub type HostStates = Vec<HostState>;

impl LayerState {
    /// Every state replaced by what `change` makes of it.
    pub(super) fn map(
        &self,
        mut change: impl FnMut(&Value) -> Result<Value, Error>,
    ) -> Result<Self, Error> {
        let recurrence = self.recurrence.iter().map(&mut change);
        Ok(LayerState {
            recurrence: recurrence.collect::<Result<_, _>>()?,
            conv: self.conv.as_ref().map(change).transpose()?,
            memory: self.memory.clone(),
        })
    }

    /// Every state, the convolution's last.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.recurrence.iter().chain(&self.conv)
    }

    /// Leaves states of no sequence.
    pub(crate) fn clear(&mut self) {
        let none = |value: &Value| {
            let shape = [&[0], &value.shape()[1..]].concat();
            Value::from_host(Tensor::full(&shape, 0.0))
        };
        self.recurrence
            .iter_mut()
            .for_each(|value| *value = none(value));
        self.conv.iter_mut().for_each(|value| *value = none(value));
    }

    /// A copy on the host.
    pub fn to_host(&self) -> HostState {
        HostState {
            recurrence: self.recurrence.iter().map(Value::to_host).collect(),
            conv: self.conv.as_ref().map(Value::to_host),
            memory: self.memory.clone(),
        }
    }

    /// The same states on `device`; those that were elsewhere are constants there.
    pub fn on(self, device: &Device) -> Self {
        let on = |value: Value| value.on(device);
        LayerState {
            recurrence: self.recurrence.into_iter().map(on).collect(),
            conv: self.conv.map(on),
            memory: self.memory,
        }
    }

    /// The same states, cut off from any graph.
    pub fn detach(&self) -> Self {
        LayerState {
            recurrence: self.recurrence.iter().map(Value::detach).collect(),
            conv: self.conv.as_ref().map(Value::detach),
            memory: self.memory.clone(),
        }
    }

    /// Constant states in memory of the host; a model on another device moves them there ([`on`](Self::on)).
    pub fn from_host(state: HostState) -> Self {
        LayerState {
            recurrence: state.recurrence.into_iter().map(Value::from_host).collect(),
            conv: state.conv.map(Value::from_host),
            memory: state.memory,
        }
    }
}
