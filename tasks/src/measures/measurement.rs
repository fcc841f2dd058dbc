//! What every measure writes: one JSON object of the same form.

use baton_data::Error;
use baton_data::files::Target;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// One measurement, with all that is needed to make it again; of the checkpoint it says what `C` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement<C> {
    /// Which measure: the verb's name, `perplexity` and so on.
    pub measure: String,
    /// What was measured.
    pub checkpoint: C,
    /// What it read, in words; absent for a task that makes its own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A fingerprint of it, where whoever measures again goes by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The measure's options, a seed among them where there is chance.
    pub options: Value,
    /// What was found; its form is the measure's own.
    pub result: Value,
    /// Seconds that it took.
    pub seconds: f64,
}

impl<C: Clone + Serialize> Measurement<C> {
    /// Puts a result into its envelope.
    pub fn new(
        measure: &str,
        checkpoint: &C,
        text: Option<String>,
        options: &impl Serialize,
        result: &impl Serialize,
        seconds: f64,
    ) -> Result<Self, Error> {
        let json = |e: serde_json::Error| Error::Config(format!("{measure}: {e}"));
        Ok(Measurement {
            measure: measure.into(),
            checkpoint: checkpoint.clone(),
            text,
            data: None,
            options: serde_json::to_value(options).map_err(json)?,
            result: serde_json::to_value(result).map_err(json)?,
            seconds,
        })
    }

    /// Writes the file whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        self.write_to(&Target::new(path)?)
    }

    /// As [`write`](Self::write), where that was found to be possible before the work.
    pub fn write_to(&self, target: &Target) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|e| Error::Config(format!("{}: {e}", self.measure)))?;
        target.write(format!("{text}\n").as_bytes())
    }
}
