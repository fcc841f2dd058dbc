//! Writing a checkpoint's folder: everything beside its place first, then moved there in one step.

use super::described::{described, names};
use super::layout::{BATON, CONFIG, EMBEDDING, HEAD, Layout};
use super::settings::{self, Settings};
use super::stored::Stored;
use super::weight::{Precision, Weight};
use super::{authors, hugging_face, torch};
use baton_config::Error;
use baton_data::tokenizer;
use half::{bf16, f16};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes `stored` as a new folder `to` in `layout`; a folder that exists is refused, and a layout
/// that has no words for the model too.
pub fn save(stored: &Stored, to: &Path, layout: Layout, precision: Precision) -> Result<(), Error> {
    let fail = |e: std::io::Error| Error::file(to, e);
    if to.symlink_metadata().is_ok() {
        return Err(Error::file(
            to,
            "it exists, expected the name of a new folder",
        ));
    }
    let name = to
        .file_name()
        .ok_or_else(|| Error::file(to, "it names no folder"))?;
    overflow(stored, precision)?;
    let config = config(stored, layout, precision)?;
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(fail)?;
    let beside = parent.join(format!(
        ".{}.{}.part",
        name.to_string_lossy(),
        std::process::id()
    ));
    fs::create_dir(&beside).map_err(fail)?;
    let written = contents(stored, &beside, layout, precision, config)
        .and_then(|()| fs::rename(&beside, to).map_err(fail));
    if written.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    written
}

fn contents(
    stored: &Stored,
    folder: &Path,
    layout: Layout,
    precision: Precision,
    config: Map<String, Value>,
) -> Result<(), Error> {
    // What came with a published checkpoint is beside the weights in a layout of others, and below Baton's own.
    let published = stored.published.as_ref();
    let own = published.filter(|from| from.layout == layout);
    let path = folder.join(CONFIG);
    let text = settings::text(&config, own.is_some_and(|from| from.bare))?;
    File::create(&path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|e| Error::file(&path, e))?;
    if let Some(from) = stored.tokenizer.path() {
        let to = folder.join(tokenizer::FILE);
        fs::copy(from, &to).map_err(|e| Error::file(from, e))?;
    }
    match published {
        Some(published) if layout == Layout::Baton => published.keep(folder)?,
        Some(published) => published.copy(folder)?,
        None => {}
    }
    let names = names(layout, &stored.config, &config);
    let named = names.write(&stored.weights);
    let weights = named.iter().map(|(name, tensor)| {
        let tensor = tensor.as_ref();
        (*name, Weight { tensor, precision })
    });
    if layout == Layout::Authors {
        let [ours, theirs] = EMBEDDING;
        let tied = stored.config.tie_word_embeddings;
        let named: Vec<_> = weights
            .map(|(name, weight)| match name == ours {
                true if tied => (vec![theirs, HEAD], weight),
                true => (vec![theirs], weight),
                false => (vec![name], weight),
            })
            .collect();
        return torch::write(&folder.join("pytorch_model.bin"), &named);
    }
    let path = folder.join("model.safetensors");
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(weights, Some(metadata), &path)
        .map_err(|e| Error::file(&path, e))?;
    // The library makes a file that its owner alone may read; whoever may read the configuration may read the weights.
    let usual = fs::metadata(folder.join(CONFIG)).map(|found| found.permissions());
    File::open(&path)
        .and_then(|file| {
            file.set_permissions(usual?)?;
            file.sync_all()
        })
        .map_err(|e| Error::file(&path, e))
}

fn config(
    stored: &Stored,
    layout: Layout,
    precision: Precision,
) -> Result<Map<String, Value>, Error> {
    let own = stored
        .published
        .as_ref()
        .filter(|from| from.layout == layout);
    let source = own.map(|from| from.config.clone()).unwrap_or_default();
    if let Some(own) = own
        && described(&Settings::of(source.clone(), Path::new(CONFIG)))?.1 == stored.config
    {
        return Ok(as_it_came(own.config.clone(), precision));
    }
    match layout {
        Layout::HuggingFace => hugging_face::settings(&stored.config, precision.name(), source),
        Layout::Authors => authors::settings(&stored.config, source),
        Layout::Baton => {
            let mut config = Map::new();
            config.insert("model_type".into(), BATON.into());
            config.insert("model".into(), json!(stored.config));
            config.insert("train_length".into(), json!(stored.train_length));
            config.insert("dtype".into(), precision.name().into());
            Ok(config)
        }
    }
}

/// A configuration that describes the model already: nothing changes but how the weights are stored, and that
/// they have begun (`hugging_face/mamba2.rs`).
fn as_it_came(mut config: Map<String, Value>, precision: Precision) -> Map<String, Value> {
    let names = ["dtype", "torch_dtype"].map(|key| (key, config.contains_key(key)));
    for (key, there) in names {
        if there {
            config.insert(key.into(), precision.name().into());
        }
    }
    if config.contains_key("model_type") {
        if names.iter().all(|(_, there)| !there) {
            config.insert("dtype".into(), precision.name().into());
        }
        if let Some(rescaled) = config.get_mut("rescale_prenorm_residual") {
            *rescaled = false.into();
        }
    }
    config
}

/// Refuses a value that rounding would make infinite.
fn overflow(stored: &Stored, precision: Precision) -> Result<(), Error> {
    let round: fn(f32) -> f32 = match precision {
        Precision::F32 => return Ok(()),
        Precision::Bf16 => |x| bf16::from_f32(x).to_f32(),
        Precision::F16 => |x| f16::from_f32(x).to_f32(),
    };
    for (name, tensor) in &stored.weights {
        if let Some(x) = tensor.data.iter().find(|&&x| !round(x).is_finite()) {
            let what = precision.name();
            return Err(Error::Config(format!(
                "tensor `{name}` holds {x}, expected what {what} can hold"
            )));
        }
    }
    Ok(())
}
