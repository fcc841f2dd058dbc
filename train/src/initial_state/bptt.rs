//! Truncated backpropagation through time: a sequence begins with the final state of the text just
//! before it, and the gradient stops there.
//!
//! It is state passing on another order of the data: slot b of a batch continues slot b of the
//! batch before, so that the state is that of the same long text. Where the data begins a slot
//! anew, the trainer begins it at zero. With the convolution carried too, the chain of segments
//! computes what one run over the whole text would.

use super::{InitialState, Moment, Order, StatePassing};
use crate::Error;
use crate::models::HostStates;
use baton_config::Convolution;
use baton_runtime::Tensor;

/// The truncated-BPTT policy.
#[derive(Clone, Debug)]
pub struct TruncatedBptt(StatePassing);

impl TruncatedBptt {
    /// With the probability of a zero state, and where the convolution begins.
    pub fn new(p_zero: f64, conv: Convolution) -> Self {
        TruncatedBptt(StatePassing::new(p_zero, conv))
    }
}

impl InitialState for TruncatedBptt {
    fn name(&self) -> &'static str {
        "truncated_bptt"
    }

    fn order(&self) -> Order {
        Order::Contiguous
    }

    fn draw(&self, moment: Moment<'_>) -> Option<HostStates> {
        self.0.draw(moment)
    }

    fn observes(&self) -> bool {
        self.0.observes()
    }

    fn observe(&mut self, finals: HostStates) {
        self.0.observe(finals);
    }

    fn carried(&self) -> Vec<(String, Tensor)> {
        self.0.carried()
    }

    fn restore(&mut self, carried: Vec<(String, Tensor)>) -> Result<(), Error> {
        self.0.restore(carried)
    }
}
