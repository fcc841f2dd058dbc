//! The expression of a map, both ways: `{ x0 = exp(a); x0 * b }`.
//!
//! Operands are the letters `a`, `b`, .. in order. An entry of the body stands in place where it
//! is used, as far as reading the text from left to right gives the entries back in their order;
//! one that is used twice, never, or out of order gets a name, `x` and its position. So every
//! body can be printed, and the usual one prints as a formula.

use super::super::cursor::Cursor;
use super::super::lex::Kind;
use super::super::ops::{number, unary, unary_word};
use super::super::print::Level;
use crate::recurrence::{BinaryFn, UnaryFn};
use crate::tile::Scalar;

/// The deepest nesting that is printed or parsed; deeper parts get a name.
const MAX_HEIGHT: usize = 100;

/// The name of operand number `i`.
pub(super) fn operand(i: usize) -> String {
    match u8::try_from(i) {
        Ok(i @ 0..26) => char::from(b'a' + i).to_string(),
        _ => format!("a{i}"),
    }
}

/// Which entries need a name.
fn named(body: &[Scalar]) -> Vec<bool> {
    let mut uses = vec![0; body.len()];
    for operand in body.iter().flat_map(Scalar::operands) {
        if let Some(uses) = uses.get_mut(operand as usize) {
            *uses += 1;
        }
    }
    let last = body.len().saturating_sub(1);
    let mut named: Vec<bool> = (0..body.len()).map(|i| i != last && uses[i] != 1).collect();
    // Reading keeps a stack of what has no name yet; whoever breaks its order gets one.
    while let Err(more) = read(body, &named) {
        more.into_iter().for_each(|i| named[i] = true);
    }
    named
}

fn read(body: &[Scalar], named: &[bool]) -> Result<(), Vec<usize>> {
    let mut stack: Vec<usize> = Vec::new();
    let mut heights = vec![0; body.len()];
    for (i, scalar) in body.iter().enumerate() {
        let inline: Vec<usize> = { scalar.operands().into_iter() }
            .map(|of| of as usize)
            .filter(|&of| !named.get(of).copied().unwrap_or(true))
            .collect();
        match stack.len().checked_sub(inline.len()) {
            Some(rest) if stack[rest..] == inline => stack.truncate(rest),
            _ => return Err(inline),
        }
        heights[i] = inline.iter().map(|&of| heights[of] + 1).max().unwrap_or(0);
        if heights[i] >= MAX_HEIGHT {
            return Err(inline);
        }
        if !named[i] {
            stack.push(i);
        } else if !stack.is_empty() {
            return Err(stack);
        }
    }
    stack.pop();
    match stack.is_empty() {
        true => Ok(()),
        false => Err(stack),
    }
}

/// The text between the braces.
pub(super) fn print(body: &[Scalar]) -> String {
    let named = named(body);
    let mut out = String::new();
    for i in 0..body.len() {
        let last = i + 1 == body.len();
        if named[i] {
            out.push_str(&format!("x{i} = "));
        }
        if named[i] || last {
            write(body, &named, i, &mut out);
        }
        if named[i] && !last {
            out.push_str(", ");
        }
    }
    out
}

fn level(scalar: &Scalar) -> Level {
    match scalar {
        Scalar::Binary(function, ..) => Level::binary(*function),
        Scalar::Unary(function, _) => Level::unary(*function),
        _ => Level::Atom,
    }
}

/// Entry `i` as an operand.
fn inner(body: &[Scalar], named: &[bool], i: u32, least: Level, out: &mut String) {
    let i = i as usize;
    match body.get(i) {
        Some(scalar) if !named[i] => {
            if level(scalar) < least {
                out.push('(');
                write(body, named, i, out);
                out.push(')');
            } else {
                write(body, named, i, out);
            }
        }
        _ => out.push_str(&format!("x{i}")),
    }
}

fn write(body: &[Scalar], named: &[bool], i: usize, out: &mut String) {
    let scalar = &body[i];
    let mut call = |name: &str, operands: &[u32]| {
        out.push_str(name);
        for (n, &of) in operands.iter().enumerate() {
            out.push_str(if n == 0 { "(" } else { ", " });
            inner(body, named, of, Level::Sum, out);
        }
        out.push(')');
    };
    match *scalar {
        Scalar::Operand(of) => out.push_str(&operand(of as usize)),
        Scalar::Number(value) => out.push_str(&number(value)),
        Scalar::Unary(UnaryFn::Neg, a) => {
            out.push('-');
            // `-1` would be a literal.
            let literal = matches!(body.get(a as usize), Some(Scalar::Number(_)));
            match literal && !named[a as usize] {
                true => out.push_str(&format!("({})", print(&body[a as usize..=a as usize]))),
                false => inner(body, named, a, Level::Minus, out),
            }
        }
        Scalar::Unary(function, a) => call(unary_word(function), &[a]),
        Scalar::Binary(function @ (BinaryFn::Min | BinaryFn::Max), a, b) => {
            call(function.name(), &[a, b]);
        }
        Scalar::Binary(function, a, b) => {
            let own = level(scalar);
            let right = if own == Level::Sum {
                Level::Product
            } else {
                Level::Minus
            };
            inner(body, named, a, own, out);
            out.push_str(&format!(" {} ", function.name()));
            inner(body, named, b, right, out);
        }
        Scalar::Select(x, y, a, b) => call("select", &[x, y, a, b]),
        Scalar::Valid(a) => call("valid", &[a]),
        Scalar::Causal(a, false) => call("causal", &[a]),
        Scalar::Causal(a, true) => call("causal_strict", &[a]),
    }
}

/// Reads a body up to its closing brace, for a map of so many operands.
pub(super) fn parse(cursor: &mut Cursor, operands: usize) -> Option<Vec<Scalar>> {
    let mut parser = Parser {
        cursor,
        operands,
        nesting: 0,
        body: vec![],
        names: vec![],
    };
    loop {
        let start = parser.cursor.position();
        let name = parser.cursor.next_word();
        if name.is_some_and(|name| name.starts_with('x') && name.len() > 1) {
            parser.cursor.word("a name")?;
            if parser.cursor.mark('=') {
                let value = parser.expr(1)?;
                parser.names.push((name.unwrap_or_default().into(), value));
                // A name at the end of the text is the result.
                if parser.cursor.mark(',') {
                    continue;
                }
                parser.cursor.expect('}')?;
                return Some(parser.body);
            }
            parser.cursor.back_to(start);
        }
        parser.expr(1)?;
        parser.cursor.expect('}')?;
        return Some(parser.body);
    }
}

struct Parser<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    operands: usize,
    nesting: usize,
    body: Vec<Scalar>,
    names: Vec<(String, u32)>,
}

impl Parser<'_, '_> {
    fn push(&mut self, scalar: Scalar) -> Option<u32> {
        self.body.push(scalar);
        Some(self.body.len() as u32 - 1)
    }

    fn expr(&mut self, least: u8) -> Option<u32> {
        let mut left = self.minus()?;
        loop {
            let (function, level) = match self.cursor.peek() {
                Kind::Mark('+') => (BinaryFn::Add, 1),
                Kind::Mark('-') => (BinaryFn::Sub, 1),
                Kind::Mark('*') => (BinaryFn::Mul, 2),
                Kind::Mark('/') => (BinaryFn::Div, 2),
                _ => return Some(left),
            };
            if level < least {
                return Some(left);
            }
            self.cursor.advance();
            let right = self.expr(level + 1)?;
            left = self.push(Scalar::Binary(function, left, right))?;
        }
    }

    fn minus(&mut self) -> Option<u32> {
        if self.nesting > 2 * MAX_HEIGHT {
            return self
                .cursor
                .unexpected("an expression that is nested less deeply");
        }
        self.nesting += 1;
        let value = match self.cursor.mark('-') {
            // A minus before a literal is its sign.
            true if matches!(self.cursor.peek(), Kind::Number(_)) => {
                let value = self.cursor.number()?;
                self.push(Scalar::Number(-value))
            }
            true => {
                let value = self.minus()?;
                self.push(Scalar::Unary(UnaryFn::Neg, value))
            }
            false => self.atom(),
        };
        self.nesting -= 1;
        value
    }

    fn atom(&mut self) -> Option<u32> {
        if let Kind::Number(_) = self.cursor.peek() {
            let value = self.cursor.number()?;
            return self.push(Scalar::Number(value));
        }
        if self.cursor.mark('(') {
            let value = self.expr(1)?;
            self.cursor.expect(')')?;
            return Some(value);
        }
        let span = self.cursor.span();
        let word = self.cursor.word("a value")?;
        if self.cursor.mark('(') {
            let value = self.call(word, span)?;
            self.cursor.expect(')')?;
            return Some(value);
        }
        if let Some(&(_, value)) = self.names.iter().find(|(name, _)| name == word) {
            return Some(value);
        }
        match (0..self.operands).find(|&i| operand(i) == word) {
            Some(i) => self.push(Scalar::Operand(i as u32)),
            None => self.cursor.unknown(span, "operand", word),
        }
    }

    fn call(&mut self, word: &str, span: crate::span::Span) -> Option<u32> {
        let a = self.expr(1)?;
        let scalar = match word {
            "select" => {
                let mut more = [0; 3];
                for operand in &mut more {
                    self.cursor.expect(',')?;
                    *operand = self.expr(1)?;
                }
                let [y, then, other] = more;
                return self.push(Scalar::Select(a, y, then, other));
            }
            "valid" => Scalar::Valid(a),
            "causal" => Scalar::Causal(a, false),
            "causal_strict" => Scalar::Causal(a, true),
            "min" | "max" => {
                self.cursor.expect(',')?;
                let b = self.expr(1)?;
                let function = if word == "min" {
                    BinaryFn::Min
                } else {
                    BinaryFn::Max
                };
                Scalar::Binary(function, a, b)
            }
            _ => match unary(word) {
                Some(function) => Scalar::Unary(function, a),
                None => return self.cursor.unknown(span, "function", word),
            },
        };
        self.push(scalar)
    }
}
