//! Baton as a library: one dependency for a crate that says recurrences and runs or trains them.
//!
//! Nothing is here but names. [`text`], [`verify`] and [`builtin`] are level 1, the language; [`recurrence!`] is the same
//! in Rust source; a [`Device`] ([`Cpu`], the f64 [`Interpreter`], with features `gpu` and `cuda` the emulator and
//! NVIDIA's) makes a [`Kernel`] of a recurrence. With the feature `train`, `train` has what a model
//! needs: the differentiable op, layers, initial states, an optimiser and measures, on the tensors of `burn`; beside it are
//! `data` (texts, batches, random numbers), `config` and `weights` (checkpoints).
//! docs/own-crate.md goes all of the way. The rooms behind the names are whole: [`ir`], [`codegen`], [`runtime`].
//!
//! The price of this crate is that its features are those of ten others; what a feature brings is in its manifest.
//! Without any, no tensor library, no plots, no vocabularies and no archives are built.
//!
//! ```
//! use baton::{Interpreter, Tensor};
//!
//! baton::recurrence! {
//!     /// A leaky sum of what comes in.
//!     recurrence leaky {
//!         dims   { P }
//!         inputs { x: [P], g: [] }
//!         state  { s: [P] }
//!         s = sigmoid(g) * s + x;
//!         output y: [P] = s;
//!     }
//! }
//!
//! # fn main() -> Result<(), baton::Error> {
//! let x = Tensor::full(&[1, 3, 2, 8], 1.0); // [B, T, H, P]
//! let g = Tensor::full(&[1, 3, 2], 0.0); // [B, T, H]
//! let run = leaky::forward(&Interpreter, leaky::Inputs { x, g }, leaky::Params::default(), None)?;
//! assert_eq!(run.states.s, Tensor::full(&[1, 2, 8], 1.75)); // [B, H, P]
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

pub use baton_codegen as codegen;
#[cfg(feature = "train")]
pub use baton_config as config;
#[cfg(feature = "train")]
pub use baton_data as data;
pub use baton_ir as ir;
pub use baton_runtime as runtime;
#[cfg(feature = "train")]
pub use baton_train as train;
/// Burn's core, which tensors and modules of models are of: `use baton::burn` where `Module` is derived.
#[cfg(feature = "train")]
pub use baton_train::burn;
#[cfg(feature = "tune")]
pub use baton_tune as tune;
#[cfg(feature = "train")]
pub use baton_weights as weights;

pub use baton_ir::{builtin, text, verify};
pub use baton_runtime::device::cpu::Cpu;
pub use baton_runtime::{
    Call, Device, Error, Forward, Gradients, Interpreter, Kernel, Options, Saved, Tensor, View,
    device, typed,
};

#[doc(hidden)]
pub use baton_macros::recurrence as __recurrence;

/// Defines a recurrence in Rust source, or by `file = "path/of.rec"`: a module of its name with typed `Inputs`,
/// `Params`, `States` and `Outputs`, a `Definition`, and `forward`, `backward`, `record`, `step` and `load` on them.
///
/// The macro of `baton-macros`, whose expansion finds the runtime in this crate, however it is called in the
/// crate that uses it: so nothing but this one has to be a dependency there.
#[macro_export]
macro_rules! recurrence {
    ($($tokens:tt)*) => {
        $crate::__recurrence! { crate = $crate::runtime; $($tokens)* }
    };
}

/// The README's Rust examples, as doc tests.
#[cfg(all(doctest, feature = "train"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
