//! What a step tells, which is a line of the metrics too.

use super::held_out::Loss;
use crate::ranks::Slow;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What one step tells.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Steps done before it.
    pub step: u64,
    /// Mean nats per token.
    pub loss: f32,
    /// Whether it was not taken, as it was not finite.
    #[serde(skip_serializing_if = "is_no")]
    pub skipped: bool,
    /// The learning rate.
    pub rate: f64,
    /// The global norm of the gradients before clipping.
    pub norm: f64,
    /// Tokens trained on after it.
    pub tokens: u64,
    /// Seconds spent after it.
    pub seconds: f64,
    /// How held-out text is predicted after it, where that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Loss>,
    /// The rank that the others wait for, if there is one.
    #[serde(skip)]
    pub slow: Option<Slow>,
    /// What of the configuration was changed before it: what was and what is, by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<BTreeMap<String, [Value; 2]>>,
}

fn is_no(flag: &bool) -> bool {
    !flag
}
