//! Every sequence begins at zero: ordinary training, and the control of every comparison.

use super::{InitialState, Moment};
use crate::models::HostStates;

/// The zero-state control.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zero;

impl InitialState for Zero {
    fn name(&self) -> &'static str {
        "zero"
    }

    fn draw(&self, _: Moment<'_>) -> Option<HostStates> {
        None
    }
}
