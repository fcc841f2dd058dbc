//! One instruction on what is known.
//!
//! What an instruction writes is found by its form: predicates first, then a register or as many as it is wide, then
//! predicates that it carries out. What none of the arms below computes makes all of that unknown, so an
//! instruction that nobody thought of loses knowledge and never makes a false one.

use super::bits::{extreme, joined, logic, permuted, selected, shifted};
use super::{Known, LANES, Truth, UNKNOWN, Value};
use crate::sass::{Guard, Instruction, Operand};

impl Known {
    /// Executes an instruction in the lanes `acting`, which are not known where it is none, of those that are `active`.
    pub fn step(&mut self, instruction: &Instruction, acting: Option<u32>, active: u32) {
        let operands = &instruction.operands[..];
        if instruction.base() == "R2P" {
            return self.unpack(operands, acting, active);
        }
        let truths = self.truths(instruction);
        let compares = compares(instruction.base());
        let leading = operands.iter().take(if compares { 2 } else { usize::MAX });
        let leading: Vec<Guard> = leading.map_while(predicate).collect();
        let at = leading.len();
        let result = match operands.get(at) {
            Some(&Operand::Register { uniform, index, .. }) if !compares => Some((uniform, index)),
            _ => None,
        };
        let value = match result {
            Some(_) => self.compute(instruction, &operands[at + 1..]),
            None => UNKNOWN,
        };
        for (i, guard) in leading.iter().enumerate() {
            let truth = match (compares, i) {
                (true, 0) => truths,
                // A logic operation's predicate says whether a bit is left.
                (false, 0) if matches!(instruction.base(), "LOP3" | "ULOP3") => {
                    value.truth(|x| x != 0)
                }
                _ => Truth { bits: 0, known: 0 },
            };
            self.set_truth(*guard, truth, acting, active);
        }
        let Some((uniform, index)) = result else {
            return;
        };
        let carries: Vec<Guard> = match instruction.base() {
            "IADD3" | "UIADD3" | "LEA" | "ULEA" => {
                let rest = operands[at + 1..].iter();
                rest.map_while(predicate).collect()
            }
            _ => vec![],
        };
        for guard in carries {
            self.set_truth(guard, Truth { bits: 0, known: 0 }, acting, active);
        }
        self.set(uniform, index, value, acting, active);
        // A pair that is set to zero is zero in both; of others only the lower half is computed.
        let upper = match instruction.base() {
            "CS2R" => value,
            _ => UNKNOWN,
        };
        for further in 1..width(instruction) {
            self.set(
                uniform,
                index.saturating_add(further),
                upper,
                acting,
                active,
            );
        }
    }

    /// The number that an instruction of one result computes of its sources.
    fn compute(&self, instruction: &Instruction, sources: &[Operand]) -> Value {
        if instruction.has("X") || instruction.has("HI") && !shifts(instruction.base()) {
            return UNKNOWN;
        }
        let numbers: Vec<&Operand> = {
            let number = |operand: &&Operand| predicate(operand).is_none();
            sources.iter().filter(number).collect()
        };
        let number = |i: usize| numbers.get(i).map_or(Value::same(0), |op| self.value(op));
        let chosen = sources.iter().filter_map(predicate).next_back();
        match instruction.base() {
            "S2R" | "S2UR" | "CS2R" => self.special(sources.first()),
            "MOV" | "UMOV" | "R2UR" => number(0),
            "IMAD" | "UIMAD" => {
                let product = number(0).with(number(1), u32::wrapping_mul);
                product.with(number(2), u32::wrapping_add)
            }
            "IADD3" | "UIADD3" | "VIADD" | "IADD" => {
                let sum = number(0).with(number(1), u32::wrapping_add);
                sum.with(number(2), u32::wrapping_add)
            }
            "LEA" | "ULEA" => {
                let shifted = number(0).with(number(2), |x, by| x.checked_shl(by).unwrap_or(0));
                shifted.with(number(1), u32::wrapping_add)
            }
            "LOP3" | "ULOP3" => match numbers.get(3) {
                Some(Operand::Integer(table)) => logic(number(0), number(1), number(2), *table),
                _ => UNKNOWN,
            },
            "SHF" | "USHF" => shifted(instruction, number(0), number(1), number(2)),
            "SGXT" | "USGXT" => number(0).with(number(1), |x, bits| {
                let above = 32 - bits.clamp(1, 32);
                match instruction.has("U32") {
                    true => x << above >> above,
                    false => ((x << above) as i32 >> above) as u32,
                }
            }),
            "PRMT" | "UPRMT" => {
                let pair = |i: usize| {
                    let (low, high) = (number(0), number(2));
                    u64::from(high.lanes[i]) << 32 | u64::from(low.lanes[i])
                };
                let chosen = number(1);
                Value {
                    lanes: std::array::from_fn(|lane| permuted(pair(lane), chosen.lanes[lane])),
                    known: number(0).known & chosen.known & number(2).known,
                }
            }
            "SEL" | "USEL" => match chosen.map(|guard| self.truth(guard)) {
                Some(truth) => selected(truth, number(0), number(1)),
                None => UNKNOWN,
            },
            "VIMNMX" | "IMNMX" | "UIMNMX" => {
                extreme(number(0), number(1), chosen, instruction.has("U32"))
            }
            "VIADDMNMX" => {
                let sum = number(0).with(number(1), u32::wrapping_add);
                extreme(sum, number(2), chosen, instruction.has("U32"))
            }
            "P2R" => self.packed(sources),
            _ => UNKNOWN,
        }
    }

    fn special(&self, name: Option<&Operand>) -> Value {
        let Some(Operand::Word(name)) = name else {
            return UNKNOWN;
        };
        match name.as_str() {
            "SR_TID.X" => Value::each(|lane| LANES as u32 * self.warp + lane),
            "SR_LANEID" => Value::each(|lane| lane),
            "SR_TID.Y" | "SR_TID.Z" | "SR_CgaCtaId" | "SRZ" => Value::same(0),
            _ => UNKNOWN,
        }
    }

    /// The first predicate that a comparison writes.
    fn truths(&self, instruction: &Instruction) -> Truth {
        let unknown = Truth { bits: 0, known: 0 };
        let operands = &instruction.operands[..];
        match (instruction.base(), operands) {
            ("ISETP" | "UISETP", [_, _, a, b, rest @ ..]) if !instruction.has("EX") => {
                let Some(with) = rest.first().and_then(predicate) else {
                    return unknown;
                };
                let (a, b, with) = (self.value(a), self.value(b), self.truth(with));
                let signed = |x: u32| x as i32;
                let mut parts = instruction.opcode.split('.').skip(1);
                let test: fn(i64, i64) -> bool = match parts.next() {
                    Some("LT") => |a, b| a < b,
                    Some("LE") => |a, b| a <= b,
                    Some("GT") => |a, b| a > b,
                    Some("GE") => |a, b| a >= b,
                    Some("EQ") => |a, b| a == b,
                    Some("NE") => |a, b| a != b,
                    _ => return unknown,
                };
                let wide = |x: u32| match instruction.has("U32") {
                    true => i64::from(x),
                    false => i64::from(signed(x)),
                };
                let compared = a.with(b, |a, b| u32::from(test(wide(a), wide(b))));
                let compared = compared.truth(|x| x != 0);
                joined(compared, with, |a, b| match () {
                    () if instruction.has("OR") => a | b,
                    () if instruction.has("XOR") => a ^ b,
                    () => a & b,
                })
            }
            ("PLOP3" | "UPLOP3", [_, _, a, b, c, Operand::Integer(table), ..]) => {
                let [Some(a), Some(b), Some(c)] = [a, b, c].map(predicate) else {
                    return unknown;
                };
                let [a, b, c] = [a, b, c].map(|guard| self.truth(guard));
                let mut bits = 0;
                let mut known = 0;
                for lane in 0..LANES {
                    // Known is what comes out whatever an unknown one is.
                    let may = |truth: Truth, is: u32| {
                        truth.known >> lane & 1 == 0 || truth.bits >> lane & 1 == is
                    };
                    let outcomes = (0..8u32).filter(|row| {
                        may(a, row >> 2 & 1) && may(b, row >> 1 & 1) && may(c, row & 1)
                    });
                    let outcomes: Vec<u32> = outcomes.map(|row| table >> row & 1).collect();
                    if outcomes.iter().all(|outcome| *outcome == outcomes[0]) {
                        known |= 1 << lane;
                        bits |= outcomes[0] << lane;
                    }
                }
                Truth { bits, known }
            }
            _ => unknown,
        }
    }

    /// Predicates as bits of a register: `P2R R135, PR, RZ, 0x8`.
    fn packed(&self, sources: &[Operand]) -> Value {
        let [_, base, Operand::Integer(mask)] = sources else {
            return UNKNOWN;
        };
        let mut value = self.value(base).map(|x| x & !mask);
        for (i, truth) in self.predicates.iter().enumerate().take(7) {
            if mask >> i & 1 == 1 {
                value.known &= truth.known;
                for (lane, bits) in value.lanes.iter_mut().enumerate() {
                    *bits |= (truth.bits >> lane & 1) << i;
                }
            }
        }
        value
    }

    /// Bits of a register as predicates: `R2P PR, R2, 0xc`.
    fn unpack(&mut self, operands: &[Operand], acting: Option<u32>, active: u32) {
        let [_, from, Operand::Integer(mask)] = operands else {
            return;
        };
        let value = self.value(from);
        for index in (0..7).filter(|i| mask >> i & 1 == 1) {
            let guard = Guard {
                uniform: false,
                index,
                negated: false,
            };
            let truth = value.truth(|x| x >> index & 1 == 1);
            self.set_truth(guard, truth, acting, active);
        }
    }
}

fn predicate(operand: &Operand) -> Option<Guard> {
    match operand {
        Operand::Predicate(guard) => Some(*guard),
        _ => None,
    }
}

/// Whether an instruction's results are predicates alone.
fn compares(base: &str) -> bool {
    base.ends_with("SETP") || matches!(base, "PLOP3" | "UPLOP3" | "FCHK")
}

fn shifts(base: &str) -> bool {
    matches!(base, "SHF" | "USHF")
}

/// Registers that an instruction writes.
fn width(instruction: &Instruction) -> u8 {
    let has = |modifier| instruction.has(modifier);
    match instruction.base() {
        "HMMA" | "IMMA" | "DMMA" => 4,
        "LDSM" if has("4") => 4,
        "LDSM" if has("2") => 2,
        "CS2R" if !has("32") => 2,
        "DADD" | "DMUL" | "DFMA" => 2,
        _ if has("128") => 4,
        _ if has("64") || has("WIDE") => 2,
        _ => 1,
    }
}
