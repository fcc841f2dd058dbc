//! One run on device memory: which kernels, over which ranges of time, with which parameters, in
//! which order.
//!
//! Nothing here knows whose memory it is or when it is read: every tensor is an address with strides,
//! and launches follow each other on one [`Machine`]. Forward is one launch over heads and sequences,
//! backward another from the states that entered each chunk. Where time is cut into segments, a first
//! sweep finds what enters each ([`segment`](super::segment)); where too much would be kept, both go
//! window by window ([`window`](super::window)). Gradients that heads or sequences share come as f32
//! parts, which a service kernel adds in order ([`gradient`](super::gradient)).

use super::cut::{Cut, Range};
use super::gradient::Wanted;
use super::kernel::GpuKernel;
use super::service;
use super::{Machine, Parameter};
use crate::Error;
use crate::device::check::Extent;
use baton_codegen::Phase;
use baton_ir::recurrence::Port;
use baton_ir::tile::{CarryRole, Role};
use std::collections::HashMap;

/// Where a tensor is; strides in bytes over batch, steps and heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub address: u64,
    pub strides: [i64; 3],
}

/// What every run reads.
pub(crate) struct Arguments {
    pub inputs: Vec<Place>,
    /// Of a param only the stride over heads counts.
    pub params: Vec<Place>,
    /// f32 `[S, H, dims...]` without gaps; null is zero.
    pub states: Vec<u64>,
}

/// One run.
pub(crate) struct Run<'a> {
    pub(super) kernel: &'a GpuKernel,
    pub(super) machine: &'a mut dyn Machine,
    pub(super) cut: &'a Cut,
    pub(super) states: Vec<u64>,
    pub(super) places: HashMap<Role, Place>,
}

impl<'a> Run<'a> {
    pub fn new(
        kernel: &'a GpuKernel,
        machine: &'a mut dyn Machine,
        cut: &'a Cut,
        given: Arguments,
    ) -> Self {
        let mut run = Self {
            kernel,
            machine,
            cut,
            states: given.states,
            places: HashMap::new(),
        };
        run.bind(Role::Input, &given.inputs);
        let heads = |place: &Place| Place {
            strides: [0, 0, place.strides[2]],
            ..*place
        };
        run.bind(
            Role::Param,
            &given.params.iter().map(heads).collect::<Vec<_>>(),
        );
        run
    }

    pub(super) fn bind(&mut self, role: fn(u32) -> Role, places: &[Place]) {
        let roles = (0..).map(role);
        self.places.extend(roles.zip(places.iter().copied()));
    }

    /// Forward; `kept` is memory for what the backward needs, of [`kept_bytes`] each.
    pub fn forward(
        mut self,
        outputs: &[Place],
        states: &[u64],
        kept: Option<&[u64]>,
    ) -> Result<(), Error> {
        self.bind(Role::Output, outputs);
        let entering = self.entering()?;
        match kept {
            None => self.sweep(Phase::Forward, &entering, states),
            Some(kept) if self.cut.keeps_all() => {
                self.bind_entering(kept);
                self.sweep(Phase::ForwardKeep, &entering, states)
            }
            Some(kept) => self.forward_windows(Phase::Forward, &entering, states, kept),
        }
    }

    /// Backward from what the forward kept, or, when absent, from what is rebuilt here.
    pub fn backward(
        mut self,
        d_outputs: &[Place],
        d_states: &[u64],
        kept: Option<&[u64]>,
        wanted: &Wanted,
    ) -> Result<(), Error> {
        self.bind(Role::DOutput, d_outputs);
        let rebuilt;
        let kept = match kept {
            Some(kept) => kept,
            None => {
                rebuilt = self.rebuild()?;
                &rebuilt
            }
        };
        let inputs = self.bind_inputs(wanted)?;
        let params = self.bind_params()?;
        let arriving = self.arriving(d_states)?;
        match self.cut.keeps_all() {
            true => {
                self.bind_entering(kept);
                self.sweep(Phase::Backward, &arriving, &wanted.states)?;
            }
            false => self.backward_windows(&arriving, &wanted.states, kept, &params)?,
        }
        self.sum_inputs(wanted, &inputs)?;
        self.sum_params(wanted, &params)
    }

    /// The states that entered each chunk or window, rebuilt.
    fn rebuild(&mut self) -> Result<Vec<u64>, Error> {
        let sizes = kept_bytes(self.kernel, self.cut);
        let kept: Vec<u64> = self.scratch(sizes)?;
        let states = self.rows(self.cut.sequences.len())?;
        let entering = self.entering()?;
        match self.cut.keeps_all() {
            true => {
                self.bind_entering(&kept);
                self.sweep(Phase::Entering, &entering, &states)?;
            }
            false => self.forward_windows(Phase::Entering, &entering, &states, &kept)?,
        }
        Ok(kept)
    }

    /// One launch over all ranges: from what arrives at each to what leaves each sequence.
    fn sweep(&mut self, phase: Phase, arriving: &[u64], leaving: &[u64]) -> Result<(), Error> {
        let cut = self.cut;
        if !cut.segmented() {
            let carries = self.carries(phase, arriving, leaving);
            return self.launch(phase, &cut.ranges, &carries);
        }
        let borders = self.rows(cut.ranges.len())?;
        let carries = self.carries(phase, arriving, &borders);
        self.launch(phase, &cut.ranges, &carries)?;
        let rows = match phase {
            Phase::Backward => cut.first(),
            _ => cut.last(),
        };
        self.gather(&rows, &borders, leaving)
    }

    /// The states' carries of a phase, from and to.
    pub(super) fn carries(&self, phase: Phase, from: &[u64], to: &[u64]) -> Carries {
        let role = match phase {
            Phase::Backward | Phase::BackwardState => CarryRole::DState,
            _ => CarryRole::State,
        };
        let both = from.iter().zip(to).map(|(&from, &to)| [from, to]);
        (0..).map(role).zip(both).collect()
    }

    pub(super) fn launch(
        &mut self,
        phase: Phase,
        table: &[Range],
        carries: &Carries,
    ) -> Result<(), Error> {
        let Extent { heads, groups, .. } = self.cut.extent;
        if table.is_empty() || heads == 0 {
            return Ok(());
        }
        let artifact = self.kernel.artifact(phase, self.cut)?;
        let words = table.as_flattened().iter();
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        let mut parameters = vec![
            self.machine.input(&bytes)?.into(),
            Parameter::Int(heads as i32),
            Parameter::Int((heads / groups.max(1)).max(1) as i32),
        ];
        for port in &artifact.program.ports {
            let place = self.places[&port.role];
            parameters.push(place.address.into());
            parameters.extend(place.strides.map(Parameter::Long));
        }
        for carry in &artifact.program.carries {
            parameters.extend(carries[&carry.role].map(Parameter::from));
        }
        let grid = [
            heads as u32 / artifact.kernel.launch.heads,
            table.len() as u32,
        ];
        let name = &artifact.program.name;
        self.machine
            .launch(name, &artifact.kernel, grid, &parameters)
    }

    /// The states that enter each chunk, `[chunks, H, dims...]` in storage.
    pub(super) fn bind_entering(&mut self, addresses: &[u64]) {
        let storage = i64::from(self.kernel.schedule.storage.bytes());
        let heads = self.cut.extent.heads as i64;
        let ports = self.kernel.recurrence().states.iter().zip(addresses);
        let place = |(port, &address): (&Port, &u64)| {
            let head = self.kernel.entries(port) as i64 * storage;
            Place {
                address,
                strides: [0, head * heads, head],
            }
        };
        let places: Vec<Place> = ports.map(place).collect();
        self.bind(Role::Entering, &places);
    }

    /// Rows of states, f32 `[H, dims...]` each: which of `from` go to `to`.
    pub(super) fn gather(&mut self, rows: &[i64], from: &[u64], to: &[u64]) -> Result<(), Error> {
        let ports = self.kernel.recurrence().states.iter();
        for (port, (&from, &to)) in ports.zip(from.iter().zip(to)) {
            let entries = self.cut.extent.heads * self.kernel.entries(port);
            service::gather(self.kernel, self.machine, rows, entries, [from, to])?;
        }
        Ok(())
    }

    /// Memory for `rows` of each state.
    pub(super) fn rows(&mut self, rows: usize) -> Result<Vec<u64>, Error> {
        let sizes = row_bytes(self.kernel, self.cut);
        self.scratch(sizes.into_iter().map(|row| rows * row))
    }

    fn scratch(&mut self, sizes: impl IntoIterator<Item = usize>) -> Result<Vec<u64>, Error> {
        let machine = &mut *self.machine;
        sizes
            .into_iter()
            .map(|bytes| machine.output(bytes))
            .collect()
    }
}

/// What enters and what leaves each carry.
pub(super) type Carries = HashMap<CarryRole, [u64; 2]>;

/// Bytes of `[H, dims...]` of each state in f32.
pub(super) fn row_bytes(kernel: &GpuKernel, cut: &Cut) -> Vec<usize> {
    let states = kernel.recurrence().states.iter();
    let heads = cut.extent.heads;
    states
        .map(|port| 4 * heads * kernel.entries(port))
        .collect()
}

/// Bytes of what a forward run keeps of each state: what enters every chunk, in storage; or, window
/// by window, what enters the ranges and what leaves each window, in f32.
pub(crate) fn kept_bytes(kernel: &GpuKernel, cut: &Cut) -> Vec<usize> {
    let rows = row_bytes(kernel, cut).into_iter();
    match cut.keeps_all() {
        true => {
            let storage = kernel.schedule.storage.bytes() as usize;
            rows.map(|row| cut.chunks * row / 4 * storage).collect()
        }
        false => rows
            .map(|row| (cut.ranges.len() + cut.runs()) * row)
            .collect(),
    }
}
