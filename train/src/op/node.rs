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

use super::value::{Value, flex};
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The most inputs that a node can have; Burn fixes their number by type.
pub(super) const ARITY: usize = 24;

/// From the gradients that arrive at the outputs to those of the inputs; `wanted[i]` says whether
/// input i needs one.
type Pullback = Box<dyn FnOnce(Vec<Option<FlexTensor>>, &[bool]) -> Vec<Option<FlexTensor>> + Send>;

struct Tape {
    arrived: Vec<Option<FlexTensor>>,
    shapes: Vec<Vec<usize>>,
    pullback: Option<Pullback>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Tape>>);

impl Shared {
    fn with<R>(&self, action: impl FnOnce(&mut Tape) -> R) -> R {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tape")
    }
}

#[derive(Debug)]
struct Joint;

impl Backward<Flex, ARITY> for Joint {
    type State = Shared;

    fn backward(self, ops: Ops<Shared, ARITY>, grads: &mut Gradients, _: &mut Checkpointer) {
        grads.consume::<Flex>(&ops.node);
        let (arrived, shapes, pullback) = ops.state.with(|tape| {
            (
                std::mem::take(&mut tape.arrived),
                std::mem::take(&mut tape.shapes),
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
                let zero = || flex(vec![0.0; shape.iter().product()], &shape);
                grads.register::<Flex>(node.id, gradient.unwrap_or_else(zero));
            }
        }
    }
}

#[derive(Debug)]
struct Port;

impl Backward<Flex, 1> for Port {
    type State = (usize, Shared);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (port, tape) = ops.state;
        tape.with(|tape| tape.arrived[port] = Some(gradient));
        if let [Some(joint)] = ops.parents {
            grads.register::<Flex>(joint.id, flex(vec![0.0], &[1]));
        }
    }
}

/// Records `outputs` as a function of `inputs`; outside a graph they are plain constants and
/// `pullback` is dropped.
pub(super) fn record(
    inputs: &[Value],
    outputs: Vec<FlexTensor>,
    pullback: impl FnOnce(Vec<Option<FlexTensor>>, &[bool]) -> Vec<Option<FlexTensor>> + Send + 'static,
) -> Vec<Value> {
    assert!(inputs.len() <= ARITY, "a node of {} inputs", inputs.len());
    if !inputs.iter().any(Value::recorded) {
        return outputs.into_iter().map(Value::plain).collect();
    }
    let tape = Shared(Arc::new(Mutex::new(Tape {
        arrived: vec![None; outputs.len()],
        shapes: inputs.iter().map(Value::shape).collect(),
        pullback: Some(Box::new(pullback)),
    })));
    let empty = Value::plain(flex(vec![0.0], &[1]));
    let guards = std::array::from_fn(|i| inputs.get(i).unwrap_or(&empty).node());
    let joint = match Joint
        .prepare::<NoCheckpointing>(guards)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(tape.clone(), empty.flex().clone()),
        OpsKind::UnTracked(prep) => prep.finish(empty.flex().clone()),
    };
    outputs
        .into_iter()
        .enumerate()
        .map(|(port, output)| {
            let prep = Port
                .prepare::<NoCheckpointing>([joint.node()])
                .compute_bound()
                .stateful();
            Value::from_node(match prep {
                OpsKind::Tracked(prep) => prep.finish((port, tape.clone()), output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            })
        })
        .collect()
}
