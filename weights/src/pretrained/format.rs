//! A tensor from its bytes in a file.

use crate::checkpoint::finite;
use baton_config::Error;
use baton_runtime::Tensor;
use half::{bf16, f16};

/// How an element lies in a file.
#[derive(Clone, Copy)]
pub(super) enum Format {
    F64,
    F32,
    F16,
    Bf16,
}

/// A tensor of f32 from its bytes, those of f64 rounded; `format` is the name of the type where it is another.
pub(super) fn tensor(
    name: &str,
    format: Result<Format, String>,
    shape: Vec<usize>,
    bytes: &[u8],
) -> Result<Tensor, Error> {
    let format = format.map_err(|given| {
        let expected = "expected F64, F32, F16 or BF16";
        Error::Config(format!("tensor `{name}` holds {given}, {expected}"))
    })?;
    let short = |convert: fn(u16) -> f32| {
        let pairs = bytes.chunks_exact(2);
        pairs
            .map(|b| convert(u16::from_le_bytes([b[0], b[1]])))
            .collect()
    };
    let data: Vec<f32> = match format {
        Format::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        Format::F32 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Format::F16 => short(|bits| f16::from_bits(bits).to_f32()),
        Format::Bf16 => short(|bits| bf16::from_bits(bits).to_f32()),
    };
    let tensor = Tensor { shape, data };
    finite(name, &tensor)?;
    Ok(tensor)
}
