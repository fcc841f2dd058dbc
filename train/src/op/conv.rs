//! Depthwise causal convolution over time, then SiLU, with the convolution state as a port.
//!
//! `y[t, c] = silu(bias[c] + sum_w weight[c, w] x[t - W + 1 + w, c])`; the W - 1 steps before the
//! segment are the state in, the last W - 1 inputs the state out, so that running a segment after
//! another is running them as one. A sequence with its state before it is laid out once as one
//! padded run; then every tap is the same run, shifted, and there is no special case at the start.

use super::node::record;
use super::pointwise::{silu, silu_slope, vectorised};
use super::value::{Rows, Value, flex};
use crate::Error;
use burn::Tensor;
use rayon::prelude::*;

/// Applies the convolution to `x` [B, T, C] with `weight` [C, 1, W], `bias` [C] and the state
/// [B, W - 1, C] (absent: zero); returns y [B, T, C] and the state out.
pub fn causal_conv(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Tensor<1>,
    state: Option<Tensor<3>>,
) -> Result<(Tensor<3>, Tensor<3>), Error> {
    let [batch, time, channels] = x.dims();
    let [given, one, width] = weight.dims();
    let [biases] = bias.dims();
    let held = state
        .as_ref()
        .map_or([batch, width.saturating_sub(1), channels], |s| s.dims());
    if (given, one, biases) != (channels, 1, channels)
        || width == 0
        || held != [batch, width - 1, channels]
    {
        return Err(Error::Tensor(format!(
            "a causal convolution of x [B={batch}, T={time}, C={channels}] with weight \
             [{given}, {one}, {width}], bias [{biases}] and state {held:?}: expected weight \
             [C, 1, W], bias [C] and state [B, W - 1, C]"
        )));
    }
    let mut inputs = vec![Value::new(x)?, Value::new(weight)?, Value::new(bias)?];
    inputs.extend(state.map(Value::new).transpose()?);
    let conv = Conv {
        batch,
        time,
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
        flex(out, &[batch, width - 1, channels]),
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
    batch: usize,
    time: usize,
    channels: usize,
    pad: usize,
    x: Rows,
    /// [W, C].
    taps: Vec<f32>,
    bias: Vec<f32>,
    state: Option<Rows>,
}

impl Conv {
    /// State and inputs of sequence `b` as one run, [pad + T, C].
    fn padded(&self, b: usize) -> Vec<f32> {
        let mut run = Vec::with_capacity((self.pad + self.time) * self.channels);
        match &self.state {
            Some(state) => {
                (0..self.pad).for_each(|i| run.extend_from_slice(state.row(b * self.pad + i)))
            }
            None => run.resize(self.pad * self.channels, 0.0),
        }
        (0..self.time).for_each(|t| run.extend_from_slice(self.x.row(b * self.time + t)));
        run
    }

    fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let mut y = vec![0.0; self.batch * self.time * self.channels];
        let mut out = vec![0.0; self.batch * self.pad * self.channels];
        let sequences = y
            .par_chunks_mut((self.time * self.channels).max(1))
            .zip(out.par_chunks_mut((self.pad * self.channels).max(1)));
        if self.time > 0 && self.pad > 0 {
            sequences.enumerate().for_each(|(b, (y, out))| {
                let run = self.padded(b);
                preactivation(&run, &self.taps, &self.bias, y);
                activate(y);
                out.copy_from_slice(&run[self.time * self.channels..]);
            });
        } else if self.time > 0 {
            y.par_chunks_mut(self.time * self.channels)
                .enumerate()
                .for_each(|(b, y)| {
                    preactivation(&self.padded(b), &self.taps, &self.bias, y);
                    activate(y);
                });
        } else {
            out = (0..self.batch).flat_map(|b| self.padded(b)).collect();
        }
        (y, out)
    }

    fn backward(
        &self,
        dy: Option<&Rows>,
        d_out: Option<&Rows>,
    ) -> Vec<Option<burn::backend::flex::FlexTensor>> {
        let (time, pad, channels) = (self.time, self.pad, self.channels);
        let width = pad + 1;
        let parts: Vec<(Vec<f32>, Vec<f32>)> = (0..self.batch)
            .into_par_iter()
            .map(|b| {
                let mut d_run = vec![0.0; (pad + time) * channels];
                if let Some(d_out) = d_out {
                    for i in 0..pad {
                        let at = (time + i) * channels;
                        d_run[at..at + channels].copy_from_slice(d_out.row(b * pad + i));
                    }
                }
                // Gradients of the taps, then of the bias: [W + 1, C].
                let mut d_weights = vec![0.0; (width + 1) * channels];
                if let Some(dy) = dy.filter(|_| time > 0) {
                    let run = self.padded(b);
                    let mut du = vec![0.0; time * channels];
                    preactivation(&run, &self.taps, &self.bias, &mut du);
                    for (t, du) in du.chunks_exact_mut(channels).enumerate() {
                        deactivate(du, dy.row(b * time + t));
                    }
                    spread(&run, &self.taps, &du, &mut d_run, &mut d_weights);
                }
                (d_run, d_weights)
            })
            .collect();
        let mut dx = Vec::with_capacity(self.batch * time * channels);
        let mut d_state = Vec::with_capacity(self.batch * pad * channels);
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
            Some(flex(dx, &[self.batch, time, channels])),
            Some(flex(
                transpose(&d_weights, width, channels),
                &[channels, 1, width],
            )),
            Some(flex(d_bias, &[channels])),
        ];
        if self.state.is_some() {
            gradients.push(Some(flex(d_state, &[self.batch, pad, channels])));
        }
        gradients
    }
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
