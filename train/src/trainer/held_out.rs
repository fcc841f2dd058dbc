//! Held-out text during training: how it is predicted within the training length and past it.
//!
//! A measurement reads the model and changes nothing of the run, so a run that is looked at has the bits of one
//! that is not. What decides is the loss within the training length, as everywhere in the field; the loss past it says
//! whether the model goes on to be of use there.

use super::Trainer;
use crate::Error;
use crate::eval::Tokens;
use crate::eval::perplexity::{self, Options};
use crate::models::{self, LanguageModel};
use crate::ranks::{self, Group};
use baton_data::{Corpus, fnv};
use baton_weights::checkpoint::{Best, Checkpoint};
use baton_weights::head::Head;
use burn::module::Module;
use serde::Serialize;
use std::fmt;
use std::path::Path;
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
        let options = self.options(length);
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

    fn options(&self, length: usize) -> Options {
        let longest = self.text.tokens.len().saturating_sub(1);
        let whole = length.saturating_mul(self.times.max(1)).min(longest);
        Options::new(length, whole, self.sequences)
    }

    /// What tells losses within `length` tokens from those of another length or of other sequences.
    pub(super) fn hash(&self, length: usize) -> Result<u64, Error> {
        let options = self.options(length);
        let starts = options.starts(&*self.text)?;
        let tokens = self.text.rows(&starts, 0, options.length + 1).into_iter();
        let sizes = [length, options.length, starts.len()].map(|size| size as u64);
        Ok(fnv(sizes.into_iter().chain(tokens.map(u64::from))))
    }

    /// Whether it is time after so many steps of `steps`.
    pub(super) fn is_due(&self, step: u64, steps: u64) -> bool {
        step.is_multiple_of(self.every.max(1)) || step == steps
    }

    /// Whether a run at `step` has had enough since its best state, or since it was `changed`.
    pub(crate) fn is_over(&self, step: u64, best: Option<Best>, changed: u64) -> bool {
        let since = |best: Best| step.saturating_sub(best.step.max(changed));
        let waited = best.map_or(0, since) / self.every.max(1);
        self.patience
            .is_some_and(|patience| waited >= patience.max(1))
    }
}

impl Trainer<'_> {
    /// Takes the best checkpoint of `folder` for the one to beat: it may be of steps after the checkpoint that the run goes
    /// on from, which a kill or a change has undone. Where its loss was measured on something else than `held_out` looks at
    /// now, it is measured anew, so that only losses of one measure are compared.
    pub(crate) fn beats(&mut self, folder: &Path, held_out: &HeldOut) -> Result<(), Error> {
        let (path, group) = (folder.join(BEST), self.group.clone());
        // The first rank looks: what ranks do together must not hang on who sees a file first.
        if !ranks::any(&*group, group.rank() == 0 && path.exists()) {
            return Ok(());
        }
        let head = Head::read(&path).map_err(|why| lost(&path, why.into()))?;
        let (length, step) = (self.config.train_length, head.progress.step);
        let measure = held_out.hash(length)?;
        let said = head.progress.best.filter(|best| best.step == step);
        let said = said.filter(|best| match best.measure {
            Some(own) => own == measure,
            None => head.config.train_length == length,
        });
        let own = self.progress.best;
        let own = own.filter(|best| (best.step, best.measure) == (step, Some(measure)));
        let loss = match said.or(own) {
            Some(best) => best.loss,
            None => {
                let weights = Checkpoint::read(&path).map_err(|why| lost(&path, why.into()))?;
                let model = models::load(self.model().valid(), weights.weights);
                let model = model.map_err(|why| lost(&path, Error::file(&path, why)))?;
                held_out.measure(&model, length, &*group)?.within
            }
        };
        let best = Best {
            step,
            loss,
            measure: Some(measure),
        };
        self.progress.best = loss.is_finite().then_some(best);
        Ok(())
    }

    /// The step at which the run was changed last.
    pub(crate) fn changed_at(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.step)
    }
}

/// With what can be done about a best checkpoint that no other can be compared with.
fn lost(path: &Path, why: Error) -> Error {
    match why {
        Error::File { reason, .. } => Error::file(
            path,
            format!(
                "{reason}; what is best from now on would replace it: remove it or move it away"
            ),
        ),
        why => why,
    }
}
