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

/// Memory `[B, T, H, dims...]` with a gap after each step.
struct Gapped {
    shape: Vec<usize>,
    place: DeviceTensor,
}

/// Numbers that a caller's gap is made of.
const GAP: usize = 8;

impl Gapped {
    fn strides(shape: &[usize]) -> [i64; 3] {
        let head: usize = shape[3..].iter().product();
        let step = shape[2] * head + GAP;
        [shape[1] * step, step, head].map(|n| 4 * n as i64)
    }

    fn new(shape: Vec<usize>, address: u64) -> Self {
        let strides = Self::strides(&shape);
        let place = DeviceTensor { address, strides };
        Gapped { shape, place }
    }

    /// With the numbers of a tensor.
    fn of(machine: &mut Emulated, tensor: &Tensor) -> Self {
        let row = tensor.shape[2..].iter().product();
        let rows = tensor.data.chunks(row);
        let gap = [f32::NAN; GAP];
        let padded = rows.flat_map(|row| row.iter().chain(&gap));
        let bytes: Vec<u8> = padded.flat_map(|x| x.to_le_bytes()).collect();
        let address = machine.input(&bytes).unwrap();
        Self::new(tensor.shape.clone(), address)
    }

    fn empty(machine: &mut Emulated, shape: Vec<usize>) -> Self {
        let bytes = Self::strides(&shape)[0] as usize * shape[0];
        let address = machine.output(bytes).unwrap();
        Self::new(shape, address)
    }

    fn read(&self, machine: &Emulated) -> Tensor {
        let row: usize = self.shape[2..].iter().product();
        let rows = floats(machine.bytes(self.place.address).unwrap());
        let rows = rows.chunks(row + GAP);
        Tensor {
            shape: self.shape.clone(),
            data: rows.flat_map(|padded| padded[..row].to_vec()).collect(),
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
    let [time, heads, groups] = [210, 2, 1];
    for (keep_bytes, keep) in [(None, true), (Some(0), true), (None, false)] {
        let kernel = Arc::new(kernel("mamba2", Storage::F32, keep_bytes));
        let recurrence = kernel.shapes().recurrence.clone();
        let tensors = |ports: &[Port], outer: &[usize], seed: usize| -> Vec<Tensor> {
            let one = |(i, port): (usize, &Port)| {
                let lanes = if port.per_group { groups } else { heads };
                let outer: Vec<usize> = outer.iter().copied().chain([lanes]).collect();
                numbers(&kernel.shapes().shape(&outer, port), seed + i)
            };
            ports.iter().enumerate().map(one).collect()
        };
        let inputs = tensors(&recurrence.inputs, &[1, time], 1);
        let params = tensors(&recurrence.params, &[], 11);
        let states = tensors(&recurrence.states, &[3], 21);
        let d_outputs = tensors(&recurrence.outputs, &[1, time], 31);
        let d_states = tensors(&recurrence.states, &[3], 41);

        let mut machine = Emulated::new(0, false);
        let gapped = |machine: &mut Emulated, tensors: &[Tensor]| -> Vec<DeviceTensor> {
            let one = |tensor| Gapped::of(machine, tensor).place;
            tensors.iter().map(one).collect()
        };
        let whole = |machine: &mut Emulated, tensors: &[Tensor]| -> Vec<u64> {
            let one = |tensor: &Tensor| {
                let bytes: Vec<u8> = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
                machine.input(&bytes).unwrap()
            };
            tensors.iter().map(one).collect()
        };
        let empty = |machine: &mut Emulated, tensors: &[Tensor]| -> Vec<Gapped> {
            let one = |tensor: &Tensor| Gapped::empty(machine, tensor.shape.clone());
            tensors.iter().map(one).collect()
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
            batch: 1,
            time,
            heads,
            groups,
            inputs: gapped(&mut machine, &inputs),
            params: given,
            states: whole(&mut machine, &states),
            cu_seqlens: Some(&ends),
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
            cu_seqlens: Some(&ends),
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
}
