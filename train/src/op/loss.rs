//! Cross-entropy of next-token logits, in nats: the mean to train on, each token's own to evaluate.
//!
//! The softmax is never stored: forward keeps the log of each row's sum, backward makes the
//! probabilities from it in the one pass that writes the gradient.

use super::composed;
use super::flex::{Rows, flex};
use super::node::record;
use super::pointwise::{exp, sum, vectorised};
use super::value::Value;
use crate::Error;
use burn::Tensor;
use rayon::prelude::*;

const BLOCK: usize = 64;

/// The loss of every token: `logits` [B, T, V] against B T `targets` in row order.
pub fn token_losses(logits: Tensor<3>, targets: &[u32]) -> Result<Vec<f32>, Error> {
    let logits = checked(logits, targets)?;
    if !logits.on_host() {
        let losses = composed::token_losses(logits.tensor()?, targets);
        return Ok(Value::new(losses)?.to_host().data);
    }
    Ok(losses(&Rows::new(logits.flex(), 1), targets).0)
}

/// The mean loss of all tokens, a scalar to run backward from.
pub fn cross_entropy(logits: Tensor<3>, targets: Vec<u32>) -> Result<Tensor<1>, Error> {
    let total = targets.len().max(1) as f64;
    weighted_cross_entropy(logits, targets, None, total)
}

/// The sum of the losses, each times its weight (absent: 1), over `total`: with the sum of all
/// weights of a step as `total`, the parts of a step add up to its mean loss.
pub fn weighted_cross_entropy(
    logits: Tensor<3>,
    targets: Vec<u32>,
    weights: Option<Vec<f32>>,
    total: f64,
) -> Result<Tensor<1>, Error> {
    let logits = checked(logits, &targets)?;
    if let Some(weights) = &weights
        && weights.len() != targets.len()
    {
        return Err(Error::Tensor(format!(
            "{} weights given for {} targets",
            weights.len(),
            targets.len()
        )));
    }
    if !logits.on_host() {
        let logits = logits.tensor()?;
        return Ok(composed::weighted_cross_entropy(
            logits, &targets, weights, total,
        ));
    }
    let (shape, rows) = (logits.shape(), Rows::new(logits.flex(), 1));
    let (losses, normaliser) = losses(&rows, &targets);
    let weight = move |row: usize| weights.as_ref().map_or(1.0, |weights| weights[row]);
    let weighted = losses.iter().enumerate();
    let weighted = weighted.map(|(row, &loss)| weight(row) as f64 * loss as f64);
    let mean = weighted.sum::<f64>() / total;
    let mut out = record(
        &[logits],
        vec![flex(vec![mean as f32], &[1])],
        move |arrived, _| {
            let arrived = arrived[0]
                .as_ref()
                .map(|g| g.storage::<f32>()[g.layout().start_offset()]);
            let share = arrived.unwrap_or(0.0) / total as f32;
            let mut d_logits = vec![0.0; rows.count * rows.width];
            d_logits
                .par_chunks_mut(BLOCK * rows.width)
                .enumerate()
                .for_each(|(block, d_logits)| {
                    for (i, d_row) in d_logits.chunks_exact_mut(rows.width).enumerate() {
                        let row = block * BLOCK + i;
                        let share = share * weight(row);
                        softmax(rows.row(row), normaliser[row], share, d_row);
                        d_row[targets[row] as usize] -= share;
                    }
                });
            vec![Some(flex(d_logits, &shape))]
        },
    );
    out.remove(0).tensor()
}

fn checked(logits: Tensor<3>, targets: &[u32]) -> Result<Value, Error> {
    let [batch, time, vocab] = logits.dims();
    if batch * time != targets.len() {
        return Err(Error::Tensor(format!(
            "logits [B={batch}, T={time}, V={vocab}] against {} targets: expected B T = {}",
            targets.len(),
            batch * time
        )));
    }
    if let Some(token) = targets.iter().find(|&&t| t as usize >= vocab) {
        return Err(Error::Tensor(format!(
            "token {token} is outside the vocabulary of {vocab}"
        )));
    }
    Value::new(logits)
}

/// Each row's loss and log-sum-exp.
fn losses(rows: &Rows, targets: &[u32]) -> (Vec<f32>, Vec<f32>) {
    (0..rows.count)
        .into_par_iter()
        .with_min_len(BLOCK)
        .map(|i| {
            let row = rows.row(i);
            let normaliser = log_sum_exp(row);
            (normaliser - row[targets[i] as usize], normaliser)
        })
        .unzip()
}

vectorised! {
    fn log_sum_exp(row: &[f32]) -> f32 {
        let top = row.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        top + sum(row.len(), |i| exp(row[i] - top)).ln()
    }
}

vectorised! {
    fn softmax(row: &[f32], normaliser: f32, share: f32, out: &mut [f32]) {
        for (out, logit) in out.iter_mut().zip(row) {
            *out = exp(logit - normaliser) * share;
        }
    }
}
