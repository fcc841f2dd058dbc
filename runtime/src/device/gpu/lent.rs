//! The emulator on a caller's memory: addresses of the host in the place of a GPU's.
//!
//! What a run reads is copied from where the call says it lies, what it writes is copied there when it has ended,
//! entry by entry, so strides and gaps are the caller's. The interface is that of `cuda`: who calls it is tested
//! where there is no GPU. An address that no GPU would take goes on as it is, to the engine's own check.

use super::blocks::Blocks;
use super::emulated::Emulated;
use super::kernels::GpuKernels;
use super::memory::DeviceMemory;
use crate::Error;
use crate::device::raw::{DeviceBackward, DeviceCall, DeviceForward, DeviceTensor, RawKernel};
use crate::engine::machine::{Kernels, Machine};
use crate::engine::raw;
use baton_codegen::target::Storage;
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::tile::Role;
use std::sync::Arc;

/// Makes the memory of a run.
pub(super) type Memories = Box<dyn Fn() -> Emulated + Send + Sync>;

/// The kernels of a recurrence on the host's memory. Streams are not looked at: a run has ended when it returns.
pub(super) struct OnHost {
    pub kernels: Arc<GpuKernels>,
    pub memories: Memories,
}

impl RawKernel for OnHost {
    fn recurrence(&self) -> &Recurrence {
        &self.kernels.shapes().recurrence
    }

    fn sizes(&self) -> &[usize] {
        &self.kernels.shapes().sizes
    }

    fn dtype(&self, role: Role) -> Option<Storage> {
        raw::dtype(&*self.kernels, role)
    }

    fn kept_bytes(&self, call: &DeviceCall<'_>) -> Result<usize, Error> {
        raw::kept(&*self.kernels, call)
    }

    unsafe fn forward(
        &self,
        call: &DeviceCall<'_>,
        to: &DeviceForward,
        _: u64,
    ) -> Result<(), Error> {
        let Recurrence {
            outputs, states, ..
        } = self.recurrence();
        let mut lent = Lent::new(self, call);
        let call = lent.call(call)?;
        let to = DeviceForward {
            outputs: lent.all(outputs, &to.outputs, Role::Output, true)?,
            states: lent.states(states, &to.states, true)?,
            kept: match to.kept {
                0 => 0,
                kept => lent.piece(kept, self.kept_bytes(&call)?, true)?,
            },
        };
        lent.run(|machine| raw::forward(&*self.kernels, machine, &call, &to))
    }

    unsafe fn backward(
        &self,
        call: &DeviceCall<'_>,
        with: &DeviceBackward,
        _: u64,
    ) -> Result<(), Error> {
        let Recurrence {
            inputs,
            params,
            outputs,
            states,
            ..
        } = self.recurrence();
        let mut lent = Lent::new(self, call);
        let call = lent.call(call)?;
        let with = DeviceBackward {
            kept: match with.kept {
                0 => 0,
                kept => lent.piece(kept, self.kept_bytes(&call)?, false)?,
            },
            d_outputs: lent.all(outputs, &with.d_outputs, Role::DOutput, false)?,
            d_states_out: lent.states(states, &with.d_states_out, false)?,
            d_inputs: lent.all(inputs, &with.d_inputs, Role::DInput, true)?,
            d_params: lent.all(params, &with.d_params, Role::DParam, true)?,
            d_states_in: lent.states(states, &with.d_states_in, true)?,
        };
        lent.run(|machine| raw::backward(&*self.kernels, machine, &call, &with))
    }

    unsafe fn wait(&self, _: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// A result, and where the caller wants it.
struct Written {
    emulated: u64,
    to: u64,
    entries: Entries,
}

/// Where the entries of a tensor lie, from its beginning.
struct Entries {
    outer: [usize; 3],
    strides: [i64; 3],
    bytes: usize,
}

impl Entries {
    fn each(&self) -> impl Iterator<Item = usize> + '_ {
        let [rows, steps, lanes] = self.outer;
        (0..rows * steps * lanes).map(move |i| {
            let at = [i / lanes / steps, i / lanes % steps, i % lanes];
            let bytes = at.iter().zip(self.strides).map(|(&i, s)| i * s as usize);
            bytes.sum()
        })
    }

    /// Bytes from the first entry's beginning to the last one's end.
    fn span(&self) -> usize {
        self.each().last().map_or(0, |at| at + self.bytes)
    }
}

/// The memory of one run, and what of it goes back.
struct Lent<'a> {
    kernels: &'a Arc<GpuKernels>,
    memory: Emulated,
    outer: [usize; 3],
    groups: usize,
    sequences: usize,
    back: Vec<Written>,
}

impl<'a> Lent<'a> {
    fn new(of: &'a OnHost, call: &DeviceCall<'_>) -> Self {
        let sequences = call.cu_seqlens.map(|ends| ends.len().saturating_sub(1));
        Self {
            kernels: &of.kernels,
            memory: (of.memories)(),
            outer: [call.batch, call.time, call.heads],
            groups: call.groups,
            sequences: sequences.unwrap_or(call.batch),
            back: vec![],
        }
    }

    /// The call on memory of the run.
    fn call<'c>(&mut self, call: &DeviceCall<'c>) -> Result<DeviceCall<'c>, Error> {
        let recurrence = &self.kernels.shapes().recurrence;
        Ok(DeviceCall {
            inputs: self.all(&recurrence.inputs, &call.inputs, Role::Input, false)?,
            params: self.all(&recurrence.params, &call.params, Role::Param, false)?,
            states: self.states(&recurrence.states, &call.states, false)?,
            ..*call
        })
    }

    fn all(
        &mut self,
        ports: &[Port],
        given: &[DeviceTensor],
        role: fn(u32) -> Role,
        written: bool,
    ) -> Result<Vec<DeviceTensor>, Error> {
        let pairs = ports.iter().zip((0..).map(role)).zip(given);
        let one = |((port, role), tensor): ((&Port, Role), &DeviceTensor)| {
            let bytes = raw::dtype(&**self.kernels, role).map_or(4, Storage::bytes) as usize;
            let [rows, steps, heads] = self.outer;
            let lanes = if port.per_group { self.groups } else { heads };
            let entries = Entries {
                outer: match role {
                    Role::Param(_) | Role::DParam(_) => [1, 1, heads],
                    _ => [rows, steps, lanes],
                },
                strides: tensor.strides,
                bytes: bytes * self.kernels.shapes().entries(port),
            };
            Ok(DeviceTensor {
                address: self.lend(tensor.address, entries, written)?,
                ..*tensor
            })
        };
        let lent = pairs.map(one).collect::<Result<Vec<_>, Error>>()?;
        // A number of tensors that is wrong is the engine's to name.
        match lent.len() == given.len() {
            true => Ok(lent),
            false => Ok(given.to_vec()),
        }
    }

    fn states(&mut self, ports: &[Port], given: &[u64], written: bool) -> Result<Vec<u64>, Error> {
        let rows = self.sequences * self.outer[2];
        let pairs = ports.iter().zip(given);
        let one = |(port, &at): (&Port, &u64)| {
            let bytes = 4 * rows * self.kernels.shapes().entries(port);
            self.piece(at, bytes, written)
        };
        pairs.map(one).collect()
    }

    /// Bytes without gaps.
    fn piece(&mut self, at: u64, bytes: usize, written: bool) -> Result<u64, Error> {
        let entries = Entries {
            outer: [1; 3],
            strides: [0; 3],
            bytes,
        };
        self.lend(at, entries, written)
    }

    fn lend(&mut self, at: u64, entries: Entries, written: bool) -> Result<u64, Error> {
        if at == 0 || !at.is_multiple_of(16) {
            return Ok(at);
        }
        if !written {
            let mut bytes = vec![0u8; entries.span()];
            for place in entries.each() {
                let from = (at as usize + place) as *const u8;
                // SAFETY: the caller's promise: an entry that may be read.
                unsafe { from.copy_to_nonoverlapping(bytes[place..].as_mut_ptr(), entries.bytes) };
            }
            return self.memory.input(&bytes);
        }
        let emulated = self.memory.output(entries.span())?;
        self.back.push(Written {
            emulated,
            to: at,
            entries,
        });
        Ok(emulated)
    }

    /// Runs, and hands on what was written.
    fn run(self, run: impl FnOnce(&mut dyn Machine) -> Result<(), Error>) -> Result<(), Error> {
        let mut machine = Blocks::new(self.kernels.clone(), self.memory);
        run(&mut machine)?;
        for Written {
            emulated,
            to,
            entries,
        } in self.back
        {
            let bytes = machine.memory.bytes(emulated)?;
            for place in entries.each() {
                let (from, to) = (&bytes[place..][..entries.bytes], to as usize + place);
                // SAFETY: the caller's promise: an entry that may be written.
                unsafe {
                    from.as_ptr()
                        .copy_to_nonoverlapping(to as *mut u8, from.len())
                };
            }
        }
        Ok(())
    }
}
