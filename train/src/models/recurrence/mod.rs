//! A block made from the text of a recurrence: any that has kernels, built in or not.
//!
//! The residual stream is projected to every input of the text, by its shape; params are weights; the
//! outputs are normalised, gated and projected back (Yang et al., arXiv 2312.06635, for this shape).
//! All states of the text, whatever their number and shapes, go in and come out, so every policy and
//! measure works on it. What is done with each port is data ([`RecurrenceConfig`]), and nothing
//! here knows a recurrence by its name.
//!
//! What mixes the heads of a layer, tokens or layers in another way stays with the blocks that have it: a
//! convolution with a bias (Mamba-2), an interpolation with the token before (RWKV-6 and 7), the values
//! of the first layer (RWKV-7). Whatever one head does at one step the text itself can say.

mod act;
mod inputs;
#[cfg(test)]
mod tests;

pub use inputs::Projection;

use super::layers::parameter;
use super::named::Named;
use super::{Linear, Passage, RmsNorm};
use crate::Error;
use crate::op::{ARITY, Given, Packing, Value, apply_values};
use baton_config::{MOST_TENSORS, RecurrenceConfig};
use baton_data::rng::Rng;
use baton_runtime::{Kernel, Options};
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;
use std::fmt;
use std::sync::Arc;

// What a configuration lets through the node of the graph takes.
const _: () = assert!(MOST_TENSORS <= ARITY);

/// A block of a recurrence.
#[derive(Module, Debug)]
pub struct RecurrenceBlock {
    /// `[D]` to the inputs without weights of their own, and to the gates.
    pub in_proj: Option<Linear>,
    /// For each input what it has of its own.
    pub inputs: Named<Projection>,
    /// The params that are trained, [H, ..].
    pub params: Named<Weight>,
    /// Of the outputs that have one.
    pub norms: Named<RmsNorm>,
    /// All outputs, one after another, to `[D]`.
    pub out_proj: Linear,
    #[module(skip)]
    compiled: Compiled,
}

/// A weight of a rank that the text says.
#[derive(Module, Debug)]
pub enum Weight {
    /// A number of each head.
    Number(Param<Tensor<1>>),
    /// A vector of each head.
    Vector(Param<Tensor<2>>),
    /// A matrix of each head.
    Matrix(Param<Tensor<3>>),
}

impl Weight {
    fn new(sizes: &[usize], elements: Vec<f64>, device: &Device) -> Self {
        let mut elements = elements.into_iter();
        let mut next = || elements.next().unwrap_or(0.0);
        match *sizes {
            [h] => Weight::Number(parameter([h], device, next)),
            [h, a] => Weight::Vector(parameter([h, a], device, next)),
            [h, a, b] => Weight::Matrix(parameter([h, a, b], device, &mut next)),
            _ => unreachable!("a port has at most two dims"),
        }
    }

    fn value(&self) -> Result<Value, Error> {
        match self {
            Weight::Number(weight) => Value::new(weight.val()),
            Weight::Vector(weight) => Value::new(weight.val()),
            Weight::Matrix(weight) => Value::new(weight.val()),
        }
    }
}

/// The configuration, its kernel, and the params that are not trained.
#[derive(Clone)]
struct Compiled {
    config: Arc<RecurrenceConfig>,
    kernel: Arc<dyn Kernel>,
    fixed: Vec<Option<baton_runtime::Tensor>>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compiled({})", self.config.recurrence().name)
    }
}

impl RecurrenceBlock {
    /// A block for a residual stream of `hidden`, with fresh weights.
    pub fn new(
        config: &RecurrenceConfig,
        hidden: usize,
        eps: f64,
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, Error> {
        let recurrence = config.recurrence();
        let loaded = target.load(recurrence, config.dims(), &Options::default());
        let kernel = loaded.map_err(|error| match error {
            baton_runtime::Error::Invalid(diagnostics) => Error::Text {
                name: "the block".into(),
                text: config.text(),
                diagnostics,
            },
            error => error.into(),
        })?;
        let columns = inputs::columns(config);
        let in_proj = (columns > 0).then(|| Linear::new(hidden, columns, 1.0, rng, device));
        let projections = recurrence
            .inputs
            .iter()
            .zip(config.inputs())
            .map(|(port, own)| {
                let sizes = config.input_sizes(port);
                let projection = Projection::new(own, &sizes, hidden, eps, rng, device);
                (own.prefix(port), projection)
            });
        let projections = projections.collect();
        let (mut params, mut fixed) = (Vec::new(), Vec::new());
        for (port, own) in recurrence.params.iter().zip(config.params()) {
            let shape = config.head_sizes(port);
            let each = shape[1..].iter().product();
            let elements = own.init.elements(config.heads(), each, rng);
            match own.fixed {
                true => fixed.push(Some(baton_runtime::Tensor {
                    data: elements.into_iter().map(|x| x as f32).collect(),
                    shape,
                })),
                false => {
                    fixed.push(None);
                    params.push((port.name.clone(), Weight::new(&shape, elements, device)));
                }
            }
        }
        let outputs = recurrence.outputs.iter().zip(config.outputs());
        let norms = outputs.filter(|(_, own)| own.norm).map(|(port, _)| {
            let name = match recurrence.outputs.len() {
                1 => "norm".into(),
                _ => format!("{}_norm", port.name),
            };
            (name, RmsNorm::new(config.norm_width(port), eps, device))
        });
        let norms = norms.collect();
        let width = recurrence
            .outputs
            .iter()
            .map(|port| config.head_sizes(port).iter().product::<usize>());
        Ok(RecurrenceBlock {
            in_proj,
            inputs: projections,
            params: params.into_iter().collect(),
            norms,
            out_proj: Linear::new(width.sum(), hidden, 1.0, rng, device),
            compiled: Compiled {
                config: Arc::new(config.clone()),
                kernel,
                fixed,
            },
        })
    }

    /// [B, T, D] to [B, T, D], from states to states.
    pub fn forward(&self, x: Tensor<3>, passage: &mut Passage<'_>) -> Result<Tensor<3>, Error> {
        let Compiled {
            config,
            kernel,
            fixed,
        } = &self.compiled;
        let device = x.device();
        let shared = self.in_proj.as_ref();
        let made = inputs::made(config, shared, self.inputs.iter(), x, passage)?;
        let mut trained = self.params.iter();
        let params = fixed.iter().map(|fixed| match fixed {
            Some(fixed) => Ok(Value::from_host(fixed.clone()).on(&device)),
            None => trained.next().expect("a param is fixed or trained").value(),
        });
        let given = Given {
            inputs: made.inputs,
            params: params.collect::<Result<_, _>>()?,
            states: passage.recurrence()?,
            cu_seqlens: passage.packing().map(Packing::offsets),
        };
        let run = apply_values(kernel, config.recurrence().states.len(), given)?;
        passage.leave_recurrence(run.states)?;
        self.projected(run.outputs, made.gates)
    }

    /// Outputs [B, T, H, ..] to [B, T, D].
    fn projected(&self, outputs: Vec<Value>, gates: Vec<Value>) -> Result<Tensor<3>, Error> {
        let config = &self.compiled.config;
        let (mut norms, mut gates) = (self.norms.iter(), gates.into_iter());
        let mut all: Vec<Tensor<3>> = Vec::with_capacity(outputs.len());
        let ports = config.recurrence().outputs.iter().zip(config.outputs());
        for (output, (port, own)) in outputs.into_iter().zip(ports) {
            let shape = output.shape();
            let (batch, time) = (shape[0], shape[1]);
            let channels = shape[2..].iter().product();
            let width = config.norm_width(port);
            let mut o: Tensor<4> = output
                .reshape(&[batch, time, channels / width, width])
                .tensor()?;
            if own.norm
                && let Some(norm) = norms.next()
            {
                o = norm.forward(o)?;
            }
            let mut o = o.reshape([batch, time, channels]);
            if let Some(act) = own.gate
                && let Some(gate) = gates.next()
            {
                o = o * act::of(act, gate.tensor()?);
            }
            all.push(o);
        }
        Ok(self.out_proj.forward(match all.len() {
            1 => all.remove(0),
            _ => Tensor::cat(all, 2),
        }))
    }
}
