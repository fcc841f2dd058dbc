//! Configurations as people say them: part by part, each laid over the one before.
//!
//! A [`Said`] is what one preset, file or option says; [`lay`] lays them over a beginning, in order, and finds all that
//! is wrong with them before it makes a [`TrainConfig`](crate::TrainConfig). The keys are those of a stored
//! configuration ([`keys`]), so what is written whole ([`whole`], [`toml`]) is read again and is the same run. A block of
//! another type begins as its own defaults, with what its authors put around it; what earlier parts said of the block
//! before is not said of it.

mod block;
mod check;
mod difference;
mod file;
pub mod keys;
mod laid;
mod options;
mod part;
mod presets;
#[cfg(test)]
mod tests;

pub use block::{block_name, in_full};
pub use difference::{Difference, changed, difference, differences};
pub use file::toml;
pub use keys::whole;
pub use laid::{Beginning, Laid, lay};
pub use part::Said;
pub use presets::{PRESETS, Preset};
