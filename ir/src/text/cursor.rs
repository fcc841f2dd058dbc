//! Reading the texts of levels 2 and 3: tokens with lookahead, and recovery by lines.
//!
//! Both languages have one statement a line by custom; after an error the rest of the line is
//! left out, so that every line can report its own.

use super::lex::{Kind, Token, lex_marks};
use crate::diag::Diagnostic;
use crate::span::Span;

const MARKS: &str = "{}[]():,=+-*/%'";

/// A place in the tokens.
pub(super) struct Cursor<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    at: usize,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Cursor<'a> {
    pub fn new(source: &'a str) -> Self {
        let mut diagnostics = Vec::new();
        Self {
            source,
            tokens: lex_marks(source, MARKS, &mut diagnostics),
            at: 0,
            diagnostics,
        }
    }

    /// The value, unless there were errors.
    pub fn finish<T>(mut self, value: T) -> Result<T, Vec<Diagnostic>> {
        if self.diagnostics.is_empty() {
            return Ok(value);
        }
        self.diagnostics.sort_by_key(|d| d.span);
        Err(self.diagnostics)
    }

    pub fn peek(&self) -> Kind {
        self.tokens[self.at].kind
    }

    pub fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// From `start` to the last token that was read.
    pub fn since(&self, start: Span) -> Span {
        match self.at.checked_sub(1) {
            Some(last) if self.tokens[last].span.end >= start.end => {
                start.to(self.tokens[last].span)
            }
            _ => start,
        }
    }

    /// Reads a token, whatever it is.
    pub fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// The word that comes next.
    pub fn next_word(&self) -> Option<&'a str> {
        let Span { start, end } = self.span();
        (self.peek() == Kind::Word).then(|| &self.source[start as usize..end as usize])
    }

    pub fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.next_word() == Some(keyword);
        if found {
            self.advance();
        }
        found
    }

    pub fn mark(&mut self, mark: char) -> bool {
        let found = self.peek() == Kind::Mark(mark);
        if found {
            self.advance();
        }
        found
    }

    pub fn expect(&mut self, mark: char) -> Option<()> {
        match self.mark(mark) {
            true => Some(()),
            false => self.unexpected(&format!("`{mark}`")),
        }
    }

    pub fn word(&mut self, what: &str) -> Option<&'a str> {
        let Some(word) = self.next_word() else {
            return self.unexpected(what);
        };
        self.advance();
        Some(word)
    }

    /// One of a list of words, with what it stands for.
    pub fn choice<T: Clone>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        let word = self.next_word();
        if let Some((_, value)) = choices.iter().find(|(name, _)| Some(*name) == word) {
            self.advance();
            return Some(value.clone());
        }
        let names: Vec<String> = choices
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        self.unexpected(&names.join(", "))
    }

    /// A number with an optional minus.
    pub fn number(&mut self) -> Option<f64> {
        let negative = self.mark('-');
        let Kind::Number(value) = self.peek() else {
            return self.unexpected("a number");
        };
        self.advance();
        Some(if negative { -value } else { value })
    }

    pub fn integer(&mut self, what: &str) -> Option<u32> {
        match self.peek() {
            Kind::Number(value) if value.fract() == 0.0 && value <= f64::from(u32::MAX) => {
                self.advance();
                Some(value as u32)
            }
            _ => self.unexpected(what),
        }
    }

    /// `%7`, of a value that is defined here.
    pub fn definition(&mut self) -> Option<u32> {
        self.expect('%')?;
        self.integer("the number of a value")
    }

    /// `%7`, of a value that is read; what a colon follows is the next line's definition.
    pub fn value(&mut self) -> Option<u32> {
        let after = self.tokens.get(self.at + 2).map(|token| token.kind);
        match self.peek() == Kind::Mark('%') && after != Some(Kind::Mark(':')) {
            true => self.definition(),
            false => self.unexpected("a value such as `%7`"),
        }
    }

    /// Items between commas up to `close`, which is consumed.
    pub fn list<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut items = Vec::new();
        while !self.mark(close) {
            items.push(item(self)?);
            if !self.mark(',') && self.peek() != Kind::Mark(close) {
                return self.unexpected(&format!("`,` or `{close}`"));
            }
        }
        Some(items)
    }

    /// `[64, 128]`
    pub fn sizes(&mut self) -> Option<Vec<u32>> {
        self.expect('[')?;
        self.list(']', |cursor| cursor.integer("a size"))
    }

    /// `{ .. }` with items between commas; after an error the rest of its line is left out.
    pub fn items(&mut self, item: impl FnMut(&mut Self) -> Option<()>) {
        let start = self.at;
        if self.expect('{').is_none() || self.list('}', item).is_none() {
            self.skip_line(start);
            self.mark('}');
        }
    }

    /// Number of tokens read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes back to where `position` was.
    pub fn back_to(&mut self, position: usize) {
        self.at = position;
    }

    /// Whether a block is over.
    pub fn closes(&self) -> bool {
        matches!(self.peek(), Kind::Mark('}') | Kind::End)
    }

    /// To the next line or closing brace after an error in what began at token `start`.
    pub fn skip_line(&mut self, start: usize) {
        while !self.closes() {
            let begins = self.at > 0 && {
                let before = self.tokens[self.at - 1].span.end as usize;
                self.source[before..self.span().start as usize].contains('\n')
            };
            if begins && self.at > start {
                return;
            }
            self.advance();
        }
    }

    /// A name that is not declared.
    pub fn unknown<T>(&mut self, span: Span, what: &str, name: &str) -> Option<T> {
        let message = format!("there is no {what} `{name}`");
        self.diagnostics
            .push(Diagnostic::new("R012", span, message));
        None
    }

    pub fn unexpected<T>(&mut self, expected: &str) -> Option<T> {
        let span = self.span();
        let found = match self.peek() {
            Kind::End => "the end of the text".to_string(),
            _ => format!("`{}`", &self.source[span.start as usize..span.end as usize]),
        };
        let message = format!("expected {expected}, found {found}");
        let repeated = self.diagnostics.last().is_some_and(|d| d.span == span);
        if !repeated {
            let diagnostic = Diagnostic::new("R003", span, message);
            self.diagnostics
                .push(diagnostic.found(found).expected(expected));
        }
        None
    }

    /// Nothing may follow.
    pub fn end(&mut self) -> Option<()> {
        match self.peek() {
            Kind::End => Some(()),
            _ => self.unexpected("the end of the text"),
        }
    }
}
