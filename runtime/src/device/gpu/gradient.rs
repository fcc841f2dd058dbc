//! Gradients of inputs and params: where kernels write them, and the sums of their parts.
//!
//! A gradient that each head has for itself goes where it is wanted. What heads share comes as one part
//! a block, what ranges of time share as one part a range; a service kernel adds parts in order. What no
//! kernel writes, because nothing depends on it, is a sum without parts: zero.

use super::Storage;
use super::run::{Place, Run};
use super::service::{self, Sum};
use crate::Error;
use crate::device::check::Extent;
use baton_codegen::Phase;
use baton_ir::tile::Role;

/// What a backward run writes.
pub(crate) struct Wanted {
    /// As the inputs; what heads of a group share in `shared`, the rest as the kernels write it.
    pub inputs: Vec<Place>,
    pub shared: Storage,
    /// f32; only the stride over heads counts.
    pub params: Vec<Place>,
    /// As the states in.
    pub states: Vec<u64>,
}

impl Run<'_> {
    /// The gradients of inputs: where the kernels write them; `None` where they write none. What the
    /// heads of a group share goes to parts, one a block: `[B, T, H / heads, dims...]` in f32.
    pub(super) fn bind_inputs(&mut self, wanted: &Wanted) -> Result<Vec<Option<Place>>, Error> {
        let artifact = self.kernel.artifact(Phase::Backward, self.cut)?;
        let ports = &artifact.program.ports;
        let [batch, time, _] = self.cut.extent.steps();
        let blocks = self.blocks();
        let mut places = vec![];
        for (i, port) in self.kernel.recurrence().inputs.iter().enumerate() {
            let role = Role::DInput(i as u32);
            let written = ports.iter().any(|port| port.role == role);
            let place = match (written, port.per_group) {
                (false, _) => None,
                (true, false) => Some(wanted.inputs[i]),
                (true, true) => {
                    let head = 4 * self.kernel.entries(port);
                    let address = self.machine.output(batch * time * blocks * head)?;
                    let strides = [time * blocks * head, blocks * head, head];
                    let strides = strides.map(|bytes| bytes as i64);
                    Some(Place { address, strides })
                }
            };
            self.places.extend(place.map(|place| (role, place)));
            places.push(place);
        }
        Ok(places)
    }

    /// Blocks of a backward kernel over the heads.
    fn blocks(&self) -> usize {
        self.cut.extent.heads / self.kernel.heads(Phase::Backward, self.cut) as usize
    }

    /// The same of params: parts, one for each run of a range, `[runs, H, dims...]`.
    pub(super) fn bind_params(&mut self) -> Result<Vec<Option<Place>>, Error> {
        let artifact = self.kernel.artifact(Phase::Backward, self.cut)?;
        let ports = &artifact.program.ports;
        let heads = self.cut.extent.heads;
        let mut places = vec![];
        for (i, port) in self.kernel.recurrence().params.iter().enumerate() {
            let role = Role::DParam(i as u32);
            let head = 4 * self.kernel.entries(port);
            let place = match ports.iter().any(|port| port.role == role) {
                false => None,
                true => Some(Place {
                    address: self.machine.output(self.cut.runs() * heads * head)?,
                    strides: [(heads * head) as i64, 0, head as i64],
                }),
            };
            self.places.extend(place.map(|place| (role, place)));
            places.push(place);
        }
        Ok(places)
    }

    /// Adds the parts of inputs' gradients; zero where nothing depends on an input.
    pub(super) fn sum_inputs(
        &mut self,
        wanted: &Wanted,
        parts: &[Option<Place>],
    ) -> Result<(), Error> {
        let Extent { heads, groups, .. } = self.cut.extent;
        let [batch, time, _] = self.cut.extent.steps();
        let ports = self.kernel.recurrence().inputs.iter().enumerate();
        for ((i, port), place) in ports.zip(parts) {
            let storage = match port.per_group && !port.shape.is_empty() {
                true => wanted.shared,
                false => self.kernel.storage(Role::DInput(i as u32), port),
            };
            let each = self.blocks() / groups.max(1);
            let (columns, each) = match (place, port.per_group) {
                (Some(_), false) => continue,
                (Some(_), true) => (groups, each),
                (None, true) => (groups, 0),
                (None, false) => (heads, 0),
            };
            let (from, [row, step, head]) = place.map_or((0, [0; 3]), |p| (p.address, p.strides));
            let sum = Sum {
                sizes: [batch, time, columns, self.kernel.entries(port), each],
                from,
                strides: [row, step, head * each as i64, head],
                rows: None,
                to: wanted.inputs[i],
                storage,
            };
            service::sum(self.kernel, self.machine, &sum)?;
        }
        Ok(())
    }

    /// Adds the parts of params' gradients, range by range.
    pub(super) fn sum_params(
        &mut self,
        wanted: &Wanted,
        parts: &[Option<Place>],
    ) -> Result<(), Error> {
        let ports = self.kernel.recurrence().params.iter().zip(parts);
        for ((port, place), to) in ports.zip(&wanted.params) {
            let (from, [range, _, head]) = place.map_or((0, [0; 3]), |p| (p.address, p.strides));
            let runs = place.map_or(0, |_| self.cut.runs());
            let heads = self.cut.extent.heads;
            let sum = Sum {
                sizes: [1, 1, heads, self.kernel.entries(port), runs],
                from,
                strides: [0, 0, head, range],
                rows: None,
                to: Place {
                    address: to.address,
                    strides: [0, 0, to.strides[2]],
                },
                storage: Storage::F32,
            };
            service::sum(self.kernel, self.machine, &sum)?;
        }
        Ok(())
    }
}
