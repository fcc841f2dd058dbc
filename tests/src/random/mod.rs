//! Random recurrences: programs that nobody wrote, at sizes that nobody chose.
//!
//! A seed gives a [`Drawn`]: a well-formed [`Program`] (`grammar`, `values`, `reads`) and a [`Setting`] to run
//! it in (`setting`), whose numbers follow from the seed and the tensors' names (`numbers`). So a
//! program can be made smaller and keep the numbers of what is left, which is what [`shrink`] does
//! with a failure. What a result may differ by is found for each element by [`terms`], from the
//! same program on the same numbers: a sum is as exact as its terms are large. [`Coverage`] counts
//! what was met, and [`ill_formed`] makes texts that mostly are none.
//!
//! Nothing here names a device: what is run, and what is asserted, is in `tests/it/random`.

mod ast;
mod coverage;
mod grammar;
pub mod ill_formed;
mod numbers;
mod reads;
mod setting;
pub mod shrink;
pub mod terms;
mod values;

pub use ast::{Expr, Port, Program, Stmt, Verb};
pub use coverage::Coverage;
pub use numbers::{Numbers, Truth, given};
pub use setting::{Setting, Shift};

use crate::Random;

/// What a seed gives, and what is left of it after shrinking.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// What is run.
    pub program: Program,
    /// Where.
    pub setting: Setting,
}

impl Drawn {
    /// The program and setting of a seed.
    pub fn new(seed: u64) -> Drawn {
        let mut random = Random(seed);
        let program = grammar::program(&mut random);
        let setting = Setting::new(&mut random, &program, seed);
        Drawn { program, setting }
    }

    /// The same for kernels on tensor cores, with no more work than an emulator can do.
    pub fn blocks(seed: u64) -> Drawn {
        let mut random = Random(seed);
        let program = grammar::program(&mut random);
        let setting = Setting::blocks(&mut random, &program, seed);
        Drawn { program, setting }
    }
}
