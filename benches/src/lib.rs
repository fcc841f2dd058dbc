//! What the benches run: a problem with numbers from a seed, its kernel, and the sequential loop as a peer.
//!
//! [`Problem`] fills the tensors of any built-in recurrence. [`sequential`] is Mamba-2's SSD token
//! by token in plain Rust, the state of a head kept in cache: what a person would write first, and
//! the order in which decoders compute.

use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::{builtin, text};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Call, Device, Kernel, Options, Tensor, View};
use std::sync::Arc;

/// Extents of a problem.
#[derive(Clone, Debug)]
pub struct Shape {
    /// B
    pub batch: usize,
    /// T
    pub time: usize,
    /// H
    pub heads: usize,
    /// G
    pub groups: usize,
    /// Sizes of the dims.
    pub sizes: Vec<usize>,
}

impl Shape {
    /// Mamba-2 as the field's 2.7 B model has it in a layer.
    pub fn ssd(time: usize) -> Shape {
        Shape {
            batch: 1,
            time,
            heads: 80,
            groups: 1,
            sizes: vec![128, 64],
        }
    }
}

/// A recurrence with numbers.
pub struct Problem {
    /// What is run.
    pub recurrence: Recurrence,
    /// How large.
    pub shape: Shape,
    inputs: Vec<Tensor>,
    params: Vec<Tensor>,
    arriving: Vec<Tensor>,
}

impl Problem {
    /// A built-in recurrence; log decays of a few per cent a step, everything else small.
    ///
    /// # Panics
    /// When there is no such recurrence.
    pub fn new(name: &str, shape: Shape) -> Problem {
        let source = builtin::text(name).expect("a built-in name");
        let recurrence = text::parse(source).expect("a built-in recurrence parses");
        let mut state = 1u64;
        let mut uniform = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let mut fill = |port: &Port, outer: &[usize]| {
            let mut sizes = outer.to_vec();
            sizes.push(if port.per_group {
                shape.groups
            } else {
                shape.heads
            });
            sizes.extend(port.shape.iter().map(|dim| shape.sizes[dim.index()]));
            let count = sizes.iter().product();
            let width = sizes.last().copied().unwrap_or(1);
            let sample = |x: f32| match port.name.as_str() {
                "g" | "w" | "log_decay" => -0.1 * x,
                "dt" => x - 4.0,
                // At most of length one: a state that is read in its own update would grow with others.
                "k" | "k0" | "k1" => (2.0 * x - 1.0) / (width as f32).sqrt(),
                _ => x - 0.5,
            };
            Tensor {
                data: (0..count).map(|_| sample(uniform())).collect(),
                shape: sizes,
            }
        };
        let steps = [shape.batch, shape.time];
        let inputs = recurrence
            .inputs
            .iter()
            .map(|port| fill(port, &steps))
            .collect();
        let params = recurrence
            .params
            .iter()
            .map(|port| fill(port, &[]))
            .collect();
        let arriving = recurrence
            .outputs
            .iter()
            .map(|port| fill(port, &steps))
            .collect();
        Problem {
            recurrence,
            shape,
            inputs,
            params,
            arriving,
        }
    }

    /// Its kernel on so many threads of this machine's CPU; freed memory is kept, as the program keeps it.
    ///
    /// # Panics
    /// When threads do not start, or there is no kernel at these sizes.
    pub fn load(&self, threads: usize) -> Arc<dyn Kernel> {
        baton_runtime::memory::keep();
        let cpu = Cpu::new(Some(threads)).expect("threads start");
        let kernel = cpu.load(&self.recurrence, &self.shape.sizes, &Options::default());
        kernel.expect("it loads")
    }

    /// The arguments of a run from the zero state.
    pub fn call(&self) -> Call<'_> {
        Call {
            inputs: self.inputs.iter().map(Tensor::view).collect(),
            params: self.params.iter().map(Tensor::view).collect(),
            states: vec![None; self.recurrence.states.len()],
            cu_seqlens: None,
        }
    }

    /// Gradients that arrive for the outputs.
    pub fn arriving(&self) -> Vec<Option<View<'_>>> {
        self.arriving
            .iter()
            .map(|tensor| Some(tensor.view()))
            .collect()
    }

    /// States of zero, `[B, H, dims...]`.
    pub fn states(&self) -> Vec<Tensor> {
        let Shape {
            batch,
            heads,
            sizes,
            ..
        } = &self.shape;
        let states = self.recurrence.states.iter().map(|port| {
            let dims = port.shape.iter().map(|dim| sizes[dim.index()]);
            Tensor::full(
                &[*batch, *heads].into_iter().chain(dims).collect::<Vec<_>>(),
                0.0,
            )
        });
        states.collect()
    }
}

/// `y` of Mamba-2's SSD for one batch row and one group, token by token on one thread.
///
/// # Panics
/// When the problem is not Mamba-2.
pub fn sequential(problem: &Problem) -> Vec<f32> {
    assert_eq!(problem.recurrence.name, "mamba2");
    let Shape {
        time, heads, sizes, ..
    } = &problem.shape;
    let (n, p) = (sizes[0], sizes[1]);
    let [x, b, c, dt] = [0, 1, 2, 3].map(|i| &problem.inputs[i].data);
    let [a_log, d, dt_bias] = [0, 1, 2].map(|i| &problem.params[i].data);
    let mut y = vec![0.0; time * heads * p];
    for head in 0..*heads {
        let mut state = vec![0.0f32; n * p];
        for t in 0..*time {
            let at = t * heads + head;
            let delta = (dt[at] + dt_bias[head]).exp().ln_1p();
            let decay = (-a_log[head].exp() * delta).exp();
            let x = &x[at * p..][..p];
            let y = &mut y[at * p..][..p];
            y.iter_mut().zip(x).for_each(|(y, x)| *y = d[head] * x);
            for i in 0..n {
                let (b, c) = (delta * b[t * n + i], c[t * n + i]);
                for ((state, x), y) in state[i * p..][..p].iter_mut().zip(x).zip(&mut *y) {
                    *state = decay * *state + b * x;
                    *y += c * *state;
                }
            }
        }
    }
    y
}
