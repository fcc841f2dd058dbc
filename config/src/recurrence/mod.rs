//! The block of a recurrence: what is done with each port of its text, as lines of settings and in full.

mod config;
mod defaults;
mod older;
mod port;
mod settings;

pub(crate) use config::canonical;
pub use config::{BlockText, MOST_TENSORS, RecurrenceConfig};
pub(crate) use older::{OlderBlock, in_todays_form};
pub use port::{Act, Init, InputPort, Norm, OutputPort, ParamPort};
