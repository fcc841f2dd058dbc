//! What verbs need of the GPU back end: dtypes by name, and one message where it was not built in.

use crate::failure::Failure;
use baton_runtime::device::gpu::{Gpu, Products, Storage};

/// The dtype of matrices on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// 32 bits, products in three bf16 terms: exact to 24 bits
    #[default]
    F32,
    /// 32 bits, products in tf32: exact to 11 bits
    Tf32,
    /// 16 bits, eight of them exponent
    Bf16,
    /// 16 bits, five of them exponent
    F16,
}

impl Dtype {
    /// The schedule for a target by its name.
    pub fn schedule(self, target: &str) -> Result<Gpu, Failure> {
        if target != "sm_80" {
            return Err(Failure::new(format!(
                "--target {target} given, expected sm_80"
            )));
        }
        let mut schedule = Gpu::sm_80(match self {
            Dtype::F32 | Dtype::Tf32 => Storage::F32,
            Dtype::Bf16 => Storage::Bf16,
            Dtype::F16 => Storage::F16,
        });
        if self == Dtype::Tf32 {
            schedule.products = Products::Tf32;
        }
        Ok(schedule)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::Tf32 => "tf32",
            Dtype::Bf16 => "bf16",
            Dtype::F16 => "f16",
        }
    }
}
