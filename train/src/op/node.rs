//! Nodes of Burn's autodiff graph with several inputs *and* several outputs.
//!
//! Burn registers a custom operation by its one output. A recurrence has many (outputs and states
//! out), and all must share one backward run. Packing them into one tensor and slicing it would
//! copy every element twice forward and four times backward; instead, a node here is a *joint*
//! with an empty tensor of its own, whose children are the outputs:
//!
//! ```text
//! inputs --> joint --> port 0, port 1, ...        (forward: no memory moves)
//! ```
//!
//! Backward, each port that the loss reaches lays its gradient into the joint's tape and wakes the
//! joint; Burn runs steps from the deepest up, so all ports are done when the joint runs. A port
//! that the loss does not reach leaves its gradient absent, which is zero.

use super::value::{Home, On, Value};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{FloatDType, Shape};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The most inputs that a node can have; Burn fixes their number by type.
pub(crate) const ARITY: usize = 24;

/// From the gradients that arrive at the outputs to those of the inputs; `wanted[i]` says whether
/// input i needs one.
type Pullback<B> = Box<dyn FnOnce(Gradients<B>, &[bool]) -> Gradients<B> + Send>;

/// Gradients in order; an absent one is zero.
pub(super) type Gradients<B> = Vec<Option<FloatTensor<B>>>;

struct Tape<B: Home> {
    arrived: Gradients<B>,
    shapes: Vec<Vec<usize>>,
    device: B::Device,
    pullback: Option<Pullback<B>>,
}

struct Shared<B: Home>(Arc<Mutex<Tape<B>>>);

impl<B: Home> Clone for Shared<B> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<B: Home> Shared<B> {
    fn with<R>(&self, action: impl FnOnce(&mut Tape<B>) -> R) -> R {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<B: Home> fmt::Debug for Shared<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tape")
    }
}

#[derive(Debug)]
struct Joint;

impl<B: Home> Backward<B, ARITY> for Joint {
    type State = Shared<B>;

    fn backward(
        self,
        ops: Ops<Shared<B>, ARITY>,
        grads: &mut grads::Gradients,
        _: &mut Checkpointer,
    ) {
        grads.consume::<B>(&ops.node);
        let (arrived, shapes, device, pullback) = ops.state.with(|tape| {
            (
                std::mem::take(&mut tape.arrived),
                std::mem::take(&mut tape.shapes),
                tape.device.clone(),
                tape.pullback.take(),
            )
        });
        let Some(pullback) = pullback else { return };
        let wanted: Vec<bool> = ops.parents[..shapes.len()]
            .iter()
            .map(Option::is_some)
            .collect();
        let gradients = pullback(arrived, &wanted);
        for ((parent, gradient), shape) in ops.parents.iter().zip(gradients).zip(shapes) {
            if let Some(node) = parent {
                let zero = || zeros::<B>(&shape, &device);
                grads.register::<B>(node.id, gradient.unwrap_or_else(zero));
            }
        }
    }
}

#[derive(Debug)]
struct Port;

impl<B: Home> Backward<B, 1> for Port {
    type State = (usize, Shared<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut grads::Gradients,
        _: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (port, tape) = ops.state;
        let device = tape.with(|tape| {
            tape.arrived[port] = Some(gradient);
            tape.device.clone()
        });
        if let [Some(joint)] = ops.parents {
            grads.register::<B>(joint.id, zeros::<B>(&[1], &device));
        }
    }
}

fn zeros<B: Home>(shape: &[usize], device: &B::Device) -> FloatTensor<B> {
    B::float_zeros(Shape::from(shape.to_vec()), device, FloatDType::F32)
}

/// [`record_on`] the host.
pub(super) fn record(
    inputs: &[Value],
    outputs: Vec<FloatTensor<Flex>>,
    pullback: impl FnOnce(Gradients<Flex>, &[bool]) -> Gradients<Flex> + Send + 'static,
) -> Vec<Value> {
    record_on::<Flex>(inputs, outputs, pullback)
}

/// Records `outputs` as a function of `inputs`; outside a graph they are plain constants and
/// `pullback` is dropped. All of them are on one device of B.
pub(super) fn record_on<B: Home>(
    inputs: &[Value],
    outputs: Vec<FloatTensor<B>>,
    pullback: impl FnOnce(Gradients<B>, &[bool]) -> Gradients<B> + Send + 'static,
) -> Vec<Value> {
    assert!(inputs.len() <= ARITY, "a node of {} inputs", inputs.len());
    if !inputs.iter().any(Value::recorded) {
        let plain = outputs
            .into_iter()
            .map(|output| B::value(On::Plain(output)));
        return plain.collect();
    }
    let device = outputs[0].device();
    let empty = zeros::<B>(&[1], &device);
    let tape = Shared(Arc::new(Mutex::new(Tape {
        arrived: outputs.iter().map(|_| None).collect(),
        shapes: inputs.iter().map(Value::shape).collect(),
        device,
        pullback: Some(Box::new(pullback)),
    })));
    let constant = On::<B>::Plain(empty.clone());
    let guards = std::array::from_fn(|i| match inputs.get(i) {
        Some(input) => B::of(input).expect("inputs of one device").node(),
        None => constant.node(),
    });
    let joint = match Backward::<B, ARITY>::prepare::<NoCheckpointing>(Joint, guards)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(tape.clone(), empty),
        OpsKind::UnTracked(prep) => prep.finish(empty),
    };
    outputs
        .into_iter()
        .enumerate()
        .map(|(port, output)| {
            let prep = Backward::<B, 1>::prepare::<NoCheckpointing>(Port, [joint.node()])
                .compute_bound()
                .stateful();
            B::value(On::Recorded(match prep {
                OpsKind::Tracked(prep) => prep.finish((port, tape.clone()), output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            }))
        })
        .collect()
}
