//! Gradients of inputs and params: where kernels write them, and the sums of their parts.
//!
//! A gradient that each head has for itself goes where it is wanted. What heads share comes as one part
//! a block, what ranges of time share as one part a range; the parts are added in order. What no
//! kernel writes, because nothing depends on it, is a sum without parts: zero.

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

    /// The gradients of inputs: where the kernels write them; `None` where they write none. What the
    /// heads of a group share goes to parts, one a block: `[B, T, G * parts, dims...]` in f32.
    pub(super) fn bind_inputs(&mut self, wanted: &Wanted) -> Result<Vec<Option<Strided>>, Error> {
        let shapes = self.kernels.shapes();
        let ports = &shapes.recurrence.inputs;
        let [batch, time, _] = self.cut.extent.steps();
        let parts = self.kernels.parts(self.cut);
        let mut tensors = vec![];
        let written = self.written(ports, Role::DInput)?;
        for (i, (port, written)) in ports.iter().zip(written).enumerate() {
            let tensor = match (written, parts) {
                (false, _) => None,
                (true, Some(parts)) if port.per_group => {
                    let lanes = self.cut.extent.groups * parts;
                    let head = 4 * shapes.entries(port);
                    let address = self.machine.room(batch * time * lanes * head)?;
                    let strides = [time * lanes * head, lanes * head, head];
                    let strides = strides.map(|bytes| bytes as i64);
                    Some(Strided { address, strides })
                }
                (true, _) => Some(wanted.inputs[i]),
            };
            let role = Role::DInput(i as u32);
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

    /// Adds the parts of inputs' gradients; zero where nothing depends on an input.
    pub(super) fn sum_inputs(
        &mut self,
        wanted: &Wanted,
        tensors: &[Option<Strided>],
    ) -> Result<(), Error> {
        let Extent { heads, groups, .. } = self.cut.extent;
        let [batch, time, _] = self.cut.extent.steps();
        let shapes = self.kernels.shapes();
        let parts = self.kernels.parts(self.cut);
        let ports = shapes.recurrence.inputs.iter().enumerate();
        for ((i, port), tensor) in ports.zip(tensors) {
            let (columns, each) = match (tensor, port.per_group, parts) {
                (Some(_), true, Some(parts)) => (groups, parts),
                (Some(_), ..) => continue,
                (None, true, _) => (groups, 0),
                (None, false, _) => (heads, 0),
            };
            let (from, [row, step, head]) = tensor.map_or((0, [0; 3]), |t| (t.address, t.strides));
            self.machine.sum(&Sum {
                sizes: [batch, time, columns, shapes.entries(port), each],
                from,
                strides: [row, step, head * each as i64, head],
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
