//! Integer operations on numbers that are known in some lanes.
//!
//! Each says in which lanes its result is known: where all that it is made of is, and beyond that where it would be
//! the same whatever the unknown is.

use super::{LANES, Truth, UNKNOWN, Value};
use crate::sass::{Guard, Instruction};

/// Any function of three bits: its table is indexed by them.
pub fn logic(a: Value, b: Value, c: Value, table: u32) -> Value {
    let one = |lane: usize| {
        let (a, b, c) = (a.lanes[lane], b.lanes[lane], c.lanes[lane]);
        let term = |row: u32| {
            let pick = |x: u32, bit: u32| if bit == 1 { x } else { !x };
            pick(a, row >> 2 & 1) & pick(b, row >> 1 & 1) & pick(c, row & 1)
        };
        (0..8)
            .filter(|row| table >> row & 1 == 1)
            .map(term)
            .fold(0, |all, x| all | x)
    };
    Value {
        lanes: std::array::from_fn(one),
        known: a.known & b.known & c.known,
    }
}

/// A funnel shift of 32 of 64 bits, of which one half is zero or both are words.
pub fn shifted(instruction: &Instruction, low: Value, by: Value, high: Value) -> Value {
    let has = |modifier| instruction.has(modifier);
    if has("U64") || has("S64") {
        return UNKNOWN;
    }
    let amount = |x: u32| x.min(31);
    match (has("R"), has("HI"), has("S32")) {
        (true, true, false) => high.with(by, |x, by| x.checked_shr(by).unwrap_or(0)),
        (true, true, true) => high.with(by, |x, by| (x as i32 >> amount(by)) as u32),
        (true, false, false) => low.with(by, |x, by| x.checked_shr(by).unwrap_or(0)),
        (false, false, _) => low.with(by, |x, by| x.checked_shl(by).unwrap_or(0)),
        _ => UNKNOWN,
    }
}

/// Four of eight bytes.
pub fn permuted(bytes: u64, chosen: u32) -> u32 {
    let byte = |i: u32| {
        let which = chosen >> (4 * i) & 15;
        let byte = (bytes >> (8 * (which & 7)) & 255) as u32;
        match which & 8 {
            0 => byte,
            _ => (byte >> 7) * 255,
        }
    };
    (0..4).map(|i| byte(i) << (8 * i)).sum()
}

pub fn selected(truth: Truth, a: Value, b: Value) -> Value {
    let first = |lane: usize| truth.bits >> lane & 1 == 1;
    let pick = |lane: usize| {
        if first(lane) {
            a.lanes[lane]
        } else {
            b.lanes[lane]
        }
    };
    Value {
        lanes: std::array::from_fn(pick),
        known: truth.known & (truth.bits & a.known | !truth.bits & b.known),
    }
}

/// The smaller of two where the predicate holds, else the larger.
pub fn extreme(a: Value, b: Value, smaller: Option<Guard>, unsigned: bool) -> Value {
    let smaller = smaller.is_some_and(|guard| !guard.negated);
    let wide = |x: u32| match unsigned {
        true => i64::from(x),
        false => i64::from(x as i32),
    };
    let mut value = a.with(b, |a, b| match (wide(a) <= wide(b)) == smaller {
        true => a,
        false => b,
    });
    if smaller {
        for lane in 0..LANES {
            match (a.known >> lane & 1, b.known >> lane & 1) {
                (1, 0) => value.lanes[lane] = a.lanes[lane],
                (0, 1) => value.lanes[lane] = b.lanes[lane],
                _ => {}
            }
        }
        value.known = a.known | b.known;
    }
    value
}

/// Two truths joined bit by bit; with all true or all false the other need not be known.
pub fn joined(a: Truth, b: Truth, f: impl Fn(u32, u32) -> u32) -> Truth {
    let mut truth = Truth {
        bits: f(a.bits, b.bits),
        known: a.known & b.known,
    };
    for (one, other) in [(a, b), (b, a)] {
        // Known is also what comes out whatever the other one is.
        let settled = !(f(one.bits, 0) ^ f(one.bits, u32::MAX)) & one.known & !other.known;
        truth.bits = truth.bits & !settled | f(one.bits, 0) & settled;
        truth.known |= settled;
    }
    truth
}
