//! Root-mean-square norms: plain over the last dim, and gated over groups of it.
//!
//! `rms_norm(x) = w x / rms(x)` and, as Mamba-2 has it, `gated_rms_norm(y, z) = w u / rms(u)` with
//! `u = y silu(z)`: the gate comes *before* the norm, and the mean is taken over each group of the
//! last dim by itself. Forward keeps nothing; backward makes u and its rms again, which is cheaper
//! than reading them from memory.

use super::composed;
use super::flex::{Rows, flex};
use super::node::record;
use super::pointwise::{silu, silu_slope, sum, vectorised};
use super::value::Value;
use crate::Error;
use burn::Tensor;
use rayon::prelude::*;

/// Rows of one task: fixed, so that sums over rows do not depend on the number of threads.
const BLOCK: usize = 64;

/// `w x / rms(x)` over the last dim of x [..., D].
pub fn rms_norm<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<1>,
    eps: f32,
) -> Result<Tensor<R>, Error> {
    let width = weight.dims()[0];
    normalise(Value::new(x)?, None, Value::new(weight)?, width, eps)?.tensor()
}

/// The same with means over each `group` elements of the last dim.
pub fn grouped_rms_norm<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<1>,
    group: usize,
    eps: f32,
) -> Result<Tensor<R>, Error> {
    normalise(Value::new(x)?, None, Value::new(weight)?, group, eps)?.tensor()
}

/// x over its length in the last dim, with 1e-6 added under the root.
pub fn l2_norm<const R: usize>(x: Tensor<R>) -> Result<Tensor<R>, Error> {
    let width = x.dims()[R - 1].max(1) as f32;
    let device = x.device().without_autodiff();
    let weight = Tensor::full([width as usize], width.sqrt().recip(), &device);
    rms_norm(x, weight, 1e-6 / width)
}

/// `w u / rms(u)` with `u = y silu(z)` over each `group` elements of the last dim of y, z [B, T, D].
/// y may come as heads, [B, T, H, P] with H P = D.
pub fn gated_rms_norm<const R: usize>(
    y: Tensor<R>,
    z: Tensor<3>,
    weight: Tensor<1>,
    group: usize,
    eps: f32,
) -> Result<Tensor<3>, Error> {
    normalise(
        Value::new(y)?,
        Some(Value::new(z)?),
        Value::new(weight)?,
        group,
        eps,
    )?
    .tensor()
}

struct Norm {
    y: Rows,
    z: Option<Rows>,
    weight: Vec<f32>,
    group: usize,
    eps: f32,
}

fn normalise(
    y: Value,
    z: Option<Value>,
    weight: Value,
    group: usize,
    eps: f32,
) -> Result<Value, Error> {
    let shape = z.as_ref().unwrap_or(&y).shape();
    let given = y.shape();
    let width = weight.shape().iter().product::<usize>();
    let mut elements = 1;
    let inner = given
        .iter()
        .rev()
        .take_while(|&&size| {
            let more = elements < width;
            elements *= if more { size } else { 1 };
            more
        })
        .count();
    if elements != width
        || shape.last() != Some(&width)
        || group == 0
        || !width.is_multiple_of(group)
        || given.iter().product::<usize>() != shape.iter().product::<usize>()
    {
        return Err(Error::Tensor(format!(
            "a norm of {given:?} with gate {shape:?}, weight [{width}] and groups of {group}: \
             expected the last dim of both to be the weight's, and groups that divide it"
        )));
    }
    if !y.on_host() {
        return composed::norm(y, z, weight, group, eps);
    }
    let norm = Norm {
        y: Rows::new(y.flex(), inner.max(1)),
        z: z.as_ref().map(|z| Rows::new(z.flex(), 1)),
        weight: weight.to_host().data,
        group,
        eps,
    };
    let out = flex(norm.forward(), &shape);
    let inputs: Vec<Value> = [Some(y), Some(weight), z].into_iter().flatten().collect();
    let mut out = record(&inputs, vec![out], move |arrived, _| {
        let dy = arrived[0].as_ref().map(|d| Rows::new(d, 1));
        let Some(dy) = dy else { return vec![None; 3] };
        let (d_y, d_z, d_weight) = norm.backward(&dy);
        let d_z = norm.z.is_some().then(|| flex(d_z, &shape));
        let width = d_weight.len();
        vec![Some(flex(d_y, &given)), Some(flex(d_weight, &[width])), d_z]
    });
    Ok(out.remove(0))
}

impl Norm {
    /// u of row i.
    fn gate(&self, i: usize, u: &mut [f32]) {
        match &self.z {
            Some(z) => gate(self.y.row(i), z.row(i), u),
            None => u.copy_from_slice(self.y.row(i)),
        }
    }

    fn forward(&self) -> Vec<f32> {
        let width = self.weight.len();
        let mut out = vec![0.0; self.y.count * width];
        out.par_chunks_mut(BLOCK * width)
            .enumerate()
            .for_each(|(block, out)| {
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    self.gate(block * BLOCK + i, out);
                    scale(out, &self.weight, self.group, self.eps);
                }
            });
        out
    }

    fn backward(&self, d_out: &Rows) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let width = self.weight.len();
        let mut d_y = vec![0.0; self.y.count * width];
        let mut d_z = vec![0.0; if self.z.is_some() { d_y.len() } else { 0 }];
        let step = BLOCK * width;
        let blocks: Vec<(&mut [f32], &mut [f32])> = match &self.z {
            Some(_) => d_y.chunks_mut(step).zip(d_z.chunks_mut(step)).collect(),
            None => d_y
                .chunks_mut(step)
                .map(|d_y| (d_y, Default::default()))
                .collect(),
        };
        let parts: Vec<Vec<f32>> = blocks
            .into_par_iter()
            .enumerate()
            .map(|(block, (d_y, d_z))| {
                let mut d_weight = vec![0.0; width];
                let mut u = vec![0.0; width];
                for (i, d_y) in d_y.chunks_exact_mut(width).enumerate() {
                    let row = block * BLOCK + i;
                    self.gate(row, &mut u);
                    unscale(
                        &u,
                        d_out.row(row),
                        &self.weight,
                        self.group,
                        self.eps,
                        d_y,
                        &mut d_weight,
                    );
                    if let Some(z) = &self.z {
                        let d_z = &mut d_z[i * width..(i + 1) * width];
                        ungate(self.y.row(row), z.row(row), d_y, d_z);
                    }
                }
                d_weight
            })
            .collect();
        let mut d_weight = vec![0.0; width];
        for part in parts {
            d_weight
                .iter_mut()
                .zip(part)
                .for_each(|(sum, part)| *sum += part);
        }
        (d_y, d_z, d_weight)
    }
}

vectorised! {
    fn gate(y: &[f32], z: &[f32], u: &mut [f32]) {
        for ((u, y), z) in u.iter_mut().zip(y).zip(z) {
            *u = y * silu(*z);
        }
    }
}

vectorised! {
    /// On entry `d_y` is the gradient of u; on leaving that of y.
    fn ungate(y: &[f32], z: &[f32], d_y: &mut [f32], d_z: &mut [f32]) {
        for (((d_y, d_z), y), z) in d_y.iter_mut().zip(d_z).zip(y).zip(z) {
            *d_z = *d_y * y * silu_slope(*z);
            *d_y *= silu(*z);
        }
    }
}

#[inline(always)]
fn inverse_rms(u: &[f32], eps: f32) -> f32 {
    1.0 / (sum(u.len(), |i| u[i] * u[i]) / u.len() as f32 + eps).sqrt()
}

vectorised! {
    fn scale(u: &mut [f32], weight: &[f32], group: usize, eps: f32) {
        for (u, weight) in u.chunks_exact_mut(group).zip(weight.chunks_exact(group)) {
            let r = inverse_rms(u, eps);
            u.iter_mut().zip(weight).for_each(|(u, w)| *u *= r * w);
        }
    }
}

vectorised! {
    fn unscale(u: &[f32], d_out: &[f32], weight: &[f32], group: usize, eps: f32, d_u: &mut [f32], d_weight: &mut [f32]) {
        for (g, u) in u.chunks_exact(group).enumerate() {
            let at = g * group..(g + 1) * group;
            let (d_out, weight) = (&d_out[at.clone()], &weight[at.clone()]);
            let (d_u, d_weight) = (&mut d_u[at.clone()], &mut d_weight[at]);
            let r = inverse_rms(u, eps);
            let along = sum(group, |i| u[i] * weight[i] * d_out[i]) * r * r / group as f32;
            for i in 0..group {
                d_u[i] = r * (weight[i] * d_out[i] - u[i] * along);
                d_weight[i] += d_out[i] * u[i] * r;
            }
        }
    }
}
