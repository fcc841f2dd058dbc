//! Which run of an experiment a folder holds.

use serde::{Deserialize, Serialize};

/// The name of the file that says what a run's folder holds.
pub const RUN: &str = "run.json";

/// How reports tell a run from the others of its experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// What it is compared within.
    pub family: String,
    /// What is compared: base, or a post-training and its steps.
    pub arm: String,
    /// Which replicate.
    pub seed: String,
    /// Arms are shown in rising order.
    pub order: usize,
}

impl Label {
    /// `family/arm/seedN`, in letters that every file system takes.
    pub fn folder(&self) -> String {
        let safe = |text: &str| {
            let words = text.split(|c: char| !c.is_alphanumeric() && !"._=".contains(c));
            words
                .filter(|w| !w.is_empty())
                .collect::<Vec<_>>()
                .join("-")
        };
        format!(
            "{}/{}/seed{}",
            safe(&self.family),
            safe(&self.arm),
            self.seed
        )
    }
}
