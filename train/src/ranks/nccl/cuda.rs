//! NCCL and the GPU's memory, by libraries that are looked for when a run asks for them.
//!
//! Everything is on one stream of the GPU's primary context, which Burn's tensors and the runtime's kernels are in too; what
//! is sent comes from the host and goes there, so nothing here reads their memory. The identity of the communicator
//! goes from the first rank to the others by the group that started them.

use super::Wire;
use crate::ranks::Group;
use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, DriverError, PinnedHostSlice, sys as driver,
};
use cudarc::nccl::result::NcclError;
use cudarc::nccl::{Comm, Id, sys};
use std::sync::Arc;

/// Elements of a slot: 16 MiB, long enough that neither launches nor latencies count.
const HOLDS: usize = 1 << 22;

/// A buffer that the GPU copies from and to by itself, and one on the GPU.
struct Slot {
    host: PinnedHostSlice<f32>,
    device: CudaSlice<f32>,
    /// When the last operation on it is done.
    done: Option<CudaEvent>,
}

impl Slot {
    /// Waits until nothing is on its way.
    fn free(&mut self) -> Result<(), String> {
        match self.done.take() {
            Some(done) => done.synchronize().map_err(cuda),
            None => Ok(()),
        }
    }

    fn begun(&mut self, stream: &CudaStream) -> Result<(), String> {
        let waits = Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC);
        self.done = Some(stream.record_event(waits).map_err(cuda)?);
        Ok(())
    }

    /// Copies `piece` to the GPU, where it lies when what follows on the stream begins.
    fn put(&mut self, stream: &Arc<CudaStream>, piece: &[f32]) -> Result<(), String> {
        let count = piece.len();
        self.host.as_mut_slice().map_err(cuda)?[..count].copy_from_slice(piece);
        let host = &self.host.as_slice().map_err(cuda)?[..count];
        let mut device = self.device.slice_mut(..count);
        stream.memcpy_htod(host, &mut device).map_err(cuda)
    }

    /// Begins to copy what the GPU has to here.
    fn get(&mut self, stream: &Arc<CudaStream>, count: usize) -> Result<(), String> {
        let host = &mut self.host.as_mut_slice().map_err(cuda)?[..count];
        stream
            .memcpy_dtoh(&self.device.slice(..count), host)
            .map_err(cuda)
    }
}

/// A rank of the communicator.
pub(super) struct Cuda {
    // Dropped first: it waits for what it has begun.
    comm: Comm,
    stream: Arc<CudaStream>,
    slots: [Slot; 2],
}

fn cuda(why: DriverError) -> String {
    format!("CUDA: {why}")
}

fn nccl(why: NcclError) -> String {
    format!("NCCL: {:?}", why.0)
}

impl Cuda {
    /// Joins the ranks of `by` with GPU number `ordinal`.
    pub fn join(by: &dyn Group, ordinal: usize) -> Result<Self, String> {
        // SAFETY: loads libraries and lets them go again.
        let [cuda_is, nccl_is] = unsafe { [driver::is_culib_present(), sys::is_culib_present()] };
        if !cuda_is {
            return Err("the library of the NVIDIA driver (libcuda.so) was not found".into());
        }
        if !nccl_is {
            return Err(
                "libnccl.so was not found in the loader's path (of libnccl-dev, or a link of that name to libnccl.so.2)"
                    .into(),
            );
        }
        let context = CudaContext::new(ordinal).map_err(cuda)?;
        let stream = context.new_stream().map_err(cuda)?;
        let slot = || -> Result<Slot, String> {
            Ok(Slot {
                // SAFETY: nothing is read of it that was not written before.
                host: unsafe { context.alloc_pinned_with_flags(HOLDS, 0) }.map_err(cuda)?,
                device: stream.alloc_zeros(HOLDS).map_err(cuda)?,
                done: None,
            })
        };
        let slots = [slot()?, slot()?];
        let own = match by.rank() {
            0 => Id::new()
                .map_err(nccl)?
                .internal()
                .map(|c| c as u8)
                .to_vec(),
            _ => Vec::new(),
        };
        let first = by.gather(&own).swap_remove(0);
        let id: [u8; 128] = first.try_into().map_err(|_| "NCCL gave no identity")?;
        let id = Id::uninit(id.map(|byte| byte as std::ffi::c_char));
        let comm = Comm::from_rank(stream.clone(), by.rank(), by.size(), id).map_err(nccl)?;
        Ok(Cuda {
            comm,
            stream,
            slots,
        })
    }
}

impl Wire for Cuda {
    fn holds(&self) -> usize {
        HOLDS
    }

    fn send(&mut self, slot: usize, to: usize, piece: &[f32]) -> Result<(), String> {
        let slot = &mut self.slots[slot];
        slot.free()?;
        slot.put(&self.stream, piece)?;
        let device = slot.device.slice(..piece.len());
        self.comm.send(&device, to as i32).map_err(nccl)?;
        slot.begun(&self.stream)
    }

    fn receive(&mut self, slot: usize, from: usize, count: usize) -> Result<(), String> {
        let slot = &mut self.slots[slot];
        slot.free()?;
        let mut device = slot.device.slice_mut(..count);
        self.comm.recv(&mut device, from as i32).map_err(nccl)?;
        slot.get(&self.stream, count)?;
        slot.begun(&self.stream)
    }

    fn broadcast(
        &mut self,
        slot: usize,
        from: usize,
        count: usize,
        own: Option<&[f32]>,
    ) -> Result<(), String> {
        let slot = &mut self.slots[slot];
        slot.free()?;
        if let Some(own) = own {
            slot.put(&self.stream, own)?;
        }
        let mut device = slot.device.slice_mut(..count);
        let done = self.comm.broadcast_in_place(&mut device, from as i32);
        done.map_err(nccl)?;
        if own.is_none() {
            slot.get(&self.stream, count)?;
        }
        slot.begun(&self.stream)
    }

    fn take(&mut self, slot: usize, piece: &mut [f32]) -> Result<(), String> {
        let slot = &mut self.slots[slot];
        slot.free()?;
        piece.copy_from_slice(&slot.host.as_slice().map_err(cuda)?[..piece.len()]);
        Ok(())
    }
}
