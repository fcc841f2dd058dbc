//! Kernels on memory that a caller has on the device: addresses in, addresses out.

use crate::Error;
use baton_codegen::target::Storage;
use baton_ir::recurrence::Recurrence;
use baton_ir::tile::Role;

/// A tensor in the caller's device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTensor {
    /// Where it begins; a multiple of 16.
    pub address: u64,
    /// Bytes from batch row to batch row, step to step, and head to head (group to group where
    /// the tensor is per group); of a vector or a matrix multiples of 16, or of the largest power of two that
    /// divides the bytes of its rows (of a strip's, where the last dim is cut). Of a param only the last counts. Within an entry numbers lie side by side, in row-major order.
    pub strides: [i64; 3],
}

/// What every run reads.
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
    /// Every state in, f32 `[S, H, dims...]` without gaps; 0 is a state of zeros.
    pub states: Vec<u64>,
    /// Offsets of packed sequences along T, in host memory; B is 1 then.
    pub cu_seqlens: Option<&'a [i64]>,
}

/// What a forward run writes.
#[derive(Clone, Debug)]
pub struct DeviceForward {
    /// Every output.
    pub outputs: Vec<DeviceTensor>,
    /// Every state out, as the states in; none of them may be a state in.
    pub states: Vec<u64>,
    /// Memory for what a backward run of the same call needs, as large as `kept_bytes` says; 0 keeps
    /// nothing.
    pub kept: u64,
}

/// What a backward run reads beside the call, and what it writes.
#[derive(Clone, Debug)]
pub struct DeviceBackward {
    /// What the forward run of the same call kept; 0 rebuilds it.
    pub kept: u64,
    /// The arriving gradient of every output; address 0 is zero.
    pub d_outputs: Vec<DeviceTensor>,
    /// The arriving gradient of every state out; 0 is zero.
    pub d_states_out: Vec<u64>,
    /// The gradient of every input; written.
    pub d_inputs: Vec<DeviceTensor>,
    /// The gradient of every param, f32; written. Of the strides only the last counts.
    pub d_params: Vec<DeviceTensor>,
    /// The gradient of every state in; written.
    pub d_states_in: Vec<u64>,
}

/// The kernels of a recurrence for memory that the caller has on a device.
pub trait RawKernel: Send + Sync {
    /// What it computes.
    fn recurrence(&self) -> &Recurrence;

    /// The sizes of the recurrence's dims.
    fn sizes(&self) -> &[usize];

    /// The dtype in which a tensor is read or written; `None` when the recurrence has none such.
    fn dtype(&self, role: Role) -> Option<Storage>;

    /// Bytes that a forward run keeps for a backward run of the same call. They depend on the call's
    /// sizes and offsets only.
    fn kept_bytes(&self, call: &DeviceCall<'_>) -> Result<usize, Error>;

    /// Puts one forward run on a stream and returns; it has ended when the stream has passed it.
    ///
    /// `stream` is a stream of the device's, by the handle that its driver gives (of CUDA: a `CUstream` of
    /// the GPU's primary context); 0 is the default stream. Not for streams that are being captured
    /// into a graph: tables are copied from host memory that the graph would outlive.
    ///
    /// # Safety
    /// Every address is memory of this device, in the dtype and layout that [`dtype`](Self::dtype) and
    /// [`DeviceCall`] say, readable (what is written: writable, and overlapping nothing else of the
    /// call) until the stream has passed the run. The stream is alive and of this device.
    unsafe fn forward(
        &self,
        call: &DeviceCall<'_>,
        to: &DeviceForward,
        stream: u64,
    ) -> Result<(), Error>;

    /// Puts one backward run on a stream and returns, like [`forward`](Self::forward).
    ///
    /// # Safety
    /// As of [`forward`](Self::forward). What is kept was written by a forward run of the same call on
    /// this stream, or has been by the time the stream comes to this run.
    unsafe fn backward(
        &self,
        call: &DeviceCall<'_>,
        with: &DeviceBackward,
        stream: u64,
    ) -> Result<(), Error>;

    /// Waits until a stream has passed everything that is on it.
    ///
    /// # Safety
    /// The stream is alive and of this device.
    unsafe fn wait(&self, stream: u64) -> Result<(), Error>;
}
