//! One run, on any device: which kernels, over which ranges of time, on which memory, in which order.
//!
//! A [`run::Engine`] knows addresses, strides and an order of launches, and neither whose memory it is nor
//! who executes: a [`machine::Machine`] allocates, launches, sums parts and chains the borders of segments,
//! and [`machine::Kernels`] say what there is to launch and how a load is cut. The CPU's threads and the
//! thread blocks of a GPU (its driver's, or the emulator's) are its machines. Plans differ by data, decided by
//! shapes alone ([`cut`]). Two clients hand memory to a run: [`host`] has tensors of the host, and [`raw`] has
//! addresses of a caller who keeps everything on the device.

pub(crate) mod call;
pub(crate) mod cut;
mod gradient;
pub(crate) mod host;
pub(crate) mod machine;
pub(crate) mod plan;
#[cfg(any(feature = "cuda", all(test, feature = "gpu")))]
pub(crate) mod raw;
pub(crate) mod run;
mod segment;
pub(crate) mod shapes;
mod strips;
mod window;
