//! The report of the demonstration: a file for programs and a table for people.

use crate::Error;
use baton_data::files::write_whole;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// One model of the experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Mean nats per token in each bucket of positions.
    pub loss: Vec<f64>,
    /// Tokens trained on, from fresh weights.
    pub tokens_seen: u64,
    /// Seconds trained, from fresh weights.
    pub seconds: f64,
}

/// The experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Tokens in a training sequence.
    pub train_length: usize,
    /// The right edges of the buckets of positions.
    pub positions: Vec<usize>,
    /// As trained.
    pub base: Arm,
    /// Post-trained from zero states.
    pub control: Arm,
    /// Post-trained with state passing, for the same steps.
    pub state_passing: Arm,
    /// Of all random choices.
    pub seed: u64,
    /// What was trained and evaluated on.
    pub text: String,
}

impl Report {
    /// The models under the names they are shown by.
    pub fn arms(&self) -> [(&'static str, &Arm); 3] {
        [
            ("base", &self.base),
            ("zero-state control", &self.control),
            ("state passing", &self.state_passing),
        ]
    }

    /// Writes the file for programs.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::file(path, e))?;
        Ok(write_whole(path, &text)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arms = self.arms();
        writeln!(f, "perplexity by position, {}", self.text)?;
        write!(f, "{:>16}", "position")?;
        arms.iter()
            .try_for_each(|(name, _)| write!(f, "{name:>20}"))?;
        writeln!(f)?;
        let mut left = 1;
        for (i, &edge) in self.positions.iter().enumerate() {
            write!(f, "{:>16}", format!("{left} - {edge}"))?;
            arms.iter()
                .try_for_each(|(_, arm)| write!(f, "{:>20.3}", arm.loss[i].exp()))?;
            let mark = if edge == self.train_length {
                "  <- training length"
            } else {
                ""
            };
            writeln!(f, "{mark}")?;
            left = edge + 1;
        }
        write!(f, "{:>16}", "tokens")?;
        arms.iter()
            .try_for_each(|(_, arm)| write!(f, "{:>20}", arm.tokens_seen))?;
        writeln!(f)?;
        write!(f, "{:>16}", "seconds")?;
        arms.iter()
            .try_for_each(|(_, arm)| write!(f, "{:>20.1}", arm.seconds))?;
        writeln!(f)
    }
}
