//! Runs on a caller's memory, under the emulator.

use super::*;
use crate::device::gpu::emulated::Emulated;
use crate::device::gpu::memory::ReadMemory;
use crate::device::{Call, Kernel};
use crate::engine::host::HostKernel;
use crate::engine::machine::HostMachine;
use crate::{Tensor, View};

/// Numbers that differ, small and of both signs.
fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let entries: usize = shape.iter().product();
    let one = |i: usize| ((i * 37 + seed * 101) % 61) as f32 / 61.0 - 0.5;
    Tensor {
        shape: shape.to_vec(),
        data: (0..entries).map(one).collect(),
    }
}

/// Memory `[B, T, H, dims...]` with a gap after each step, and another after each batch row.
struct Gapped {
    shape: Vec<usize>,
    place: DeviceTensor,
}

/// Numbers that a caller's gap is made of.
const GAP: usize = 8;

impl Gapped {
    fn new(shape: Vec<usize>, apart: usize, address: u64) -> Self {
        let head: usize = shape[3..].iter().product();
        let step = shape[2] * head + GAP;
        let strides = [shape[1] * step + apart, step, head].map(|n| 4 * n as i64);
        let place = DeviceTensor { address, strides };
        Gapped { shape, place }
    }

    /// Where each number lies, in order.
    fn places(&self) -> impl Iterator<Item = usize> {
        let [row, step, _] = self.place.strides.map(|bytes| bytes as usize / 4);
        let (time, all) = (self.shape[1], self.shape[0] * self.shape[1]);
        let width: usize = self.shape[2..].iter().product();
        let first = move |at: usize| at / time * row + at % time * step;
        (0..all).flat_map(move |at| (0..width).map(move |i| first(at) + i))
    }

    fn bytes(&self) -> usize {
        self.place.strides[0] as usize * self.shape[0]
    }

    /// With the numbers of a tensor among NaN.
    fn of(machine: &mut Emulated, tensor: &Tensor, apart: usize) -> Self {
        let mut gapped = Self::new(tensor.shape.clone(), apart, 0);
        let mut all = vec![f32::NAN; gapped.bytes() / 4];
        for (place, value) in gapped.places().zip(&tensor.data) {
            all[place] = *value;
        }
        let bytes: Vec<u8> = all.iter().flat_map(|x| x.to_le_bytes()).collect();
        gapped.place.address = machine.input(&bytes).unwrap();
        gapped
    }

    fn empty(machine: &mut Emulated, shape: Vec<usize>, apart: usize) -> Self {
        let mut gapped = Self::new(shape, apart, 0);
        gapped.place.address = machine.output(gapped.bytes()).unwrap();
        gapped
    }

    fn read(&self, machine: &Emulated) -> Tensor {
        let all = floats(machine.bytes(self.place.address).unwrap());
        Tensor {
            shape: self.shape.clone(),
            data: self.places().map(|place| all[place]).collect(),
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

fn views(tensors: &[Tensor]) -> Vec<Option<View<'_>>> {
    tensors.iter().map(|tensor| Some(tensor.view())).collect()
}

/// On a caller's memory, with gaps between steps, a run gives the bits of one from the host: packed,
/// in groups, cut into segments, keeping everything or checkpoints or nothing.
#[test]
fn the_callers_memory_gives_the_same_bits() {
    let ends = [0i64, 5, 5, 210];
    for (keep_bytes, keep) in [(None, true), (Some(0), true), (None, false)] {
        let kernel = kernel("mamba2", Storage::F32, keep_bytes);
        same_bits(kernel, [1, 210], Some(&ends), keep);
    }
}

/// The same of sizes that are no multiples of 16, whose rows end beside NaN.
#[test]
fn tiles_with_padding_read_nothing_beside_their_rows() {
    let target = || Gpu::sm_80(Storage::F32);
    for (name, sizes) in [
        ("mamba2", [21, 10]),
        ("gla", [6, 19]),
        ("delta_net", [17, 36]),
    ] {
        same_bits(kernel_of(name, sizes, target(), None), [2, 19], None, true);
    }
}

/// The same of a state in strips; each batch row is a launch where rows are other than a number of steps apart.
#[test]
fn strips_find_their_slices_in_the_callers_memory() {
    let ends = [0i64, 5, 5, 40];
    for (name, sizes) in [("mamba2", [16, 64]), ("linear_attention", [12, 72])] {
        same_bits(in_strips(name, sizes, None), [2, 19], None, true);
        same_bits(in_strips(name, sizes, None), [3, 1], None, true);
        same_bits(in_strips(name, sizes, None), [1, 40], Some(&ends), false);
    }
    same_bits(in_strips("mamba2", [16, 64], Some(0)), [2, 150], None, true);
}

/// Kernels for blocks that have so little shared memory that a state is cut.
fn in_strips(name: &str, sizes: [usize; 2], keep_bytes: Option<usize>) -> GpuKernels {
    let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
    let options = Options {
        chunk: Some(16),
        keep_bytes,
    };
    let at = |kilobytes: u32| {
        let target = Gpu {
            shared_limit: kilobytes << 10,
            ..Gpu::sm_80(Storage::F32)
        };
        let kernels = GpuKernels::new("emulator", &recurrence, &sizes, &options, target).ok()?;
        (kernels.shapes().strips() > 1).then_some(kernels)
    };
    let found = (1..80).rev().map(|n| 2 * n).find_map(at);
    found.expect("a limit at which it is cut")
}

/// A run of two heads of a group on a caller's memory beside one from the host.
fn same_bits(kernel: GpuKernels, [batch, time]: [usize; 2], ends: Option<&[i64]>, keep: bool) {
    let [heads, groups] = [2, 1];
    let sequences = ends.map_or(batch, |ends| ends.len() - 1);
    // Of each tensor another number, so that rows are no number of steps apart.
    let apart = |i: usize| if batch > 1 { 4 * (i + 1) } else { 0 };
    let kernel = Arc::new(kernel);
    let recurrence = kernel.shapes().recurrence.clone();
    let tensors = |ports: &[Port], outer: &[usize], seed: usize| -> Vec<Tensor> {
        let one = |(i, port): (usize, &Port)| {
            let lanes = if port.per_group { groups } else { heads };
            let outer: Vec<usize> = outer.iter().copied().chain([lanes]).collect();
            numbers(&kernel.shapes().shape(&outer, port), seed + i)
        };
        ports.iter().enumerate().map(one).collect()
    };
    let inputs = tensors(&recurrence.inputs, &[batch, time], 1);
    let params = tensors(&recurrence.params, &[], 11);
    let states = tensors(&recurrence.states, &[sequences], 21);
    let d_outputs = tensors(&recurrence.outputs, &[batch, time], 31);
    let d_states = tensors(&recurrence.states, &[sequences], 41);

    let mut machine = Emulated::new(0, false);
    let gapped = |machine: &mut Emulated, tensors: &[Tensor]| -> Vec<DeviceTensor> {
        let one = |(i, tensor)| Gapped::of(machine, tensor, apart(i)).place;
        tensors.iter().enumerate().map(one).collect()
    };
    let whole = |machine: &mut Emulated, tensors: &[Tensor]| -> Vec<u64> {
        let one = |tensor: &Tensor| {
            let bytes: Vec<u8> = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            machine.input(&bytes).unwrap()
        };
        tensors.iter().map(one).collect()
    };
    let empty = |machine: &mut Emulated, tensors: &[Tensor]| -> Vec<Gapped> {
        let one =
            |(i, tensor): (usize, &Tensor)| Gapped::empty(machine, tensor.shape.clone(), apart(i));
        tensors.iter().enumerate().map(one).collect()
    };
    let heads_of = |tensor: &Tensor, address| DeviceTensor {
        address,
        strides: [0, 0, 4 * tensor.shape[1..].iter().product::<usize>() as i64],
    };
    let given: Vec<DeviceTensor> = params
        .iter()
        .zip(whole(&mut machine, &params))
        .map(|(tensor, address)| heads_of(tensor, address))
        .collect();
    let call = DeviceCall {
        batch,
        time,
        heads,
        groups,
        inputs: gapped(&mut machine, &inputs),
        params: given,
        states: whole(&mut machine, &states),
        cu_seqlens: ends,
    };
    let outputs = empty(&mut machine, &d_outputs);
    let room = |machine: &mut Emulated, tensors: &[Tensor]| -> Vec<u64> {
        let one = |tensor: &Tensor| machine.output(4 * tensor.data.len()).unwrap();
        tensors.iter().map(one).collect()
    };
    let states_out = room(&mut machine, &states);
    let bytes = kept(&*kernel, &call).unwrap();
    let block = match keep {
        true => machine.output(bytes).unwrap(),
        false => 0,
    };
    let to = DeviceForward {
        outputs: outputs.iter().map(|output| output.place).collect(),
        states: states_out.clone(),
        kept: block,
    };
    let mut machine = Blocks::new(kernel.clone(), machine);
    forward(&*kernel, &mut machine, &call, &to).expect("forward runs");
    let mut machine = machine.memory;
    let d_inputs = empty(&mut machine, &inputs);
    let d_params = room(&mut machine, &params);
    let with = DeviceBackward {
        kept: block,
        d_outputs: gapped(&mut machine, &d_outputs),
        d_states_out: whole(&mut machine, &d_states),
        d_inputs: d_inputs.iter().map(|tensor| tensor.place).collect(),
        d_params: params
            .iter()
            .zip(&d_params)
            .map(|(tensor, &address)| heads_of(tensor, address))
            .collect(),
        d_states_in: room(&mut machine, &states),
    };
    let mut machine = Blocks::new(kernel.clone(), machine);
    backward(&*kernel, &mut machine, &call, &with).expect("backward runs");
    let mut machine = machine.memory;

    let of = kernel.clone();
    let machines = move || -> Box<dyn HostMachine> {
        Box::new(Blocks::new(of.clone(), Emulated::new(0, false)))
    };
    let host = HostKernel::new(kernel, Box::new(machines));
    let from_host = Call {
        inputs: inputs.iter().map(Tensor::view).collect(),
        params: params.iter().map(Tensor::view).collect(),
        states: views(&states),
        cu_seqlens: ends,
    };
    let forward = host.forward(&from_host, true).expect("forward runs");
    let back = host
        .backward(
            &from_host,
            forward.saved.as_ref(),
            &views(&d_outputs),
            &views(&d_states),
        )
        .expect("backward runs");
    let mut bits = |address: u64| floats(&machine.read(address).unwrap());
    for (address, tensor) in states_out.iter().zip(&forward.states) {
        assert_eq!(bits(*address), tensor.data);
    }
    for (address, tensor) in with.d_states_in.iter().zip(&back.states) {
        assert_eq!(bits(*address), tensor.data);
    }
    for (address, tensor) in d_params.iter().zip(&back.params) {
        assert_eq!(bits(*address), tensor.data);
    }
    let found: Vec<Tensor> = outputs.iter().map(|output| output.read(&machine)).collect();
    assert_eq!(found, forward.outputs);
    let found: Vec<Tensor> = d_inputs.iter().map(|input| input.read(&machine)).collect();
    assert_eq!(found, back.inputs);
}
