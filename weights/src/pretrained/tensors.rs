//! The tensors of a checkpoint's folder: safetensors or PyTorch files, whole or in shards.
//!
//! Floats of 64, 32, 16 and bfloat 16 bits become f32. Everything else is refused with the name of the
//! tensor: another type, a file that ends within it, a value that is no number.

use super::format::{Format, tensor};
use super::torch;
use baton_config::Error;
use baton_data::{files, plain};
use baton_runtime::Tensor;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Tensors = BTreeMap<String, Tensor>;

/// The names that the two libraries give to weights, in the order in which they are looked for.
const FILES: [(&str, bool); 2] = [("model.safetensors", true), ("pytorch_model.bin", false)];

/// Every tensor in `folder`, by its name there.
pub(super) fn read(folder: &Path) -> Result<Tensors, Error> {
    for (file, safe) in FILES {
        let (whole, index) = (folder.join(file), folder.join(format!("{file}.index.json")));
        let one = |path: &Path| match safe {
            true => safetensors(path),
            false => torch::read(path),
        };
        if whole.symlink_metadata().is_ok() {
            return one(&whole);
        }
        if index.symlink_metadata().is_ok() {
            return sharded(folder, &index, &one);
        }
    }
    let expected = FILES.map(|(file, _)| format!("{file} or {file}.index.json"));
    Err(Error::file(
        folder,
        format!(
            "no weights in this folder, expected {}",
            expected.join(", ")
        ),
    ))
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn sharded(
    folder: &Path,
    index: &Path,
    one: &dyn Fn(&Path) -> Result<Tensors, Error>,
) -> Result<Tensors, Error> {
    let text = files::text(index)?;
    let Index { weight_map } = serde_json::from_str(&text)
        .map_err(|e| Error::file(index, format!("no index of shards: {e}")))?;
    let files: BTreeSet<&String> = weight_map.values().collect();
    let mut all = Tensors::new();
    for file in files {
        if Path::new(file).file_name() != Some(file.as_ref()) {
            let what = format!("shard {file:?} given, expected the name of a file beside it");
            return Err(Error::file(index, what));
        }
        let shard = folder.join(file);
        for (name, tensor) in one(&shard)? {
            if weight_map.get(&name) != Some(file) {
                let what = format!("tensor `{name}` is here, which the index does not say");
                return Err(Error::file(&shard, what));
            }
            all.insert(name, tensor);
        }
    }
    match weight_map.iter().find(|(name, _)| !all.contains_key(*name)) {
        Some((name, file)) => Err(Error::file(
            &folder.join(file),
            format!("tensor `{name}` is missing, which the index says to be here"),
        )),
        None => Ok(all),
    }
}

fn safetensors(path: &Path) -> Result<Tensors, Error> {
    let bytes = files::read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| {
        let what = match cut(&bytes) {
            Some(name) => format!("the file ends within tensor `{name}`"),
            None => format!("no safetensors file: {}", plain::safetensors(&e)),
        };
        Error::file(path, what)
    })?;
    let sorted: BTreeMap<_, _> = file.tensors().into_iter().collect();
    let each = sorted.into_iter().map(|(name, view)| {
        let format = match view.dtype() {
            Dtype::F64 => Ok(Format::F64),
            Dtype::F32 => Ok(Format::F32),
            Dtype::F16 => Ok(Format::F16),
            Dtype::BF16 => Ok(Format::Bf16),
            other => Err(format!("{other:?}")),
        };
        let value = tensor(&name, format, view.shape().to_vec(), view.data());
        Ok((name, value.map_err(|e| Error::file(path, e))?))
    });
    each.collect()
}

/// The tensor that a file was cut within, if it was.
fn cut(bytes: &[u8]) -> Option<String> {
    let (size, rest) = bytes.split_first_chunk()?;
    let size = usize::try_from(u64::from_le_bytes(*size)).ok()?;
    let (header, data) = rest.split_at_checked(size)?;
    let metadata: Metadata = serde_json::from_slice(header).ok()?;
    let ends = |name: &String| metadata.info(name).map_or(0, |info| info.data_offsets.1);
    let mut names = metadata.offset_keys().into_iter();
    names.find(|name| ends(name) > data.len())
}
