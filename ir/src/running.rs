//! Scans over the steps that no sum of decays says: running extremes, and angles.
//!
//! One type for facts and for both lower levels, whose ops differ in what stands for an operand: so a
//! new kind of scan is a variant here.

use crate::pointwise;
use crate::recurrence::{BinaryFn, UnaryFn};

/// What becomes of the value of the step before, once it is shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound<Id> {
    /// The larger or the smaller of it and another value.
    Extreme {
        /// `max` or `min`.
        function: BinaryFn,
        /// Whether it is the first of the two: of equals the first is taken, and has the slope.
        first: bool,
        /// What it is compared with.
        floor: Id,
    },
    /// What is left of it without whole turns: `wrap`.
    Turns,
}

/// A scan, one step after the other: `m[t] = bound(m[t-1] + shift[t])`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scan<Id> {
    /// What bounds it.
    pub bound: Bound<Id>,
    /// What is added to the value of the step before.
    pub shift: Id,
    /// What entered the chunk.
    pub entering: Id,
}

impl<Id: Copy> Bound<Id> {
    /// What the value is compared with, if with anything.
    pub fn floor(self) -> Option<Id> {
        match self {
            Bound::Extreme { floor, .. } => Some(floor),
            Bound::Turns => None,
        }
    }

    /// The same with another operand.
    pub fn map<To>(self, f: impl FnOnce(Id) -> To) -> Bound<To> {
        match self {
            Bound::Extreme {
                function,
                first,
                floor,
            } => Bound::Extreme {
                function,
                first,
                floor: f(floor),
            },
            Bound::Turns => Bound::Turns,
        }
    }

    /// The bounded value; `floor` is not looked at where there is none.
    pub fn of(self, moved: f64, floor: f64) -> f64 {
        match self {
            Bound::Extreme { function, .. } => pointwise::binary(function, moved, floor),
            Bound::Turns => pointwise::unary(UnaryFn::Wrap, moved),
        }
    }
}

impl<Id: Copy> Scan<Id> {
    /// The operands: shift, floor if there is one, entering.
    pub fn operands(self) -> Vec<Id> {
        let floor = self.bound.floor();
        [self.shift]
            .into_iter()
            .chain(floor)
            .chain([self.entering])
            .collect()
    }

    /// The operands, in order, to be renamed.
    pub fn operands_mut(&mut self) -> Vec<&mut Id> {
        let floor = match &mut self.bound {
            Bound::Extreme { floor, .. } => Some(floor),
            Bound::Turns => None,
        };
        [&mut self.shift]
            .into_iter()
            .chain(floor)
            .chain([&mut self.entering])
            .collect()
    }

    /// The same on other operands.
    pub fn map<To>(self, mut f: impl FnMut(Id) -> To) -> Scan<To> {
        let shift = f(self.shift);
        Scan {
            bound: self.bound.map(&mut f),
            shift,
            entering: f(self.entering),
        }
    }
}
