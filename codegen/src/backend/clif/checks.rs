//! What code checks of itself: on in builds with debug assertions.

/// What is compiled in beside the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checks {
    /// NaN in all that a step may not read: see [`poison`](super::poison).
    pub(super) poison: bool,
    /// A planted breach: sums of maps take in padding.
    #[cfg(test)]
    pub(super) breach: bool,
}

impl Checks {
    /// Those of this build.
    pub(super) fn new() -> Self {
        Self {
            poison: cfg!(debug_assertions),
            #[cfg(test)]
            breach: false,
        }
    }
}
