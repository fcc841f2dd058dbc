//! How near every device comes to the truth: the one table, by the arithmetic of a run.
//!
//! Bounds are on [`relative_error`](baton_ir::interp::errors::relative_error), a norm over a whole tensor, against
//! the step interpreter in f64 on the same rounded inputs. They belong to the arithmetic and not to a
//! device, a recurrence or a size: a kernel that misses its bound is wrong, and no bound is loosened.

use super::Storage;

/// What sums of products are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f64 throughout: levels 2 and 3 against level 1. What is left is the order of sums.
    F64,
    /// f32 throughout: the CPU.
    F32,
    /// f32 whose products on tensor cores are of three bf16 terms each.
    Split,
    /// f32 whose products on tensor cores are of tf32.
    Tf32,
    /// Tensors along time and operands of products in f16, sums in f32.
    F16,
    /// Tensors along time and operands of products in bf16, sums in f32.
    Bf16,
}

/// Bounds on the relative error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Of outputs and leaving states.
    pub outputs: f64,
    /// Of gradients.
    pub gradients: f64,
}

impl Tolerance {
    /// That of a gradient, or of what a forward run gives.
    pub fn of(self, gradient: bool) -> f64 {
        match gradient {
            true => self.gradients,
            false => self.outputs,
        }
    }
}

impl Arithmetic {
    /// What tensors along time are kept in.
    pub fn storage(self) -> Storage {
        match self {
            Arithmetic::Bf16 => Storage::Bf16,
            Arithmetic::F16 => Storage::F16,
            _ => Storage::F32,
        }
    }

    /// The bounds of a run in this arithmetic.
    pub const fn tolerance(self) -> Tolerance {
        let (outputs, gradients) = match self {
            Arithmetic::F64 => (1e-12, 1e-12),
            Arithmetic::F32 => (2e-6, 1e-5),
            Arithmetic::Split => (1e-5, 1e-5),
            Arithmetic::Tf32 => (1e-3, 1e-3),
            Arithmetic::F16 => (1e-3, 2e-3),
            Arithmetic::Bf16 => (5e-3, 1e-2),
        };
        Tolerance { outputs, gradients }
    }
}
