//! NVIDIA GPUs, and the emulator that stands in for one: the same kernels, launched alike.
//!
//! [`kernels`] has the kernels of a recurrence and [`blocks`] launches them for the [`engine`](crate::engine) on
//! any [`memory::DeviceMemory`]: the emulator's ([`Emulator`]), or a driver's (`cuda`).

pub(crate) mod blocks;
pub(crate) mod emulated;
pub(crate) mod kernels;
mod lent;
mod made;
pub(crate) mod memory;
mod storage;

pub use baton_codegen::target::{Gpu, Products, Storage};
pub use emulated::{Counts, Emulator, Ledger, Report};
pub use made::{supply, supply_hashed};
pub use storage::rounded;
