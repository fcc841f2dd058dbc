//! Depthwise causal convolution over time, then SiLU, with the convolution state as a port.
//!
//! `y[t, c] = silu(bias[c] + sum_w weight[c, w] x[t - W + 1 + w, c])`; the W - 1 steps before the
//! segment are the state in, the last W - 1 inputs the state out, so that running a segment after
//! another is running them as one. A sequence with its state before it is laid out once as one
//! padded run; then every tap is the same run, shifted, and there is no special case at the start.
//! Sequences of one length stand in rows; packed ones of any lengths follow each other in one row.

use super::node::record;
use super::packing::Packing;
use super::pointwise::{silu, silu_slope, vectorised};
use super::value::{Rows, Value, flex};
use crate::Error;
use burn::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// Applies the convolution to `x` [B, T, C] with `weight` [C, 1, W], `bias` [C] and the state
/// [B, W - 1, C] (absent: zero); returns y [B, T, C] and the state out.
pub fn causal_conv(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Tensor<1>,
    state: Option<Tensor<3>>,
) -> Result<(Tensor<3>, Tensor<3>), Error> {
    causal_conv_packed(x, weight, bias, state, None)
}

/// As [`causal_conv`]; with `packing` x is [1, T, C] and each of its S sequences has a state of
/// its own, [S, W - 1, C].
pub fn causal_conv_packed(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Tensor<1>,
    state: Option<Tensor<3>>,
    packing: Option<&Packing>,
) -> Result<(Tensor<3>, Tensor<3>), Error> {
    let [batch, time, channels] = x.dims();
    let [given, one, width] = weight.dims();
    let [biases] = bias.dims();
    let sequences: Vec<Range<usize>> = match packing {
        Some(packing) => packing.sequences().collect(),
        None => (0..batch).map(|b| b * time..(b + 1) * time).collect(),
    };
    let count = sequences.len();
    let held = state
        .as_ref()
        .map_or([count, width.saturating_sub(1), channels], |s| s.dims());
    if (given, one, biases) != (channels, 1, channels)
        || width == 0
        || held != [count, width - 1, channels]
    {
        return Err(Error::Tensor(format!(
            "a causal convolution of x [B={batch}, T={time}, C={channels}] with weight \
             [{given}, {one}, {width}], bias [{biases}] and state {held:?} of {count} sequences: \
             expected weight [C, 1, W], bias [C] and a state [W - 1, C] for each"
        )));
    }
    if let Some(packing) = packing
        && [batch, time] != [1, packing.len()]
    {
        return Err(Error::Tensor(format!(
            "x [B={batch}, T={time}] given, expected the {} packed tokens in one row",
            packing.len()
        )));
    }
    let mut inputs = vec![Value::new(x)?, Value::new(weight)?, Value::new(bias)?];
    inputs.extend(state.map(Value::new).transpose()?);
    let conv = Conv {
        sequences,
        shape: [batch, time, channels],
        channels,
        pad: width - 1,
        x: Rows::new(inputs[0].flex(), 1),
        taps: transpose(&inputs[1].to_host().data, channels, width),
        bias: inputs[2].to_host().data,
        state: inputs.get(3).map(|s| Rows::new(s.flex(), 1)),
    };
    let (y, out) = conv.forward();
    let outputs = vec![
        flex(y, &[batch, time, channels]),
        flex(out, &[count, width - 1, channels]),
    ];
    let results = record(&inputs, outputs, move |arrived, _| {
        let arrived: Vec<_> = arrived
            .iter()
            .map(|g| g.as_ref().map(|g| Rows::new(g, 1)))
            .collect();
        conv.backward(arrived[0].as_ref(), arrived[1].as_ref())
    });
    let [y, out] = <[Value; 2]>::try_from(results).expect("two outputs were recorded");
    Ok((y.tensor()?, out.tensor()?))
}

struct Conv {
    /// The rows of x that each sequence has, one after another.
    sequences: Vec<Range<usize>>,
    /// Of x.
    shape: [usize; 3],
    channels: usize,
    pad: usize,
    x: Rows,
    /// [W, C].
    taps: Vec<f32>,
    bias: Vec<f32>,
    state: Option<Rows>,
}

impl Conv {
    /// State and inputs of sequence `s` as one run, [pad + T, C].
    fn padded(&self, s: usize) -> Vec<f32> {
        let steps = self.sequences[s].clone();
        let mut run = Vec::with_capacity((self.pad + steps.len()) * self.channels);
        match &self.state {
            Some(state) => {
                (0..self.pad).for_each(|i| run.extend_from_slice(state.row(s * self.pad + i)))
            }
            None => run.resize(self.pad * self.channels, 0.0),
        }
        steps.for_each(|t| run.extend_from_slice(self.x.row(t)));
        run
    }

    fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let mut y = vec![0.0; self.shape.iter().product()];
        let mut out = vec![0.0; self.sequences.len() * self.pad * self.channels];
        let (mut ys, mut outs) = (y.as_mut_slice(), out.as_mut_slice());
        let parts = self.sequences.iter().enumerate().map(|(s, steps)| {
            let y = split_off(&mut ys, steps.len() * self.channels);
            (s, y, split_off(&mut outs, self.pad * self.channels))
        });
        let parts: Vec<_> = parts.collect();
        parts.into_par_iter().for_each(|(s, y, out)| {
            let run = self.padded(s);
            preactivation(&run, &self.taps, &self.bias, y);
            activate(y);
            out.copy_from_slice(&run[y.len()..]);
        });
        (y, out)
    }

    fn backward(
        &self,
        dy: Option<&Rows>,
        d_out: Option<&Rows>,
    ) -> Vec<Option<burn::backend::flex::FlexTensor>> {
        let (pad, channels, count) = (self.pad, self.channels, self.sequences.len());
        let width = pad + 1;
        let parts: Vec<(Vec<f32>, Vec<f32>)> = (0..count)
            .into_par_iter()
            .map(|s| {
                let steps = self.sequences[s].clone();
                let (from, time) = (steps.start, steps.len());
                let mut d_run = vec![0.0; (pad + time) * channels];
                if let Some(d_out) = d_out {
                    for i in 0..pad {
                        let at = (time + i) * channels;
                        d_run[at..at + channels].copy_from_slice(d_out.row(s * pad + i));
                    }
                }
                // Gradients of the taps, then of the bias: [W + 1, C].
                let mut d_weights = vec![0.0; (width + 1) * channels];
                if let Some(dy) = dy.filter(|_| time > 0) {
                    let run = self.padded(s);
                    let mut du = vec![0.0; time * channels];
                    preactivation(&run, &self.taps, &self.bias, &mut du);
                    for (t, du) in du.chunks_exact_mut(channels).enumerate() {
                        deactivate(du, dy.row(from + t));
                    }
                    spread(&run, &self.taps, &du, &mut d_run, &mut d_weights);
                }
                (d_run, d_weights)
            })
            .collect();
        let mut dx = Vec::with_capacity(self.shape.iter().product());
        let mut d_state = Vec::with_capacity(count * pad * channels);
        let mut d_weights = vec![0.0; (width + 1) * channels];
        for (d_run, part) in &parts {
            let (before, inside) = d_run.split_at(pad * channels);
            d_state.extend_from_slice(before);
            dx.extend_from_slice(inside);
            d_weights
                .iter_mut()
                .zip(part)
                .for_each(|(sum, part)| *sum += part);
        }
        let d_bias = d_weights.split_off(width * channels);
        let mut gradients = vec![
            Some(flex(dx, &self.shape)),
            Some(flex(
                transpose(&d_weights, width, channels),
                &[channels, 1, width],
            )),
            Some(flex(d_bias, &[channels])),
        ];
        if self.state.is_some() {
            gradients.push(Some(flex(d_state, &[count, pad, channels])));
        }
        gradients
    }
}

/// Takes the first `count` elements off a slice.
fn split_off<'a>(rest: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let (first, after) = std::mem::take(rest).split_at_mut(count);
    *rest = after;
    first
}

/// [rows, columns] to [columns, rows].
fn transpose(from: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let at = |i| from[i % rows * columns + i / rows];
    (0..rows * columns).map(at).collect()
}

vectorised! {
    fn preactivation(run: &[f32], taps: &[f32], bias: &[f32], u: &mut [f32]) {
        let channels = bias.len();
        for (t, u) in u.chunks_exact_mut(channels).enumerate() {
            u.copy_from_slice(bias);
            for (w, tap) in taps.chunks_exact(channels).enumerate() {
                let x = &run[(t + w) * channels..(t + w + 1) * channels];
                for ((u, x), tap) in u.iter_mut().zip(x).zip(tap) {
                    *u += tap * x;
                }
            }
        }
    }
}

vectorised! {
    fn activate(u: &mut [f32]) {
        u.iter_mut().for_each(|u| *u = silu(*u));
    }
}

vectorised! {
    /// Replaces a pre-activation by its gradient.
    fn deactivate(u: &mut [f32], dy: &[f32]) {
        u.iter_mut().zip(dy).for_each(|(u, dy)| *u = silu_slope(*u) * dy);
    }
}

vectorised! {
    /// Spreads the gradients of the pre-activations over the run, the taps and the bias.
    fn spread(run: &[f32], taps: &[f32], du: &[f32], d_run: &mut [f32], d_weights: &mut [f32]) {
        let width = (run.len() - du.len()) / (d_weights.len() - taps.len()) + 1;
        let channels = taps.len() / width;
        let (d_taps, d_bias) = d_weights.split_at_mut(taps.len());
        for (t, du) in du.chunks_exact(channels).enumerate() {
            for (sum, du) in d_bias.iter_mut().zip(du) {
                *sum += du;
            }
            for w in 0..width {
                let (at, tap) = ((t + w) * channels, w * channels);
                let (x, dx) = (&run[at..at + channels], &mut d_run[at..at + channels]);
                let (d_tap, tap) = (&mut d_taps[tap..tap + channels], &taps[tap..tap + channels]);
                for c in 0..channels {
                    dx[c] += tap[c] * du[c];
                    d_tap[c] += x[c] * du[c];
                }
            }
        }
    }
}
