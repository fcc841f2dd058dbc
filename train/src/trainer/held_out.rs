//! Held-out text during training: how it is predicted within the training length and past it.
//!
//! A measurement reads the model and changes nothing of the run, so a run that is looked at has the bits of one
//! that is not. What decides is the loss within the training length, as everywhere in the field; the loss past it says
//! whether the model goes on to be of use there.

use crate::Error;
use crate::eval::perplexity::{self, Options};
use crate::models::LanguageModel;
use crate::ranks::Group;
use baton_data::Corpus;
use baton_weights::checkpoint::Best;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// The name of the best checkpoint in its folder.
pub const BEST: &str = "best.safetensors";

/// What is looked at during training.
#[derive(Clone, Debug)]
pub struct HeldOut {
    /// The text, as tokens.
    pub text: Arc<Corpus>,
    /// Steps from one measurement to the next.
    pub every: u64,
    /// Tokens of each sequence, over the training length.
    pub times: usize,
    /// Sequences, evenly spread over the text; fewer when they would overlap.
    pub sequences: usize,
    /// Measurements without a better one after which the run ends; never when absent.
    pub patience: Option<u64>,
}

/// Losses on held-out text, in mean nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// Of positions within the training length.
    pub within: f64,
    /// Of those past it.
    pub past: Option<f64>,
}

impl fmt::Display for HeldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (every, sequences, times) = (self.every, self.sequences, self.times);
        write!(
            f,
            "every {every} steps {sequences} sequences of {times} training lengths"
        )?;
        match self.patience {
            Some(looks) => write!(f, ", at most {looks} times without a better one"),
            None => Ok(()),
        }
    }
}

impl HeldOut {
    /// Measures a model that was trained on sequences of `length` tokens.
    pub(super) fn measure(
        &self,
        model: &LanguageModel,
        length: usize,
        group: &dyn Group,
    ) -> Result<Loss, Error> {
        let longest = self.text.tokens.len().saturating_sub(1);
        let whole = length.saturating_mul(self.times.max(1)).min(longest);
        let options = Options::new(length, whole, self.sequences);
        let found =
            perplexity::by_position(model, &*self.text, &options, None, group, &mut |_| {})?;
        let (mut sums, mut widths, mut left) = ([0.0; 2], [0.0; 2], 0);
        for (&edge, loss) in found.positions.iter().zip(&found.loss) {
            let (part, width) = (usize::from(edge > length), (edge - left) as f64);
            sums[part] += loss * width;
            widths[part] += width;
            left = edge;
        }
        Ok(Loss {
            within: sums[0] / widths[0],
            past: (widths[1] > 0.0).then(|| sums[1] / widths[1]),
        })
    }

    /// Whether it is time after so many steps of `steps`.
    pub(super) fn is_due(&self, step: u64, steps: u64) -> bool {
        step.is_multiple_of(self.every.max(1)) || step == steps
    }

    /// Whether a run at `step` has had enough.
    pub(crate) fn is_over(&self, step: u64, best: Option<Best>) -> bool {
        let waited = best.map_or(0, |best| step.saturating_sub(best.step)) / self.every.max(1);
        self.patience
            .is_some_and(|patience| waited >= patience.max(1))
    }
}
