//! Forward runs on memory that the caller has on the device, on the caller's stream: the way in
//! for other frameworks.
//!
//! Nothing is copied but the table of sequences, and nothing waits: the run is one launch in the
//! stream's order. Dtypes and shapes are those of `baton_codegen::backend::mlir::abi`:
//! [`RawKernel::dtype`] says them tensor by tensor.

use super::context::{Context, check};
use super::failed;
use crate::Error;
use crate::device::Options;
use crate::device::gpu::{Parameter, Schedule, Storage};
use baton_codegen::backend::mlir::{Toolchain, abi};
use baton_codegen::{Compiler, GpuArtifact, Phase};
use baton_ir::recurrence::Recurrence;
use baton_ir::tile::{CarryRole, Role, TileProgram};
use cudarc::driver::{result, sys};
use std::sync::Arc;

/// A tensor in the caller's device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTensor {
    /// Where it begins; a multiple of 16.
    pub address: u64,
    /// Bytes from batch row to batch row, step to step, and head to head (group to group where
    /// the tensor is per group); multiples of 16 where an entry is a vector or a matrix. Of a param
    /// only the last counts. Within an entry numbers lie side by side, in row-major order.
    pub strides: [i64; 3],
}

/// The arguments of one forward run.
#[derive(Clone, Debug)]
pub struct DeviceCall<'a> {
    /// B
    pub batch: usize,
    /// T
    pub time: usize,
    /// H
    pub heads: usize,
    /// G; H where no input is per group. Divides H.
    pub groups: usize,
    /// Every input.
    pub inputs: Vec<DeviceTensor>,
    /// Every param, in f32.
    pub params: Vec<DeviceTensor>,
    /// Every output; written.
    pub outputs: Vec<DeviceTensor>,
    /// Every state in, f32 `[S, H, dims...]` without gaps; 0 is a state of zeros.
    pub states_in: Vec<u64>,
    /// Every state out, of the same layout; written. May be the state in.
    pub states_out: Vec<u64>,
    /// Offsets of packed sequences along T, in host memory; B is 1 then.
    pub cu_seqlens: Option<&'a [i64]>,
    /// The stream, a `CUstream` of this GPU's primary context; 0 is the default stream.
    pub stream: u64,
}

/// A forward kernel for device memory.
pub struct RawKernel {
    context: Arc<Context>,
    artifact: GpuArtifact,
    schedule: Schedule,
    chunk: usize,
    counts: [usize; 4],
}

impl RawKernel {
    pub(super) fn new(
        context: Arc<Context>,
        schedule: &Schedule,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Self, Error> {
        let compiler = Compiler::new(recurrence, sizes).map_err(Error::Invalid)?;
        let chunk = match options.chunk {
            Some(chunk) => chunk,
            None => compiler.gpu_chunk(schedule).map_err(failed)?,
        };
        let artifact = compiler
            .gpu(&Toolchain::new(), Phase::Forward, chunk, schedule)
            .map_err(failed)?;
        Ok(Self {
            context,
            artifact,
            schedule: schedule.clone(),
            chunk,
            counts: [
                recurrence.inputs.len(),
                recurrence.params.len(),
                recurrence.outputs.len(),
                recurrence.states.len(),
            ],
        })
    }

    /// The dtype in which the kernel reads or writes a tensor; `None` when it does neither.
    pub fn dtype(&self, role: Role) -> Option<Storage> {
        let ports = &self.artifact.program.ports;
        let port = ports.iter().find(|port| port.role == role)?;
        Some(match abi::in_f32(port, &self.schedule) {
            true => Storage::F32,
            false => self.schedule.storage,
        })
    }

    /// Puts one forward run on the call's stream and returns; it has ended when the stream has
    /// passed it.
    ///
    /// Not for streams that are being captured into a graph: the table of sequences is copied from
    /// host memory that the graph would outlive.
    ///
    /// # Safety
    /// Every address is device memory of this GPU, in the dtype and layout that
    /// [`dtype`](Self::dtype) and [`DeviceCall`] say, readable (outputs and states out: writable,
    /// and overlapping nothing else but their own state in) over the whole run, until the stream
    /// has passed it. The stream is alive and of this GPU's primary context.
    pub unsafe fn forward(&self, call: &DeviceCall<'_>) -> Result<(), Error> {
        let table = table(call, self.chunk)?;
        let parameters = parameters(&self.artifact.program, self.counts, call)?;
        if table.is_empty() || call.heads == 0 {
            return Ok(());
        }
        let _entered = self.context.enter()?;
        let stream = call.stream as sys::CUstream;
        // SAFETY: the stream is the caller's and alive.
        let capturing = check("the stream", unsafe {
            result::stream::is_capturing(stream)
        })?;
        if capturing != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE {
            return Err(failed(
                "the stream is being captured; run outside of a graph",
            ));
        }
        let name = &self.artifact.program.name;
        let function = self.context.function(name, &self.artifact.kernel)?;
        let bytes: Vec<u8> = table
            .iter()
            .flatten()
            .flat_map(|w| w.to_le_bytes())
            .collect();
        // SAFETY: the table is allocated, filled, read and freed in the stream's order; the driver
        // stages pageable memory before the copy returns. The rest is the caller's promise.
        unsafe {
            let address = result::malloc_async(stream, bytes.len());
            let address = check("memory for the table of sequences", address)?;
            let copied = result::memcpy_htod_async(address, &bytes, stream);
            let launched = check("a copy of the table of sequences", copied).and_then(|()| {
                let mut all = vec![
                    Parameter::Long(address as i64),
                    Parameter::Int(call.heads as i32),
                    Parameter::Int((call.heads / call.groups.max(1)) as i32),
                ];
                all.extend(parameters);
                let grid = [call.heads as u32, table.len() as u32];
                let launch = &self.artifact.kernel.launch;
                self.context.launch(function, launch, grid, &all, stream)
            });
            let freed = check(
                "freeing the table of sequences",
                result::free_async(address, stream),
            );
            launched.and(freed)
        }
    }
}

/// Batch row, first step, steps and first chunk of every sequence.
fn table(call: &DeviceCall<'_>, chunk: usize) -> Result<Vec<[i64; 4]>, Error> {
    let bounds: Vec<[i64; 3]> = match call.cu_seqlens {
        Some(ends) => {
            let ordered = ends.windows(2).all(|w| w[0] <= w[1]);
            let whole = ends.first() == Some(&0) && ends.last() == Some(&(call.time as i64));
            if !ordered || !whole || call.batch != 1 {
                return Err(Error::Argument(format!(
                    "cu_seqlens must rise from 0 to T = {} with B = 1, given {} offsets with B = {}",
                    call.time,
                    ends.len(),
                    call.batch
                )));
            }
            ends.windows(2).map(|w| [0, w[0], w[1] - w[0]]).collect()
        }
        None => (0..call.batch as i64)
            .map(|row| [row, 0, call.time as i64])
            .collect(),
    };
    let mut chunks = 0;
    let range = |[row, start, steps]: [i64; 3]| {
        let first = chunks;
        chunks += (steps as u64).div_ceil(chunk as u64) as i64;
        [row, start, steps, first]
    };
    Ok(bounds.into_iter().map(range).collect())
}

/// The parameters of ports and carries, after counts and alignment were checked.
fn parameters(
    program: &TileProgram,
    [inputs, params, outputs, states]: [usize; 4],
    call: &DeviceCall<'_>,
) -> Result<Vec<Parameter>, Error> {
    let given = [
        ("inputs", call.inputs.len(), inputs),
        ("params", call.params.len(), params),
        ("outputs", call.outputs.len(), outputs),
        ("states in", call.states_in.len(), states),
        ("states out", call.states_out.len(), states),
    ];
    for (what, given, expected) in given {
        if given != expected {
            let why = format!("{given} {what} given, expected {expected}");
            return Err(Error::Argument(why));
        }
    }
    let large = i32::MAX as usize;
    if call.groups == 0 || !call.heads.is_multiple_of(call.groups) || call.heads > large {
        return Err(Error::Argument(format!(
            "H = {} is not a multiple of G = {}",
            call.heads, call.groups
        )));
    }
    let mut all = vec![];
    for port in &program.ports {
        let (tensor, by_step) = match port.role {
            Role::Input(i) => (call.inputs[i as usize], true),
            Role::Output(i) => (call.outputs[i as usize], true),
            Role::Param(i) => (call.params[i as usize], false),
            role => return Err(failed(format!("a forward kernel has no {role:?}"))),
        };
        let DeviceTensor { address, strides } = tensor;
        let unit = if port.dims.is_empty() { 4 } else { 16 };
        let aligned = address % 16 == 0 && strides.iter().all(|stride| stride % unit == 0);
        if address == 0 || (by_step && !aligned) {
            return Err(Error::Argument(format!(
                "tensor `{}` lies at {address:#x} with strides {strides:?} bytes, expected memory \
                 at a multiple of 16 with strides of multiples of {unit}",
                port.name
            )));
        }
        let strides = match by_step {
            true => strides,
            false => [0, 0, strides[2]],
        };
        all.push(Parameter::Long(address as i64));
        all.extend(strides.map(Parameter::Long));
    }
    for carry in &program.carries {
        let CarryRole::State(i) = carry.role else {
            let why = format!("a forward kernel carries no {:?}", carry.role);
            return Err(failed(why));
        };
        let (from, to) = (call.states_in[i as usize], call.states_out[i as usize]);
        if to == 0 || from % 16 != 0 || to % 16 != 0 {
            return Err(Error::Argument(format!(
                "state {i} comes from {from:#x} and goes to {to:#x}, expected multiples of 16, and \
                 0 only as what it comes from"
            )));
        }
        all.extend([from, to].map(|address| Parameter::Long(address as i64)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_ir::tile::PortDecl;
    use baton_ir::{builtin, text};

    const ADDRESS: u64 = 0x1000;

    fn program() -> (TileProgram, [usize; 4]) {
        let recurrence = text::parse(builtin::text("mamba2").unwrap()).unwrap();
        let counts = [
            recurrence.inputs.len(),
            recurrence.params.len(),
            recurrence.outputs.len(),
            recurrence.states.len(),
        ];
        let sizes = vec![16; recurrence.dims.len()];
        let compiler = Compiler::new(&recurrence, &sizes).expect("compiles");
        let schedule = Schedule::sm_80(Storage::Bf16);
        (compiler.gpu_program(Phase::Forward, 16, &schedule), counts)
    }

    fn call<'a>([inputs, params, outputs, states]: [usize; 4]) -> DeviceCall<'a> {
        let tensor = DeviceTensor {
            address: ADDRESS,
            strides: [4096, 256, 64],
        };
        DeviceCall {
            batch: 2,
            time: 100,
            heads: 4,
            groups: 2,
            inputs: vec![tensor; inputs],
            params: vec![tensor; params],
            outputs: vec![tensor; outputs],
            states_in: vec![0; states],
            states_out: vec![0x2000; states],
            cu_seqlens: None,
            stream: 0,
        }
    }

    #[test]
    fn the_table_counts_chunks_over_sequences() {
        let mut call = call([0; 4]);
        let rows = table(&call, 64).unwrap();
        assert_eq!(rows, [[0, 0, 100, 0], [1, 0, 100, 2]]);
        call.batch = 1;
        call.cu_seqlens = Some(&[0, 65, 65, 100]);
        let packed = table(&call, 64).unwrap();
        assert_eq!(packed, [[0, 0, 65, 0], [0, 65, 0, 2], [0, 65, 35, 2]]);
        for wrong in [&[0, 101][..], &[1, 100], &[0, 60, 50, 100], &[]] {
            call.cu_seqlens = Some(wrong);
            assert!(table(&call, 64).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn parameters_are_as_many_as_the_kernel_declares_and_in_its_order() {
        let (program, counts) = program();
        let made = parameters(&program, counts, &call(counts)).unwrap();
        // The table, H and H / G come before.
        assert_eq!(made.len() + 3, abi::parameters(&program));
        let strides = |port: &PortDecl| match port.role {
            Role::Param(_) => [0, 0, 64],
            _ => [4096, 256, 64],
        };
        let ports = program.ports.iter().flat_map(|port| {
            let strides = strides(port);
            [ADDRESS as i64, strides[0], strides[1], strides[2]]
        });
        let carries = program.carries.iter().flat_map(|_| [0, 0x2000]);
        let expected: Vec<_> = ports.chain(carries).map(Parameter::Long).collect();
        assert_eq!(made, expected);
    }

    #[test]
    fn wrong_calls_are_named() {
        let (program, counts) = program();
        let says = |change: fn(&mut DeviceCall<'_>)| {
            let mut call = call(counts);
            change(&mut call);
            let made = parameters(&program, counts, &call);
            made.unwrap_err().to_string()
        };
        assert!(says(|c| c.states_in.clear()).contains("0 states in given, expected 1"));
        assert!(says(|c| c.groups = 3).contains("H = 4"));
        assert!(says(|c| c.outputs[0].address = 8).contains("lies at 0x8"));
        assert!(says(|c| c.outputs[0].strides[1] = 24).contains("multiples of 16"));
        assert!(says(|c| c.states_out[0] = 0).contains("goes to 0x0"));
    }
}
