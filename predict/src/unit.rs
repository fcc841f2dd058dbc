//! Which unit an instruction needs, and for how long.
//!
//! By the opcode alone. What is not listed is taken as integer arithmetic, which most of what is rare is.

use crate::machine::Machine;
use crate::sass::{Instruction, Listing};

/// What executes an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Tensor cores.
    Tensor,
    /// Additions and products of f32.
    Float,
    /// Products of integers.
    Product,
    /// Other integers, logic, comparisons, selections.
    Integer,
    /// Exponentials, conversions of integers.
    Special,
    /// Shared memory, and exchanges among lanes, which go the same way.
    Shared,
    /// Memory behind the second cache.
    Memory,
    /// Memory of a thread, in the first cache.
    Local,
    /// Constants.
    Constant,
    /// The warp's own arithmetic, branches, barriers: an issue slot alone.
    Other,
}

/// What an instruction asks of its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// What executes it.
    pub unit: Unit,
    /// Clocks of a scheduler's part of the unit.
    pub clocks: f64,
    /// Bytes of each lane.
    pub width: u32,
    /// Matrices of 8 x 8 that it loads.
    pub matrices: u32,
    /// Passes through shared memory where no two lanes are in each other's way.
    pub passes: u32,
    /// Whether it reads memory.
    pub reads: bool,
    /// Whether it writes memory.
    pub writes: bool,
}

impl Work {
    pub(crate) fn of_unit(unit: Unit) -> Work {
        Work {
            unit,
            clocks: 0.0,
            width: 0,
            matrices: 0,
            passes: 0,
            reads: false,
            writes: false,
        }
    }
}

/// The work of every instruction.
pub fn works(listing: &Listing, machine: &Machine) -> Vec<Work> {
    listing.code.iter().map(|i| work(i, machine)).collect()
}

fn work(instruction: &Instruction, machine: &Machine) -> Work {
    let has = |modifier| instruction.has(modifier);
    let width: u32 = match () {
        () if has("128") => 16,
        () if has("64") => 8,
        () if has("U16") || has("S16") => 2,
        () if has("U8") || has("S8") => 1,
        () => 4,
    };
    // A pass is 128 bytes.
    let passes = (32 * width).div_ceil(128);
    let busy = |unit, clocks| Work {
        clocks,
        ..Work::of_unit(unit)
    };
    let shared = |width, matrices, passes| Work {
        width,
        matrices,
        passes,
        ..Work::of_unit(Unit::Shared)
    };
    let memory = |unit, reads, writes| Work {
        width,
        passes,
        reads,
        writes,
        ..Work::of_unit(unit)
    };
    match instruction.base() {
        "HMMA" => {
            let deep = has("16816") || has("1688") && has("TF32");
            busy(Unit::Tensor, machine.product * if deep { 1.0 } else { 0.5 })
        }
        "IMMA" | "DMMA" => busy(Unit::Tensor, machine.product),
        "FADD" | "FMUL" | "FFMA" | "HADD2" | "HMUL2" | "HFMA2" => busy(Unit::Float, machine.float),
        "IMAD" => {
            let twice = if has("WIDE") || has("HI") { 2.0 } else { 1.0 };
            busy(Unit::Product, machine.product_of_integers * twice)
        }
        "MUFU" | "I2F" | "F2I" | "F2F" | "POPC" | "FLO" | "BREV" | "FCHK" => {
            busy(Unit::Special, machine.special)
        }
        "LDSM" => {
            let matrices = [("4", 4), ("2", 2)].iter().find(|(name, _)| has(name));
            let matrices = matrices.map_or(1, |(_, matrices)| *matrices);
            shared(16, matrices, matrices)
        }
        "LDS" | "STS" | "ATOMS" => shared(width, 0, passes),
        "SHFL" | "MOVM" => shared(0, 0, 1),
        "LDG" | "LD" => memory(Unit::Memory, true, false),
        "LDGSTS" => memory(Unit::Memory, true, false),
        "STG" | "ST" => memory(Unit::Memory, false, true),
        "LDL" | "STL" => memory(Unit::Local, false, false),
        "LDC" => Work::of_unit(Unit::Constant),
        "BRA" | "JMP" | "EXIT" | "RET" | "CALL" | "BSSY" | "BSYNC" | "BREAK" | "WARPSYNC"
        | "NOP" | "BAR" | "DEPBAR" | "LDGDEPBAR" | "BMOV" | "YIELD" | "MEMBAR" | "ERRBAR"
        | "CCTL" | "S2R" | "CS2R" => Work::of_unit(Unit::Other),
        base if base.starts_with('U') || base.ends_with("UR") => Work::of_unit(Unit::Other),
        _ => busy(Unit::Integer, machine.integer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{A100, H100};

    #[test]
    fn instructions_know_their_units() {
        let of = |opcode: &str, machine| {
            let line =
                format!("/*0000*/ {opcode} R0, [R2] ; /* 0x0 */\n/* 0x000fe20000000000 */\n");
            works(&Listing::parse(&line).unwrap(), machine)[0]
        };
        assert_eq!(of("LDSM.16.MT88.4", &H100).passes, 4);
        assert_eq!(of("LDSM.16.M88.2", &H100).matrices, 2);
        assert_eq!(of("LDS.128", &H100).passes, 4);
        assert_eq!(of("STS.U16", &H100).passes, 1);
        assert_eq!(of("LDG.E.64.CONSTANT", &H100).width, 8);
        assert!(of("LDGSTS.E.BYPASS.128", &H100).reads);
        assert!(of("STG.E.64", &H100).writes);
        assert_eq!(of("FFMA", &A100).clocks, 2.0);
        assert_eq!(of("HMMA.16816.F32.BF16", &A100).clocks, 8.0);
        assert_eq!(of("HMMA.1688.F32.TF32", &A100).clocks, 8.0);
        assert_eq!(of("HMMA.1688.F32", &A100).clocks, 4.0);
        assert_eq!(of("MUFU.EX2", &H100).unit, Unit::Special);
        assert_eq!(of("LOP3.LUT", &H100).unit, Unit::Integer);
        assert_eq!(of("R2UR", &H100).unit, Unit::Other);
        assert_eq!(of("UIMAD.WIDE.U32", &H100).unit, Unit::Other);
    }
}
