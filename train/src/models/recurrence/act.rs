//! The pointwise functions of a block's settings.

use baton_config::Act;
use burn::Tensor;
use burn::tensor::activation::{log_sigmoid, relu, sigmoid, silu, softplus, tanh};

/// The value of `act` at every element.
pub(super) fn of<const D: usize>(act: Act, x: Tensor<D>) -> Tensor<D> {
    match act {
        Act::Silu => silu(x),
        Act::Sigmoid => sigmoid(x),
        Act::LogSigmoid => log_sigmoid(x),
        Act::Softplus => softplus(x, 1.0),
        Act::Tanh => tanh(x),
        Act::Relu => relu(x),
        Act::Exp => x.exp(),
    }
}
