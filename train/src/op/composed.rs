//! The operations around a recurrence said in Burn's own tensor operations, for devices that are not the host.
//!
//! Each computes what the fused operation of its name does, from arguments that were checked there,
//! on whatever device its tensors are; Burn's autodiff makes the gradient. The tests hold each to
//! the fused one on Flex, values and gradients, so that what runs on a GPU is known to be the same
//! mathematics without one. Sums are in Burn's order: bits differ from the host's, and a lookup that
//! many rows share (the gradient of [`embed`]) is added in whatever order the device adds it.

use super::packing::Packing;
use super::value::Value;
use crate::Error;
use burn::Tensor;
use burn::tensor::activation::{log_softmax, silu};
use burn::tensor::{Device, Int, TensorData};

/// Indices as a tensor.
pub(super) fn places(places: impl IntoIterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let places: Vec<i64> = places.into_iter().map(|place| place as i64).collect();
    let count = places.len();
    let device = device.clone().without_autodiff();
    Tensor::from_data(TensorData::new(places, [count]), &device)
}

fn constant(numbers: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = numbers.len();
    let device = device.clone().without_autodiff();
    Tensor::from_data(TensorData::new(numbers, [count]), &device)
}

/// [`super::causal_conv_packed`]. Packed sequences and the states before them are laid into one run
/// of rows by a lookup; every tap is then the same run, shifted, and what straddles two sequences is
/// not looked up again.
pub(super) fn causal_conv(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Tensor<1>,
    activated: bool,
    state: Option<Tensor<3>>,
    packing: Option<&Packing>,
) -> (Tensor<3>, Tensor<3>) {
    let ([batch, time, channels], [_, _, width]) = (x.dims(), weight.dims());
    let (device, pad) = (x.device(), width - 1);
    let sequences: Vec<_> = match packing {
        Some(packing) => packing.sequences().collect(),
        None => vec![0..time; batch],
    };
    let count = sequences.len();
    let state = state.unwrap_or_else(|| {
        Tensor::zeros([count, pad, channels], &device.clone().without_autodiff())
    });
    // The rows of the run at which each packed sequence and its state begin.
    let begins: Vec<usize> = (sequences.iter().enumerate())
        .map(|(s, steps)| s * pad + steps.start)
        .collect();
    let run = match (pad, packing) {
        (0, _) => x,
        (_, None) => Tensor::cat(vec![state, x], 1),
        (_, Some(_)) => {
            let states = state.reshape([1, count * pad, channels]);
            let x_at = count * pad;
            let rows = sequences.iter().enumerate().flat_map(|(s, steps)| {
                (s * pad..(s + 1) * pad).chain(x_at + steps.start..x_at + steps.end)
            });
            Tensor::cat(vec![states, x], 1).select(1, places(rows, &device))
        }
    };
    let [runs, length, _] = run.dims();
    let steps = length - pad;
    let taps = (0..width).map(|w| {
        let shifted = run.clone().slice([0..runs, w..w + steps, 0..channels]);
        let tap = weight.clone().slice([0..channels, 0..1, w..w + 1]);
        shifted * tap.reshape([1, 1, channels])
    });
    let bias = bias.reshape([1, 1, channels]);
    let y = taps.fold(bias.expand([runs, steps, channels]), |sum, tap| sum + tap);
    let y = if activated { silu(y) } else { y };
    if packing.is_none() {
        let out = run.slice([0..runs, time..time + pad, 0..channels]);
        return (y, out);
    }
    let ends = sequences.iter().zip(&begins);
    let ends = ends.flat_map(|(steps, begin)| begin + steps.len()..begin + steps.len() + pad);
    let out = run.select(1, places(ends, &device));
    let steps = sequences.iter().zip(&begins);
    let steps = steps.flat_map(|(steps, begin)| *begin..begin + steps.len());
    (
        y.select(1, places(steps, &device)),
        out.reshape([count, pad, channels]),
    )
}

/// [`super::gated_rms_norm`], and [`super::rms_norm`] where there is no gate.
pub(super) fn norm(
    y: Value,
    z: Option<Value>,
    weight: Value,
    group: usize,
    eps: f32,
) -> Result<Value, Error> {
    let shape = z.as_ref().unwrap_or(&y).shape();
    let width = weight.shape().iter().product::<usize>();
    let rows = shape.iter().product::<usize>() / width.max(1);
    let grouped = [rows, width / group, group];
    let mut u: Tensor<3> = y.reshape(&grouped).tensor()?;
    if let Some(z) = z {
        u = u * silu(z.reshape(&grouped).tensor()?);
    }
    let rms = (u.clone().powi_scalar(2).mean_dim(2) + eps).sqrt();
    let weight: Tensor<2> = weight.reshape(&[1, width]).tensor()?;
    let out = (u / rms).reshape([rows, width]) * weight;
    Ok(Value::new(out)?.reshape(&shape))
}

/// [`super::token_losses`], [B T] on the device.
pub(super) fn token_losses(logits: Tensor<3>, targets: &[u32]) -> Tensor<1> {
    let [batch, time, vocab] = logits.dims();
    let rows = batch * time;
    let targets = targets.iter().map(|&target| target as usize);
    let targets = places(targets, &logits.device()).reshape([rows, 1]);
    let chosen = log_softmax(logits.reshape([rows, vocab]), 1).gather(1, targets);
    chosen.reshape([rows]).neg()
}

/// [`super::weighted_cross_entropy`].
pub(super) fn weighted_cross_entropy(
    logits: Tensor<3>,
    targets: &[u32],
    weights: Option<Vec<f32>>,
    total: f64,
) -> Tensor<1> {
    let losses = token_losses(logits, targets);
    let losses = match weights {
        Some(weights) => {
            let weights = constant(weights, &losses.device());
            losses * weights
        }
        None => losses,
    };
    losses.sum() / total as f32
}

/// [`super::split`].
pub(super) fn split(x: Tensor<3>, parts: &[&[usize]]) -> Result<Vec<Value>, Error> {
    let [batch, time, _] = x.dims();
    let mut at = 0;
    let parts = parts.iter().map(|part| {
        let begin = at;
        at += part.iter().product::<usize>();
        let columns = x.clone().slice([0..batch, 0..time, begin..at]);
        Ok(Value::new(columns)?.reshape(&[&[batch, time], *part].concat()))
    });
    parts.collect()
}

/// [`super::embed`].
pub(super) fn embed(table: Tensor<2>, ids: &[u32], [batch, time]: [usize; 2]) -> Tensor<3> {
    let [_, width] = table.dims();
    let ids = places(ids.iter().map(|&id| id as usize), &table.device());
    table.select(0, ids).reshape([batch, time, width])
}

/// Chosen rows of the first dim; `None` is zero.
pub(super) fn select(from: &Value, rows: &[Option<usize>]) -> Result<Value, Error> {
    let shape = from.shape();
    let each = shape[1..].iter().product();
    let (device, from) = (from.device(), from.clone().reshape(&[shape[0], each]));
    let chosen = places(rows.iter().map(|row| row.unwrap_or(0)), &device);
    let kept = rows.iter().map(|row| f32::from(row.is_some())).collect();
    let kept = constant(kept, &device).reshape([rows.len(), 1]);
    // A product would make NaN of what a left out row may hold.
    let chosen: Tensor<2> = from.tensor::<2>()?.select(0, chosen);
    let left = kept.equal_elem(0.0).expand([rows.len(), each]);
    let value = Value::new(chosen.mask_fill(left, 0.0))?;
    Ok(value.reshape(&[&[rows.len()], &shape[1..]].concat()))
}

#[cfg(test)]
mod tests;
