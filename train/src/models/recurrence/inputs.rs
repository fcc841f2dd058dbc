//! From the residual stream to the inputs of a recurrence and the gates of its outputs.
//!
//! What needs no weights of its own comes from one projection, as one product is faster than many: the
//! inputs first, then the gates, then the inputs that are convolved, so that these are one run of
//! columns. An input of low rank or with a bias has a projection to itself. All convolutions are one,
//! with one state; a shorter one has zeros before its taps.

use super::act;
use crate::Error;
use crate::models::layers::{at_least, parameter};
use crate::models::{Conv1d, Linear, Passage, RmsNorm};
use crate::op::{Value, causal_conv_packed, rms_norm, split};
use baton_config::{Act, Init, InputPort, Norm, RecurrenceConfig};
use baton_data::rng::Rng;
use baton_ir::recurrence::L2NORM_EPSILON;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;

/// What one input has of its own.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[D]` to the rank.
    pub down: Option<Linear>,
    /// The rank, or `[D]`, to the channels.
    pub up: Option<Linear>,
    /// `[C]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Over its channels.
    pub conv: Option<Conv1d>,
    /// Over the elements of each head.
    pub norm: Option<RmsNorm>,
}

impl Projection {
    /// Fresh weights of an input of these sizes, heads or groups first.
    pub(super) fn new(
        port: &InputPort,
        sizes: &[usize],
        hidden: usize,
        eps: f64,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let heads = sizes[0];
        let each: usize = sizes[1..].iter().product();
        let channels = heads * each;
        let down = port
            .rank
            .map(|rank| Linear::new(hidden, rank, 1.0, rng, device));
        let from = port.rank.unwrap_or(hidden);
        let up = is_apart(port).then(|| Linear::new(from, channels, 1.0, rng, device));
        let bias = port.bias.map(|ramp| {
            let mut elements = Init::Ramp(ramp).elements(heads, each, rng).into_iter();
            parameter([channels], device, || elements.next().unwrap_or(0.0))
        });
        let conv = port
            .conv
            .map(|width| Conv1d::new([channels, width], false, rng, device));
        let norm = (port.norm == Some(Norm::Rms)).then(|| RmsNorm::new(each, eps, device));
        Projection {
            down,
            up,
            bias,
            conv,
            norm,
        }
    }

    /// [B, T, D] to [B, T, C]; nothing without a projection of its own.
    fn forward(&self, x: &Tensor<3>) -> Option<Tensor<3>> {
        let up = self.up.as_ref()?;
        let y = match &self.down {
            Some(down) => up.forward(down.forward(x.clone())),
            None => up.forward(x.clone()),
        };
        Some(match &self.bias {
            Some(bias) => {
                let bias = bias.val();
                let [channels] = bias.dims();
                y + bias.reshape([1, 1, channels])
            }
            None => y,
        })
    }
}

/// Whether an input has a projection to itself.
fn is_apart(port: &InputPort) -> bool {
    port.constant.is_none() && (port.rank.is_some() || port.bias.is_some())
}

/// Whether an input comes from the projection that inputs share, before or after those of the gates.
fn is_shared(port: &InputPort, convolved: bool) -> bool {
    port.constant.is_none() && !is_apart(port) && port.conv.is_some() == convolved
}

/// Inputs and gates.
pub(super) struct Made {
    pub inputs: Vec<Value>,
    /// [B, T, ..] of each output that has one, in order.
    pub gates: Vec<Value>,
}

/// Channels of all inputs that `which` names.
fn channels(config: &RecurrenceConfig, which: impl Fn(&InputPort) -> bool) -> usize {
    let inputs = config.recurrence().inputs.iter().zip(config.inputs());
    let inputs = inputs.filter(|(_, own)| which(own));
    inputs
        .map(|(port, _)| config.input_sizes(port).iter().product::<usize>())
        .sum()
}

/// The widths of the gates.
fn gates(config: &RecurrenceConfig) -> impl Iterator<Item = usize> {
    let outputs = config.recurrence().outputs.iter().zip(config.outputs());
    let outputs = outputs.filter(|(_, own)| own.gate.is_some());
    outputs.map(|(port, _)| config.head_sizes(port).iter().product())
}

/// Columns of the projection that inputs and gates share.
pub(super) fn columns(config: &RecurrenceConfig) -> usize {
    channels(config, |own| is_shared(own, false) || is_shared(own, true))
        + gates(config).sum::<usize>()
}

/// Inputs and gates from [B, T, D].
pub(super) fn made<'a>(
    config: &RecurrenceConfig,
    shared: Option<&Linear>,
    own: impl Iterator<Item = &'a Projection> + Clone,
    x: Tensor<3>,
    passage: &mut Passage<'_>,
) -> Result<Made, Error> {
    let [batch, time, _] = x.dims();
    let device = x.device();
    let (ports, settings) = (&config.recurrence().inputs, config.inputs());
    let sizes: Vec<Vec<usize>> = ports.iter().map(|port| config.input_sizes(port)).collect();
    let mut raw = Vec::with_capacity(sizes.len());
    for own in own.clone() {
        raw.push(own.forward(&x).map(Value::new).transpose()?);
    }
    let at = |convolved: bool| {
        let ports = settings.iter().enumerate();
        ports
            .filter(move |(_, port)| is_shared(port, convolved))
            .map(|(i, _)| i)
    };
    let mut parts: Vec<Vec<usize>> = at(false).map(|i| sizes[i].clone()).collect();
    parts.extend(gates(config).map(|width| vec![width]));
    let run = channels(config, |port| is_shared(port, true));
    parts.extend((run > 0).then(|| vec![run]));
    let parts: Vec<&[usize]> = parts.iter().map(Vec::as_slice).collect();
    let mut columns = match shared {
        Some(shared) => split(shared.forward(x), &parts)?.into_iter(),
        None => Vec::new().into_iter(),
    };
    at(false)
        .zip(&mut columns)
        .for_each(|(i, value)| raw[i] = Some(value));
    let gates = (&mut columns).take(gates(config).count()).collect();

    let apart = |i: &usize| settings[*i].conv.is_some() && is_apart(&settings[*i]);
    let convolved: Vec<usize> = at(true).chain((0..sizes.len()).filter(apart)).collect();
    // The convolution activates itself where all that pass it ask for SiLU.
    let silu = Some(Act::Silu);
    let fused = convolved.iter().all(|&i| settings[i].act == silu);
    if !convolved.is_empty() {
        let apart = convolved.iter().filter_map(|&i| raw[i].take());
        let runs = columns.chain(apart).map(Value::tensor);
        let x = one(runs.collect::<Result<_, _>>()?, 2);
        let weights = convolved
            .iter()
            .filter_map(|&i| own.clone().nth(i)?.conv.as_ref());
        let weight = joined(weights.map(|conv| conv.weight.val()).collect());
        let bias = Tensor::zeros([weight.dims()[0]], &device.clone().without_autodiff());
        let (conv, packing) = (passage.conv()?, passage.packing());
        let (y, out) = causal_conv_packed(x, weight, bias, fused, conv, packing)?;
        passage.leave_conv(out)?;
        let parts: Vec<&[usize]> = convolved.iter().map(|&i| sizes[i].as_slice()).collect();
        let values = convolved.iter().zip(split(y, &parts)?);
        values.for_each(|(&i, value)| raw[i] = Some(value));
    }

    let mut inputs = Vec::with_capacity(sizes.len());
    for (i, (value, own)) in raw.into_iter().zip(own).enumerate() {
        let (port, shape) = (&settings[i], [&[batch, time], &sizes[i][..]].concat());
        let constant = || {
            let number = port.constant.unwrap_or(0.0) as f32;
            Value::from_host(baton_runtime::Tensor::full(&shape, number)).on(&device)
        };
        let value = value.unwrap_or_else(constant);
        let act = port.act.filter(|_| !(fused && port.conv.is_some()));
        inputs.push(finished(port, value, act, own.norm.as_ref(), &shape)?);
    }
    for (i, port) in settings.iter().enumerate() {
        let Some(times) = &port.times else { continue };
        let other = ports.iter().position(|port| port.name == *times);
        let other = other.expect("a settled configuration names inputs that there are");
        let (shape, flat) = (inputs[i].shape(), [batch, time, sizes[i].iter().product()]);
        let factor = |i: usize| -> Result<Tensor<3>, Error> {
            let value: &Value = &inputs[i];
            value.clone().reshape(&flat).tensor()
        };
        let product = factor(i)? * factor(other)?;
        inputs[i] = Value::new(product)?.reshape(&shape);
    }
    Ok(Made { inputs, gates })
}

/// What follows projection and convolution of an input, in the sizes `shape` [B, T, H, ..].
fn finished(
    port: &InputPort,
    value: Value,
    act: Option<Act>,
    weights: Option<&RmsNorm>,
    shape: &[usize],
) -> Result<Value, Error> {
    let each: usize = shape[3..].iter().product();
    let heads = [shape[0], shape[1], shape[2], each];
    if (act, port.scale, port.norm) == (None, None, None) {
        return Ok(value.reshape(shape));
    }
    let mut x: Tensor<4> = value.reshape(&heads).tensor()?;
    if let Some(act) = act {
        x = act::of(act, x);
    }
    if let Some(scale) = port.scale {
        // Layers of the field divide by such numbers as 16.
        x = x / (1.0 / scale);
    }
    x = match (port.norm, weights) {
        (Some(Norm::L2), _) => {
            let root = (each as f64).sqrt();
            let ones = Tensor::ones([each], &x.device().without_autodiff());
            rms_norm(x, ones / root, (L2NORM_EPSILON / each as f64) as f32)?
        }
        (Some(Norm::Rms), Some(norm)) => norm.forward(x)?,
        _ => x,
    };
    Ok(Value::new(x)?.reshape(shape))
}

/// Weights [C, 1, W] one below the other, all as wide as the longest; the last input is remembered by all.
fn joined(weights: Vec<Tensor<3>>) -> Tensor<3> {
    let widths = weights.iter().map(|weight| weight.dims()[2]);
    let longest = widths.max().unwrap_or(1).max(2);
    let padded = weights.into_iter().map(|weight| at_least(longest, weight));
    one(padded.collect(), 0)
}

/// One of several along a dim.
fn one(mut tensors: Vec<Tensor<3>>, dim: usize) -> Tensor<3> {
    match tensors.len() {
        1 => tensors.remove(0),
        _ => Tensor::cat(tensors, dim),
    }
}
