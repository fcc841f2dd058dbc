//! The plain layers: weights under the names that published checkpoints use.

use crate::Error;
use crate::op::{Value, embed, grouped_rms_norm, rms_norm};
use baton_data::rng::Rng;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, TensorData};
use rayon::prelude::*;

/// A trainable tensor of `shape` whose elements `draw` gives in row order.
pub(super) fn parameter<const D: usize>(
    shape: [usize; D],
    device: &Device,
    mut draw: impl FnMut() -> f64,
) -> Param<Tensor<D>> {
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| draw() as f32).collect();
    Param::from_data(TensorData::new(data, shape), device)
}

/// What a matrix is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Draw {
    /// Uniform within 1 / sqrt(in).
    Uniform,
    /// Uniform within this.
    Within(f64),
    /// Gaussian of this standard deviation.
    Gaussian(f64),
    /// Rows, or columns where there are fewer, that are orthogonal and of this length.
    Orthogonal(f64),
}

impl Draw {
    /// A number of a matrix with `from` columns.
    pub(super) fn number(self, from: usize, rng: &mut Rng) -> f64 {
        match self {
            Draw::Uniform => {
                let bound = 1.0 / (from as f64).sqrt();
                rng.between(-bound, bound)
            }
            Draw::Within(bound) => rng.between(-bound, bound),
            Draw::Gaussian(std) => std * rng.normal(),
            Draw::Orthogonal(length) => length * rng.normal() / (from as f64).sqrt(),
        }
    }

    /// A matrix [to, from] in row order.
    fn matrix(self, [from, to]: [usize; 2], rng: &mut Rng) -> Vec<f64> {
        match self {
            Draw::Orthogonal(length) if !rng.is_blank() => orthogonal([to, from], length, rng),
            _ => (0..to * from).map(|_| self.number(from, rng)).collect(),
        }
    }
}

/// A Gaussian matrix whose shorter dim is made orthogonal by the method of Gram and Schmidt.
fn orthogonal([rows, columns]: [usize; 2], length: f64, rng: &mut Rng) -> Vec<f64> {
    let (few, many) = (rows.min(columns), rows.max(columns));
    let mut vectors: Vec<Vec<f64>> = (0..few)
        .map(|_| (0..many).map(|_| rng.normal()).collect())
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for i in 0..few {
        let (done, rest) = vectors.split_at_mut(i + 1);
        let unit = &mut done[i];
        let norm = dot(unit, unit).sqrt().max(f64::MIN_POSITIVE);
        unit.iter_mut().for_each(|x| *x /= norm);
        rest.par_iter_mut().for_each(|vector| {
            let along = dot(unit, vector);
            let pairs = vector.iter_mut().zip(unit.iter());
            pairs.for_each(|(x, unit)| *x -= along * unit);
        });
    }
    let at = |row: usize, column: usize| match rows <= columns {
        true => vectors[row][column],
        false => vectors[column][row],
    };
    let all = (0..rows * columns).map(|i| length * at(i / columns, i % columns));
    all.collect()
}

/// w (x - mean) / std over each group of the last dim of o [B, T, H, P], as [B, T, H P]; w [H P].
pub(super) fn grouped_layer_norm(
    o: Tensor<4>,
    weight: Tensor<1>,
    eps: f64,
) -> Result<Tensor<3>, Error> {
    let [batch, time, heads, each] = o.dims();
    let centred = o.clone() - o.mean_dim(3);
    let centred = centred.reshape([batch, time, heads * each]);
    grouped_rms_norm(centred, weight, each, eps as f32)
}

/// x kept within `cap`.
pub(super) fn soft_cap<const R: usize>(x: Tensor<R>, cap: f64) -> Tensor<R> {
    (x / cap).tanh() * cap
}

/// ln(1 + exp(x)), right for every x.
pub(super) fn softplus<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    relu(x.clone()) + (-x.abs()).exp().log1p()
}

/// The parts of a split, whose number is known.
pub(super) fn parts<const N: usize>(parts: Vec<Value>) -> [Value; N] {
    <[Value; N]>::try_from(parts).expect("split gives as many parts as were asked for")
}

/// x with ln(1 + exp(x)) = y.
pub(super) fn softplus_inverse(y: f64) -> f64 {
    y + (-(-y).exp_m1()).ln()
}

/// x W', and a bias where there is one.
#[derive(Module, Debug)]
pub struct Linear {
    /// [out, in].
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Uniform within 1 / sqrt(in), times `scale`.
    pub fn new(from: usize, to: usize, scale: f64, rng: &mut Rng, device: &Device) -> Self {
        let bound = scale / (from as f64).sqrt();
        Linear {
            weight: parameter([to, from], device, || rng.between(-bound, bound)),
            bias: None,
        }
    }

    /// Without a bias, from `from` to `to` channels.
    pub(super) fn drawn(
        [from, to]: [usize; 2],
        draw: Draw,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let mut drawn = draw.matrix([from, to], rng).into_iter();
        Linear {
            weight: parameter([to, from], device, || drawn.next().unwrap_or(0.0)),
            bias: None,
        }
    }

    /// The same with a bias of zeros if `wanted`.
    pub fn with_bias(mut self, wanted: bool, device: &Device) -> Self {
        let [out, _] = self.weight.dims();
        self.bias = wanted.then(|| parameter([out], device, || 0.0));
        self
    }

    /// [B, T, in] to [B, T, out].
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = self.product(x);
        match &self.bias {
            Some(bias) => {
                let bias = bias.val();
                let [out] = bias.dims();
                y + bias.reshape([1, 1, out])
            }
            None => y,
        }
    }

    /// The same without the bias.
    pub fn product(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let weight = self.weight.val();
        let [out, _] = weight.dims();
        let y = x.reshape([batch * time, width]).matmul(weight.transpose());
        y.reshape([batch, time, out])
    }
}

/// Depthwise convolution over time.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// [C, 1, W].
    pub weight: Param<Tensor<3>>,
    /// `[C]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Conv1d {
    /// Uniform within 1 / sqrt(W), weight and bias; no bias unless `biased`.
    pub fn new(
        [channels, width]: [usize; 2],
        biased: bool,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let bound = 1.0 / (width as f64).sqrt();
        Conv1d {
            weight: parameter([channels, 1, width], device, || rng.between(-bound, bound)),
            bias: biased.then(|| parameter([channels], device, || rng.between(-bound, bound))),
        }
    }

    /// Without a bias.
    pub(super) fn drawn(
        [channels, width]: [usize; 2],
        draw: Draw,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        Conv1d {
            weight: parameter([channels, 1, width], device, || draw.number(width, rng)),
            bias: None,
        }
    }

    /// The weight [C, 1, W], W at least two: one of a single tap has a zero before it, so that the last
    /// input is remembered whatever the width.
    pub fn taps(&self) -> Tensor<3> {
        at_least(2, self.weight.val())
    }

    /// The bias `[C]`; zeros where there is none.
    pub fn bias(&self) -> Tensor<1> {
        match &self.bias {
            Some(bias) => bias.val(),
            None => {
                let weight = self.weight.val();
                Tensor::zeros([weight.dims()[0]], &weight.device().without_autodiff())
            }
        }
    }
}

/// Taps [C, 1, W], zeros before them where they are fewer than `width`.
pub(super) fn at_least(width: usize, taps: Tensor<3>) -> Tensor<3> {
    let [channels, _, given] = taps.dims();
    if given >= width {
        return taps;
    }
    let device = taps.device().without_autodiff();
    let zeros = Tensor::zeros([channels, 1, width - given], &device);
    Tensor::cat(vec![zeros, taps], 2)
}

/// Root-mean-square norm over the last dim.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[D]`.
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl RmsNorm {
    /// Begins as ones.
    pub fn new(width: usize, eps: f64, device: &Device) -> Self {
        RmsNorm {
            weight: parameter([width], device, || 1.0),
            eps,
        }
    }

    /// Its epsilon.
    pub fn eps(&self) -> f32 {
        self.eps as f32
    }

    /// Normalises the last dim.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Result<Tensor<R>, Error> {
        rms_norm(x, self.weight.val(), self.eps())
    }
}

/// Layer norm over the last dim: the mean is removed first.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[D]`.
    pub weight: Param<Tensor<1>>,
    /// `[D]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm {
    /// Begins as ones, and zeros where it is `biased`.
    pub fn new(width: usize, eps: f64, biased: bool, device: &Device) -> Self {
        LayerNorm {
            weight: parameter([width], device, || 1.0),
            bias: biased.then(|| parameter([width], device, || 0.0)),
            eps,
        }
    }

    /// Normalises the last dim.
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>, Error> {
        let centred = x.clone() - x.mean_dim(2);
        let x = rms_norm(centred, self.weight.val(), self.eps as f32)?;
        Ok(match &self.bias {
            Some(bias) => {
                let bias = bias.val();
                let [width] = bias.dims();
                x + bias.reshape([1, 1, width])
            }
            None => x,
        })
    }
}

/// A norm of the residual stream.
#[derive(Module, Debug)]
pub enum Norm {
    /// By the root mean square.
    Rms(RmsNorm),
    /// With the mean removed.
    Layer(LayerNorm),
}

impl Norm {
    /// Channels.
    pub fn width(&self) -> usize {
        let [width] = match self {
            Norm::Rms(norm) => norm.weight.dims(),
            Norm::Layer(norm) => norm.weight.dims(),
        };
        width
    }

    /// Normalises the last dim.
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>, Error> {
        match self {
            Norm::Rms(norm) => norm.forward(x),
            Norm::Layer(norm) => norm.forward(x),
        }
    }
}

/// Tokens to vectors, and back with the same weights.
#[derive(Module, Debug)]
pub struct Embedding {
    /// [V, D].
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Gaussian of standard deviation `std`, for `vocab` tokens.
    pub fn new(vocab: usize, width: usize, std: f64, rng: &mut Rng, device: &Device) -> Self {
        Embedding::drawn([vocab, width], Draw::Gaussian(std), rng, device)
    }

    /// Drawn from `draw`.
    pub(super) fn drawn(
        [vocab, width]: [usize; 2],
        draw: Draw,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        Embedding {
            weight: parameter([vocab, width], device, || draw.number(width, rng)),
        }
    }

    /// [B, T] tokens to [B, T, D].
    pub fn forward(&self, ids: &[u32], shape: [usize; 2]) -> Result<Tensor<3>, Error> {
        embed(self.weight.val(), ids, shape)
    }

    /// [B, T, D] to logits [B, T, V].
    pub fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let weight = self.weight.val();
        let [vocab, _] = weight.dims();
        x.reshape([batch * time, width])
            .matmul(weight.transpose())
            .reshape([batch, time, vocab])
    }
}
