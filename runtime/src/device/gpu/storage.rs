//! Numbers of the host as bytes of the device.

use baton_codegen::target::Storage;
use half::{bf16, f16};

/// `values` in the dtype of storage, rounded to nearest even.
pub(super) fn bytes(values: &[f32], storage: Storage) -> Vec<u8> {
    match storage {
        Storage::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Storage::F16 => values
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect(),
        Storage::Bf16 => values
            .iter()
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect(),
    }
}

/// `values` as storage would give them back.
pub fn rounded(all: &[f32], storage: Storage) -> Vec<f32> {
    values(&bytes(all, storage), storage)
}

/// The numbers behind bytes of the device.
pub(super) fn values(bytes: &[u8], storage: Storage) -> Vec<f32> {
    let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match storage {
        Storage::F32 => {
            let words = bytes.chunks_exact(4);
            words
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        }
        Storage::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Storage::Bf16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
    }
}
