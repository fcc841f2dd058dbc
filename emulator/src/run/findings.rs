//! Findings while a launch runs: the first of each kind and line, and how many.

use crate::report::{Finding, Kind};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Findings(BTreeMap<(u32, Kind), Finding>);

impl Findings {
    pub fn finish(self) -> Vec<Finding> {
        self.0.into_values().collect()
    }

    /// One more where there is one of this line and kind.
    pub fn again(&mut self, line: u32, kind: Kind) -> bool {
        let known = self.0.get_mut(&(line, kind));
        known.map(|known| known.count += 1).is_some()
    }

    /// The first of its line and kind.
    pub fn first(&mut self, finding: Finding) {
        self.0.insert((finding.line, finding.kind), finding);
    }
}
