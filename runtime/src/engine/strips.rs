//! Strips of a state: what each reads and writes of what a caller has, and how states fall into them.
//!
//! A strip goes through a sequence as a sequence of its own, the strips of one after the other, so cuts, borders and
//! windows know nothing of them. Kernels find a strip by the table: where a range says its batch row, it says the
//! strip, and a tensor's stride over rows is that from slice to slice, zero where all share. The row itself
//! becomes steps, where it is a multiple of the steps of every tensor; else each row is a launch. States have
//! their strips side by side, so they move to memory of their own and back. What strips share enters each of them; a
//! gradient of it that arrives enters the first alone, and what leaves is their sum.

use super::call::Strided;
use super::cut::Range;
use super::machine::{Carries, Launch, Sum};
use super::run::Engine;
use super::shapes::Kind;
use crate::Error;
use baton_codegen::Phase;
use baton_codegen::target::Storage;
use baton_ir::recurrence::Port;
use baton_ir::tile::{Pace, Role};
use std::collections::HashMap;

impl Engine<'_> {
    /// Notes where the strips of a tensor of steps are.
    pub(super) fn slice(&mut self, role: Role, port: &Port, storage: Storage) {
        let shapes = self.kernels.shapes();
        let slice = match shapes.sliced(port) {
            true => shapes.strip_entries(port) * storage.bytes() as usize,
            false => 0,
        };
        self.strips.insert(role, slice as i64);
    }

    /// States `[S, H, dims...]` as rows of strips.
    pub(super) fn split(&mut self, whole: &[u64], kind: Kind) -> Result<Vec<u64>, Error> {
        let strips = self.kernels.shapes().strips();
        if strips == 1 {
            return Ok(whole.to_vec());
        }
        let rows = self.rows(self.cut.sequences.len())?;
        let mut split = vec![];
        for ((i, &from), to) in whole.iter().enumerate().zip(rows) {
            split.push(if from == 0 { 0 } else { to });
            if from == 0 {
                continue;
            }
            let place = self.place(i);
            match (place.sliced, kind) {
                (true, _) => self.moved(place.sizes, from, place.whole, to, place.strips)?,
                (false, Kind::Values) => {
                    let [row, _, column] = place.whole;
                    self.moved(place.sizes, from, [row, 0, column], to, place.strips)?;
                }
                (false, Kind::Gradients) => {
                    let [rows, _, columns, entries] = place.sizes;
                    let first = [rows, 1, columns, entries];
                    self.moved(first, from, place.whole, to, place.strips)?;
                    let others = [rows, strips - 1, columns, entries];
                    let to = to + place.strips[1] as u64;
                    self.summed(others, 0, place.whole, [0, 0], to, place.strips)?;
                }
            }
        }
        Ok(split)
    }

    /// Memory for the rows of strips of what leaves; the states themselves where nothing is cut.
    pub(super) fn apart(&mut self, whole: &[u64]) -> Result<Vec<u64>, Error> {
        match self.kernels.shapes().strips() {
            1 => Ok(whole.to_vec()),
            _ => self.rows(self.cut.sequences.len()),
        }
    }

    /// Rows of strips as states `[S, H, dims...]`.
    pub(super) fn join(&mut self, split: &[u64], whole: &[u64], kind: Kind) -> Result<(), Error> {
        let strips = self.kernels.shapes().strips();
        if strips == 1 {
            return Ok(());
        }
        for ((i, &from), &to) in split.iter().enumerate().zip(whole) {
            let place = self.place(i);
            let [rows, _, columns, entries] = place.sizes;
            let parts = match (place.sliced, kind) {
                (true, _) => {
                    self.moved(place.sizes, from, place.strips, to, place.whole)?;
                    continue;
                }
                (false, Kind::Values) => 1,
                (false, Kind::Gradients) => strips,
            };
            let sizes = [rows, 1, columns, entries];
            let parts = [parts as i64, place.strips[1]];
            self.summed(sizes, from, place.strips, parts, to, place.whole)?;
        }
        Ok(())
    }

    /// Where the numbers of a state are, whole and in strips.
    fn place(&self, state: usize) -> Place {
        let shapes = self.kernels.shapes();
        let port = &shapes.recurrence.states[state];
        let (strips, heads) = (shapes.strips(), self.cut.extent.heads);
        let sliced = shapes.sliced(port);
        let cut = |at: &usize| shapes.strip_size(port, *at) < shapes.size(port, *at);
        // What of an entry lies side by side in a strip, and how often that is found.
        let first = (0..port.shape.len()).find(cut).unwrap_or(0);
        let before: usize = (0..first).map(|at| shapes.size(port, at)).product();
        let run = shapes.strip_entries(port) / before;
        let rows = self.cut.sequences.len() / strips;
        let [entry, strip] = [shapes.entries(port), shapes.strip_entries(port)];
        let bytes = |numbers: usize| 4 * numbers as i64;
        let between = if sliced { strips * run } else { run };
        Place {
            sliced,
            sizes: [rows, strips, heads * before, run],
            whole: [bytes(heads * entry), bytes(run), bytes(between)],
            strips: [
                bytes(strips * heads * strip),
                bytes(heads * strip),
                bytes(run),
            ],
        }
    }

    /// Moves rows, strips and columns of `sizes[3]` numbers from some strides to others.
    fn moved(
        &mut self,
        sizes: [usize; 4],
        from: u64,
        strides: [i64; 3],
        to: u64,
        to_strides: [i64; 3],
    ) -> Result<(), Error> {
        self.summed(sizes, from, strides, [1, 0], to, to_strides)
    }

    /// The same of sums over parts: how many, and bytes from one to the next.
    fn summed(
        &mut self,
        [rows, steps, columns, entries]: [usize; 4],
        from: u64,
        [row, step, column]: [i64; 3],
        [parts, part]: [i64; 2],
        address: u64,
        strides: [i64; 3],
    ) -> Result<(), Error> {
        self.machine.sum(&Sum {
            sizes: [rows, steps, columns, entries, parts as usize],
            from,
            strides: [row, step, column, part],
            rows: None,
            to: Strided { address, strides },
            storage: Storage::F32,
            many: false,
        })
    }

    /// A launch over ranges whose rows are strips of batch rows.
    pub(super) fn launch_strips(
        &mut self,
        phase: Phase,
        table: &[Range],
        carries: &Carries,
    ) -> Result<(), Error> {
        let strips = self.kernels.shapes().strips() as i64;
        let kernel = self.kernels.kernel(phase, self.cut)?;
        let program = kernel.program();
        let mut ports = HashMap::new();
        for port in &program.ports {
            ports.insert(port.role, self.ports[&port.role]);
        }
        let paced: Vec<Role> = { program.ports.iter() }
            .filter(|port| port.pace == Pace::Step)
            .map(|port| port.role)
            .collect();
        let heads = self.cut.extent.heads;
        let steps = self.steps_of_a_row(paced.iter().map(|role| &ports[role]));
        let groups: Vec<&[Range]> = match steps {
            Some(_) => vec![table],
            None => table
                .chunk_by(|a, b| a[0] / strips == b[0] / strips)
                .collect(),
        };
        let mut slot = 0;
        for group in groups {
            let row = if steps.is_some() {
                0
            } else {
                group[0][0] / strips
            };
            let mut moved = ports.clone();
            for port in &program.ports {
                let to = moved.get_mut(&port.role).expect("a port of the program");
                let [batch, time, head] = to.strides;
                match port.pace {
                    Pace::Step => {
                        let time = if self.cut.extent.time == 1 {
                            batch
                        } else {
                            time
                        };
                        to.address = to.address.wrapping_add_signed(row * batch);
                        let strip = self.strips.get(&port.role);
                        to.strides = [strip.copied().unwrap_or(0), time, head];
                    }
                    Pace::Task => to.address = to.address.wrapping_add_signed(slot * batch),
                    Pace::Chunk => {}
                }
            }
            let entry = |&[at, start, len, chunk]: &Range| {
                let before = steps.map_or(0, |steps| at / strips * steps);
                [at % strips, before + start, len, chunk]
            };
            let mut shifted = carries.clone();
            for carry in &program.carries {
                let numbers = carry.dims.iter().product::<u32>() as usize;
                let bytes = slot as u64 * (4 * heads * numbers) as u64;
                let both = shifted.get_mut(&carry.role).into_iter().flatten();
                both.filter(|at| **at != 0).for_each(|at| *at += bytes);
            }
            let table: Vec<Range> = group.iter().map(entry).collect();
            self.machine.launch(&Launch {
                phase,
                cut: self.cut,
                table: &table,
                ports: &moved,
                carries: &shifted,
            })?;
            slot += group.len() as i64;
        }
        Ok(())
    }

    /// How many steps a batch row is of every tensor; `None` where that differs.
    fn steps_of_a_row<'p>(&self, ports: impl Iterator<Item = &'p Strided>) -> Option<i64> {
        let extent = self.cut.extent;
        match (extent.batch, extent.time) {
            (1, _) => return Some(0),
            (_, 1) => return Some(1),
            _ => {}
        }
        let mut steps = None;
        for &[row, step, _] in ports.map(|port| &port.strides) {
            match (row, step) {
                (0, 0) => {}
                (_, 0) => return None,
                _ if row % step != 0 || steps.is_some_and(|steps| steps != row / step) => {
                    return None;
                }
                _ => steps = Some(row / step),
            }
        }
        Some(steps.unwrap_or(0))
    }
}

/// Where the numbers of a state are: sequences, strips, columns of what lies side by side, and its length.
struct Place {
    sliced: bool,
    sizes: [usize; 4],
    /// Bytes by sequence, strip and column in the whole state.
    whole: [i64; 3],
    /// The same in strips.
    strips: [i64; 3],
}
