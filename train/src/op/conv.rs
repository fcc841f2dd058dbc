//! Depthwise causal convolution over time, then SiLU or nothing, with the convolution state as a port.
//!
//! `y[t, c] = silu(bias[c] + sum_w weight[c, w] x[t - W + 1 + w, c])`; the W - 1 steps before the
//! segment are the state in, the last W - 1 inputs the state out, so that running a segment after
//! another is running them as one. A sequence with its state before it is one run of rows, read where
//! they lie; then every tap is the same run, shifted, and there is no special case at the start.
//! Sequences of one length stand in rows; packed ones of any lengths follow each other in one row.
//! Every sum goes over taps or steps in one order, whatever is done side by side.

use super::composed;
use super::flex::{Rows, flex};
use super::node::record;
use super::packing::Packing;
use super::pointwise::{silu, silu_slope, vectorised};
use super::value::{Value, on_host};
use crate::Error;
use burn::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// Applies the convolution to `x` [B, T, C] with `weight` [C, 1, W], `bias` `[C]` and the state
/// [B, W - 1, C] (absent: zero); returns y [B, T, C] and the state out.
pub fn causal_conv(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Tensor<1>,
    state: Option<Tensor<3>>,
) -> Result<(Tensor<3>, Tensor<3>), Error> {
    causal_conv_packed(x, weight, bias, true, state, None)
}

/// As [`causal_conv`], without SiLU unless `silu`; with `packing` x is [1, T, C] and each of its S
/// sequences has a state of its own, [S, W - 1, C].
pub fn causal_conv_packed(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Tensor<1>,
    silu: bool,
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
    if !on_host(&x.device()) {
        return Ok(composed::causal_conv(x, weight, bias, silu, state, packing));
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
        silu,
        state: inputs.get(3).map(|s| Rows::new(s.flex(), 1)),
        zero: vec![0.0; channels],
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
    /// Whether what is summed is activated.
    silu: bool,
    state: Option<Rows>,
    /// A row of an absent state.
    zero: Vec<f32>,
}

impl Conv {
    /// Row `r` of the state and the inputs of sequence `s` as one run, [pad + T, C].
    fn run(&self, s: usize, r: usize) -> &[f32] {
        match (&self.state, r.checked_sub(self.pad)) {
            (_, Some(t)) => self.x.row(self.sequences[s].start + t),
            (Some(state), None) => state.row(s * self.pad + r),
            (None, None) => &self.zero,
        }
    }

    fn tap(&self, w: usize) -> &[f32] {
        &self.taps[w * self.channels..(w + 1) * self.channels]
    }

    /// What is activated at step `t` of sequence `s`.
    fn preactivation(&self, s: usize, t: usize, u: &mut [f32]) {
        u.copy_from_slice(&self.bias);
        let taps = (0..=self.pad).map(|w| (self.run(s, t + w), self.tap(w)));
        add_products(taps, u);
    }

    fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let mut y = vec![0.0; self.shape.iter().product()];
        let mut out = vec![0.0; self.sequences.len() * self.pad * self.channels];
        let parts: Vec<_> = self.parts(&mut y, &mut out).collect();
        parts.into_par_iter().for_each(|(s, y, out)| {
            for (t, y) in y.chunks_exact_mut(self.channels).enumerate() {
                self.preactivation(s, t, y);
                if self.silu {
                    activate(y);
                }
            }
            let time = self.sequences[s].len();
            for (i, out) in out.chunks_exact_mut(self.channels).enumerate() {
                out.copy_from_slice(self.run(s, time + i));
            }
        });
        (y, out)
    }

    /// What is as x and what is as the states, by sequence.
    fn parts<'a>(
        &'a self,
        mut x: &'a mut [f32],
        mut states: &'a mut [f32],
    ) -> impl Iterator<Item = (usize, &'a mut [f32], &'a mut [f32])> {
        let sequences = self.sequences.iter().enumerate();
        sequences.map(move |(s, steps)| {
            let x = split_off(&mut x, steps.len() * self.channels);
            (s, x, split_off(&mut states, self.pad * self.channels))
        })
    }

    fn backward(
        &self,
        dy: Option<&Rows>,
        d_out: Option<&Rows>,
    ) -> Vec<Option<burn::backend::flex::FlexTensor>> {
        let (channels, count) = (self.channels, self.sequences.len());
        let width = self.pad + 1;
        let mut dx = vec![0.0; self.shape.iter().product()];
        let mut d_state = vec![0.0; count * self.pad * channels];
        let parts: Vec<_> = self.parts(&mut dx, &mut d_state).collect();
        let parts: Vec<Vec<f32>> = parts
            .into_par_iter()
            .map(|(s, dx, d_state)| self.sequence_backward(s, dy, d_out, dx, d_state))
            .collect();
        let mut d_weights = vec![0.0; (width + 1) * channels];
        for part in &parts {
            let pairs = d_weights.iter_mut().zip(part);
            pairs.for_each(|(sum, part)| *sum += part);
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
            gradients.push(Some(flex(d_state, &[count, self.pad, channels])));
        }
        gradients
    }

    /// Writes the gradients of one sequence's inputs and state; returns those of the taps, then of
    /// the bias, [W + 1, C].
    fn sequence_backward(
        &self,
        s: usize,
        dy: Option<&Rows>,
        d_out: Option<&Rows>,
        dx: &mut [f32],
        d_state: &mut [f32],
    ) -> Vec<f32> {
        let (pad, channels) = (self.pad, self.channels);
        let Range { start, end } = self.sequences[s];
        let time = end - start;
        let mut d_weights = vec![0.0; self.taps.len() + channels];
        let (d_taps, d_bias) = d_weights.split_at_mut(self.taps.len());
        let mut du = vec![0.0; dy.map_or(0, |_| time * channels)];
        for (t, du) in du.chunks_exact_mut(channels).enumerate() {
            match dy.map(|dy| dy.row(start + t)) {
                Some(dy) if self.silu => {
                    self.preactivation(s, t, du);
                    deactivate(du, dy);
                }
                Some(dy) => du.copy_from_slice(dy),
                None => {}
            }
            d_bias.iter_mut().zip(&*du).for_each(|(sum, du)| *sum += du);
            for (w, d_tap) in d_taps.chunks_exact_mut(channels).enumerate() {
                add_product(self.run(s, t + w), du, d_tap);
            }
        }
        let rows = d_state
            .chunks_exact_mut(channels)
            .chain(dx.chunks_exact_mut(channels));
        for (r, row) in rows.enumerate() {
            if let (Some(d_out), Some(i)) = (d_out, r.checked_sub(time)) {
                row.copy_from_slice(d_out.row(s * pad + i));
            }
            let steps = r.saturating_sub(pad)..(r + 1).min(du.len() / channels);
            let taps = steps.map(|t| (self.tap(r - t), &du[t * channels..(t + 1) * channels]));
            add_products(taps, row);
        }
        d_weights
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

/// Adds the product of each pair, in order: four in one pass, which is every published width.
fn add_products<'a>(pairs: impl Iterator<Item = (&'a [f32], &'a [f32])>, sum: &mut [f32]) {
    let mut pairs = pairs.fuse();
    loop {
        match std::array::from_fn(|_| pairs.next()) {
            [Some(a), Some(b), Some(c), Some(d)] => add_four([a, b, c, d], sum),
            fewer => {
                let fewer: [Option<_>; 4] = fewer;
                return fewer
                    .into_iter()
                    .flatten()
                    .for_each(|(x, y)| add_product(x, y, sum));
            }
        }
    }
}

vectorised! {
    fn add_product(x: &[f32], y: &[f32], sum: &mut [f32]) {
        for ((sum, x), y) in sum.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
}

vectorised! {
    fn add_four(pairs: [(&[f32], &[f32]); 4], sum: &mut [f32]) {
        let n = sum.len();
        let [a, b, c, d] = pairs.map(|(x, y)| (&x[..n], &y[..n]));
        for (i, sum) in sum.iter_mut().enumerate() {
            *sum = *sum + a.0[i] * a.1[i] + b.0[i] * b.1[i] + c.0[i] * c.1[i] + d.0[i] * d.1[i];
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
