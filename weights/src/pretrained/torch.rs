//! PyTorch's files of weights, read and written without Python.
//!
//! Reading is a library's: nothing of the pickle is executed, and objects that are no tensors are
//! passed over. Writing is the little that `torch.save` makes of a state dict: an uncompressed zip
//! of one pickle and one file for each storage. mamba_ssm loads nothing else.

use super::format::{Format, tensor};
use super::weight::Weight;
use baton_config::Error;
use baton_data::files;
use baton_runtime::Tensor;
use pytorch_reader::{DType, PytorchReader};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Every tensor of a file.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, Error> {
    files::open(path)?;
    let file = PytorchReader::new(path).map_err(|e| Error::file(path, e))?;
    let sorted: BTreeMap<_, _> = file.into_tensors().into_iter().collect();
    let each = sorted.into_iter().map(|(name, stored)| {
        let format = match stored.dtype() {
            DType::F64 => Ok(Format::F64),
            DType::F32 => Ok(Format::F32),
            DType::F16 => Ok(Format::F16),
            DType::BF16 => Ok(Format::Bf16),
            other => Err(format!("{other:?}")),
        };
        let bytes = stored.read().map_err(|e| Error::file(path, e))?;
        let value = tensor(&name, format, stored.shape().to_vec(), &bytes);
        Ok((name, value.map_err(|e| Error::file(path, e))?))
    });
    each.collect()
}

/// Writes a state dict, in the order given; a weight of two names is stored once.
pub(super) fn write(path: &Path, weights: &[(Vec<&str>, Weight<'_>)]) -> Result<(), Error> {
    let file = File::create(path).map_err(|e| Error::file(path, e))?;
    let mut zip = ZipWriter::new(BufWriter::new(file));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(64)
        .large_file(true);
    let mut entry = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), options)
            .map_err(|e| Error::file(path, e))?;
        zip.write_all(bytes).map_err(|e| Error::file(path, e))
    };
    entry("data.pkl", &pickle(weights))?;
    entry("byteorder", b"little")?;
    for (key, (_, weight)) in weights.iter().enumerate() {
        entry(&format!("data/{key}"), &weight.bytes())?;
    }
    entry("version", b"3\n")?;
    let file = zip.finish().map_err(|e| Error::file(path, e))?;
    let file = file
        .into_inner()
        .map_err(|e| Error::file(path, e.error()))?;
    file.sync_all().map_err(|e| Error::file(path, e))
}

/// An `OrderedDict` of names and tensors, in protocol 2.
fn pickle(weights: &[(Vec<&str>, Weight<'_>)]) -> Vec<u8> {
    const EMPTY_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut out = b"\x80\x02".to_vec();
    out.extend(EMPTY_DICT);
    out.push(b'('); // a mark, up to which `u` sets items
    for (key, (names, weight)) in weights.iter().enumerate() {
        for name in names {
            text(&mut out, name);
            out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            text(&mut out, "storage");
            out.extend(format!("ctorch\n{}\n", weight.precision.storage()).bytes());
            text(&mut out, &key.to_string());
            text(&mut out, "cpu");
            whole(&mut out, weight.tensor.data.len());
            out.extend(b"tQ"); // the storage, by its persistent id
            whole(&mut out, 0);
            let shape = &weight.tensor.shape;
            for sizes in [shape, &baton_runtime::tensor::contiguous(shape)] {
                out.push(b'(');
                sizes.iter().for_each(|&size| whole(&mut out, size));
                out.push(b't');
            }
            out.push(0x89); // requires no gradient
            out.extend(EMPTY_DICT); // no hooks
            out.extend(b"tR");
        }
    }
    out.extend(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

fn whole(out: &mut Vec<u8>, n: usize) {
    match i32::try_from(n) {
        Ok(n) => {
            out.push(b'J');
            out.extend(n.to_le_bytes());
        }
        Err(_) => {
            out.extend([0x8a, 8]); // eight bytes, signed
            out.extend((n as i64).to_le_bytes());
        }
    }
}
