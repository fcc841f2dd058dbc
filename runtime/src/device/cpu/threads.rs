//! The engine's machine on the CPU: tasks over threads, on memory of the host.
//!
//! Invariant: an address comes from a checked view, or from memory that this machine allocated for the run,
//! and tasks that run at the same time write disjoint parts of it; so results do not depend on the number
//! of threads. Here and in [`task`](super::task) are the only places that turn tensors into addresses.

use super::kernels::{CpuKernels, failed};
use super::memory::{numbers, numbers_mut};
use super::share::{Work, share};
use super::task::{Task, call};
use crate::engine::call::Strided;
use crate::engine::machine::{Chain, HostMachine, Launch, Machine, Sum, identities};
use crate::stop::Stop;
use crate::tensor::contiguous;
use crate::{Error, Tensor, View};
use baton_codegen::target::Storage;
use baton_ir::tile::{CarryDecl, TileProgram};
use rayon::ThreadPool;
use std::alloc::{Layout, alloc_zeroed};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::Arc;

/// Additions below which a sum is not worth other threads.
const FEW: usize = 1 << 14;
/// Entries of states, times steps, below which a launch is not worth other threads: a step of a head of 128 by 128 is
/// 16,384, and takes one to five microseconds. Sixteen heads take two threads as long as one on a quiet machine, and many times as long where
/// another library's threads wait for work by spinning, as PyTorch's do.
const LITTLE: usize = 1 << 18;

/// The memory of one run, and threads to work on it.
pub(super) struct Threads {
    kernels: Arc<CpuKernels>,
    pool: Arc<ThreadPool>,
    memory: Vec<Vec<MaybeUninit<f32>>>,
    stop: Stop,
}

impl Threads {
    pub fn new(kernels: Arc<CpuKernels>, pool: Arc<ThreadPool>) -> Self {
        Self {
            kernels,
            pool,
            memory: vec![],
            stop: Stop::bound(),
        }
    }

    fn filled(&mut self, count: usize, number: f32) -> Result<u64, Error> {
        let mut numbers = reserved(count)?;
        numbers.resize(count, number);
        Ok(self.own(numbers))
    }

    fn own(&mut self, numbers: Vec<f32>) -> u64 {
        // SAFETY: what is written may be taken for what may be unwritten.
        self.keep(unsafe { same(numbers) })
    }

    fn keep(&mut self, mut numbers: Vec<MaybeUninit<f32>>) -> u64 {
        let address = numbers.as_mut_ptr() as u64;
        self.memory.push(numbers);
        address
    }

    /// The tasks of a launch.
    fn tasks(&self, launch: &Launch<'_>) -> Vec<Task> {
        let cut = launch.cut;
        let (groups, blocks) = (self.kernels.groups(cut), self.kernels.blocks(cut));
        let group_heads = cut.extent.heads / groups;
        let mut tasks = Vec::with_capacity(launch.table.len() * groups * blocks);
        for (slot, &[row, start, len, chunk]) in launch.table.iter().enumerate() {
            for group in 0..groups {
                for block in 0..blocks {
                    let first = block * cut.heads();
                    tasks.push(Task {
                        row,
                        slot: slot as i64,
                        start,
                        len,
                        chunk,
                        lane: (group * blocks + block) as i64,
                        group: group as i64,
                        head: (group * group_heads + first) as i64,
                        heads: cut.heads().min(group_heads - first),
                    });
                }
            }
        }
        tasks
    }
}

impl Machine for Threads {
    /// Where checks are on it holds NaN, so that whatever a kernel leaves out shows. Elsewhere nobody writes it before the
    /// kernels do: zeros of all outputs are an eighth of the time of a forward run, on one thread.
    fn room(&mut self, bytes: usize) -> Result<u64, Error> {
        let count = bytes / 4;
        if cfg!(debug_assertions) {
            return self.filled(count, f32::NAN);
        }
        let mut numbers = reserved(count)?;
        // SAFETY: there is room for them, and what may be unwritten needs no value.
        unsafe { numbers.set_len(count) };
        Ok(self.keep(numbers))
    }

    fn zeros(&mut self, bytes: usize) -> Result<u64, Error> {
        Ok(self.own(zeroed(bytes / 4)?))
    }

    fn identities(&mut self, count: usize, n: usize) -> Result<u64, Error> {
        Ok(self.own(identities(count, n)))
    }

    fn adds(&self) -> bool {
        true
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), Error> {
        let artifact = self.kernels.artifact(launch.phase, launch.cut)?;
        let heads = launch.cut.extent.heads;
        let find = |role| launch.ports[&role];
        let ports: Vec<Strided> = artifact
            .program
            .ports
            .iter()
            .map(|p| find(p.role))
            .collect();
        let carries = artifact.program.carries.iter();
        let carries: Vec<[u64; 2]> = carries.map(|c| launch.carries[&c.role]).collect();
        let tasks = self.tasks(launch);
        let stop = &self.stop;
        share(
            &self.pool,
            work(launch, &artifact.program),
            tasks.len(),
            |at| {
                if !stop.requested() {
                    call(&artifact, &tasks[at], heads, &ports, &carries);
                }
            },
        );
        stop.heed()
    }

    fn sum(&mut self, sum: &Sum<'_>) -> Result<(), Error> {
        debug_assert_eq!(sum.storage, Storage::F32);
        let [rows, steps, columns, entries, parts] = sum.sizes;
        let entry = |at: usize| {
            let (at, column) = (at / columns, at % columns);
            let (row, step) = (at / steps, at % steps);
            let source = sum.rows.map_or(row as i64, |rows| rows[row]);
            let place = |base: u64, indices: &[i64], strides: &[i64]| {
                let offsets = indices.iter().zip(strides).map(|(i, stride)| i * stride);
                base.wrapping_add_signed(offsets.sum())
            };
            let [row, step, column] = [row, step, column].map(|i| i as i64);
            let to = place(sum.to.address, &[row, step, column], &sum.to.strides);
            let part = |part: usize| {
                let indices = [source, step, column, part as i64];
                // SAFETY: the sum names memory of this run that was written before it.
                unsafe { numbers(place(sum.from, &indices, &sum.strides), entries) }
            };
            // SAFETY: entries of a sum are disjoint, and none is a part.
            let to = unsafe { numbers_mut(to, entries) };
            match parts {
                0 => to.fill(0.0),
                1 => to.copy_from_slice(part(0)),
                _ if sum.many => {
                    for (i, to) in to.iter_mut().enumerate() {
                        *to = (0..parts).map(|p| f64::from(part(p)[i])).sum::<f64>() as f32;
                    }
                }
                _ => {
                    to.copy_from_slice(part(0));
                    for from in (1..parts).map(part) {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    }
                }
            }
        };
        let all = rows * steps * columns;
        let least = FEW.div_ceil((entries * parts).max(1));
        share(&self.pool, Work::Much, all.div_ceil(least), |at| {
            (at * least..all.min((at + 1) * least)).for_each(entry);
        });
        Ok(())
    }

    fn chain(&mut self, chain: &Chain<'_>) -> Result<(), Error> {
        super::chain::chain(chain, &self.pool);
        Ok(())
    }
}

impl HostMachine for Threads {
    /// The caller's memory, or a copy where the last dims have gaps.
    fn lend(
        &mut self,
        view: &View<'_>,
        inner: usize,
        _: Storage,
    ) -> Result<(u64, Vec<i64>), Error> {
        let outer = view.shape.len() - inner;
        let mut stride = 1;
        let dense = (outer..view.shape.len()).rev().all(|i| {
            let fits = view.shape[i] <= 1 || view.strides[i] == stride;
            stride *= view.shape[i];
            fits
        });
        let bytes = |strides: &[usize]| strides[..outer].iter().map(|n| 4 * *n as i64).collect();
        match dense {
            true => Ok((view.data.as_ptr() as u64, bytes(&view.strides))),
            false => {
                let strides = bytes(&contiguous(&view.shape));
                Ok((self.own(view.to_tensor().data), strides))
            }
        }
    }

    fn in_place(&mut self, tensor: &mut Tensor) -> Option<u64> {
        Some(tensor.data.as_mut_ptr() as u64)
    }

    fn take(&mut self, address: u64, shape: Vec<usize>, _: Storage) -> Result<Tensor, Error> {
        let found = self
            .memory
            .iter()
            .position(|own| own.as_ptr() as u64 == address);
        let at = found.ok_or_else(|| failed(format!("no memory of this run at {address:#x}")))?;
        // SAFETY: what is taken is an output or a gradient, all of which the kernels have written.
        let data = unsafe { same(self.memory.swap_remove(at)) };
        Ok(Tensor { shape, data })
    }
}

/// Room for so many numbers, or an error that says how much there is none for.
fn reserved<T>(count: usize) -> Result<Vec<T>, Error> {
    let mut numbers = Vec::new();
    let room = numbers.try_reserve_exact(count);
    room.map_err(|_| no_room(count))?;
    Ok(numbers)
}

/// So many zeros, of pages that the system gives as such where it can.
fn zeroed(count: usize) -> Result<Vec<f32>, Error> {
    let layout = Layout::array::<f32>(count).map_err(|_| no_room(count))?;
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout is of no size zero, and that of a vector of as many numbers.
    let numbers = unsafe { alloc_zeroed(layout) }.cast::<f32>();
    if numbers.is_null() {
        return Err(no_room(count));
    }
    // SAFETY: the memory is the allocator's, of this layout, and all of it is zero.
    Ok(unsafe { Vec::from_raw_parts(numbers, count, count) })
}

fn no_room(count: usize) -> Error {
    failed(format!("there is no memory for {count} numbers of f32"))
}

/// How much a launch is, by the entries of the states that it moves; one that moves none is worth threads.
fn work(launch: &Launch<'_>, program: &TileProgram) -> Work {
    let entries = |c: &CarryDecl| c.dims.iter().map(|&n| n as usize).product::<usize>();
    let entries: usize = program.carries.iter().map(entries).sum();
    let steps: i64 = launch.table.iter().map(|[_, _, len, _]| len).sum();
    match launch.cut.extent.heads * steps as usize * entries {
        1..LITTLE => Work::Little,
        _ => Work::Much,
    }
}

/// The same memory, of numbers that may be unwritten or of written ones.
///
/// # Safety
/// A and B have one layout, and what is there is a value of both.
unsafe fn same<A, B>(numbers: Vec<A>) -> Vec<B> {
    let mut numbers = ManuallyDrop::new(numbers);
    let [len, capacity] = [numbers.len(), numbers.capacity()];
    // SAFETY: the parts of a vector that is given up; the caller's promise.
    unsafe { Vec::from_raw_parts(numbers.as_mut_ptr().cast(), len, capacity) }
}
