//! Differentiable operations: a recurrence over its kernel, and the few fused operations around it.
//!
//! [`apply`] is the bridge between the two worlds: Burn's autodiff graph above, a
//! [`Kernel`](baton_runtime::Kernel) with state ports below. The rest of a block is memory-bound
//! on a CPU, so what Burn would do in ten passes over memory is done in one here, forward and
//! backward: [`causal_conv`], [`rms_norm`], [`gated_rms_norm`], [`cross_entropy`], [`split`],
//! [`embed`]. All of them stand on the one multi-input, multi-output node of `node.rs`.
//!
//! On a GPU (feature `cuda`) the recurrence goes by the addresses of the tensors (`addressed.rs`,
//! `cuda.rs`), and everything around it is composed of Burn's own operations (`composed.rs`).
//!
//! Sums that many rows share (gradients of weights) are made in a fixed order of fixed blocks, so
//! the same inputs give the same bits for every number of threads.

#[cfg(any(feature = "cuda", test))]
mod addressed;
pub mod attention;
mod composed;
mod conv;
#[cfg(feature = "cuda")]
mod cuda;
mod family;
mod fault;
mod flex;
mod given;
mod loss;
mod node;
mod norm;
mod packing;
mod pointwise;
mod recurrence;
mod shape;
mod shift;
mod states;
#[cfg(test)]
mod tests;
mod value;

pub use conv::{causal_conv, causal_conv_packed};
pub use family::{Applied, Burn, apply, apply_packed};
pub use fault::backward;
pub use given::{Given, Returned};
pub use loss::{cross_entropy, token_losses, weighted_cross_entropy};
pub(crate) use node::ARITY;
pub use norm::{gated_rms_norm, grouped_rms_norm, l2_norm, rms_norm};
pub use packing::Packing;
pub(crate) use pointwise::vectorised;
pub use recurrence::apply as apply_values;
pub use shape::{embed, split};
pub use shift::token_shift;
pub use value::{Value, device};
