//! AdamW with decoupled weight decay and clipping by the global norm.
//!
//! Its moments are plain memory under the names of the weights, so that a checkpoint holds them
//! bit for bit. Vectors (norms, biases, A_log, D, dt_bias) are not decayed, nor what has a number for
//! each channel in more dims.
//!
//! A step that would leave a weight or a moment that is no finite number is not taken: every element is
//! computed before the first is written, which costs a second pass over memory and no memory of its own.

use crate::models::{self, Parameter, update};
use crate::op::vectorised;
use baton_config::AdamWConfig;
use baton_runtime::Tensor;
use baton_weights::checkpoint::Moments;
use burn::module::Module;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Weights of two dims or more that are no matrices: Mamba's, then RWKV-7's.
const BY_CHANNEL: [&str; 8] = ["A_log", "r_k", "x_r", "x_w", "x_k", "x_v", "x_a", "x_g"];

/// AdamW with its moments.
pub struct AdamW {
    config: AdamWConfig,
    /// By name of the weight.
    pub moments: BTreeMap<String, Moments>,
}

/// Elements of one task: fixed, so that sums do not depend on the number of threads.
const BLOCK: usize = 1 << 14;

/// The root of the sum of all squares, in f64; blocks side by side and then in order.
pub fn global_norm(gradients: &[Parameter]) -> f64 {
    let blocks = gradients.iter().flat_map(|g| g.value.data.chunks(BLOCK));
    let blocks: Vec<&[f32]> = blocks.collect();
    let sums: Vec<f64> = blocks.into_par_iter().map(squares).collect();
    sums.into_iter().sum::<f64>().sqrt()
}

vectorised! {
    fn squares(elements: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 16];
        let (whole, rest) = elements.as_chunks::<16>();
        for chunk in whole {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += x as f64 * x as f64;
            }
        }
        let rest = rest.iter().map(|&x| x as f64 * x as f64);
        lanes.into_iter().chain(rest).sum()
    }
}

/// What a step does with every element, in f32.
#[derive(Clone, Copy)]
struct Step {
    shrink: f32,
    beta1: f32,
    beta2: f32,
    keep: f32,
    size: f32,
    correction: f32,
    epsilon: f32,
}

impl Step {
    /// A weight and its moments after the step.
    #[inline(always)]
    fn element(self, w: f32, g: f32, m: f32, v: f32) -> [f32; 3] {
        let g = g * self.shrink;
        let m = self.beta1 * m + (1.0 - self.beta1) * g;
        let v = self.beta2 * v + (1.0 - self.beta2) * g * g;
        let w = self.keep * w - self.size * m / (v.sqrt() * self.correction + self.epsilon);
        [w, m, v]
    }
}

vectorised! {
    fn step_block(with: Step, weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.iter_mut().zip(second);
        for ((w, &g), (m, v)) in weights.iter_mut().zip(gradients).zip(moments) {
            [*w, *m, *v] = with.element(*w, g, *m, *v);
        }
    }
}

vectorised! {
    /// Whether the step leaves finite numbers; a first moment that is none makes a weight that is none.
    fn stays_finite(with: Step, weights: &[f32], gradients: &[f32], first: &[f32], second: &[f32]) -> bool {
        let moments = first.iter().zip(second);
        let mut all = weights.iter().zip(gradients).zip(moments);
        all.by_ref().fold(true, |finite, ((&w, &g), (&m, &v))| {
            let [w, _, v] = with.element(w, g, m, v);
            finite & w.is_finite() & v.is_finite()
        })
    }
}

/// What came of a step.
pub struct Stepped<M> {
    /// The model after it, or as it was.
    pub model: M,
    /// The global norm of the gradients before clipping.
    pub norm: f64,
    /// Whether it was taken: not where it would leave anything that is no finite number.
    pub taken: bool,
}

impl AdamW {
    /// With no moments yet.
    pub fn new(config: AdamWConfig) -> Self {
        AdamW {
            config,
            moments: BTreeMap::new(),
        }
    }

    /// Updates every weight that has a gradient; `step` counts those taken before, from 0.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: Vec<Parameter>,
        rate: f64,
        step: u64,
    ) -> Stepped<M> {
        let norm = global_norm(&gradients);
        let gradients: BTreeMap<String, Tensor> =
            gradients.into_iter().map(|g| (g.name, g.value)).collect();
        for (name, gradient) in &gradients {
            let zero = || Tensor::full(&gradient.shape, 0.0);
            let fresh = || Moments {
                first: zero(),
                second: zero(),
            };
            self.moments.entry(name.clone()).or_insert_with(fresh);
        }
        let [vector, matrix] = self.steps(norm, rate, step);
        let of = |name: &str, weight: &Tensor| {
            let last = name.rsplit('.').next().unwrap_or(name);
            match weight.shape.len() < 2 || BY_CHANNEL.contains(&last) {
                true => vector,
                false => matrix,
            }
        };
        let finite = |name: &str, weight: Tensor| {
            let (Some(gradient), Some(moments)) = (gradients.get(name), self.moments.get(name))
            else {
                return true;
            };
            let with = of(name, &weight);
            let first = moments.first.data.par_chunks(BLOCK);
            let moments = first.zip(moments.second.data.par_chunks(BLOCK));
            let weights = weight.data.par_chunks(BLOCK);
            let all = weights.zip(gradient.data.par_chunks(BLOCK)).zip(moments);
            all.map(|((w, g), (m, v))| stays_finite(with, w, g, m, v))
                .reduce(|| true, |a, b| a & b)
        };
        if !norm.is_finite() || !models::each(&model, &mut { finite }) {
            let taken = false;
            return Stepped { model, norm, taken };
        }
        let model = update(model, &mut |name, mut weight| {
            let (Some(gradient), Some(moments)) = (gradients.get(name), self.moments.get_mut(name))
            else {
                return weight;
            };
            let with = of(name, &weight);
            let weights = weight.data.par_chunks_mut(BLOCK);
            let first = moments.first.data.par_chunks_mut(BLOCK);
            let moments = first.zip(moments.second.data.par_chunks_mut(BLOCK));
            weights
                .zip(gradient.data.par_chunks(BLOCK))
                .zip(moments)
                .for_each(|((w, g), (m, v))| step_block(with, w, g, m, v));
            weight
        });
        let taken = true;
        Stepped { model, norm, taken }
    }

    /// What the step does with elements of vectors, and of matrices, which are decayed.
    fn steps(&self, norm: f64, rate: f64, step: u64) -> [Step; 2] {
        let AdamWConfig {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            clip,
        } = self.config;
        let power = (step + 1).min(i32::MAX as u64) as i32;
        let vector = Step {
            shrink: (clip / norm.max(1e-12)).min(1.0) as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            keep: 1.0,
            size: (rate / (1.0 - beta1.powi(power))) as f32,
            correction: (1.0 / (1.0 - beta2.powi(power)).sqrt()) as f32,
            epsilon: epsilon as f32,
        };
        let keep = 1.0 - (rate * weight_decay) as f32;
        [vector, Step { keep, ..vector }]
    }
}
