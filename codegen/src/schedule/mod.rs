//! Scheduling: which kernels a recurrence needs, and how their work is cut up.
//!
//! [`lower`] places a chunk program into a tile program ([`held`] says how its tensors are held
//! outside, [`bound`] where a wide state may be cut), [`side_by_side`] has it run several heads at once, [`across`] has the rows of its tiles be heads;
//! [`Plan`] cuts a run into tasks or
//! thread blocks, by rule or by a [`Choice`]; [`cost`] says what a run comes to, [`time`] how long that takes on a CPU.

mod across;
mod blocks;
mod body;
mod choice;
pub mod cost;
mod heads;
mod lower;
mod plan;
mod strips;
pub mod time;

pub use across::across;
pub(crate) use body::{Operands, take_out, whole};
pub use choice::{Bucket, CHUNKS, Choice, Form};
pub use heads::{SIDE_BY_SIDE, SideBySide, side_by_side};
pub(crate) use lower::lower_strip;
pub use lower::{held, lower};
pub use plan::{Load, Plan, Traits};
pub use strips::{Strips, bound};
