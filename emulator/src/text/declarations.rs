//! Variables, registers and the heads of functions.

use super::lexer::Token;
use super::parser::Parser;
use super::tree::{Formal, Function, Variable};
use crate::error::{Error, Result};
use crate::types::{Space, Type};

/// Static memory of one variable beyond this is taken for a mistake.
const LARGEST: u64 = 1 << 30;

/// What stands between a state space and a name.
struct Shape {
    ty: Type,
    align: u32,
    lanes: u64,
}

impl Parser {
    /// `.entry name (...) limits { ... }` or `.func (...) name (...) { ... }`.
    pub fn function(&mut self) -> Result<Function> {
        let kernel = self.word("`.entry` or `.func`")? == ".entry";
        let mut returns = vec![];
        if !kernel {
            while matches!(self.peek_word(), Some(".noreturn" | ".attribute")) {
                self.word("an attribute")?;
            }
            if self.is('(') {
                returns = self.formals()?;
            }
        }
        let line = self.line();
        let name = self.word("a function's name")?;
        let parameters = if self.is('(') {
            self.formals()?
        } else {
            vec![]
        };
        let mut function = Function {
            line,
            name,
            kernel,
            returns,
            parameters,
            body: None,
            max_block: None,
            required_block: None,
        };
        while let Some(word) = self.peek_word().map(str::to_string) {
            match word.as_str() {
                ".maxntid" => {
                    self.next()?;
                    function.max_block = Some(self.extents()?);
                }
                ".reqntid" => {
                    self.next()?;
                    function.required_block = Some(self.extents()?);
                }
                ".minnctapersm" | ".maxnreg" | ".maxnctapersm" => {
                    self.next()?;
                    self.unsigned("a limit")?;
                }
                ".noreturn" => {
                    self.next()?;
                }
                ".pragma" => self.skip_statement()?,
                ".loc" | ".file" => self.skip_line(),
                _ => return Err(self.unexpected("a limit known to the emulator, or a body")),
            }
        }
        if !self.accept(';') {
            function.body = Some(self.block()?);
        }
        Ok(function)
    }

    fn extents(&mut self) -> Result<[u32; 3]> {
        let mut extents = [1; 3];
        extents[0] = self.small("a block's size")?;
        for extent in &mut extents[1..] {
            if self.accept(',') {
                *extent = self.small("a block's size")?;
            }
        }
        Ok(extents)
    }

    fn formals(&mut self) -> Result<Vec<Formal>> {
        self.expect('(')?;
        let mut formals = vec![];
        while !self.accept(')') {
            let register = match self.word("`.param` or `.reg`")?.as_str() {
                ".param" => false,
                ".reg" => true,
                other => {
                    let message = format!("expected `.param` or `.reg`, found `{other}`");
                    return Err(Error::at(self.line(), message));
                }
            };
            let shape = self.shape()?;
            let name = self.word("a parameter's name")?;
            let count = self.dimensions()?.unwrap_or(1);
            formals.push(Formal {
                name,
                register: register.then_some(shape.ty),
                bytes: self.total(&shape, count)?,
                align: shape.align,
            });
            if !self.is(')') {
                self.expect(',')?;
            }
        }
        Ok(formals)
    }

    /// Alignment, vector width and type; `.ptr .global .align 16` of a kernel's pointers is skipped.
    fn shape(&mut self) -> Result<Shape> {
        let (mut align, mut lanes) = (None, 1);
        let mut ty = None;
        while let Some(word) = self.peek_word().filter(|w| w.starts_with('.')) {
            let word = word.to_string();
            self.next()?;
            match word.as_str() {
                ".align" => {
                    let value = self.small("an alignment")?;
                    if !value.is_power_of_two() {
                        let message = format!("an alignment is a power of two, not {value}");
                        return Err(Error::at(self.line(), message));
                    }
                    align = align.or(Some(value));
                }
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".ptr" => {
                    let own = align;
                    while let Some(".global" | ".const" | ".local" | ".shared" | ".align") =
                        self.peek_word()
                    {
                        if self.word("a pointer's space")? == ".align" {
                            self.small("an alignment")?;
                        }
                    }
                    align = own;
                }
                _ => match Type::named(&word[1..]) {
                    Some(named) => ty = Some(named),
                    None => {
                        let message = format!("`{word}` is no type known to the emulator");
                        return Err(Error::at(self.line(), message));
                    }
                },
            }
        }
        let ty = ty.ok_or_else(|| self.unexpected("a type"))?;
        Ok(Shape {
            ty,
            align: align.unwrap_or(ty.bytes() * lanes as u32),
            lanes,
        })
    }

    /// `[4][8]`: the number of elements; `[]` is zero, and no brackets are none.
    fn dimensions(&mut self) -> Result<Option<u64>> {
        let mut count = None;
        while self.accept('[') {
            let size = match self.is(']') {
                true => 0,
                false => self.unsigned("an array's size")?,
            };
            self.expect(']')?;
            let total = count.unwrap_or(1u64).checked_mul(size);
            let large = || Error::at(self.line(), "an array is too large");
            count = Some(total.ok_or_else(large)?);
        }
        Ok(count)
    }

    fn total(&self, shape: &Shape, count: u64) -> Result<u64> {
        count
            .checked_mul(shape.lanes * u64::from(shape.ty.bytes()))
            .filter(|&bytes| bytes <= LARGEST)
            .ok_or_else(|| Error::at(self.line(), "a variable is too large"))
    }

    /// A declaration of one or more variables, up to and with its semicolon.
    pub fn variables(&mut self, external: bool) -> Result<Vec<Variable>> {
        let line = self.line();
        let word = self.word("a state space")?;
        let space = word.strip_prefix('.').and_then(Space::named);
        let Some(space) = space else {
            let message = format!("`{word}` opens no declaration known to the emulator");
            return Err(Error::at(line, message));
        };
        let shape = self.shape()?;
        let mut variables = vec![];
        loop {
            let name = self.word("a variable's name")?;
            let count = self.dimensions()?;
            let mut bytes = self.total(&shape, count.unwrap_or(1))?;
            let mut initial = None;
            if self.accept('=') {
                let mut given = vec![];
                self.initial(shape.ty, &mut given, 0)?;
                if count == Some(0) {
                    bytes = given.len() as u64;
                }
                if given.len() as u64 > bytes {
                    let message = format!("`{name}` is given more than its {bytes} bytes");
                    return Err(Error::at(line, message));
                }
                initial = Some(given);
            }
            variables.push(Variable {
                space,
                name,
                align: shape.align,
                bytes,
                unsized_array: external && bytes == 0,
                initial,
            });
            if self.accept(';') {
                return Ok(variables);
            }
            self.expect(',')?;
        }
    }

    fn initial(&mut self, ty: Type, bytes: &mut Vec<u8>, depth: u32) -> Result<()> {
        if depth > 8 {
            return Err(Error::at(
                self.line(),
                "an initial value is nested too deep",
            ));
        }
        if self.accept('{') {
            while !self.accept('}') {
                self.initial(ty, bytes, depth + 1)?;
                if !self.is('}') {
                    self.expect(',')?;
                }
            }
            return Ok(());
        }
        let negative = self.accept('-');
        let value = match self.peek() {
            Some(&Token::Integer(value)) => match ty {
                Type::F32 => u64::from((value as f32).to_bits()),
                Type::F64 => (value as f64).to_bits(),
                _ => value,
            },
            Some(&Token::Single(bits)) => u64::from(bits),
            Some(&Token::Double(bits)) if ty == Type::F32 => {
                u64::from((f64::from_bits(bits) as f32).to_bits())
            }
            Some(&Token::Double(bits)) => bits,
            _ => {
                return Err(self.unexpected("a number (addresses as initial values are not known)"));
            }
        };
        self.next()?;
        let value = match (negative, ty) {
            (false, _) => value,
            (true, Type::F32) => value ^ 1 << 31,
            (true, Type::F64) => value ^ 1 << 63,
            (true, _) => value.wrapping_neg(),
        };
        bytes.extend(&value.to_le_bytes()[..ty.bytes().min(8) as usize]);
        Ok(())
    }

    /// `.reg .b32 %r<4>, x;` after its `.reg`.
    pub fn registers(&mut self) -> Result<Vec<(Type, String, Option<u32>)>> {
        let shape = self.shape()?;
        if shape.lanes != 1 {
            return Err(Error::at(self.line(), "vector registers are not known"));
        }
        let mut registers = vec![];
        loop {
            let name = self.word("a register's name")?;
            let mut count = None;
            if self.accept('<') {
                let number = self.small("a number of registers")?;
                if number > 1 << 20 {
                    let message = format!("{number} registers are too many");
                    return Err(Error::at(self.line(), message));
                }
                count = Some(number);
                self.expect('>')?;
            }
            registers.push((shape.ty, name, count));
            if self.accept(';') {
                return Ok(registers);
            }
            self.expect(',')?;
        }
    }
}
