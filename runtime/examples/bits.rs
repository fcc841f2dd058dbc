//! The bits of a fixed set of random runs, one hash a run: what a change of the engine must leave alone.
//!
//! `cargo run -p baton-runtime --features gpu --example bits > before`, and after the change again, on the same
//! machine: the CPU's kernels are chosen for it. Every way of cutting is in the set: whole sequences, segments,
//! windows, packed and empty sequences, groups, absent states and gradients, strided views, steps.
//! With `time` it prints how long calls take instead.

use baton_ir::{builtin, text};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::device::gpu::{Emulator, Gpu, Storage};
use baton_runtime::{Call, Device, Kernel, Options, Tensor, View};
use std::time::Instant;

/// A fixed sequence of numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        let one = |_| -0.02 - 0.9 * (self.next() % 4096) as f32 / 4096.0;
        Tensor {
            data: (0..count).map(one).collect(),
            shape: shape.to_vec(),
        }
    }
}

/// What a run is.
struct Case {
    name: &'static str,
    sizes: [usize; 2],
    batch: usize,
    time: usize,
    heads: usize,
    groups: usize,
    ends: Option<Vec<i64>>,
    options: Options,
    /// Whether states and their gradients are given.
    states: bool,
    /// Whether the gradients of outputs are given.
    arriving: bool,
}

struct Given {
    inputs: Vec<Tensor>,
    params: Vec<Tensor>,
    states: Vec<Tensor>,
    d_outputs: Vec<Tensor>,
    d_states: Vec<Tensor>,
}

impl Case {
    fn kernel(&self, device: &dyn Device) -> std::sync::Arc<dyn Kernel> {
        let recurrence = text::parse(builtin::text(self.name).unwrap()).unwrap();
        let sizes = &self.sizes[..recurrence.dims.len()];
        let loaded = device.load(&recurrence, sizes, &self.options);
        loaded.unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    fn given(&self, random: &mut Random) -> Given {
        let recurrence = text::parse(builtin::text(self.name).unwrap()).unwrap();
        let sequences = self.ends.as_ref().map_or(self.batch, |ends| ends.len() - 1);
        let mut all = |ports: &[baton_ir::recurrence::Port], outer: &[usize]| -> Vec<Tensor> {
            let one = |port: &baton_ir::recurrence::Port| {
                let mut shape = outer.to_vec();
                shape.push(if port.per_group {
                    self.groups
                } else {
                    self.heads
                });
                shape.extend(port.shape.iter().map(|dim| self.sizes[dim.index()]));
                random.tensor(&shape)
            };
            ports.iter().map(one).collect()
        };
        Given {
            inputs: all(&recurrence.inputs, &[self.batch, self.time]),
            params: all(&recurrence.params, &[]),
            states: all(&recurrence.states, &[sequences]),
            d_outputs: all(&recurrence.outputs, &[self.batch, self.time]),
            d_states: all(&recurrence.states, &[sequences]),
        }
    }

    fn call<'a>(&'a self, given: &'a Given) -> Call<'a> {
        Call {
            inputs: given.inputs.iter().map(Tensor::view).collect(),
            params: given.params.iter().map(Tensor::view).collect(),
            states: some(&given.states, self.states),
            cu_seqlens: self.ends.as_deref(),
        }
    }

    fn hash(&self, device: &dyn Device, seed: u64) -> String {
        let kernel = self.kernel(device);
        let given = self.given(&mut Random(seed));
        let call = self.call(&given);
        let mut hash = Hash(0xcbf29ce484222325);
        let plain = kernel.forward(&call, false).expect("it runs");
        let kept = kernel.forward(&call, true).expect("it runs");
        let arriving = some(&given.d_outputs, self.arriving);
        let leaving = some(&given.d_states, self.states);
        for forward in [&plain, &kept] {
            hash.add(&forward.outputs);
            hash.add(&forward.states);
        }
        for saved in [None, kept.saved.as_ref()] {
            let found = kernel
                .backward(&call, saved, &arriving, &leaving)
                .expect("it runs");
            hash.add(&found.inputs);
            hash.add(&found.params);
            hash.add(&found.states);
        }
        if self.time == 1 && self.ends.is_none() {
            let mut states = given.states.clone();
            let call = Call {
                states: vec![None; states.len()],
                ..call
            };
            hash.add(&kernel.step(&call, &mut states).expect("it steps"));
            hash.add(&states);
        }
        format!("{:016x}", hash.0)
    }
}

fn some(tensors: &[Tensor], given: bool) -> Vec<Option<View<'_>>> {
    tensors
        .iter()
        .map(|tensor| given.then(|| tensor.view()))
        .collect()
}

struct Hash(u64);

impl Hash {
    fn add(&mut self, tensors: &[Tensor]) {
        for value in tensors.iter().flat_map(|tensor| &tensor.data) {
            // Zeros of both signs are one number.
            self.0 = (self.0 ^ u64::from((value + 0.0).to_bits())).wrapping_mul(0x100000001b3);
        }
    }
}

fn cases(device: &dyn Device, random: &mut Random, count: usize, emulated: bool) -> Vec<Case> {
    let loads = |name: &&str| {
        let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
        let sizes = &[16, 64][..recurrence.dims.len()];
        let loaded = device.load(&recurrence, sizes, &Options::default());
        loaded.is_ok()
    };
    let names: Vec<&str> = builtin::NAMES.iter().copied().filter(loads).collect();
    let one = |i: usize| {
        let group = 1 + random.below(if emulated { 2 } else { 6 });
        let groups = 1 + random.below(2);
        let (state, head) = match emulated {
            true => (16, 64),
            false => (1 + random.below(40), 1 + random.below(40)),
        };
        let time = match (emulated, random.below(8)) {
            (true, 0..4) => 205 + random.below(90),
            (true, _) => 1 + random.below(70),
            (false, 0) => 1,
            (false, 1..4) => 1 + random.below(60),
            (false, 4..7) => 130 + random.below(300),
            (false, _) => 700 + random.below(500),
        };
        let packed = random.below(3) == 0;
        let ends = packed.then(|| {
            let mut ends: Vec<i64> = (0..1 + random.below(4))
                .map(|_| random.below(time + 1) as i64)
                .collect();
            ends.extend([0, time as i64]);
            ends.sort();
            ends
        });
        let name = match (emulated, i % 3) {
            (true, 0) => "gla",
            (true, 1) => "rwkv6",
            _ => names[i % names.len()],
        };
        Case {
            name,
            sizes: [state, head],
            batch: if packed || emulated {
                1
            } else {
                1 + random.below(3)
            },
            time,
            heads: group * groups,
            groups,
            ends,
            options: Options {
                chunk: (!emulated && random.below(2) == 0).then(|| [16, 32, 64][random.below(3)]),
                keep_bytes: (random.below(2) == 0).then_some(0),
            },
            states: random.below(3) > 0,
            arriving: random.below(4) > 0,
        }
    };
    (0..count).map(one).collect()
}

fn print(device: &dyn Device, cases: &[Case]) {
    for (i, case) in cases.iter().enumerate() {
        let what = format!(
            "{} {:?} B={} T={} H={} G={} {:?} {:?}",
            case.name,
            case.sizes,
            case.batch,
            case.time,
            case.heads,
            case.groups,
            case.ends,
            case.options
        );
        println!("{} {} {what}", device.name(), case.hash(device, i as u64));
    }
}

fn time() {
    let device = Cpu::new(Some(1)).expect("a device");
    for (time, heads, sizes, rounds) in [
        (1, 2, [16, 16], 4000),
        (1, 32, [64, 64], 400),
        (64, 8, [32, 32], 400),
        (1024, 8, [64, 64], 8),
    ] {
        let case = Case {
            name: "mamba2",
            sizes,
            batch: 1,
            time,
            heads,
            groups: 1,
            ends: None,
            options: Options::default(),
            states: true,
            arriving: true,
        };
        let kernel = case.kernel(&device);
        let given = case.given(&mut Random(1));
        let call = case.call(&given);
        let (arriving, leaving) = (some(&given.d_outputs, true), some(&given.d_states, true));
        let mut states = given.states.clone();
        let bare = Call {
            states: vec![None; states.len()],
            ..call.clone()
        };
        let mut best = [f64::INFINITY; 3];
        for _ in 0..7 {
            let mut measure = |at: usize, run: &mut dyn FnMut()| {
                let start = Instant::now();
                (0..rounds).for_each(|_| run());
                best[at] = best[at].min(start.elapsed().as_secs_f64() * 1e6 / rounds as f64);
            };
            if time == 1 {
                measure(0, &mut || {
                    drop(kernel.step(&bare, &mut states).expect("it steps"))
                });
            }
            measure(1, &mut || {
                drop(kernel.forward(&call, false).expect("it runs"))
            });
            measure(2, &mut || {
                drop(
                    kernel
                        .backward(&call, None, &arriving, &leaving)
                        .expect("it runs"),
                )
            });
        }
        let [step, forward, backward] = best;
        println!(
            "T={time} H={heads} {sizes:?}: step {step:.2}, forward {forward:.2}, backward {backward:.2} us"
        );
    }
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("time") {
        return time();
    }
    let mut random = Random(7);
    let cpu = Cpu::new(Some(2)).expect("a device");
    print(&cpu, &cases(&cpu, &mut random, 120, false));
    for storage in [Storage::F32, Storage::Bf16] {
        let device = Emulator::new(Gpu::sm_80(storage));
        print(&device, &cases(&device, &mut random, 12, true));
    }
}
