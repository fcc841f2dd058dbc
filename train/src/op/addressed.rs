//! A compiled recurrence as one differentiable operation on tensors that stay on their device.
//!
//! What [`recurrence`](super::recurrence) does with views of the host, this does with addresses: it lays the
//! tensors of a call out (contiguous, in the dtype that the kernel reads them in), makes room for
//! what is written, and hands both to the kernel, state ports and what the backward needs included.
//! Nothing passes through the host. Outside tensors are f32; where the kernel's storage is narrower
//! they are rounded by the backend on the way in, and results widened on the way out.
//!
//! It is generic in the backend and the kernel, so that its bookkeeping is tested where there is no
//! GPU, with Flex's memory under a kernel for the CPU.

use super::fault::noted;
use super::given::{Given, Returned};
use super::node::{Gradients, record_on};
use super::value::{Home, Value};
use crate::Error;
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::tile::Role;
use baton_runtime::device::check::{self, Extent};
use baton_runtime::device::gpu::Storage;
use baton_runtime::device::raw::{DeviceBackward, DeviceCall, DeviceForward, DeviceTensor};
use baton_runtime::tensor::contiguous;
use baton_runtime::{Call, View};
use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{FloatDType, Shape};
use std::any::Any;
use std::sync::Arc;

/// A kernel on addresses.
pub(super) trait Raw: Send + Sync {
    /// What it computes.
    fn recurrence(&self) -> &Recurrence;
    /// The sizes of the recurrence's dims.
    fn sizes(&self) -> &[usize];
    /// The dtype in which a tensor is read or written.
    fn dtype(&self, role: Role) -> Option<Storage>;
    /// Bytes that a forward run keeps; no address of the call is read.
    fn kept_bytes(&self, call: &DeviceCall<'_>) -> Result<usize, baton_runtime::Error>;
    /// Runs forward; it has ended on return.
    ///
    /// # Safety
    /// Addresses are of memory as the call says, and nothing else uses what is written.
    unsafe fn forward(
        &self,
        call: &DeviceCall<'_>,
        to: &DeviceForward,
    ) -> Result<(), baton_runtime::Error>;
    /// Runs backward; it has ended on return.
    ///
    /// # Safety
    /// As of [`forward`](Self::forward).
    unsafe fn backward(
        &self,
        call: &DeviceCall<'_>,
        with: &DeviceBackward,
    ) -> Result<(), baton_runtime::Error>;
}

/// What holds a tensor in its place as long as it lives.
pub(super) type Pin = Box<dyn Any>;

/// A backend whose tensors lie at addresses.
pub(super) trait Addressed: Home {
    /// The tensor with its elements side by side in row order.
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Contiguous memory that nothing has written.
    fn empty(shape: Shape, device: &Self::Device, dtype: FloatDType) -> FloatTensor<Self>;
    /// Where contiguous tensors begin. On return the backend has done all that it was asked to do with
    /// their memory, whatever was in it before, and does no more until it is asked to.
    fn pin(tensors: &[&FloatTensor<Self>]) -> Result<Vec<(u64, Pin)>, Error>;
}

type Tensors<B> = Vec<FloatTensor<B>>;

/// Everything that both runs read.
struct Context<B: Addressed> {
    raw: Arc<dyn Raw>,
    extent: Extent,
    cu_seqlens: Option<Arc<[i64]>>,
    inputs: Tensors<B>,
    params: Tensors<B>,
    /// Empty where they are zero.
    states: Tensors<B>,
    /// What the forward keeps for the backward.
    kept: Option<FloatTensor<B>>,
    device: B::Device,
}

/// Applies a kernel to values on one device of `B`; absent states are zero.
pub(super) fn apply<B: Addressed>(raw: Arc<dyn Raw>, given: Given) -> Result<Returned, Error> {
    let states = given.states.as_deref().unwrap_or_default();
    let values = [given.inputs.as_slice(), &given.params, states].concat();
    let extent = extent(&*raw, &given)?;
    let here = |values: &[Value], role: Option<fn(u32) -> Role>| {
        let values = values.iter().zip(0u32..).map(|(value, i)| {
            let tensor = B::of(value).ok_or_else(|| {
                Error::Tensor(format!(
                    "a tensor on {:?} given beside others, expected all on one device",
                    value.device()
                ))
            })?;
            let dtype = role.map_or(FloatDType::F32, |role| dtype(&*raw, role(i)));
            Ok(stored::<B>(tensor.inner().clone(), dtype))
        });
        values.collect::<Result<Vec<_>, Error>>()
    };
    let inputs = here(&given.inputs, Some(Role::Input))?;
    let mut context = Context::<B> {
        device: inputs[0].device(),
        inputs,
        params: here(&given.params, None)?,
        states: here(states, None)?,
        cu_seqlens: given.cu_seqlens,
        kept: None,
        extent,
        raw: raw.clone(),
    };
    if values.iter().any(Value::recorded) {
        let words = raw.kept_bytes(&context.call(&[]))?.div_ceil(4);
        context.kept = Some(context.room(&[words], FloatDType::F32));
    }
    let (outputs, states) = context.forward()?;
    let count = outputs.len();
    let results = outputs.into_iter().map(widened::<B>).chain(states);
    let given = values.len();
    let mut outputs = record_on::<B>(&values, results.collect(), move |arrived, _| {
        noted::<B>(context.backward(arrived), given)
    });
    let states = outputs.split_off(count);
    Ok(Returned { outputs, states })
}

impl<B: Addressed> Context<B> {
    fn forward(&self) -> Result<(Tensors<B>, Tensors<B>), Error> {
        let recurrence = self.raw.recurrence();
        let outputs = recurrence.outputs.iter().zip(0u32..).map(|(port, i)| {
            let dtype = dtype(&*self.raw, Role::Output(i));
            self.room(&self.shape(&self.extent.steps(), port), dtype)
        });
        let (outputs, states): (Vec<_>, _) = (outputs.collect(), self.states());
        let written = refs(&outputs);
        let (at, _pins) =
            pinned::<B>(&[&self.given(), &written, &refs(&states), &refs(&self.kept)])?;
        let to = DeviceForward {
            outputs: places::<B>(&at[1], &written, 3),
            states: at[2].clone(),
            kept: at[3].first().copied().unwrap_or(0),
        };
        // SAFETY: the tensors are laid out as the call says, pinned, and at rest; what is written is new.
        unsafe { self.raw.forward(&self.call(&at[0]), &to)? };
        Ok((outputs, states))
    }

    fn backward(&self, arrived: Gradients<B>) -> Result<Gradients<B>, Error> {
        let recurrence = self.raw.recurrence();
        let count = recurrence.outputs.len();
        let arrived = arrived.into_iter().enumerate().map(|(i, gradient)| {
            let dtype = match i < count {
                true => dtype(&*self.raw, Role::DOutput(i as u32)),
                false => FloatDType::F32,
            };
            gradient.map(|gradient| stored::<B>(gradient, dtype))
        });
        let arrived: Gradients<B> = arrived.collect();
        let inputs = self.inputs.iter().zip(0u32..).map(|(input, i)| {
            let dtype = dtype(&*self.raw, Role::DInput(i));
            self.room(&input.shape().to_vec(), dtype)
        });
        let params = self.params.iter();
        let params = params.map(|param| self.room(&param.shape().to_vec(), FloatDType::F32));
        let (inputs, params): (Vec<_>, Vec<_>) = (inputs.collect(), params.collect());
        let states = self.states();
        let present: Vec<_> = arrived.iter().flatten().collect();
        let (d_inputs, d_params) = (refs(&inputs), refs(&params));
        let (at, _pins) = pinned::<B>(&[
            &self.given(),
            &refs(&self.kept),
            &present,
            &d_inputs,
            &d_params,
            &refs(&states),
        ])?;
        let mut next = at[2].iter().copied();
        let mut address = || next.next().expect("an address for each that is present");
        let (d_outputs, d_states_out) = arrived.split_at(count);
        let with = DeviceBackward {
            kept: at[1].first().copied().unwrap_or(0),
            d_outputs: (d_outputs.iter())
                .map(|gradient| match gradient {
                    Some(gradient) => place::<B>(address(), gradient, 3),
                    None => DeviceTensor {
                        address: 0,
                        strides: [0; 3],
                    },
                })
                .collect(),
            d_states_out: (d_states_out.iter())
                .map(|gradient| gradient.as_ref().map_or(0, |_| address()))
                .collect(),
            d_inputs: places::<B>(&at[3], &d_inputs, 3),
            d_params: places::<B>(&at[4], &d_params, 1),
            d_states_in: at[5].clone(),
        };
        // SAFETY: as of the forward run, whose kept memory this is.
        unsafe { self.raw.backward(&self.call(&at[0]), &with)? };
        let given = match self.states.is_empty() {
            true => vec![],
            false => states,
        };
        let all = inputs.into_iter().map(widened::<B>);
        Ok(all.chain(params).chain(given).map(Some).collect())
    }

    /// The call with its tensors at these addresses, those of [`given`](Self::given).
    fn call(&self, at: &[u64]) -> DeviceCall<'_> {
        let (inputs, rest) = at.split_at(self.inputs.len().min(at.len()));
        let (params, states) = rest.split_at(self.params.len().min(rest.len()));
        let absent = vec![0; self.raw.recurrence().states.len()];
        DeviceCall {
            batch: self.extent.batch,
            time: self.extent.time,
            heads: self.extent.heads,
            groups: self.extent.groups,
            inputs: places::<B>(inputs, &refs(&self.inputs), 3),
            params: places::<B>(params, &refs(&self.params), 1),
            states: match states {
                [] => absent,
                states => states.to_vec(),
            },
            cu_seqlens: self.cu_seqlens.as_deref(),
        }
    }

    fn given(&self) -> Vec<&FloatTensor<B>> {
        let given = self.inputs.iter().chain(&self.params);
        given.chain(&self.states).collect()
    }

    /// Room for states or their gradients.
    fn states(&self) -> Tensors<B> {
        let outer = [self.extent.sequences, self.extent.heads];
        let states = self.raw.recurrence().states.iter();
        let states = states.map(|port| self.room(&self.shape(&outer, port), FloatDType::F32));
        states.collect()
    }

    fn room(&self, shape: &[usize], dtype: FloatDType) -> FloatTensor<B> {
        B::empty(Shape::from(shape.to_vec()), &self.device, dtype)
    }

    fn shape(&self, outer: &[usize], port: &Port) -> Vec<usize> {
        let dims = port.shape.iter().map(|dim| self.raw.sizes()[dim.index()]);
        outer.iter().copied().chain(dims).collect()
    }
}

/// The sizes of a call whose tensors fit each other.
fn extent(raw: &dyn Raw, given: &Given) -> Result<Extent, Error> {
    let states = given.states.iter().flatten();
    let values = given.inputs.iter().chain(&given.params).chain(states);
    let most = values.map(|value| value.shape().iter().product()).max();
    // Elements of no size: only shapes are looked at.
    let nothing = vec![(); most.unwrap_or(0)];
    let view = |value: &Value| {
        let shape = value.shape();
        View {
            data: &nothing[..],
            strides: contiguous(&shape),
            shape,
        }
    };
    let call = Call {
        inputs: given.inputs.iter().map(view).collect(),
        params: given.params.iter().map(view).collect(),
        states: match &given.states {
            Some(states) => states.iter().map(|state| Some(view(state))).collect(),
            None => vec![None; raw.recurrence().states.len()],
        },
        cu_seqlens: given.cu_seqlens.as_deref(),
    };
    Ok(check::bind(raw.recurrence(), raw.sizes(), &call)?)
}

fn dtype(raw: &dyn Raw, role: Role) -> FloatDType {
    match raw.dtype(role) {
        Some(Storage::Bf16) => FloatDType::BF16,
        Some(Storage::F16) => FloatDType::F16,
        Some(Storage::F32) | None => FloatDType::F32,
    }
}

fn stored<B: Addressed>(tensor: FloatTensor<B>, dtype: FloatDType) -> FloatTensor<B> {
    B::contiguous(B::float_cast(tensor, dtype))
}

fn widened<B: Addressed>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    B::float_cast(tensor, FloatDType::F32)
}

fn refs<'a, T>(tensors: impl IntoIterator<Item = &'a T>) -> Vec<&'a T> {
    tensors.into_iter().collect()
}

/// The addresses of lists of tensors, list by list, and what keeps them right.
fn pinned<B: Addressed>(lists: &[&[&FloatTensor<B>]]) -> Result<(Vec<Vec<u64>>, Vec<Pin>), Error> {
    let (at, pins): (Vec<_>, Vec<_>) = B::pin(&lists.concat())?.into_iter().unzip();
    let mut at = at.into_iter();
    let at = lists
        .iter()
        .map(|list| at.by_ref().take(list.len()).collect());
    Ok((at.collect(), pins))
}

fn places<B: Addressed>(
    at: &[u64],
    tensors: &[&FloatTensor<B>],
    outer: usize,
) -> Vec<DeviceTensor> {
    let pairs = at.iter().zip(tensors);
    pairs
        .map(|(&at, tensor)| place::<B>(at, tensor, outer))
        .collect()
}

/// A contiguous tensor [B, T, H, dims...], or [H, dims...] where only one dim is `outer`.
fn place<B: Addressed>(address: u64, tensor: &FloatTensor<B>, outer: usize) -> DeviceTensor {
    let shape = tensor.shape().to_vec();
    let entries: usize = shape[outer..].iter().product();
    let head = (entries * tensor.dtype().size()) as i64;
    let [time, heads] = match outer {
        3 => [shape[1] as i64, shape[2] as i64],
        _ => [0; 2],
    };
    DeviceTensor {
        address,
        strides: [time * heads * head, heads * head, head],
    }
}

#[cfg(test)]
mod tests;
