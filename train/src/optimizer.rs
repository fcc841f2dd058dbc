//! AdamW with decoupled weight decay and clipping by the global norm.
//!
//! Its moments are plain memory under the names of the weights, so that a checkpoint holds them
//! bit for bit. Vectors (norms, biases, A_log, D, dt_bias) are not decayed.

use crate::models::{LanguageModel, Parameter, update};
use baton_runtime::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The settings of AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decay of matrices, times the learning rate.
    pub weight_decay: f64,
    /// The largest global norm of the gradients.
    pub clip: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip: 1.0,
        }
    }
}

/// The moments of one weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Of the gradient.
    pub first: Tensor,
    /// Of its square.
    pub second: Tensor,
}

/// AdamW with its moments.
pub struct AdamW {
    config: AdamWConfig,
    /// By name of the weight.
    pub moments: BTreeMap<String, Moments>,
}

/// The root of the sum of all squares, in f64 and in order.
pub fn global_norm(gradients: &[Parameter]) -> f64 {
    let squares = gradients.iter().flat_map(|g| &g.value.data);
    squares.map(|&g| g as f64 * g as f64).sum::<f64>().sqrt()
}

impl AdamW {
    /// With no moments yet.
    pub fn new(config: AdamWConfig) -> Self {
        AdamW {
            config,
            moments: BTreeMap::new(),
        }
    }

    /// Updates every weight that has a gradient; `step` counts from 0. Returns the norm before
    /// clipping.
    pub fn step(
        &mut self,
        model: LanguageModel,
        gradients: Vec<Parameter>,
        rate: f64,
        step: u64,
    ) -> (LanguageModel, f64) {
        let norm = global_norm(&gradients);
        let shrink = (self.config.clip / norm.max(1e-12)).min(1.0) as f32;
        let mut gradients: BTreeMap<String, Tensor> =
            gradients.into_iter().map(|g| (g.name, g.value)).collect();
        let AdamWConfig {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            ..
        } = self.config;
        let power = (step + 1).min(i32::MAX as u64) as i32;
        let size = (rate / (1.0 - beta1.powi(power))) as f32;
        let correction = (1.0 / (1.0 - beta2.powi(power)).sqrt()) as f32;
        let (b1, b2, epsilon) = (beta1 as f32, beta2 as f32, epsilon as f32);
        let model = update(model, &mut |name, mut weight| {
            let Some(gradient) = gradients.remove(name) else {
                return weight;
            };
            let Moments { first, second } =
                self.moments
                    .entry(name.to_string())
                    .or_insert_with(|| Moments {
                        first: Tensor::full(&weight.shape, 0.0),
                        second: Tensor::full(&weight.shape, 0.0),
                    });
            let decayed = weight.shape.len() >= 2;
            let keep = 1.0
                - if decayed {
                    (rate * weight_decay) as f32
                } else {
                    0.0
                };
            let moments = first.data.iter_mut().zip(&mut second.data);
            for ((w, g), (m, v)) in weight.data.iter_mut().zip(gradient.data).zip(moments) {
                let g = g * shrink;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *w = keep * *w - size * *m / (v.sqrt() * correction + epsilon);
            }
            weight
        });
        (model, norm)
    }
}
