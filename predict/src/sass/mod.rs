//! Machine code as nvdisasm prints it with encodings, an instruction on two lines.
//!
//! Of an instruction's 128 bits only the control field is read, bits 105 to 125: what the assembler computed for the
//! hardware. Everything else comes from the text. Branches are resolved to indices, so nobody else knows of labels.

mod operand;

pub use operand::{Operand, Place};

use crate::Error;
use std::collections::BTreeMap;

/// A kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// In the order of their addresses; functions that it calls are behind it.
    pub code: Vec<Instruction>,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Bytes from the kernel's entry.
    pub address: u32,
    /// In which lanes it acts.
    pub guard: Option<Guard>,
    /// `IMAD.WIDE.U32`
    pub opcode: String,
    /// What it writes, then what it reads.
    pub operands: Vec<Operand>,
    /// What the assembler tells the hardware.
    pub control: Control,
}

/// A predicate that an instruction depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whether it is one of the warp's.
    pub uniform: bool,
    /// Its number; 7 is always true.
    pub index: u8,
    /// Whether it acts where the predicate is false.
    pub negated: bool,
}

/// The control field of an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Clocks before the warp's next instruction.
    pub stall: u8,
    /// Whether another warp is preferred next.
    pub yields: bool,
    /// The barrier that is set until the result is there.
    pub write: Option<u8>,
    /// The barrier that is set until the operands are read.
    pub read: Option<u8>,
    /// The barriers that are waited for, a bit each.
    pub wait: u8,
}

impl Control {
    /// That of the upper 64 bits of an encoding.
    fn of(upper: u64) -> Control {
        let bits = upper >> 41;
        let barrier = |bits: u64| match (bits & 7) as u8 {
            7 => None,
            barrier => Some(barrier),
        };
        Control {
            stall: (bits & 15) as u8,
            yields: bits >> 4 & 1 == 0,
            write: barrier(bits >> 5),
            read: barrier(bits >> 8),
            wait: (bits >> 11 & 63) as u8,
        }
    }
}

impl Instruction {
    /// The opcode without modifiers.
    pub fn base(&self) -> &str {
        self.opcode.split('.').next().unwrap_or_default()
    }

    /// Whether a modifier is among the opcode's.
    pub fn has(&self, modifier: &str) -> bool {
        self.opcode.split('.').skip(1).any(|part| part == modifier)
    }

    /// The index that it may go to, of a branch.
    pub fn target(&self) -> Option<usize> {
        let branches = matches!(self.base(), "BRA" | "JMP") && !self.has("DIV");
        self.operands.iter().find_map(|operand| match operand {
            Operand::Target(index) if branches => Some(*index),
            _ => None,
        })
    }
}

impl Listing {
    /// The first kernel of what `nvdisasm -c -hex` prints.
    pub fn parse(text: &str) -> Result<Listing, Error> {
        let mut code: Vec<Instruction> = vec![];
        let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
        let mut pending = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            let wrong = |expected| Error::Line {
                line: number + 1,
                expected,
            };
            if line.starts_with("\t.section\t.text") && !code.is_empty() {
                break;
            }
            if let Some(label) = line.strip_suffix(':')
                && !label.starts_with(char::is_whitespace)
            {
                labels.insert(label, code.len());
                continue;
            }
            let Some((address, rest)) = comment(line) else {
                continue;
            };
            match (address.strip_prefix("0x"), pending.take()) {
                (Some(upper), Some(instruction)) => {
                    let upper = u64::from_str_radix(upper, 16);
                    let upper = upper.map_err(|_| wrong("the upper half of an encoding"))?;
                    code.push(Instruction {
                        control: Control::of(upper),
                        ..instruction
                    });
                }
                (None, None) => {
                    let address = u32::from_str_radix(address, 16);
                    let address = address.map_err(|_| wrong("an address in hexadecimal"))?;
                    let words = rest.split("/*").next().unwrap_or_default();
                    let words = words.trim().trim_end_matches(';').trim();
                    pending = Some(instruction(address, words).ok_or(wrong("an instruction"))?);
                }
                (Some(_), None) => return Err(wrong("an instruction before this encoding")),
                (None, Some(_)) => return Err(wrong("the upper half of an encoding")),
            }
        }
        if code.is_empty() {
            return Err(Error::Empty);
        }
        for instruction in &mut code {
            for operand in &mut instruction.operands {
                if let Operand::Label(label) = operand
                    && let Some(&index) = labels.get(label.as_str())
                {
                    *operand = Operand::Target(index);
                }
            }
        }
        Ok(Listing { code })
    }
}

/// What a line's first comment says, and what stands behind it.
fn comment(line: &str) -> Option<(&str, &str)> {
    let (before, rest) = line.split_once("/*")?;
    let (inside, rest) = rest.split_once("*/")?;
    before.trim().is_empty().then_some((inside.trim(), rest))
}

/// An instruction of its words, without its control field.
fn instruction(address: u32, words: &str) -> Option<Instruction> {
    let (guard, words) = match words.strip_prefix('@') {
        Some(rest) => {
            let (guard, words) = rest.split_once(char::is_whitespace)?;
            match Operand::parse(guard) {
                Operand::Predicate(guard) => (Some(guard), words.trim()),
                _ => return None,
            }
        }
        None => (None, words),
    };
    let (opcode, operands) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    if !opcode.starts_with(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let operands = operands.split(',').map(str::trim);
    Some(Instruction {
        address,
        guard,
        opcode: opcode.into(),
        operands: (operands.filter(|operand| !operand.is_empty()))
            .map(Operand::parse)
            .collect(),
        control: Control::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the forward kernel of linear attention: a product that waits for a load, and a loop's end.
    const TEXT: &str = "
.text.kernel:
.L_x_29:
        /*05dd0*/                   HMMA.16816.F32.BF16 R80, R76.reuse, R40, RZ ;      /* 0x000000284c50723c */
                                                                                     /* 0x008fe200000418ff */
        /*05de0*/              @!P2 LDSM.16.M88.4 R40, [R48+UR5+0x4000] ;              /* 0x004000003028783b */
                                                                                     /* 0x000e620000000200 */
        /*05df0*/               @P0 BRA `(.L_x_29) ;                                   /* 0xfffffff000008947 */
                                                                                     /* 0x000fea000383ffff */
";

    #[test]
    fn instructions_have_their_control_fields() {
        let listing = Listing::parse(TEXT).unwrap();
        let [product, load, branch] = &listing.code[..] else {
            panic!("{listing:?}")
        };
        assert_eq!((product.base(), product.address), ("HMMA", 0x5dd0));
        assert!(product.has("BF16") && !product.has("F16"));
        let register = |index| Operand::Register {
            uniform: false,
            index,
            negated: false,
            inverted: false,
        };
        assert_eq!(
            product.operands,
            [register(80), register(76), register(40), register(255)]
        );
        assert_eq!(
            product.control,
            Control {
                stall: 1,
                yields: false,
                write: None,
                read: None,
                wait: 0b001000
            }
        );
        let guard = load.guard.unwrap();
        assert!(guard.negated && !guard.uniform && guard.index == 2);
        assert_eq!((load.control.write, load.control.stall), (Some(1), 1));
        assert_eq!(
            load.operands[1],
            Operand::Memory(Place {
                register: Some((48, 1)),
                uniform: Some(5),
                offset: 0x4000
            })
        );
        assert_eq!(branch.target(), Some(0));
        assert!(!branch.control.yields && branch.control.stall == 5);
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        assert_eq!(Listing::parse(""), Err(Error::Empty));
        let half = TEXT.lines().take(4).collect::<Vec<_>>().join("\n");
        assert_eq!(Listing::parse(&half), Err(Error::Empty));
        let twice = TEXT.replacen("/* 0x008fe200000418ff */", "", 1);
        let refused = Listing::parse(&twice).unwrap_err();
        assert!(matches!(refused, Error::Line { line: 6, .. }), "{refused}");
        let strange = TEXT.replacen("HMMA", "?", 1);
        assert!(
            Listing::parse(&strange)
                .unwrap_err()
                .to_string()
                .contains("line 4")
        );
    }
}
