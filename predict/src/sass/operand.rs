//! What an instruction reads and writes.
//!
//! Registers, predicates, integers and addresses are told apart, as that is what a way through the code is computed
//! from; numbers in floating point and everything else are kept as words.

use super::Guard;

/// The number of the register that is always zero.
const ZERO: u8 = 255;
/// The number of the predicate that is always true.
const TRUE: u8 = 7;

/// One operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register of 32 bits, or the first of several.
    Register {
        /// Whether it is the warp's, one for all lanes.
        uniform: bool,
        /// Its number; 255 is always zero.
        index: u8,
        /// Whether it is read as minus itself.
        negated: bool,
        /// Whether its bits are read inverted.
        inverted: bool,
    },
    /// A predicate.
    Predicate(Guard),
    /// An integer, or the bits of one.
    Integer(u32),
    /// Memory.
    Memory(Place),
    /// A place in the launch's constants.
    Constant(u32),
    /// The index of an instruction.
    Target(usize),
    /// The name of a place in the code.
    Label(String),
    /// Anything else.
    Word(String),
}

/// An address in memory, as far as it is in one instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A register, and what it is multiplied by.
    pub register: Option<(u8, u32)>,
    /// A register of the warp.
    pub uniform: Option<u8>,
    /// Bytes.
    pub offset: u32,
}

impl Operand {
    /// The operand of a word.
    pub(crate) fn parse(word: &str) -> Operand {
        let plain = word.trim_end_matches(".reuse");
        let other = || Operand::Word(word.to_string());
        if let Some(label) = plain.strip_prefix("`(") {
            return Operand::Label(label.trim_end_matches(')').to_string());
        }
        if let Some(constant) = plain.strip_prefix("c[0x0][0x") {
            let offset = u32::from_str_radix(constant.trim_end_matches(']'), 16);
            return offset.map_or_else(|_| other(), Operand::Constant);
        }
        if plain.ends_with(']') && !plain.starts_with(['c', '-', '|']) {
            // Of `desc[UR4][R2.64]` the second bracket is the address.
            let inside = plain.rsplit('[').next().unwrap_or_default();
            return place(inside.trim_end_matches(']')).map_or_else(other, Operand::Memory);
        }
        if let Some(integer) = integer(plain) {
            return Operand::Integer(integer);
        }
        let (mark, name) = match plain.strip_prefix(['!', '-', '~']) {
            Some(name) => (plain.as_bytes()[0], name),
            None => (b' ', plain),
        };
        let name = name.trim_end_matches(".64");
        if let (Some(index), b' ' | b'!') = (numbered(name, ["P", "UP"], "T", TRUE), mark) {
            return Operand::Predicate(Guard {
                uniform: name.starts_with('U'),
                index,
                negated: mark == b'!',
            });
        }
        match numbered(name, ["R", "UR"], "Z", ZERO) {
            Some(index) if mark != b'!' => Operand::Register {
                uniform: name.starts_with('U'),
                index,
                negated: mark == b'-',
                inverted: mark == b'~',
            },
            _ => other(),
        }
    }
}

/// The number of a name of one of two kinds; `last` stands for the one that never changes.
fn numbered(name: &str, kinds: [&str; 2], last: &str, fixed: u8) -> Option<u8> {
    let [own, warp] = kinds.map(|kind| name.strip_prefix(kind));
    let number = warp.or(own)?;
    match number == last {
        true => Some(fixed),
        false => number.parse().ok(),
    }
}

/// Of `0x10` and `-0x10`.
fn integer(word: &str) -> Option<u32> {
    let (minus, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let value = u32::from_str_radix(digits.strip_prefix("0x")?, 16).ok()?;
    Some(if minus { value.wrapping_neg() } else { value })
}

/// Of `R70.X4+UR5+-0x10`.
fn place(text: &str) -> Option<Place> {
    let mut place = Place::default();
    for term in text.split('+') {
        if let Some(value) = integer(term) {
            place.offset = place.offset.wrapping_add(value);
            continue;
        }
        let (name, modifiers) = term.split_once('.').unwrap_or((term, ""));
        let index = numbered(name, ["R", "UR"], "Z", ZERO)?;
        let scale = modifiers
            .split('.')
            .find_map(|part| part.strip_prefix('X')?.parse().ok());
        match name.starts_with('U') {
            true => place.uniform = Some(index),
            false => place.register = Some((index, scale.unwrap_or(1))),
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let register = |uniform, index, negated, inverted| Operand::Register {
            uniform,
            index,
            negated,
            inverted,
        };
        for (word, expected) in [
            ("R2.reuse", register(false, 2, false, false)),
            ("-R41", register(false, 41, true, false)),
            ("~R3", register(false, 3, false, true)),
            ("RZ", register(false, 255, false, false)),
            ("URZ", register(true, 255, false, false)),
            ("UR54", register(true, 54, false, false)),
            ("R2.64", register(false, 2, false, false)),
            ("-0x1e000", Operand::Integer(0xfffe2000)),
            ("c[0x0][0x210]", Operand::Constant(0x210)),
            ("SR_TID.X", Operand::Word("SR_TID.X".into())),
            ("PR", Operand::Word("PR".into())),
            ("1.5", Operand::Word("1.5".into())),
            ("|R44|", Operand::Word("|R44|".into())),
            ("`(.L_x_5)", Operand::Label(".L_x_5".into())),
        ] {
            assert_eq!(Operand::parse(word), expected, "{word}");
        }
        for (word, uniform, index, negated) in [
            ("P0", false, 0, false),
            ("!PT", false, 7, true),
            ("UP1", true, 1, false),
            ("!UPT", true, 7, true),
        ] {
            let guard = Guard {
                uniform,
                index,
                negated,
            };
            assert_eq!(Operand::parse(word), Operand::Predicate(guard), "{word}");
        }
        let memory = |register, uniform, offset| {
            Operand::Memory(Place {
                register,
                uniform,
                offset,
            })
        };
        for (word, expected) in [
            ("[R70+UR5+0x1e000]", memory(Some((70, 1)), Some(5), 0x1e000)),
            ("desc[UR18][R42.64+0x10]", memory(Some((42, 1)), None, 0x10)),
            ("[R3.X4]", memory(Some((3, 4)), None, 0)),
            ("[UR5+-0x4]", memory(None, Some(5), 0xfffffffc)),
        ] {
            assert_eq!(Operand::parse(word), expected, "{word}");
        }
    }
}
