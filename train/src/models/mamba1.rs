//! The Mamba block as published (Gu and Dao, arXiv 2312.00752, figure 3).
//!
//! One projection gives the channels u and the gate z; u passes a causal convolution and SiLU, and what
//! comes out is both what the state is fed with and what the time step (of low rank) and B and C are
//! projected from. Each channel is a head of its own with a row of N numbers. FalconMamba divides the
//! low-rank time step, B and C each by their root mean square, and has no weight more.

use super::layers::{parts, softplus_inverse};
use super::{Compiled, Conv1d, Linear, Passage, layers::parameter};
use crate::Error;
use crate::op::{causal_conv_packed, rms_norm, split};
use baton_config::Mamba1Config;
use baton_data::rng::Rng;
use baton_macros::recurrence;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;
use burn::tensor::activation::silu;

recurrence! {
    /// The selective scan, as the built-in of this name says it; heads are channels.
    recurrence mamba1 {
        dims   { N }
        inputs { u: [], dt: [], b: [N] per group, c: [N] per group }
        params { a_log: [N], d: [], dt_bias: [] }
        state  { h: [N] }

        let delta = softplus(dt + dt_bias);
        h = exp(-exp(a_log) * delta) * h + delta * u * b;
        output y: [] = dot(c, h) + d * u;
    }
}

/// A Mamba block.
#[derive(Module, Debug)]
pub struct Mamba1 {
    /// `[D]` to u `[I]`, z `[I]`.
    pub in_proj: Linear,
    /// Over u.
    pub conv1d: Conv1d,
    /// `[I]` to the time step's low rank `[R]`, b `[N]`, c `[N]`.
    pub x_proj: Linear,
    /// `[R]` to `[I]`; its bias is added before the softplus.
    pub dt_proj: Linear,
    /// log(-A), [I, N].
    pub A_log: Param<Tensor<2>>,
    /// Skip connection, `[I]`.
    pub D: Param<Tensor<1>>,
    /// `[I]` to `[D]`.
    pub out_proj: Linear,
    #[module(skip)]
    sizes: Sizes,
    #[module(skip)]
    scan: Compiled<mamba1::Definition>,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    inner: usize,
    state: usize,
    rank: usize,
    /// Epsilon of the division by root mean squares, where there is one.
    eps: Option<f64>,
}

impl Mamba1 {
    /// A block for a residual stream of `hidden` in a stack of `layers`, with fresh weights.
    pub fn new(
        config: &Mamba1Config,
        [hidden, layers]: [usize; 2],
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, Error> {
        let sizes = Sizes {
            inner: config.intermediate(hidden),
            state: config.state_size,
            rank: config.rank(hidden),
            eps: config.mixer_rms_eps,
        };
        let Sizes {
            inner, state, rank, ..
        } = sizes;
        let shrink = match config.rescale_prenorm_residual {
            true => 1.0 / (layers as f64).sqrt(),
            false => 1.0,
        };
        let [short, long] = config.time_step_range.map(f64::ln);
        let mut dt_proj = Linear::new(rank, inner, 1.0, rng, device);
        dt_proj.bias = Some(parameter([inner], device, || {
            softplus_inverse(rng.between(short, long).exp().max(config.time_step_floor))
        }));
        let mut columns = (1..=state).cycle();
        Ok(Mamba1 {
            in_proj: Linear::new(hidden, 2 * inner, 1.0, rng, device)
                .with_bias(config.use_bias, device),
            conv1d: Conv1d::new(
                [inner, config.conv_kernel],
                config.use_conv_bias,
                rng,
                device,
            ),
            x_proj: Linear::new(inner, rank + 2 * state, 1.0, rng, device),
            dt_proj,
            A_log: parameter([inner, state], device, || {
                columns.next().map_or(0.0, |n| (n as f64).ln())
            }),
            D: parameter([inner], device, || 1.0),
            out_proj: Linear::new(inner, hidden, shrink, rng, device)
                .with_bias(config.use_bias, device),
            sizes,
            scan: Compiled::new(target, mamba1::Sizes { N: state })?,
        })
    }

    /// [B, T, D] to [B, T, D], from states to states.
    pub fn forward(&self, x: Tensor<3>, passage: &mut Passage<'_>) -> Result<Tensor<3>, Error> {
        let Sizes {
            inner,
            state: n,
            rank,
            ..
        } = self.sizes;
        let [u, z] = parts(split(self.in_proj.forward(x), &[&[inner], &[inner]])?);
        let (u, conv) = causal_conv_packed(
            u.tensor()?,
            self.conv1d.taps(),
            self.conv1d.bias(),
            true,
            passage.conv()?,
            passage.packing(),
        )?;
        passage.leave_conv(conv)?;
        let columns = split(self.x_proj.forward(u.clone()), &[&[rank], &[1, n], &[1, n]])?;
        let [r, b, c] = parts(columns);
        let dt = self.dt_proj.product(self.balanced(r.tensor::<3>()?)?);
        let bias = self.dt_proj.bias.as_ref();
        let (outputs, recurrence) = self.scan.apply_packed(
            mamba1::Inputs {
                u,
                dt,
                b: self.balanced(b.tensor::<4>()?)?,
                c: self.balanced(c.tensor::<4>()?)?,
            },
            mamba1::Params {
                a_log: self.A_log.val(),
                d: self.D.val(),
                dt_bias: bias.expect("`new` gives the time step a bias").val(),
            },
            passage.recurrence()?,
            passage.packing(),
        )?;
        passage.leave_recurrence(recurrence)?;
        let y = outputs.y * silu(z.tensor::<3>()?);
        Ok(self.out_proj.forward(y))
    }

    /// x over the root mean square of its last dim, where the model has it.
    fn balanced<const R: usize>(&self, x: Tensor<R>) -> Result<Tensor<R>, Error> {
        let Some(eps) = self.sizes.eps else {
            return Ok(x);
        };
        let ones = Tensor::ones([x.dims()[R - 1]], &x.device().without_autodiff());
        rms_norm(x, ones, eps as f32)
    }
}
