//! Binding: which memory each port and carry of a launch means.
//!
//! Gradients that several tasks would write to (of what a group shares, and of params) go to
//! buffers with a part for each task, which are added up here in a fixed order.

use super::kernel::CpuKernel;
use super::run::{Packed, Run, unwritten};
use super::task::{Major, Place, Places};
use crate::device::check::Extent;
use crate::device::{Call, Gradients};
use crate::{Tensor, View};
use baton_ir::tile::{CarryRole, Role};
use rayon::prelude::*;
use std::collections::HashMap;

/// Where everything of a launch is.
#[derive(Default)]
pub(super) struct Bound {
    pub ports: HashMap<Role, Place>,
    pub carries: HashMap<CarryRole, Place>,
}

impl Places for Bound {
    fn port(&self, role: Role) -> (Place, bool) {
        (self.ports[&role], false)
    }

    fn carry(&self, role: CarryRole) -> (Place, bool) {
        (self.carries[&role], false)
    }
}

/// What must live as long as a launch: the callers' tensors, or copies of them.
#[derive(Default)]
pub(super) struct Memory<'a>(Vec<Packed<'a>>);

/// The gradients before tasks' parts are added up.
pub(super) struct Parts {
    /// Per head: the gradient itself. Per group: `[blocks, B, T, G, dims...]`.
    inputs: Vec<Tensor>,
    /// `[slots, H, dims...]`
    params: Vec<Tensor>,
}

impl CpuKernel {
    /// The inputs and params of a call.
    pub fn bind<'a>(&self, call: &Call<'a>, memory: &mut Memory<'a>) -> Bound {
        let mut bound = Bound::default();
        for (i, (view, port)) in call
            .inputs
            .iter()
            .zip(&self.recurrence().inputs)
            .enumerate()
        {
            let packed = Packed::new(view, port.shape.len());
            bound.ports.insert(Role::Input(i as u32), packed.steps());
            memory.0.push(packed);
        }
        for (i, (view, port)) in call
            .params
            .iter()
            .zip(&self.recurrence().params)
            .enumerate()
        {
            let packed = Packed::new(view, port.shape.len());
            bound.ports.insert(Role::Param(i as u32), packed.heads());
            memory.0.push(packed);
        }
        bound
    }

    /// The arriving gradients of the outputs; zero where none is given.
    pub fn arriving(&self, given: &[Option<View<'_>>], outer: [usize; 3]) -> Vec<Option<Tensor>> {
        let ports = self.recurrence().outputs.iter().zip(given);
        ports
            .map(|(port, view)| match view {
                Some(_) => None,
                None => Some(Tensor::full(&self.shape(&outer, port), 0.0)),
            })
            .collect()
    }

    /// Binds the arriving gradients: the given views, or the zeros of [`Self::arriving`].
    pub fn bind_arriving<'a>(
        &self,
        bound: &mut Bound,
        given: &[Option<View<'a>>],
        zeros: &'a [Option<Tensor>],
        memory: &mut Memory<'a>,
    ) {
        for (i, port) in self.recurrence().outputs.iter().enumerate() {
            let view = match (&given[i], &zeros[i]) {
                (Some(view), _) => view.clone(),
                (None, Some(zeros)) => zeros.view(),
                (None, None) => continue,
            };
            let packed = Packed::new(&view, port.shape.len());
            bound.ports.insert(Role::DOutput(i as u32), packed.steps());
            memory.0.push(packed);
        }
    }

    /// Binds `[slots, H, dims...]` buffers as carries.
    pub fn bind_carries(
        &self,
        bound: &mut Bound,
        heads: usize,
        buffers: &mut [Tensor],
        role: fn(u32) -> CarryRole,
    ) {
        for (i, (buffer, port)) in buffers
            .iter_mut()
            .zip(&self.recurrence().states)
            .enumerate()
        {
            let entries = self.entries(port);
            let place = Place::heads(buffer.data.as_mut_ptr(), Major::Slot, heads, entries);
            bound.carries.insert(role(i as u32), place);
        }
    }

    /// Buffers for every gradient. Those of inputs start at zero where the recurrence does not
    /// differentiate them at all.
    pub fn gradient_buffers(&self, run: &Run, extent: Extent, written: &[Role]) -> Parts {
        let Extent { batch, time, .. } = extent;
        let inputs = self
            .recurrence()
            .inputs
            .iter()
            .enumerate()
            .map(|(i, port)| {
                let shape = match port.per_group {
                    true => self.shape(&[run.blocks(), batch, time, run.groups], port),
                    false => self.shape(&[batch, time, run.heads], port),
                };
                match written.contains(&Role::DInput(i as u32)) {
                    true => unwritten(&shape),
                    false => Tensor::full(&shape, 0.0),
                }
            });
        let slots = run.slots();
        let params = self.recurrence().params.iter();
        let params = params.map(|port| Tensor::full(&self.shape(&[slots, run.heads], port), 0.0));
        Parts {
            inputs: inputs.collect(),
            params: params.collect(),
        }
    }

    pub fn bind_gradients(&self, bound: &mut Bound, parts: &mut Parts, run: &Run) {
        for (i, (port, buffer)) in self
            .recurrence()
            .inputs
            .iter()
            .zip(&mut parts.inputs)
            .enumerate()
        {
            let mut place = Place::steps(buffer);
            if port.per_group {
                let strides = buffer.view().strides;
                place.block = strides[0];
                [place.major, place.step, place.head] = [strides[1], strides[2], strides[3]];
            }
            bound.ports.insert(Role::DInput(i as u32), place);
        }
        for (i, (port, buffer)) in self
            .recurrence()
            .params
            .iter()
            .zip(&mut parts.params)
            .enumerate()
        {
            let base = buffer.data.as_mut_ptr();
            let place = Place::heads(base, Major::Slot, run.heads, self.entries(port));
            bound.ports.insert(Role::DParam(i as u32), place);
        }
    }

    /// Adds up the parts.
    pub fn finish_gradients(&self, parts: Parts, states: Vec<Tensor>, run: &Run) -> Gradients {
        let ports = self.recurrence().inputs.iter();
        let inputs = ports
            .zip(parts.inputs)
            .map(|(port, buffer)| match port.per_group {
                true => self.add_blocks(buffer),
                false => buffer,
            });
        let inputs = inputs.collect();
        let params = parts.params.into_iter().map(|buffer| {
            let shape = buffer.shape[1..].to_vec();
            let row = shape.iter().product();
            let sum = |i: usize| {
                (0..run.slots())
                    .map(|s| f64::from(buffer.data[s * row + i]))
                    .sum::<f64>() as f32
            };
            Tensor {
                data: (0..row).map(sum).collect(),
                shape,
            }
        });
        Gradients {
            inputs,
            params: params.collect(),
            states,
        }
    }

    /// `[blocks, ...]` summed over blocks, in order.
    fn add_blocks(&self, mut buffer: Tensor) -> Tensor {
        let shape = buffer.shape[1..].to_vec();
        let row = shape.iter().product::<usize>();
        let (sum, rest) = buffer.data.split_at_mut(row);
        let rest: Vec<&[f32]> = rest.chunks(row.max(1)).collect();
        const SPAN: usize = 1 << 12;
        self.install(|| {
            sum.par_chunks_mut(SPAN).enumerate().for_each(|(i, sum)| {
                for part in &rest {
                    let part = &part[i * SPAN..][..sum.len()];
                    sum.iter_mut()
                        .zip(part)
                        .for_each(|(sum, part)| *sum += part);
                }
            });
        });
        buffer.data.truncate(row);
        Tensor {
            data: buffer.data,
            shape,
        }
    }
}
