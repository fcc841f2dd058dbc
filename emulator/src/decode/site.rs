//! One instruction being decoded: its modifiers, its operands, and where its ops go.

use super::builder::Builder;
use super::modifiers::Modifiers;
use crate::error::{Error, Result};
use crate::op::{Address, Op, Slot};
use crate::text::tree::{Instruction, Operand};
use crate::types::{Space, Type};

pub(crate) struct Site<'b, 'a, 'i> {
    pub builder: &'b mut Builder<'a>,
    pub instruction: &'i Instruction,
    pub modifiers: Modifiers<'i>,
    pub guard: Option<(Slot, bool)>,
    pub kind: Option<u16>,
}

impl<'b, 'a, 'i> Site<'b, 'a, 'i> {
    pub fn new(
        builder: &'b mut Builder<'a>,
        instruction: &'i Instruction,
        guard: Option<(Slot, bool)>,
        kind: u16,
    ) -> Site<'b, 'a, 'i> {
        Site {
            builder,
            instruction,
            modifiers: Modifiers::new(&instruction.mnemonic),
            guard,
            kind: Some(kind),
        }
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::at(self.instruction.line, message))
    }

    /// The refusal of what the emulator does not know.
    pub fn unknown(&self) -> Error {
        let name = &self.instruction.mnemonic;
        let message = match self.modifiers.unused() {
            Some(part) if !part.is_empty() => format!(
                "instruction `{name}` is not known to the emulator (it stopped at `.{part}`)"
            ),
            _ => format!("instruction `{name}` is not known to the emulator"),
        };
        Error::at(self.instruction.line, message)
    }

    pub fn flag(&mut self, name: &str) -> bool {
        self.modifiers.flag(name)
    }

    /// The next type modifier.
    pub fn ty(&mut self) -> Result<Type> {
        match self.modifiers.ty() {
            Some(ty) => Ok(ty),
            None => Err(self.unknown()),
        }
    }

    /// So many operands are there, and no modifier is left that nothing understood.
    pub fn arity(&self, counts: std::ops::RangeInclusive<usize>) -> Result<()> {
        if self.modifiers.unused().is_some() {
            return Err(self.unknown());
        }
        let found = self.instruction.operands.len();
        if counts.contains(&found) {
            return Ok(());
        }
        let name = &self.instruction.mnemonic;
        let wanted = match (counts.start(), counts.end()) {
            (a, b) if a == b => format!("{a}"),
            (a, b) => format!("{a} to {b}"),
        };
        self.fail(format!("`{name}` takes {wanted} operands, found {found}"))
    }

    pub fn count(&self) -> usize {
        self.instruction.operands.len()
    }

    pub fn emit(&mut self, op: Op) {
        let kind = self.kind.take();
        let line = self.instruction.line;
        self.builder.push(op, self.guard, line, kind);
    }

    pub fn operand(&self, index: usize) -> Result<&'i Operand> {
        match self.instruction.operands.get(index) {
            Some(operand) => Ok(operand),
            None => {
                let name = &self.instruction.mnemonic;
                self.fail(format!("`{name}` lacks operand {}", index + 1))
            }
        }
    }

    /// The register that an operand writes.
    pub fn dest(&mut self, index: usize) -> Result<Slot> {
        let operand = self.operand(index)?;
        self.dest_of(operand)
    }

    pub fn dest_of(&mut self, operand: &Operand) -> Result<Slot> {
        match operand {
            Operand::Sink => Ok(self.builder.fresh()),
            Operand::Name(name) => match super::names::find(&self.builder.scopes, name) {
                Some(super::names::Binding::Register { slot, .. }) => Ok(slot),
                _ => self.fail(format!("`{name}` is no register declared here")),
            },
            _ => self.fail("an instruction writes to registers only"),
        }
    }

    /// The declared type of an operand that is a register.
    pub fn declared(&mut self, index: usize) -> Result<Option<Type>> {
        Ok(match self.operand(index)? {
            Operand::Name(name) => self.builder.named(name).and_then(|(_, ty, _)| ty),
            _ => None,
        })
    }

    /// The slot of an operand that is read as a type.
    pub fn source(&mut self, index: usize, ty: Type) -> Result<Slot> {
        let operand = self.operand(index)?;
        self.source_of(operand, ty)
    }

    pub fn source_of(&mut self, operand: &Operand, ty: Type) -> Result<Slot> {
        match operand {
            Operand::Name(name) => match self.builder.named(name) {
                Some((_, Some(Type::Pred), _)) if ty != Type::Pred => {
                    self.fail(format!("`{name}` is a predicate where `{ty:?}` is read"))
                }
                Some((slot, _, _)) => Ok(slot),
                None => self.fail(format!("`{name}` is not declared")),
            },
            Operand::Integer(value) if ty == Type::F32 => Ok(self
                .builder
                .constant(u64::from((*value as i64 as f32).to_bits()))),
            Operand::Integer(value) if ty == Type::F64 => {
                Ok(self.builder.constant((*value as i64 as f64).to_bits()))
            }
            Operand::Integer(value) => {
                let mask = match ty {
                    Type::Pred => 1,
                    _ if ty.bytes() >= 8 => u64::MAX,
                    _ => (1 << (8 * ty.bytes())) - 1,
                };
                Ok(self.builder.constant(value & mask))
            }
            Operand::Single(bits) if ty == Type::F64 => {
                let value = f64::from(f32::from_bits(*bits));
                Ok(self.builder.constant(value.to_bits()))
            }
            Operand::Single(bits) => Ok(self.builder.constant(u64::from(*bits))),
            Operand::Double(bits) if ty.bytes() == 4 => {
                let value = f64::from_bits(*bits) as f32;
                Ok(self.builder.constant(u64::from(value.to_bits())))
            }
            Operand::Double(bits) => Ok(self.builder.constant(*bits)),
            _ => self.fail("expected a register or a number as operand"),
        }
    }

    /// A predicate operand and whether it is negated.
    pub fn predicate(&mut self, index: usize) -> Result<(Slot, bool)> {
        match self.operand(index)? {
            Operand::Not(name) => {
                let slot = self.source_of(&Operand::Name(name.clone()), Type::Pred)?;
                Ok((slot, true))
            }
            operand => Ok((self.source_of(operand, Type::Pred)?, false)),
        }
    }

    /// A predicate operand as one slot.
    pub fn plain_predicate(&mut self, index: usize) -> Result<Slot> {
        let (slot, negated) = self.predicate(index)?;
        if !negated {
            return Ok(slot);
        }
        let d = self.builder.fresh();
        self.emit(Op::Map1 {
            f: crate::lanes::map1!(bool => |a| !a),
            d,
            a: slot,
        });
        Ok(d)
    }

    pub fn vector(&mut self, index: usize) -> Result<&'i [Operand]> {
        match self.operand(index)? {
            Operand::Vector(parts) => Ok(parts),
            operand => Ok(std::slice::from_ref(operand)),
        }
    }

    pub fn dests(&mut self, index: usize) -> Result<Vec<Slot>> {
        let parts = self.vector(index)?;
        parts.iter().map(|part| self.dest_of(part)).collect()
    }

    pub fn sources(&mut self, index: usize, ty: Type) -> Result<Vec<Slot>> {
        let parts = self.vector(index)?;
        parts.iter().map(|part| self.source_of(part, ty)).collect()
    }

    /// An operand that must be a number in the text.
    pub fn number(&mut self, index: usize) -> Result<u64> {
        match self.operand(index)? {
            Operand::Integer(value) => Ok(*value),
            _ => self.fail(format!("operand {} is a number in the text", index + 1)),
        }
    }

    /// A memory operand. A device function's parameters are local memory, whatever the instruction says.
    pub fn address(&mut self, index: usize, space: Space) -> Result<Address> {
        let Operand::Address { base, offset } = self.operand(index)? else {
            return self.fail(format!("operand {} is an address in brackets", index + 1));
        };
        let mut space = space;
        if let Operand::Name(name) = &**base
            && let Some((_, _, Some(home))) = self.builder.named(name)
        {
            match (space, home) {
                (Space::Param, Space::Local) => space = Space::Local,
                (Space::Generic, Space::Shared | Space::Local | Space::Param) => space = home,
                _ => {}
            }
        }
        let slot = self.source_of(base, Type::U64)?;
        Ok(Address {
            space,
            base: slot,
            offset: *offset,
        })
    }
}
