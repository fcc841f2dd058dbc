//! A run forward and a run backward, as launches over ranges.
//!
//! Forward is one launch over heads and sequences, backward another from the states that entered each
//! chunk. Where heads are rows both go window by window, as all heads of a step lie side by side. Where time is cut into segments, a first sweep finds what enters each ([`segment`](super::segment));
//! where too much would be kept, both go window by window ([`window`](super::window)). Gradients that heads
//! or sequences share come as f32 parts, which are added in order ([`gradient`](super::gradient)).

use super::call::{Arguments, Strided, Wanted};
use super::cut::{Cut, Range};
use super::machine::{Carries, Kernels, Launch, Machine, Sum};
use super::plan::{kept_bytes, kept_head_bytes};
use super::shapes::Kind;
use crate::Error;
use baton_codegen::Phase;
use baton_codegen::target::Storage;
use baton_ir::recurrence::Port;
use baton_ir::tile::{CarryRole, Role};
use std::collections::HashMap;

/// One run under way.
pub(crate) struct Engine<'a> {
    pub(super) kernels: &'a dyn Kernels,
    pub(super) machine: &'a mut dyn Machine,
    pub(super) cut: &'a Cut,
    pub(super) states: Vec<u64>,
    pub(super) ports: HashMap<Role, Strided>,
    /// Bytes from strip to strip of tensors of steps.
    pub(super) strips: HashMap<Role, i64>,
}

impl<'a> Engine<'a> {
    pub fn new(
        kernels: &'a dyn Kernels,
        machine: &'a mut dyn Machine,
        cut: &'a Cut,
        given: Arguments,
    ) -> Self {
        let mut engine = Self {
            kernels,
            machine,
            cut,
            states: given.states,
            ports: HashMap::new(),
            strips: HashMap::new(),
        };
        let recurrence = &kernels.shapes().recurrence;
        engine.bind_steps(Role::Input, &recurrence.inputs, given.inputs);
        let params = given.params.into_iter().map(Strided::by_head);
        engine.bind(Role::Param, params);
        engine
    }

    pub(super) fn bind(
        &mut self,
        role: fn(u32) -> Role,
        tensors: impl IntoIterator<Item = Strided>,
    ) {
        self.ports.extend((0..).map(role).zip(tensors));
    }

    /// The same of tensors of steps, which have slices.
    fn bind_steps(
        &mut self,
        role: fn(u32) -> Role,
        ports: &[Port],
        tensors: impl IntoIterator<Item = Strided>,
    ) {
        self.bind(role, tensors);
        for (port, role) in ports.iter().zip((0..).map(role)) {
            self.slice(role, port, self.kernels.storage(role, port));
        }
    }

    /// Forward; `kept` is memory for what the backward needs, of [`kept_bytes`] each.
    pub fn forward(
        mut self,
        outputs: &[Strided],
        states: &[u64],
        kept: Option<&[u64]>,
    ) -> Result<(), Error> {
        let ports = &self.kernels.shapes().recurrence.outputs;
        self.bind_steps(Role::Output, ports, outputs.iter().copied());
        self.states = self.split(&self.states.clone(), Kind::Values)?;
        let leaving = self.apart(states)?;
        let entering = self.entering()?;
        match kept {
            None if self.cut.plan().across && !self.cut.keeps_all() => {
                let borders = self.rooms(kept_bytes(self.kernels, self.cut))?;
                self.forward_windows(Phase::Forward, &entering, &leaving, &borders)?;
            }
            None => self.sweep(Phase::Forward, &entering, &leaving)?,
            Some(kept) if self.cut.keeps_all() => {
                self.bind_entering(kept);
                self.sweep(Phase::ForwardKeep, &entering, &leaving)?;
            }
            Some(kept) => self.forward_windows(Phase::Forward, &entering, &leaving, kept)?,
        }
        self.join(&leaving, states, Kind::Values)
    }

    /// Backward from what the forward kept, or, when absent, from what is rebuilt here.
    pub fn backward(
        mut self,
        d_outputs: &[Strided],
        d_states: &[u64],
        kept: Option<&[u64]>,
        wanted: &Wanted,
    ) -> Result<(), Error> {
        let ports = &self.kernels.shapes().recurrence.outputs;
        self.bind_steps(Role::DOutput, ports, d_outputs.iter().copied());
        self.states = self.split(&self.states.clone(), Kind::Values)?;
        let d_states = self.split(d_states, Kind::Gradients)?;
        let leaving = self.apart(&wanted.states)?;
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
        if self.cut.keeps_all() {
            self.bind_entering(kept);
        }
        let arriving = self.arriving(&d_states, kept)?;
        match self.cut.keeps_all() {
            true => self.sweep(Phase::Backward, &arriving, &leaving)?,
            false => self.backward_windows(&arriving, &leaving, kept, &params)?,
        }
        self.join(&leaving, &wanted.states, Kind::Gradients)?;
        self.sum_inputs(wanted, &inputs)?;
        self.sum_params(wanted, &params)
    }

    /// The states that entered each chunk or window, rebuilt.
    fn rebuild(&mut self) -> Result<Vec<u64>, Error> {
        let kept = self.rooms(kept_bytes(self.kernels, self.cut))?;
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
        if table.is_empty() || self.cut.extent.heads == 0 {
            return Ok(());
        }
        if self.kernels.shapes().strips() > 1 {
            return self.launch_strips(phase, table, carries);
        }
        self.machine.launch(&Launch {
            phase,
            cut: self.cut,
            table,
            ports: &self.ports,
            carries,
        })
    }

    /// The states that enter each chunk, `[chunks, H, dims...]` in the dtype in which they are kept.
    pub(super) fn bind_entering(&mut self, addresses: &[u64]) {
        let heads = self.cut.extent.heads as i64;
        let bytes = kept_head_bytes(self.kernels);
        let tensors = addresses.iter().zip(bytes).map(|(&address, head)| Strided {
            address,
            strides: [0, head as i64 * heads, head as i64],
        });
        self.bind(Role::Entering, tensors);
    }

    /// Rows of states, f32 `[H, dims...]` each: which of `from` go to `to`; zeros where `from` is null.
    pub(super) fn gather(&mut self, rows: &[i64], from: &[u64], to: &[u64]) -> Result<(), Error> {
        let sizes = self.row_bytes();
        for (bytes, (&from, &to)) in sizes.into_iter().zip(from.iter().zip(to)) {
            let row = bytes as i64;
            self.machine.sum(&Sum {
                sizes: [rows.len(), 1, 1, bytes / 4, usize::from(from != 0)],
                from,
                strides: [row, 0, 0, 0],
                rows: Some(rows),
                to: Strided {
                    address: to,
                    strides: [row, 0, 0],
                },
                storage: Storage::F32,
                many: false,
            })?;
        }
        Ok(())
    }

    /// Bytes of a row of each state.
    pub(super) fn row_bytes(&self) -> Vec<usize> {
        self.kernels.shapes().rows(self.cut.extent.heads)
    }

    /// Memory for `rows` of each state.
    pub(super) fn rows(&mut self, rows: usize) -> Result<Vec<u64>, Error> {
        let sizes = self.row_bytes();
        self.rooms(sizes.into_iter().map(|row| rows * row))
    }

    pub(super) fn rooms(
        &mut self,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<u64>, Error> {
        let machine = &mut *self.machine;
        let sizes = sizes.into_iter();
        sizes.map(|bytes| machine.room(bytes)).collect()
    }
}
