//! What a warp's registers hold as far as it follows from the thread's number.
//!
//! Which lanes branch, and which banks of shared memory they touch, is mostly integer arithmetic on the thread's
//! number and constants. That is computed here, lane by lane; what comes from memory, from the launch's parameters or
//! from floating point is unknown, and so is what depends on it. One thing is assumed rather than known: the smaller
//! of a known and an unknown number is the known one. So lengths are taken as no shorter than a chunk, and
//! chunks as full.

mod bits;
mod integer;
#[cfg(test)]
mod tests;

use crate::sass::{Guard, Instruction, Operand, Place};

/// The lanes of a warp.
pub const LANES: usize = 32;
/// All of them, a bit each.
pub const ALL: u32 = u32::MAX;

/// A number in every lane, and in which lanes it is known.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    lanes: [u32; LANES],
    known: u32,
}

/// A truth in every lane, and in which lanes it is known.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    bits: u32,
    known: u32,
}

const UNKNOWN: Value = Value {
    lanes: [0; LANES],
    known: 0,
};

impl Value {
    fn same(value: u32) -> Value {
        Value {
            lanes: [value; LANES],
            known: ALL,
        }
    }

    fn each(value: impl Fn(u32) -> u32) -> Value {
        Value {
            lanes: std::array::from_fn(|lane| value(lane as u32)),
            known: ALL,
        }
    }

    fn map(self, f: impl Fn(u32) -> u32) -> Value {
        Value {
            lanes: self.lanes.map(f),
            known: self.known,
        }
    }

    fn with(self, other: Value, f: impl Fn(u32, u32) -> u32) -> Value {
        Value {
            lanes: std::array::from_fn(|lane| f(self.lanes[lane], other.lanes[lane])),
            known: self.known & other.known,
        }
    }

    fn truth(self, f: impl Fn(u32) -> bool) -> Truth {
        let bit = |lane: usize| u32::from(f(self.lanes[lane])) << lane;
        Truth {
            bits: (0..LANES).map(bit).sum(),
            known: self.known,
        }
    }
}

impl Truth {
    fn same(value: bool) -> Truth {
        Truth {
            bits: if value { ALL } else { 0 },
            known: ALL,
        }
    }

    fn not(self) -> Truth {
        Truth {
            bits: !self.bits,
            known: self.known,
        }
    }

    /// The lanes in which it holds; none where that is not known of one of `lanes`.
    pub fn among(self, lanes: u32) -> Option<u32> {
        (self.known & lanes == lanes).then_some(self.bits & lanes)
    }
}

/// The registers and predicates of one warp.
#[derive(Clone)]
pub struct Known {
    warp: u32,
    registers: Vec<Value>,
    uniform: Vec<Value>,
    predicates: [Truth; 8],
    uniform_predicates: [Truth; 8],
}

impl Known {
    /// A warp at a kernel's entry.
    pub fn new(warp: u32) -> Known {
        let truth = Truth { bits: 0, known: 0 };
        Known {
            warp,
            registers: vec![UNKNOWN; 256],
            uniform: vec![UNKNOWN; 256],
            predicates: [truth; 8],
            uniform_predicates: [truth; 8],
        }
    }

    /// A predicate as an instruction reads it.
    pub fn truth(&self, guard: Guard) -> Truth {
        let truth = match (guard.index, guard.uniform) {
            (7, _) => Truth::same(true),
            (index, true) => self.uniform_predicates[usize::from(index) & 7],
            (index, false) => self.predicates[usize::from(index) & 7],
        };
        if guard.negated { truth.not() } else { truth }
    }

    /// The lanes of `active` in which an instruction acts; none where that is not known.
    pub fn acting(&self, instruction: &Instruction, active: u32) -> Option<u32> {
        match instruction.guard {
            Some(guard) => self.truth(guard).among(active),
            None => Some(active),
        }
    }

    /// The addresses of the lanes of `acting`; none where one is not known.
    pub fn addresses(&self, place: Place, acting: u32) -> Option<[u32; LANES]> {
        let (register, scale) = place.register.unwrap_or((255, 1));
        let base = self
            .register(false, register)
            .map(|x| x.wrapping_mul(scale));
        let all = base.with(self.register(true, place.uniform.unwrap_or(255)), |a, b| {
            a.wrapping_add(b).wrapping_add(place.offset)
        });
        (all.known & acting == acting).then_some(all.lanes)
    }

    fn register(&self, uniform: bool, index: u8) -> Value {
        match (index, uniform) {
            (255, _) => Value::same(0),
            (_, true) => self.uniform[usize::from(index)],
            (_, false) => self.registers[usize::from(index)],
        }
    }

    /// An operand as a number.
    fn value(&self, operand: &Operand) -> Value {
        match *operand {
            Operand::Register {
                uniform,
                index,
                negated,
                inverted,
            } => {
                let value = self.register(uniform, index);
                match (negated, inverted) {
                    (true, _) => value.map(u32::wrapping_neg),
                    (_, true) => value.map(|x| !x),
                    _ => value,
                }
            }
            Operand::Integer(value) => Value::same(value),
            _ => UNKNOWN,
        }
    }

    /// Writes `value` in the lanes of `lanes`; where these are not known, it may be the old one.
    fn set(&mut self, uniform: bool, index: u8, value: Value, lanes: Option<u32>, active: u32) {
        if index == 255 {
            return;
        }
        let place = match uniform {
            true => &mut self.uniform[usize::from(index)],
            false => &mut self.registers[usize::from(index)],
        };
        // One write of a warp's register is every lane's.
        let lanes = lanes.map(|lanes| if uniform && lanes != 0 { ALL } else { lanes });
        match lanes {
            Some(lanes) => {
                for lane in (0..LANES).filter(|lane| lanes >> lane & 1 == 1) {
                    place.lanes[lane] = value.lanes[lane];
                }
                place.known = place.known & !lanes | value.known & lanes;
            }
            None => place.known &= if uniform { 0 } else { !active },
        }
    }

    fn set_truth(&mut self, guard: Guard, value: Truth, lanes: Option<u32>, active: u32) {
        if guard.index == 7 {
            return;
        }
        let place = match guard.uniform {
            true => &mut self.uniform_predicates[usize::from(guard.index) & 7],
            false => &mut self.predicates[usize::from(guard.index) & 7],
        };
        let lanes = lanes.map(|lanes| {
            if guard.uniform && lanes != 0 {
                ALL
            } else {
                lanes
            }
        });
        match lanes {
            Some(lanes) => {
                place.bits = place.bits & !lanes | value.bits & lanes;
                place.known = place.known & !lanes | value.known & lanes;
            }
            None => place.known &= if guard.uniform { 0 } else { !active },
        }
    }
}
