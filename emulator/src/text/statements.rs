//! Bodies of functions: blocks, labels, instructions and their operands.

use super::lexer::Token;
use super::parser::Parser;
use super::tree::{Instruction, Operand, Statement};
use crate::error::{Error, Result};
use crate::types::Space;

/// Blocks nest by inlined assembly and calls only; deeper is malformed text.
const DEEPEST: u32 = 64;

impl Parser {
    pub fn block(&mut self) -> Result<Vec<Statement>> {
        self.nested_block(0)
    }

    fn nested_block(&mut self, depth: u32) -> Result<Vec<Statement>> {
        if depth > DEEPEST {
            return Err(Error::at(self.line(), "blocks are nested too deep"));
        }
        self.expect('{')?;
        let mut statements = vec![];
        while !self.accept('}') {
            let line = self.line();
            match self.peek() {
                Some(Token::Sign('{')) => {
                    statements.push(Statement::Block(self.nested_block(depth + 1)?));
                }
                Some(Token::Sign(';')) => {
                    self.next()?;
                }
                Some(Token::Sign('@')) => {
                    statements.push(Statement::Instruction(self.instruction()?));
                }
                Some(Token::Word(word)) if word.starts_with('.') => {
                    let word = word.clone();
                    match word.as_str() {
                        ".reg" => {
                            self.next()?;
                            for (ty, name, count) in self.registers()? {
                                statements.push(Statement::Registers {
                                    line,
                                    ty,
                                    name,
                                    count,
                                });
                            }
                        }
                        ".loc" | ".file" => self.skip_line(),
                        ".pragma" => self.skip_statement()?,
                        _ if Space::named(&word[1..]).is_some() => {
                            let variables = self.variables(false)?;
                            statements.extend(variables.into_iter().map(Statement::Variable));
                        }
                        _ => {
                            let message =
                                format!("directive `{word}` is not known to the emulator");
                            return Err(Error::at(line, message));
                        }
                    }
                }
                Some(Token::Word(_)) if self.after(1) == Some(&Token::Sign(':')) => {
                    let name = self.word("a label")?;
                    self.expect(':')?;
                    if self.accept_word(".branchtargets") {
                        let targets = self.names()?;
                        statements.push(Statement::Targets { name, targets });
                    } else {
                        statements.push(Statement::Label { line, name });
                    }
                }
                Some(Token::Word(_)) => {
                    statements.push(Statement::Instruction(self.instruction()?));
                }
                _ => return Err(self.unexpected("an instruction, or `}`")),
            }
        }
        Ok(statements)
    }

    fn names(&mut self) -> Result<Vec<String>> {
        let mut names = vec![];
        loop {
            names.push(self.word("a label")?);
            if self.accept(';') {
                return Ok(names);
            }
            self.expect(',')?;
        }
    }

    fn instruction(&mut self) -> Result<Instruction> {
        let line = self.line();
        let mut guard = None;
        if self.accept('@') {
            let negated = self.accept('!');
            guard = Some((self.word("a guard's predicate")?, negated));
        }
        let mnemonic = self.word("an instruction")?;
        let mut operands = vec![];
        while !self.accept(';') {
            operands.push(self.operand()?);
            if !self.is(';') {
                self.expect(',')?;
            }
        }
        Ok(Instruction {
            line,
            guard,
            mnemonic,
            operands,
        })
    }

    fn operand(&mut self) -> Result<Operand> {
        let operand = match self.peek() {
            Some(Token::Sign('{')) => Operand::Vector(self.list('{', '}')?),
            Some(Token::Sign('(')) => Operand::List(self.list('(', ')')?),
            Some(Token::Sign('[')) => self.address()?,
            _ => self.atom()?,
        };
        if self.accept('|') {
            return Ok(Operand::Pair(Box::new(operand), Box::new(self.atom()?)));
        }
        Ok(operand)
    }

    fn list(&mut self, open: char, close: char) -> Result<Vec<Operand>> {
        self.expect(open)?;
        let mut operands = vec![];
        while !self.accept(close) {
            operands.push(self.atom()?);
            if !self.is(close) {
                self.expect(',')?;
            }
        }
        Ok(operands)
    }

    fn atom(&mut self) -> Result<Operand> {
        if self.accept('!') {
            return Ok(Operand::Not(self.word("a predicate")?));
        }
        let negative = self.accept('-');
        let unexpected = self.unexpected("an operand");
        Ok(match self.next()? {
            Token::Word(word) if !negative && word == "_" => Operand::Sink,
            Token::Word(word) if !negative => Operand::Name(word),
            Token::Integer(value) if negative => Operand::Integer(value.wrapping_neg()),
            Token::Integer(value) => Operand::Integer(value),
            Token::Single(bits) => Operand::Single(bits ^ u32::from(negative) << 31),
            Token::Double(bits) => Operand::Double(bits ^ u64::from(negative) << 63),
            _ => return Err(unexpected),
        })
    }

    fn address(&mut self) -> Result<Operand> {
        self.expect('[')?;
        let base = Box::new(self.atom()?);
        let mut offset = 0i64;
        while !self.accept(']') {
            let minus = self.accept('-');
            if !minus {
                self.expect('+')?;
            }
            let minus = minus ^ self.accept('-');
            let step = self.unsigned("an offset in bytes")? as i64;
            offset = offset.wrapping_add(if minus { step.wrapping_neg() } else { step });
        }
        Ok(Operand::Address { base, offset })
    }
}
