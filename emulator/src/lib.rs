//! A PTX interpreter: runs the text that would go to an NVIDIA GPU, on the CPU, and says what is wrong with it.
//!
//! It knows PTX as the ISA manual defines it and nothing of who wrote the text. It executes 32 lanes at a
//! time, tracks which bytes and registers were ever written and what is ordered before what, and reports
//! accesses out of bounds, races, barriers that cannot be met and their kin, each with kernel, line, block and
//! thread. What it does not know it refuses by name. `docs/emulator.md` says what is modelled.
//!
//! ```
//! use baton_emulator::{Launch, Memory, Module};
//!
//! let text = r#"
//! .version 7.8
//! .target sm_80
//! .address_size 64
//! .visible .entry double(.param .u64 x, .param .u64 y) {
//!     .reg .b32 %r<3>;
//!     .reg .b64 %rd<4>;
//!     ld.param.u64 %rd1, [x];
//!     ld.param.u64 %rd2, [y];
//!     mov.u32 %r1, %tid.x;
//!     mul.wide.u32 %rd3, %r1, 4;
//!     add.s64 %rd1, %rd1, %rd3;
//!     add.s64 %rd2, %rd2, %rd3;
//!     ld.global.u32 %r2, [%rd1];
//!     shl.b32 %r2, %r2, 1;
//!     st.global.u32 [%rd2], %r2;
//!     ret;
//! }"#;
//! let module = Module::parse(text)?;
//! let kernel = module.kernel("double")?;
//! let mut memory = Memory::new();
//! let x = memory.input(&[7, 0, 0, 0, 9, 0, 0, 0]);
//! let y = memory.output(8);
//! let launch = Launch {
//!     block: [2, 1, 1],
//!     parameters: vec![memory.address(x).into(), memory.address(y).into()],
//!     ..Launch::default()
//! };
//! let report = kernel.launch(&launch, &mut memory)?;
//! assert!(report.findings.is_empty());
//! assert_eq!(memory.read(y), [14, 0, 0, 0, 18, 0, 0, 0]);
//! # Ok::<(), baton_emulator::Error>(())
//! ```

mod decode;
mod error;
mod flow;
mod lanes;
mod memory;
mod module;
mod number;
mod op;
mod report;
mod run;
mod text;
mod types;

pub use decode::ParameterShape;
pub use error::{Error, Result};
pub use memory::{Buffer, Memory};
pub use module::{Kernel, Module};
pub use report::{Counts, Finding, Kind, Report};
pub use run::{Launch, Parameter};
