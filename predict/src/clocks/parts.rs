//! A warp on its way and a scheduler with its units, as far as each is by itself.

use crate::sass::{Instruction, Operand};
use crate::unit::Unit;
use crate::walk::Step;

/// Barriers of a warp.
pub const BARRIERS: usize = 6;

/// A warp on its way.
pub struct Warp<'a> {
    pub steps: &'a [Step],
    pub at: usize,
    pub block: usize,
    /// The first clock at which it may issue by its own instructions.
    pub ready: u64,
    /// When what its barriers wait for is there.
    pub barriers: [Vec<u64>; BARRIERS],
    /// When the asynchronous copies that belong to no group yet have landed.
    pub copies: u64,
    /// Whether it waits for its block.
    pub meeting: Option<u32>,
}

impl<'a> Warp<'a> {
    pub fn new(steps: &'a [Step], block: usize) -> Self {
        Warp {
            steps,
            at: 0,
            block,
            ready: 0,
            barriers: Default::default(),
            copies: 0,
            meeting: None,
        }
    }

    pub fn done(&self) -> bool {
        self.at >= self.steps.len()
    }
}

/// A scheduler, with the clocks at which its units are free again.
#[derive(Clone, Default)]
pub struct Scheduler {
    pub last: Option<usize>,
    pub tensor: f64,
    pub float: f64,
    pub product: f64,
    pub integer: f64,
    pub special: f64,
    pub issued: u64,
    /// Sums of the same, for the record.
    pub spent: [f64; 5],
}

impl Scheduler {
    /// When a unit of its own is free, and its place in the record.
    pub fn unit(&mut self, unit: Unit) -> Option<(&mut f64, usize)> {
        match unit {
            Unit::Tensor => Some((&mut self.tensor, 0)),
            Unit::Float => Some((&mut self.float, 1)),
            Unit::Product => Some((&mut self.product, 2)),
            Unit::Integer => Some((&mut self.integer, 3)),
            Unit::Special => Some((&mut self.special, 4)),
            _ => None,
        }
    }

    pub fn free(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Tensor => self.tensor,
            Unit::Float => self.float,
            Unit::Product => self.product,
            Unit::Integer => self.integer,
            Unit::Special => self.special,
            _ => 0.0,
        }
    }
}

/// When at most so many of what a barrier waits for are missing, as `DEPBAR.LE SB0, 0x1` says.
pub fn few_left(instruction: &Instruction, warp: &Warp) -> u64 {
    let name = instruction
        .operands
        .iter()
        .find_map(|operand| match operand {
            Operand::Word(word) => word.strip_prefix("SB")?.parse::<usize>().ok(),
            _ => None,
        });
    let missing = number(instruction, 0).unwrap_or(0) as usize;
    let mut times = warp.barriers[name.unwrap_or(0).min(BARRIERS - 1)].clone();
    times.sort_unstable_by(|a, b| b.cmp(a));
    times.get(missing).copied().unwrap_or(0)
}

/// The integer operand of this number.
pub fn number(instruction: &Instruction, at: usize) -> Option<u32> {
    let integers = instruction
        .operands
        .iter()
        .filter_map(|operand| match operand {
            Operand::Integer(value) => Some(*value),
            _ => None,
        });
    { integers }.nth(at)
}
