//! Checkpoints: one safetensors file with weights, optimiser moments, carried states, the step,
//! and the configuration they belong to.
//!
//! Weights stand under their own names, so that any tool can read them. A kill at any moment leaves
//! the old checkpoint or the new one, never a part (`files.rs`). Its header has a fingerprint of every tensor, so
//! that a file that was damaged later is refused by the tensor's name.

use crate::origin::Origin;
use baton_config::{Error, TrainConfig};
use baton_data::files::{self, write_whole};
use baton_data::{fnv, plain};
use baton_runtime::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

/// The name of a run's checkpoint in its folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// The file in a run's folder that its trainer holds; it is there from the first moment on.
pub const LOCK: &str = "lock";

const FIRST: &str = "optimizer.first.";
const SECOND: &str = "optimizer.second.";
const STATE: &str = "initial_state.";
/// The one metadata entry: a second would bring hash order into the file.
pub(crate) const ENTRY: &str = "baton";

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    /// Tokens trained on, those of earlier runs included.
    pub tokens: u64,
    /// Seconds spent, those of earlier runs included.
    pub seconds: f64,
    /// Steps of those done that were not taken, as they were not finite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Where held-out text was predicted best, if that is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
}

/// The lowest loss on held-out text within the training length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Optimiser steps done.
    pub step: u64,
    /// Mean nats per token.
    pub loss: f64,
    /// A hash of what it was measured on: losses of another length or of other sequences are not compared with it. Older
    /// files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<u64>,
}

/// A change of a run's configuration that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Optimiser steps done before it.
    pub step: u64,
    /// What was and what is, by key.
    pub keys: BTreeMap<String, [Value; 2]>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter();
        let keys: Vec<String> = keys
            .map(|(key, [was, is])| format!("{key} {was} to {is}"))
            .collect();
        write!(f, "from step {}: {}", self.step, keys.join(", "))
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The moments of one weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Of the gradient.
    pub first: Tensor,
    /// Of its square.
    pub second: Tensor,
}

/// Everything that a run needs to go on with the same bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The configuration, as text.
    pub config: String,
    /// How far the run has come.
    pub progress: Progress,
    /// Weights by name.
    pub weights: BTreeMap<String, Tensor>,
    /// Optimiser moments by name of the weight.
    pub moments: BTreeMap<String, Moments>,
    /// What the initial-state policy carries.
    pub carried: Vec<(String, Tensor)>,
    /// Where its data was, if it is said.
    pub origin: Option<Origin>,
    /// How its configuration was changed on the way, in order.
    pub changes: Vec<Change>,
}

/// What the one metadata entry holds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) config: String,
    pub(crate) progress: Progress,
    /// A fingerprint of each tensor by its name in the file; older files have none.
    #[serde(default)]
    tensors: BTreeMap<String, String>,
    /// Where the data was; older files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
}

impl Checkpoint {
    /// Writes the file whole or not at all; a tensor that is not finite is refused by its name.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let fail = |e: &dyn ToString| Error::file(path, e.to_string());
        let mut tensors: BTreeMap<String, &Tensor> = BTreeMap::new();
        for (name, weight) in &self.weights {
            tensors.insert(name.clone(), weight);
        }
        for (name, moments) in &self.moments {
            tensors.insert(format!("{FIRST}{name}"), &moments.first);
            tensors.insert(format!("{SECOND}{name}"), &moments.second);
        }
        for (name, state) in &self.carried {
            tensors.insert(format!("{STATE}{name}"), state);
        }
        for (name, tensor) in &tensors {
            finite(name, tensor).map_err(|e| fail(&format!("not written: {e}")))?;
        }
        let header = Header {
            config: self.config.clone(),
            progress: self.progress.clone(),
            tensors: tensors
                .iter()
                .map(|(name, tensor)| (name.clone(), fingerprint([(name, *tensor)])))
                .collect(),
            origin: self.origin.clone(),
            changes: self.changes.clone(),
        };
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .into_iter()
            .map(|(name, t)| {
                let bytes = t.data.iter().flat_map(|x| x.to_le_bytes()).collect();
                (name, t.shape.clone(), bytes)
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, shape, bytes)| {
                let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
                view.map(|view| (name, view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| fail(&e))?;
        let header = serde_json::to_string(&header).map_err(|e| fail(&e))?;
        let metadata = HashMap::from([(ENTRY.to_string(), header)]);
        let file = safetensors::serialize(views, Some(metadata)).map_err(|e| fail(&e))?;
        Ok(write_whole(path, &file)?)
    }

    /// The configuration that it was made by, and the fingerprint of its data; it was read from `path`.
    pub fn made_by(&self, path: &Path) -> Result<(TrainConfig, Option<String>), Error> {
        identity(&self.config, path)
    }

    /// Reads a file that [`write`](Self::write) wrote; one that is damaged or not finite is refused.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = files::read(path)?;
        let damaged = |e: &dyn ToString| {
            Error::file(
                path,
                format!("no checkpoint of this program: {}", e.to_string()),
            )
        };
        let read = SafeTensors::read_metadata(&bytes);
        let (_, metadata) = read.map_err(|e| damaged(&plain::safetensors(&e)))?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(ENTRY));
        let header = header.ok_or_else(|| damaged(&format!("no `{ENTRY}` in its metadata")))?;
        let Header {
            config,
            progress,
            tensors: written,
            origin,
            changes,
        } = serde_json::from_str(header).map_err(|e| damaged(&e))?;
        let file = SafeTensors::deserialize(&bytes);
        let file = file.map_err(|e| damaged(&plain::safetensors(&e)))?;
        let mut checkpoint = Checkpoint {
            config,
            progress,
            weights: BTreeMap::new(),
            moments: BTreeMap::new(),
            carried: Vec::new(),
            origin,
            changes,
        };
        let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
        let all: BTreeMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
        if let Some(name) = written.keys().find(|name| !all.contains_key(*name)) {
            return Err(damaged(&format!("tensor `{name}` is missing")));
        }
        for (name, view) in all {
            if view.dtype() != Dtype::F32 {
                let given = view.dtype();
                return Err(damaged(&format!(
                    "tensor `{name}` holds {given:?}, expected F32"
                )));
            }
            let value = Tensor {
                shape: view.shape().to_vec(),
                data: view
                    .data()
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect(),
            };
            let same = written.get(&name) == Some(&fingerprint([(&name, &value)]));
            if !written.is_empty() && !same {
                return Err(damaged(&format!(
                    "tensor `{name}` is not as it was written"
                )));
            }
            finite(&name, &value).map_err(|e| {
                let what = "the run diverged, begin it anew in another folder";
                Error::file(path, format!("{e}: {what}"))
            })?;
            if let Some(name) = name.strip_prefix(FIRST) {
                first.insert(name.to_string(), value);
            } else if let Some(name) = name.strip_prefix(SECOND) {
                second.insert(name.to_string(), value);
            } else if let Some(name) = name.strip_prefix(STATE) {
                checkpoint.carried.push((name.to_string(), value));
            } else {
                checkpoint.weights.insert(name, value);
            }
        }
        for (name, first) in first {
            let weight = checkpoint.weights.get(&name).map(|w| &w.shape);
            match second.remove(&name) {
                Some(second) if Some(&second.shape) == weight && Some(&first.shape) == weight => {
                    checkpoint.moments.insert(name, Moments { first, second });
                }
                _ => return Err(damaged(&format!("the moments of `{name}` do not fit it"))),
            }
        }
        Ok(checkpoint)
    }
}

/// A run's configuration and the fingerprint of its data, from what a checkpoint at `path` says of them.
pub(crate) fn identity(said: &str, path: &Path) -> Result<(TrainConfig, Option<String>), Error> {
    #[derive(Deserialize)]
    struct Identity {
        config: TrainConfig,
        #[serde(default)]
        data: Option<String>,
    }
    let identity = serde_json::from_str::<Identity>(said);
    let identity = identity
        .map_err(|e| Error::file(path, format!("its configuration cannot be read: {e}")))?;
    Ok((identity.config, identity.data))
}

/// Refuses a tensor that holds anything but finite numbers.
pub fn finite(name: &str, tensor: &Tensor) -> Result<(), Error> {
    match tensor.data.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::Config(format!(
            "tensor `{name}` holds {} at element {at}, expected finite numbers",
            tensor.data[at]
        ))),
    }
}

/// A hash (FNV-1a over names, shapes and bits) that tells tensors from others.
pub fn fingerprint<'a>(tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> String {
    let words = tensors.into_iter().flat_map(|(name, tensor)| {
        let shape = tensor.shape.iter().map(|&size| size as u64);
        let data = tensor.data.iter().map(|x| x.to_bits().into());
        name.bytes().map(u64::from).chain(shape).chain(data)
    });
    format!("{:016x}", fnv(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_told_apart_by_name_shape_and_bits() {
        let one = |name: &str, shape: &[usize], value| {
            fingerprint([(&name.to_string(), &Tensor::full(shape, value))])
        };
        let first = one("a", &[2, 3], 1.0);
        assert_eq!(first, one("a", &[2, 3], 1.0));
        for other in [
            one("b", &[2, 3], 1.0),
            one("a", &[3, 2], 1.0),
            one("a", &[2, 3], 1.0000001),
        ] {
            assert_ne!(first, other);
        }
    }
}
