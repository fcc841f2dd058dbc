//! The cursor over tokens and the module's top level.

use super::lexer::{Lexeme, Token, lex};
use super::tree::{Function, Module};
use crate::error::{Error, Result};

/// Reads a module's text.
pub(crate) fn parse(text: &str) -> Result<Module> {
    let mut parser = Parser {
        lexemes: lex(text)?,
        at: 0,
    };
    parser.module()
}

pub(super) struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
}

/// Linkage and visibility change nothing in one module.
const LINKAGE: [&str; 4] = [".visible", ".weak", ".common", ".extern"];

impl Parser {
    pub fn line(&self) -> u32 {
        let last = self.lexemes.len().saturating_sub(1);
        self.lexemes.get(self.at.min(last)).map_or(1, |l| l.line)
    }

    pub fn peek(&self) -> Option<&Token> {
        self.lexemes.get(self.at).map(|lexeme| &lexeme.token)
    }

    pub fn after(&self, ahead: usize) -> Option<&Token> {
        self.lexemes
            .get(self.at + ahead)
            .map(|lexeme| &lexeme.token)
    }

    pub fn next(&mut self) -> Result<Token> {
        let token = self.peek().cloned();
        let token =
            token.ok_or_else(|| Error::at(self.line(), "the text ends in mid-statement"))?;
        self.at += 1;
        Ok(token)
    }

    pub fn is(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    pub fn accept(&mut self, sign: char) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, sign: char) -> Result<()> {
        if self.accept(sign) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    pub fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.peek() {
            None => "the end of the text".to_string(),
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Sign(sign)) => format!("`{sign}`"),
            Some(_) => "a literal".to_string(),
        };
        Error::at(self.line(), format!("expected {wanted}, found {found}"))
    }

    pub fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    pub fn accept_word(&mut self, wanted: &str) -> bool {
        let found = self.peek_word() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    pub fn word(&mut self, what: &str) -> Result<String> {
        match self.peek_word().map(str::to_string) {
            Some(word) => {
                self.at += 1;
                Ok(word)
            }
            None => Err(self.unexpected(what)),
        }
    }

    pub fn unsigned(&mut self, what: &str) -> Result<u64> {
        match self.peek() {
            Some(&Token::Integer(value)) => {
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    pub fn small(&mut self, what: &str) -> Result<u32> {
        let line = self.line();
        let value = self.unsigned(what)?;
        u32::try_from(value).map_err(|_| Error::at(line, format!("{what} {value} is too large")))
    }

    /// Line information (`.loc`, `.file`) has no closing sign: it ends with its line.
    pub fn skip_line(&mut self) {
        let line = self.line();
        while self.peek().is_some() && self.line() == line {
            self.at += 1;
        }
    }

    pub fn skip_statement(&mut self) -> Result<()> {
        while self.next()? != Token::Sign(';') {}
        Ok(())
    }

    fn skip_braces(&mut self) -> Result<()> {
        self.expect('{')?;
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn module(&mut self) -> Result<Module> {
        let mut module = Module {
            variables: vec![],
            functions: vec![],
        };
        self.header()?;
        while self.peek().is_some() {
            let line = self.line();
            let mut external = false;
            while let Some(word) = self.peek_word().filter(|word| LINKAGE.contains(word)) {
                let is_external = word == ".extern";
                external |= is_external;
                self.at += 1;
            }
            if self.accept(';') {
                continue;
            }
            match self.peek_word() {
                Some(".entry" | ".func") => {
                    let function = self.function()?;
                    keep(&mut module.functions, function)?;
                }
                Some(".file" | ".loc") => self.skip_line(),
                Some(".section") => {
                    self.at += 1;
                    self.word("a section's name")?;
                    self.skip_braces()?;
                }
                Some(".pragma" | ".alias") => self.skip_statement()?,
                Some(_) => module.variables.extend(self.variables(external)?),
                None => {
                    return Err(Error::at(line, "expected a variable or a function"));
                }
            }
        }
        Ok(module)
    }

    /// `.version`, `.target` and `.address_size`, in that order.
    fn header(&mut self) -> Result<()> {
        while matches!(self.peek_word(), Some(".file" | ".loc")) {
            self.skip_line();
        }
        if !self.accept_word(".version") {
            return Err(self.unexpected("`.version`, which opens a module"));
        }
        let line = self.line();
        let version = match self.next()? {
            Token::Double(bits) => f64::from_bits(bits),
            Token::Integer(major) => major as f64,
            _ => return Err(Error::at(line, "expected a PTX version such as 8.0")),
        };
        if !(6.0..10.0).contains(&version) {
            let message = format!("PTX version {version} is outside of 6.0 to 9.9");
            return Err(Error::at(line, message));
        }
        if !self.accept_word(".target") {
            return Err(self.unexpected("`.target`"));
        }
        let line = self.line();
        let target = self.word("a target such as sm_80")?;
        let known = target
            .strip_prefix("sm_")
            .and_then(|rest| rest.trim_end_matches(['a', 'f']).parse::<u32>().ok());
        if !known.is_some_and(|sm| (50..130).contains(&sm)) {
            return Err(Error::at(line, format!("target `{target}` is not known")));
        }
        while self.accept(',') {
            self.word("a target's option")?;
        }
        if self.accept_word(".address_size") {
            let line = self.line();
            if self.unsigned("an address size")? != 64 {
                return Err(Error::at(line, "only an address size of 64 is known"));
            }
        }
        Ok(())
    }
}

/// A definition replaces its earlier declaration; a second definition is an error.
fn keep(functions: &mut Vec<Function>, function: Function) -> Result<()> {
    match functions.iter_mut().find(|f| f.name == function.name) {
        None => functions.push(function),
        Some(known) if known.body.is_none() => *known = function,
        Some(_) if function.body.is_none() => {}
        Some(known) => {
            let message = format!("`{}` is already defined in line {}", known.name, known.line);
            return Err(Error::at(function.line, message));
        }
    }
    Ok(())
}
