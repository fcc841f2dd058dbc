//! Scheduling: which kernels a recurrence needs, and how their work is cut up.
//!
//! [`lower`] places a chunk program into a tile program; [`Plan`] cuts a run into tasks, [`BlockPlan`] into thread
//! blocks.

mod blocks;
mod lower;
mod plan;

pub use blocks::BlockPlan;
pub use lower::lower;
pub use plan::{Load, Plan};
