//! A tensor on its way to a file, and the type that it is written in.

use baton_runtime::Tensor;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;

/// The type that weights are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits: nothing is lost.
    F32,
    /// Bfloat, 16 bits.
    Bf16,
    /// Half, 16 bits.
    F16,
}

impl Precision {
    /// As configurations call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Precision::F32 => "float32",
            Precision::Bf16 => "bfloat16",
            Precision::F16 => "float16",
        }
    }

    /// As PyTorch calls a storage of it.
    #[cfg(feature = "torch")]
    pub(super) fn storage(self) -> &'static str {
        match self {
            Precision::F32 => "FloatStorage",
            Precision::Bf16 => "BFloat16Storage",
            Precision::F16 => "HalfStorage",
        }
    }
}

/// A tensor on its way to a file.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a> {
    pub tensor: &'a Tensor,
    pub precision: Precision,
}

impl Weight<'_> {
    /// Its elements, rounded to the nearest.
    pub fn bytes(&self) -> Vec<u8> {
        let data = self.tensor.data.iter();
        match self.precision {
            Precision::F32 => data.flat_map(|x| x.to_le_bytes()).collect(),
            Precision::Bf16 => data
                .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
                .collect(),
            Precision::F16 => data.flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        }
    }
}

impl View for Weight<'_> {
    fn dtype(&self) -> Dtype {
        match self.precision {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
            Precision::F16 => Dtype::F16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.bytes())
    }

    fn data_len(&self) -> usize {
        let size = if self.precision == Precision::F32 {
            4
        } else {
            2
        };
        self.tensor.data.len() * size
    }
}
