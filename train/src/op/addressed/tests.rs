//! The bookkeeping of addresses, on Flex's memory: a kernel for the CPU behind the interface of a GPU's.

use super::super::tests::{data, host, leaf, weighed};
use super::super::{Packing, apply_values};
use super::*;
use baton_ir::{builtin, text};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Device as _, Kernel, Options, Tensor};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::DType;
use half::{bf16, f16};

const KEPT: usize = 20;
const MARK: f32 = 7.0;

impl Addressed for Flex {
    fn contiguous(tensor: FlexTensor) -> FlexTensor {
        tensor.to_contiguous()
    }

    fn empty(
        shape: Shape,
        device: &<Flex as burn::backend::BackendTypes>::Device,
        dtype: FloatDType,
    ) -> FlexTensor {
        Flex::float_cast(Flex::float_zeros(shape, device, FloatDType::F32), dtype)
    }

    fn pin(tensors: &[&FlexTensor]) -> Result<Vec<(u64, Pin)>, Error> {
        let pins = tensors.iter().map(|tensor| {
            let at = match tensor.dtype() {
                DType::F16 => tensor.storage::<f16>().as_ptr() as u64,
                DType::BF16 => tensor.storage::<bf16>().as_ptr() as u64,
                _ => tensor.storage::<f32>().as_ptr() as u64,
            };
            let offset = tensor.layout().start_offset() * tensor.dtype().size();
            (at + offset as u64, Box::new((*tensor).clone()) as Pin)
        });
        Ok(pins.collect())
    }
}

/// Reads what lies at the addresses, runs on the host, and writes to the addresses.
struct OnHost {
    kernel: Arc<dyn Kernel>,
    recurrence: Recurrence,
    sizes: Vec<usize>,
    storage: Storage,
}

/// The places of all elements, in row order.
fn each(tensor: DeviceTensor, outer: &[usize], entries: usize, bytes: usize) -> Vec<u64> {
    let [batch, time, heads] = match *outer {
        [batch, time, heads] => [batch, time, heads],
        [heads] => [1, 1, heads],
        _ => panic!("{outer:?}"),
    };
    let mut all = vec![];
    for (b, t, h) in
        (0..batch * time * heads).map(|i| (i / heads / time, i / heads % time, i % heads))
    {
        let at = [b, t, h]
            .into_iter()
            .zip(tensor.strides)
            .map(|(i, stride)| i as i64 * stride);
        let at = tensor.address + at.sum::<i64>() as u64;
        all.extend((0..entries).map(|i| at + (i * bytes) as u64));
    }
    all
}

fn load(at: u64, storage: Storage) -> f32 {
    // SAFETY: what a test pinned, read as it was laid out.
    unsafe {
        match storage {
            Storage::F32 => *(at as *const f32),
            Storage::Bf16 => (*(at as *const bf16)).to_f32(),
            Storage::F16 => (*(at as *const f16)).to_f32(),
        }
    }
}

fn store(at: u64, value: f32, storage: Storage) {
    // SAFETY: as above; nothing else looks at results until the run has ended.
    unsafe {
        match storage {
            Storage::F32 => *(at as *mut f32) = value,
            Storage::Bf16 => *(at as *mut bf16) = bf16::from_f32(value),
            Storage::F16 => *(at as *mut f16) = f16::from_f32(value),
        }
    }
}

impl OnHost {
    fn new(name: &str, size: usize, storage: Storage) -> Self {
        let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
        let sizes = vec![size; recurrence.dims.len()];
        let cpu = Cpu::new(Some(1)).unwrap();
        OnHost {
            kernel: cpu.load(&recurrence, &sizes, &Options::default()).unwrap(),
            recurrence,
            sizes,
            storage,
        }
    }

    fn dims(&self, port: &Port) -> Vec<usize> {
        port.shape
            .iter()
            .map(|dim| self.sizes[dim.index()])
            .collect()
    }

    fn of(&self, port: &Port) -> Storage {
        if port.shape.is_empty() {
            Storage::F32
        } else {
            self.storage
        }
    }

    fn read(&self, tensor: DeviceTensor, outer: &[usize], port: &Port, storage: Storage) -> Tensor {
        let dims = self.dims(port);
        let bytes = storage.bytes() as usize;
        let places = each(tensor, outer, dims.iter().product(), bytes);
        Tensor {
            shape: [outer, &dims].concat(),
            data: places.into_iter().map(|at| load(at, storage)).collect(),
        }
    }

    fn write(
        &self,
        tensor: DeviceTensor,
        outer: &[usize],
        port: &Port,
        storage: Storage,
        from: &Tensor,
    ) {
        let entries = self.dims(port).iter().product();
        let places = each(tensor, outer, entries, storage.bytes() as usize);
        assert_eq!(places.len(), from.data.len());
        let pairs = places.into_iter().zip(&from.data);
        pairs.for_each(|(at, &value)| store(at, value, storage));
    }

    /// A state without gaps, [S, H, dims...], as one head for each of both.
    fn state(
        &self,
        address: u64,
        call: &DeviceCall<'_>,
        port: &Port,
    ) -> (DeviceTensor, [usize; 2]) {
        let sequences = call.cu_seqlens.map_or(call.batch, |ends| ends.len() - 1);
        let head = 4 * self.dims(port).iter().product::<usize>() as i64;
        let strides = [0, 0, head];
        (DeviceTensor { address, strides }, [sequences, call.heads])
    }

    fn read_state(&self, address: u64, call: &DeviceCall<'_>, port: &Port) -> Option<Tensor> {
        let (tensor, [sequences, heads]) = self.state(address, call, port);
        (address != 0).then(|| {
            let flat = self.read(tensor, &[sequences * heads], port, Storage::F32);
            Tensor {
                shape: [&[sequences, heads], &self.dims(port)[..]].concat(),
                data: flat.data,
            }
        })
    }

    fn write_state(&self, address: u64, call: &DeviceCall<'_>, port: &Port, from: &Tensor) {
        let (tensor, [sequences, heads]) = self.state(address, call, port);
        self.write(tensor, &[sequences * heads], port, Storage::F32, from);
    }

    /// Everything given, read.
    fn read_call(&self, call: &DeviceCall<'_>) -> [Vec<Option<Tensor>>; 3] {
        let (r, steps) = (&self.recurrence, steps);
        let inputs = r.inputs.iter().zip(&call.inputs);
        let inputs =
            inputs.map(|(port, &at)| Some(self.read(at, &steps(call, port), port, self.of(port))));
        let params = r.params.iter().zip(&call.params);
        let params =
            params.map(|(port, &at)| Some(self.read(at, &[call.heads], port, Storage::F32)));
        let states = r.states.iter().zip(&call.states);
        let states = states.map(|(port, &at)| self.read_state(at, call, port));
        [inputs.collect(), params.collect(), states.collect()]
    }
}

fn steps(call: &DeviceCall<'_>, port: &Port) -> [usize; 3] {
    let heads = if port.per_group {
        call.groups
    } else {
        call.heads
    };
    [call.batch, call.time, heads]
}

fn views(tensors: &[Option<Tensor>]) -> Vec<Option<View<'_>>> {
    tensors
        .iter()
        .map(|t| t.as_ref().map(Tensor::view))
        .collect()
}

fn host_call<'a>(
    [inputs, params, states]: &'a [Vec<Option<Tensor>>; 3],
    call: &DeviceCall<'a>,
) -> Call<'a> {
    Call {
        inputs: views(inputs).into_iter().flatten().collect(),
        params: views(params).into_iter().flatten().collect(),
        states: views(states),
        cu_seqlens: call.cu_seqlens,
    }
}

impl Raw for OnHost {
    fn recurrence(&self) -> &Recurrence {
        &self.recurrence
    }

    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn dtype(&self, role: Role) -> Option<Storage> {
        let r = &self.recurrence;
        let (ports, i) = match role {
            Role::Input(i) | Role::DInput(i) => (&r.inputs, i),
            Role::Output(i) | Role::DOutput(i) => (&r.outputs, i),
            _ => return Some(Storage::F32),
        };
        Some(self.of(&ports[i as usize]))
    }

    fn kept_bytes(&self, _: &DeviceCall<'_>) -> Result<usize, baton_runtime::Error> {
        Ok(KEPT)
    }

    unsafe fn forward(
        &self,
        call: &DeviceCall<'_>,
        to: &DeviceForward,
    ) -> Result<(), baton_runtime::Error> {
        let given = self.read_call(call);
        let run = self.kernel.forward(&host_call(&given, call), false)?;
        for ((port, &at), from) in self
            .recurrence
            .outputs
            .iter()
            .zip(&to.outputs)
            .zip(&run.outputs)
        {
            self.write(at, &steps(call, port), port, self.of(port), from);
        }
        for ((port, &at), from) in self
            .recurrence
            .states
            .iter()
            .zip(&to.states)
            .zip(&run.states)
        {
            self.write_state(at, call, port, from);
        }
        if to.kept != 0 {
            (0..KEPT as u64 / 4).for_each(|i| store(to.kept + 4 * i, MARK, Storage::F32));
        }
        Ok(())
    }

    unsafe fn backward(
        &self,
        call: &DeviceCall<'_>,
        with: &DeviceBackward,
    ) -> Result<(), baton_runtime::Error> {
        assert!((0..KEPT as u64 / 4).all(|i| load(with.kept + 4 * i, Storage::F32) == MARK));
        let (r, given) = (&self.recurrence, self.read_call(call));
        let d_outputs = r.outputs.iter().zip(&with.d_outputs).map(|(port, &at)| {
            (at.address != 0).then(|| self.read(at, &steps(call, port), port, self.of(port)))
        });
        let d_states = r.states.iter().zip(&with.d_states_out);
        let d_states = d_states.map(|(port, &at)| self.read_state(at, call, port));
        let (d_outputs, d_states): (Vec<_>, Vec<_>) = (d_outputs.collect(), d_states.collect());
        let call_here = host_call(&given, call);
        let run = self
            .kernel
            .backward(&call_here, None, &views(&d_outputs), &views(&d_states))?;
        for ((port, &at), from) in r.inputs.iter().zip(&with.d_inputs).zip(&run.inputs) {
            self.write(at, &steps(call, port), port, self.of(port), from);
        }
        for ((port, &at), from) in r.params.iter().zip(&with.d_params).zip(&run.params) {
            self.write(at, &[call.heads], port, Storage::F32, from);
        }
        for ((port, &at), from) in r.states.iter().zip(&with.d_states_in).zip(&run.states) {
            self.write_state(at, call, port, from);
        }
        Ok(())
    }
}

/// Results and gradients of both ways, tensor by tensor.
fn both(
    name: &str,
    storage: Storage,
    packing: Option<&Packing>,
    given_states: bool,
) -> [Vec<Vec<f32>>; 2] {
    let raw = Arc::new(OnHost::new(name, 16, storage));
    let r = raw.recurrence.clone();
    let [batch, time, heads, groups] = match packing {
        Some(packing) => [1, packing.len(), 4, 2],
        None => [2, 9, 4, 2],
    };
    let sequences = packing.map_or(batch, |packing| packing.sequences().count());
    let tensors = |ports: &[Port], outer: &dyn Fn(&Port) -> Vec<usize>, seed: u64| -> Vec<Tensor> {
        let ports = ports.iter().zip(seed..);
        let all = ports.map(|(port, seed)| host(&[outer(port), raw.dims(port)].concat(), seed));
        // Decays are below zero, and nothing grows.
        all.map(|t| Tensor {
            shape: t.shape,
            data: t.data.iter().map(|x| -0.1 - 0.4 * x.abs()).collect(),
        })
        .collect()
    };
    let step = |port: &Port| vec![batch, time, if port.per_group { groups } else { heads }];
    let parts = [
        tensors(&r.inputs, &step, 1),
        tensors(&r.params, &|_| vec![heads], 20),
        tensors(&r.states, &|_| vec![sequences, heads], 40),
    ];
    let run = |here: bool| {
        let leaves = parts
            .iter()
            .map(|part| {
                part.iter()
                    .map(|t| {
                        let flat = Tensor {
                            shape: vec![t.data.len()],
                            data: t.data.clone(),
                        };
                        (leaf::<1>(&flat), t.shape.clone())
                    })
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>();
        let values = |part: usize| {
            leaves[part]
                .iter()
                .map(|(leaf, shape)| Value::new(leaf.clone()).unwrap().reshape(shape))
                .collect::<Vec<_>>()
        };
        let given = Given {
            inputs: values(0),
            params: values(1),
            states: given_states.then(|| values(2)),
            cu_seqlens: packing.map(Packing::offsets),
        };
        let returned = match here {
            true => apply::<Flex>(raw.clone(), given),
            false => apply_values(&raw.kernel, r.states.len(), given),
        };
        let Returned { outputs, states } = returned.unwrap();
        let results = [outputs, states].concat();
        let values = results.iter().map(|r| r.to_host().data).collect::<Vec<_>>();
        let gradients = weighed(results).backward();
        let of = leaves
            .iter()
            .take(if given_states { 3 } else { 2 })
            .flatten();
        let gradients = of.map(|(leaf, _)| data(leaf.grad(&gradients).unwrap()));
        values.into_iter().chain(gradients).collect()
    };
    [run(true), run(false)]
}

#[test]
fn in_f32_it_is_the_kernel_for_the_host_to_the_bit() {
    let packing = Packing::new([2, 6], &[2, 6]).unwrap();
    for name in ["mamba2", "gla", "retnet"] {
        for packing in [None, Some(&packing)] {
            for given_states in [false, true] {
                let [got, want] = both(name, Storage::F32, packing, given_states);
                assert_eq!(got, want, "{name}");
            }
        }
    }
}

#[test]
fn narrower_storage_rounds_matrices_and_nothing_else() {
    for (storage, bits) in [(Storage::Bf16, 8), (Storage::F16, 11)] {
        let [got, want] = both("mamba2", storage, None, true);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
            let error = norm(&mut got.iter().zip(want).map(|(a, b)| a - b));
            let relative = error / norm(&mut want.iter().copied());
            let bound = 4.0 / (1 << bits) as f32;
            assert!(relative > 0.0 && relative < bound, "tensor {i}: {relative}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let raw = Arc::new(OnHost::new("mamba2", 16, Storage::F32));
    let inputs = raw.recurrence.inputs.iter().map(|port| {
        let shape = [&[1, 3, 2], &raw.dims(port)[..]].concat();
        Value::from_host(host(&shape, 1))
    });
    let given = Given {
        inputs: inputs.collect(),
        ..Given::default()
    };
    let error = apply::<Flex>(raw, given).unwrap_err().to_string();
    assert!(error.contains("params"), "{error}");
}
