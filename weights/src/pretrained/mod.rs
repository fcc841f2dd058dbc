//! Checkpoints as they are published and passed on: weights and their configuration, nothing of
//! the run that made them.
//!
//! Three layouts are read and written, each a folder of `config.json` and weights:
//! Hugging Face's (`hugging_face`), that of the authors of Mamba (`authors.rs`), and Baton's
//! own, which any model has ([`Layout::Baton`]). The trainer's checkpoint is read too, so that a
//! verb that takes a checkpoint takes them all: [`read`]. Whatever the layout, weights are called
//! here as in Hugging Face's, which are the paths of the model's fields, and are f32.
//!
//! Two rules: what a configuration says and this program cannot compute is refused by its name,
//! never passed over; and saving makes a new folder, whole or not at all.

#[cfg(not(feature = "torch"))]
mod absent;
mod authors;
mod described;
mod format;
mod hugging_face;
mod layout;
mod names;
mod place;
mod published;
mod save;
mod settings;
mod stored;
mod tensors;
#[cfg(feature = "torch")]
mod torch;
mod weight;

pub use layout::Layout;
pub use names::Names;
pub use save::save;
pub use stored::Stored;
pub use weight::Precision;

use crate::checkpoint::Checkpoint;
use crate::origin::Known;
#[cfg(not(feature = "torch"))]
use absent as torch;
use baton_config::Error;
use baton_data::files::folder;
use baton_data::tokenizer::Tokenizer;
use baton_runtime::Tensor;
use described::{described, names};
use layout::{EMBEDDING, HEAD};
use place::{At, place};
use published::Published;
use settings::Settings;
use std::collections::BTreeMap;
use std::path::Path;

/// A model of so many weights is made whatever is held, to say by name what is wrong with each.
const SMALL: f64 = 1e7;

/// Makes `folder` that of a run which begins, from `new` where it is from anything: what a run held there of a published
/// checkpoint, and died before its first own one, goes.
pub fn clear(folder: &Path, new: Option<&Stored>) -> Result<(), Error> {
    published::clear(folder, new.and_then(|new| new.published.as_ref()))
}

/// Reads a checkpoint of any kind: a folder of a published layout, a run's folder, or the file of the trainer's
/// checkpoint. That the weights fit the configuration is known once a model is made of them.
pub fn read(path: &Path) -> Result<Stored, Error> {
    match place(path)? {
        At::Folder(config) => published(path, &config),
        At::Run(file) => trained(&file, folder(&file)),
    }
}

fn published(folder: &Path, config: &Path) -> Result<Stored, Error> {
    let settings = Settings::read(config)?;
    let (layout, config, train_length) = described(&settings)?;
    let mut weights = tensors::read(folder)?;
    let held: usize = weights.values().map(|weight| weight.data.len()).sum();
    let about = config.about_weights();
    if about > 2.0 * held as f64 + SMALL {
        let what = format!(
            "it describes a model of about {about:.1e} weights, expected one of the {held} that are \
             beside it"
        );
        return Err(Error::file(settings.path(), what));
    }
    let names = names(layout, &config, settings.map());
    names
        .unwrapped(&weights)
        .and_then(|()| names.read(&mut weights))
        .and_then(|()| canonical(&mut weights, config.tie_word_embeddings))
        .map_err(|e| Error::file(folder, e))?;
    let published = match layout {
        Layout::Baton => Published::kept(folder)?,
        _ => Some(Published::new(layout, settings, folder)?),
    };
    Ok(Stored {
        config,
        weights,
        train_length,
        run: None,
        data: None,
        tokenizer: Tokenizer::of(folder)?,
        layout,
        published,
    })
}

/// Calls weights as Hugging Face's layout does; a head that repeats the embedding goes, and one that stands for it
/// becomes it.
fn canonical(weights: &mut BTreeMap<String, Tensor>, tied: bool) -> Result<(), Error> {
    let [ours, theirs] = EMBEDDING;
    if let Some(embedding) = weights.remove(theirs)
        && weights.insert(ours.into(), embedding).is_some()
    {
        return Err(Error::Config(format!(
            "both tensor `{ours}` and `{theirs}` are given, expected one of them"
        )));
    }
    if tied && let Some(head) = weights.remove(HEAD) {
        let same = *weights.entry(ours.into()).or_insert_with(|| head.clone()) == head;
        return same.then_some(()).ok_or_else(|| {
            Error::Config(format!(
                "tensor `{HEAD}` differs from `{ours}`, expected the same values as the \
                 configuration ties them"
            ))
        });
    }
    Ok(())
}

/// A checkpoint of the trainer.
fn trained(file: &Path, folder: &Path) -> Result<Stored, Error> {
    let checkpoint = Checkpoint::read(file)?;
    let (config, data) = checkpoint.made_by(file)?;
    let origin = checkpoint.origin;
    let known = |fingerprint| Known {
        fingerprint,
        origin,
    };
    Ok(Stored {
        config: config.model.clone(),
        weights: checkpoint.weights,
        train_length: Some(config.train_length),
        run: Some((config, checkpoint.progress)),
        data: data.map(known),
        tokenizer: Tokenizer::of(folder)?,
        layout: Layout::Baton,
        published: Published::kept(folder)?,
    })
}
