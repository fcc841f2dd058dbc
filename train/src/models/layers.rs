//! The plain layers: weights under the names that published checkpoints use.

use crate::Error;
use crate::op::{embed, rms_norm};
use crate::rng::Rng;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::{Device, TensorData};

/// A trainable tensor of `shape` whose elements `draw` gives in row order.
pub(super) fn parameter<const D: usize>(
    shape: [usize; D],
    device: &Device,
    mut draw: impl FnMut() -> f64,
) -> Param<Tensor<D>> {
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| draw() as f32).collect();
    Param::from_data(TensorData::new(data, shape), device)
}

/// x W', and a bias where there is one.
#[derive(Module, Debug)]
pub struct Linear {
    /// [out, in].
    pub weight: Param<Tensor<2>>,
    /// [out].
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

    /// The same with a bias of zeros if `wanted`.
    pub fn with_bias(mut self, wanted: bool, device: &Device) -> Self {
        let [out, _] = self.weight.dims();
        self.bias = wanted.then(|| parameter([out], device, || 0.0));
        self
    }

    /// [B, T, in] to [B, T, out].
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let weight = self.weight.val();
        let [out, _] = weight.dims();
        let y = x.reshape([batch * time, width]).matmul(weight.transpose());
        let y = match &self.bias {
            Some(bias) => y + bias.val().reshape([1, out]),
            None => y,
        };
        y.reshape([batch, time, out])
    }
}

/// Depthwise convolution over time.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// [C, 1, W].
    pub weight: Param<Tensor<3>>,
    /// [C].
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

    /// The bias [C]; zeros where there is none.
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

/// Root-mean-square norm over the last dim.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// [D].
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

/// Tokens to vectors, and back with the same weights.
#[derive(Module, Debug)]
pub struct Embedding {
    /// [V, D].
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Gaussian of standard deviation 0.02.
    pub fn new(vocab: usize, width: usize, rng: &mut Rng, device: &Device) -> Self {
        Embedding {
            weight: parameter([vocab, width], device, || 0.02 * rng.normal()),
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
