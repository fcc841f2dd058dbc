//! Which policy, as configured: a tree that JSON says in full and a line of text in short.
//!
//! Everything here has a default but what has none in the literature (the deviation of random
//! noise). A configuration is part of a checkpoint's identity, so a run is never resumed under
//! another one.

mod line;

use crate::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Where the causal convolution of a sequence begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convolution {
    /// At zero, as published.
    #[default]
    Zero,
    /// Where the recurrence's states come from.
    Carried,
}

/// A policy; `p_zero` is the probability that a sequence begins at zero instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum InitialStateConfig {
    /// Every sequence begins at zero: the control.
    Zero,
    /// Gaussian noise of mean 0 and one deviation for all layers and heads.
    Noise {
        /// The standard deviation; there is no published one.
        std: f64,
        /// 0.1 when absent.
        #[serde(default = "tenth")]
        p_zero: f64,
    },
    /// Gaussian noise with the mean and deviation of final states, by layer and head.
    FittedNoise {
        /// How much of the recorded moments a step keeps, once enough were seen; 0.99 when absent.
        #[serde(default = "momentum")]
        momentum: f64,
        /// Batches whose final states are recorded before the first step; 4 when absent.
        #[serde(default = "fit")]
        fit: usize,
        /// 0.1 when absent.
        #[serde(default = "tenth")]
        p_zero: f64,
    },
    /// Final states of the previous batch.
    StatePassing {
        /// 0.1 when absent, as published.
        #[serde(default = "tenth")]
        p_zero: f64,
        /// Of the convolution.
        #[serde(default)]
        conv: Convolution,
    },
    /// Final states of the text just before.
    TruncatedBptt {
        /// 0 when absent, as published.
        #[serde(default)]
        p_zero: f64,
        /// Of the convolution.
        #[serde(default)]
        conv: Convolution,
    },
    /// For each sequence one of several policies.
    Mixed {
        /// Which, and how often.
        of: Vec<Share>,
    },
    /// A policy that sets in slowly: the probability of beginning elsewhere than at zero rises
    /// linearly from 0.
    WarmUp {
        /// Steps until it is in full force.
        steps: u64,
        /// What sets in.
        policy: Box<InitialStateConfig>,
    },
    /// A policy that sets in at a step; zero before.
    After {
        /// The first step of the policy.
        step: u64,
        /// What sets in.
        policy: Box<InitialStateConfig>,
    },
    /// Policies for some layers each; all others begin at zero.
    Layers {
        /// Which, for which layers.
        of: Vec<ForLayers>,
    },
}

/// One of several policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// How often, relative to the others.
    pub weight: f64,
    /// Which.
    pub policy: InitialStateConfig,
}

/// A policy for some layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForLayers {
    /// Numbers of the layers, from 0.
    pub layers: Vec<usize>,
    /// Which.
    pub policy: InitialStateConfig,
}

fn momentum() -> f64 {
    0.99
}

fn fit() -> usize {
    4
}

fn tenth() -> f64 {
    0.1
}

impl InitialStateConfig {
    /// As a file says it: a line, or the tree.
    pub fn said(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(line) => line.parse().map_err(|e: Error| e.to_string()),
            tree => serde_json::from_value(tree.clone()).map_err(|e| e.to_string()),
        }
    }

    /// State passing as published: p = 0.1, convolution from zero.
    pub fn state_passing() -> Self {
        InitialStateConfig::StatePassing {
            p_zero: tenth(),
            conv: Convolution::Zero,
        }
    }

    /// Refuses what is no policy of a model of so many layers.
    pub fn check(&self, layers: usize) -> Result<(), Error> {
        use InitialStateConfig as Config;
        let wrong = |what: String| Err(Error::Config(what));
        match self {
            Config::Zero => Ok(()),
            &Config::Noise { std, p_zero } => {
                if !(std >= 0.0 && std.is_finite()) {
                    return wrong(format!(
                        "std {std} given for noise, expected a standard deviation"
                    ));
                }
                probability(p_zero)
            }
            &Config::FittedNoise {
                momentum, p_zero, ..
            } => {
                if !(0.0..1.0).contains(&momentum) {
                    return wrong(format!(
                        "momentum {momentum} given, expected at least 0 and less than 1"
                    ));
                }
                probability(p_zero)
            }
            &Config::StatePassing { p_zero, .. } | &Config::TruncatedBptt { p_zero, .. } => {
                probability(p_zero)
            }
            Config::Mixed { of } => {
                let weights: Vec<f64> = of.iter().map(|share| share.weight).collect();
                let sum: f64 = weights.iter().sum();
                if !(weights.iter().all(|&w| w >= 0.0) && sum > 0.0 && sum.is_finite()) {
                    return wrong(format!(
                        "weights {weights:?} of mixed initial states given, expected none below 0 \
                         and a sum above it"
                    ));
                }
                of.iter().try_for_each(|share| share.policy.check(layers))
            }
            Config::WarmUp { policy, .. } | Config::After { policy, .. } => policy.check(layers),
            Config::Layers { of } => {
                let mut seen = BTreeSet::new();
                for &layer in of.iter().flat_map(|some| &some.layers) {
                    if layer >= layers {
                        return wrong(format!(
                            "layer {layer} given, expected one of the model's {layers} from 0"
                        ));
                    }
                    if !seen.insert(layer) {
                        return wrong(format!(
                            "layer {layer} given twice, expected one initial state for a layer"
                        ));
                    }
                }
                of.iter().try_for_each(|some| some.policy.check(layers))
            }
        }
    }
}

/// Refuses what is no probability.
fn probability(p_zero: f64) -> Result<(), Error> {
    match (0.0..=1.0).contains(&p_zero) {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "p_zero {p_zero} given, expected a probability, from 0 to 1"
        ))),
    }
}
