//! Gradients of inputs and params: where kernels write them, and the sums of their parts.
//!
//! A gradient that each head has for itself goes where it is wanted. What heads share comes as one part
//! a block, what strips share as one part a strip, what ranges of time share as one part a range; the parts are
//! added in order. What no kernel writes, because nothing depends on it, is a sum without parts: zero.

use super::call::{Strided, Wanted};
use super::machine::Sum;
use super::run::Engine;
use crate::Error;
use crate::device::check::Extent;
use baton_codegen::Phase;
use baton_codegen::target::Storage;
use baton_ir::recurrence::Port;
use baton_ir::tile::Role;

impl Engine<'_> {
    /// Whether the backward writes to each of these.
    fn written(&self, ports: &[Port], role: fn(u32) -> Role) -> Result<Vec<bool>, Error> {
        let kernel = self.kernels.kernel(Phase::Backward, self.cut)?;
        let writes = |role| kernel.program().ports.iter().any(|port| port.role == role);
        Ok((0..ports.len() as u32).map(role).map(writes).collect())
    }

    /// Parts of an input's gradient for each of its columns; none where kernels write the whole.
    fn input_parts(&self, port: &Port) -> Option<usize> {
        let shapes = self.kernels.shapes();
        let shared = if shapes.sliced(port) {
            1
        } else {
            shapes.strips()
        };
        let heads = self.kernels.parts(self.cut).filter(|_| port.per_group);
        match (heads, shared) {
            (None, 1) => None,
            (heads, strips) => Some(heads.unwrap_or(1) * strips),
        }
    }

    /// The gradients of inputs: where the kernels write them; `None` where they write none. What the
    /// heads of a group or strips share goes to parts, one a block: `[B, T, G * parts, dims...]` in f32, of a block
    /// those of its strips side by side.
    pub(super) fn bind_inputs(&mut self, wanted: &Wanted) -> Result<Vec<Option<Strided>>, Error> {
        let shapes = self.kernels.shapes();
        let ports = &shapes.recurrence.inputs;
        let [batch, time, _] = self.cut.extent.steps();
        let mut tensors = vec![];
        let written = self.written(ports, Role::DInput)?;
        for (i, (port, written)) in ports.iter().zip(written).enumerate() {
            let role = Role::DInput(i as u32);
            let tensor = match (written, self.input_parts(port)) {
                (false, _) => None,
                (true, Some(parts)) => {
                    let lanes = self.columns(port) * parts;
                    let entry = 4 * shapes.entries(port);
                    let strips = if shapes.sliced(port) {
                        1
                    } else {
                        shapes.strips()
                    };
                    let address = self.machine.room(batch * time * lanes * entry)?;
                    let strides = [time * lanes * entry, lanes * entry, strips * entry];
                    let strides = strides.map(|bytes| bytes as i64);
                    let strip = 4 * shapes.strip_entries(port) as i64;
                    self.strips.insert(role, strip);
                    Some(Strided { address, strides })
                }
                (true, None) => {
                    self.slice(role, port, wanted.dtypes[i]);
                    Some(wanted.inputs[i])
                }
            };
            self.ports.extend(tensor.map(|tensor| (role, tensor)));
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    /// Parts of a gradient of a param: one for each run of a range, or each range where kernels add.
    fn runs(&self) -> usize {
        match self.machine.adds() {
            true => self.cut.ranges.len(),
            false => self.cut.runs(),
        }
    }

    /// The same of params: `[parts, H, dims...]`.
    pub(super) fn bind_params(&mut self) -> Result<Vec<Option<Strided>>, Error> {
        let shapes = self.kernels.shapes();
        let ports = &shapes.recurrence.params;
        let heads = self.cut.extent.heads;
        let mut tensors = vec![];
        let written = self.written(ports, Role::DParam)?;
        for (i, (port, written)) in ports.iter().zip(written).enumerate() {
            let head = 4 * shapes.entries(port);
            let bytes = self.runs() * heads * head;
            let tensor = match written {
                false => None,
                true => Some(Strided {
                    address: match self.machine.adds() {
                        true => self.machine.zeros(bytes)?,
                        false => self.machine.room(bytes)?,
                    },
                    strides: [(heads * head) as i64, 0, head as i64],
                }),
            };
            let role = Role::DParam(i as u32);
            self.ports.extend(tensor.map(|tensor| (role, tensor)));
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    /// Columns of an input at a step: heads, or groups.
    fn columns(&self, port: &Port) -> usize {
        let Extent { heads, groups, .. } = self.cut.extent;
        if port.per_group { groups } else { heads }
    }

    /// Adds the parts of inputs' gradients; zero where nothing depends on an input.
    pub(super) fn sum_inputs(
        &mut self,
        wanted: &Wanted,
        tensors: &[Option<Strided>],
    ) -> Result<(), Error> {
        let [batch, time, _] = self.cut.extent.steps();
        let shapes = self.kernels.shapes();
        let ports = shapes.recurrence.inputs.iter().enumerate();
        for ((i, port), tensor) in ports.zip(tensors) {
            let each = match (tensor, self.input_parts(port)) {
                (Some(_), Some(parts)) => parts,
                (Some(_), None) => continue,
                (None, _) => 0,
            };
            let (from, [row, step, _]) = tensor.map_or((0, [0; 3]), |t| (t.address, t.strides));
            let entry = 4 * shapes.entries(port) as i64;
            self.machine.sum(&Sum {
                sizes: [batch, time, self.columns(port), shapes.entries(port), each],
                from,
                strides: [row, step, entry * each as i64, entry],
                rows: None,
                to: wanted.inputs[i],
                storage: wanted.dtypes[i],
                many: false,
            })?;
        }
        Ok(())
    }

    /// Adds the parts of params' gradients, range by range.
    pub(super) fn sum_params(
        &mut self,
        wanted: &Wanted,
        tensors: &[Option<Strided>],
    ) -> Result<(), Error> {
        let shapes = self.kernels.shapes();
        let ports = shapes.recurrence.params.iter().zip(tensors);
        for ((port, tensor), to) in ports.zip(&wanted.params) {
            let (from, [range, _, head]) = tensor.map_or((0, [0; 3]), |t| (t.address, t.strides));
            let parts = tensor.map_or(0, |_| self.runs());
            let heads = self.cut.extent.heads;
            self.machine.sum(&Sum {
                sizes: [1, 1, heads, shapes.entries(port), parts],
                from,
                strides: [0, 0, head, range],
                rows: None,
                to: to.by_head(),
                storage: Storage::F32,
                many: true,
            })?;
        }
        Ok(())
    }
}
