//! Tokens to syntax: the grammar, with recovery.
//!
//! ```text
//! text   = "recurrence" name "{" item* "}"
//! item   = "dims" "{" name,* "}"
//!        | ("inputs" | "params" | "state") "{" port,* "}"
//!        | "let" name "=" expr ";"  |  name "=" expr ";"  |  "output" port "=" expr ";"
//! port   = name ":" "[" name,* "]" ("per" "group")?
//! expr   = product (("+" | "-") product)*
//! product = minus (("*" | "/") minus)*
//! minus  = "-" minus | number | name | name "(" expr,* ")" | "(" expr ")"
//!        | "select" "(" expr (">" | "<") "="? expr "," expr "," expr ")"
//! ```
//!
//! Expressions go straight into the arena, operands first; names in them are bound afterwards
//! (`resolve`), because blocks may follow their use. After an error a statement is skipped to
//! its `;`, an entry of a list to its `,`; a broken `let` still declares its name, so that one
//! error does not cause others. Both nesting and height are bounded: no later walk over an
//! expression can overflow the stack.

use super::MAX_HEIGHT;
use super::lex::{Kind, Token};
use super::resolve::{Entry, Name, Read, Statement, Syntax, Verb};
use crate::diag::Diagnostic;
use crate::recurrence::{BinaryFn, Expr, ExprId, UnaryFn};
use crate::span::Span;

pub(super) fn parse(source: &str, tokens: &[Token], diagnostics: &mut Vec<Diagnostic>) -> Syntax {
    let mut parser = Parser {
        source,
        tokens,
        at: 0,
        nesting: 0,
        heights: Vec::new(),
        blocks: Vec::new(),
        syntax: Syntax::default(),
        diagnostics,
    };
    parser.text();
    parser.syntax
}

pub(super) struct Parser<'a> {
    pub(super) source: &'a str,
    tokens: &'a [Token],
    pub(super) at: usize,
    nesting: usize,
    /// Height of each expression of the arena.
    pub(super) heights: Vec<usize>,
    /// Blocks seen.
    blocks: Vec<&'a str>,
    pub(super) syntax: Syntax,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    fn text(&mut self) {
        if !self.keyword("recurrence") {
            self.unexpected("`recurrence`");
            return;
        }
        self.syntax.name = self.name("the recurrence's name").unwrap_or_default();
        if !self.mark('{') {
            self.unexpected("`{`");
            return;
        }
        while self.peek() != Kind::End && self.peek() != Kind::Mark('}') {
            let start = self.at;
            if self.item().is_none() {
                self.skip_statement();
            }
            if self.at == start {
                self.at += 1;
            }
        }
        if !self.mark('}') {
            self.unexpected("`}`");
        } else if self.peek() != Kind::End {
            self.unexpected("the end: one recurrence a text");
        }
    }

    fn item(&mut self) -> Option<()> {
        match self.word() {
            Some(block @ ("dims" | "inputs" | "params" | "state")) => self.block(block),
            Some("let") => {
                let start = self.span();
                self.at += 1;
                let name = self.name("a name")?;
                self.statement(start, Verb::Let(name))
            }
            Some("output") => {
                let start = self.span();
                self.at += 1;
                let entry = self.entry()?;
                self.statement(start, Verb::Output(entry))
            }
            Some(word) if !super::KEYWORDS.contains(&word) => {
                let start = self.span();
                let name = self.name("a state")?;
                self.statement(start, Verb::Update(name))
            }
            _ => {
                self.unexpected("a block (`dims`, `inputs`, `params`, `state`) or a statement");
                None
            }
        }
    }

    fn block(&mut self, block: &'a str) -> Option<()> {
        if self.blocks.contains(&block) {
            let message = format!("block `{block}` is given twice");
            let remedy = format!("move its entries into the first `{block}`");
            self.report(Diagnostic::new("R005", self.span(), message).remedy(remedy));
        }
        self.blocks.push(block);
        self.at += 1;
        if !self.mark('{') {
            self.unexpected("`{`");
            return None;
        }
        self.list('}', |parser| {
            if block == "dims" {
                let name = parser.name("a dimension's name")?;
                parser.syntax.dims.push(name);
                return Some(());
            }
            let entry = parser.entry()?;
            match block {
                "inputs" => parser.syntax.inputs.push(entry),
                "params" => parser.syntax.params.push(entry),
                _ => parser.syntax.states.push(entry),
            }
            Some(())
        });
        Some(())
    }

    fn entry(&mut self) -> Option<Entry> {
        let mut entry = Entry {
            name: self.name("a name")?,
            ..Entry::default()
        };
        if !(self.mark(':') && self.peek() == Kind::Mark('[')) {
            self.unexpected("`: [dims]`");
            // The name is declared all the same.
            self.syntax.broken.push(entry.name);
            return None;
        }
        self.at += 1;
        self.list(']', |parser| {
            let dim = parser.name("a dimension's name")?;
            entry.dims.push(dim);
            Some(())
        });
        let start = self.span();
        if self.keyword("per") {
            if !self.keyword("group") {
                self.unexpected("`group`");
            }
            entry.per_group = Some(start.to(self.last()));
        }
        Some(entry)
    }

    /// `= expr ;` after what it gives its value to.
    fn statement(&mut self, start: Span, verb: Verb) -> Option<()> {
        let reads = self.syntax.reads.len();
        let value = self.value();
        self.syntax.body.push(Statement {
            verb,
            value,
            reads: reads..self.syntax.reads.len(),
            span: start.to(self.last()),
        });
        value.map(|_| ())
    }

    fn value(&mut self) -> Option<ExprId> {
        if !self.mark('=') {
            self.unexpected("`=`");
            return None;
        }
        self.nesting = 0;
        let value = self.expr(1)?;
        if !self.mark(';') {
            self.unended();
            return None;
        }
        Some(value)
    }

    /// A statement that does not end: the fault is where its line ends, if nothing more is on it.
    fn unended(&mut self) {
        let (last, next) = (self.last(), self.span());
        if !self.source[last.end as usize..next.start as usize].contains('\n') {
            return self.unexpected("`;` or an operator");
        }
        self.report(
            Diagnostic::new("R003", last, "expected `;` or an operator after this")
                .found("the end of the line")
                .expected("`;` or an operator"),
        );
    }

    /// An expression of operators that bind at least as tightly as `least`.
    pub(super) fn expr(&mut self, least: u8) -> Option<ExprId> {
        let mut left = self.minus()?;
        loop {
            let (function, level) = match self.peek() {
                Kind::Mark('+') => (BinaryFn::Add, 1),
                Kind::Mark('-') => (BinaryFn::Sub, 1),
                Kind::Mark('*') => (BinaryFn::Mul, 2),
                Kind::Mark('/') => (BinaryFn::Div, 2),
                _ => return Some(left),
            };
            if level < least {
                return Some(left);
            }
            self.at += 1;
            let right = self.expr(level + 1)?;
            let span = self.of(left).to(self.of(right));
            left = self.push(Expr::Binary(function, left, right), span, &[left, right])?;
        }
    }

    fn minus(&mut self) -> Option<ExprId> {
        if self.nesting == MAX_HEIGHT {
            self.too_deep(self.span());
            return None;
        }
        self.nesting += 1;
        let start = self.span();
        let result = if self.mark('-') {
            let inner = self.minus()?;
            let span = start.to(self.of(inner));
            self.push(Expr::Unary(UnaryFn::Neg, inner), span, &[inner])
        } else {
            self.atom()
        };
        self.nesting -= 1;
        result
    }

    fn atom(&mut self) -> Option<ExprId> {
        let span = self.span();
        if let Kind::Number(value) = self.peek() {
            self.at += 1;
            return self.push(Expr::Number(value), span, &[]);
        }
        if self.mark('(') {
            let inner = self.expr(1)?;
            if !self.mark(')') {
                self.unexpected("`)` or an operator");
                return None;
            }
            return Some(inner);
        }
        match self.word() {
            Some(word) if !super::KEYWORDS.contains(&word) => {
                self.at += 1;
                if self.peek() == Kind::Mark('(') {
                    return self.call(word, span);
                }
                // Bound by `resolve`.
                let id = self.push(Expr::Number(0.0), span, &[])?;
                let name = Name {
                    text: word.into(),
                    span,
                };
                self.syntax.reads.push(Read { id, name });
                Some(id)
            }
            _ => {
                self.unexpected("a value");
                None
            }
        }
    }

    pub(super) fn push(&mut self, expr: Expr, span: Span, operands: &[ExprId]) -> Option<ExprId> {
        let highest = operands.iter().map(|id| self.heights[id.index()]).max();
        let height = highest.map_or(0, |height| height + 1);
        if height > MAX_HEIGHT {
            self.too_deep(span);
            return None;
        }
        let id = ExprId(self.heights.len() as u32);
        self.heights.push(height);
        self.syntax.exprs.push(expr);
        self.syntax.expr_spans.push(span);
        Some(id)
    }

    pub(super) fn too_deep(&mut self, span: Span) {
        self.report(
            Diagnostic::new("R004", span, "this expression is nested too deeply")
                .found(format!("more than {MAX_HEIGHT} operations in a row"))
                .expected(format!("at most {MAX_HEIGHT}"))
                .remedy("bind a part of it by `let`"),
        );
    }

    /// Entries up to `close`, which is consumed; a comma may end the list.
    pub(super) fn list(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Option<()>) {
        loop {
            if self.mark(close) || self.peek() == Kind::End {
                return;
            }
            let start = self.at;
            let sound = item(self).is_some();
            if self.mark(',') || self.peek() == Kind::Mark(close) {
                continue;
            }
            if sound {
                self.unexpected(&format!("`,` or `{close}`"));
            }
            if sound && self.at > start && self.word().is_some() && close == '}' {
                continue;
            }
            self.skip_entry(close);
            if !self.mark(',') && self.peek() != Kind::Mark(close) {
                return;
            }
        }
    }

    /// Up to the comma or the `close` of the list at hand, whatever brackets stand between.
    fn skip_entry(&mut self, close: char) {
        let mut open = 0;
        loop {
            match self.peek() {
                Kind::End | Kind::Mark(';' | '}') => return,
                Kind::Mark(',') if open == 0 => return,
                Kind::Mark(mark) if mark == close && open == 0 => return,
                Kind::Mark('(' | '[') => open += 1,
                Kind::Mark(')' | ']') if open > 0 => open -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn skip_statement(&mut self) {
        loop {
            match self.peek() {
                Kind::End | Kind::Mark('}') => return,
                Kind::Mark(';') => {
                    self.at += 1;
                    return;
                }
                Kind::Word if matches!(self.word(), Some("let" | "output" | "state")) => return,
                Kind::Word if matches!(self.word(), Some("dims" | "inputs" | "params")) => return,
                _ => self.at += 1,
            }
        }
    }

    fn name(&mut self, what: &str) -> Option<Name> {
        let Some(word) = self.word() else {
            self.unexpected(what);
            return None;
        };
        let span = self.span();
        if super::is_reserved(word) {
            self.report(
                Diagnostic::new("R011", span, format!("`{word}` is a reserved word"))
                    .found(format!("`{word}`"))
                    .expected(what)
                    .remedy(format!("choose another name, such as `{word}_`")),
            );
        }
        self.at += 1;
        Some(Name {
            text: word.into(),
            span,
        })
    }

    pub(super) fn unexpected(&mut self, expected: &str) {
        let span = self.span();
        let found = match self.peek() {
            Kind::End => "the end of the text".to_string(),
            _ => format!("`{}`", &self.source[span.start as usize..span.end as usize]),
        };
        let message = format!("expected {expected}, found {found}");
        let diagnostic = Diagnostic::new("R003", span, message)
            .found(found)
            .expected(expected);
        self.report(match self.peek() {
            Kind::Mark('<' | '>') => {
                diagnostic.remedy("a comparison stands first in `select(x > y, a, b)`")
            }
            _ => diagnostic,
        });
    }

    /// One message a place: what follows from an error at the same token is not another error.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        let last = self.diagnostics.last();
        if last.is_none_or(|last| last.span.start != diagnostic.span.start) {
            self.diagnostics.push(diagnostic);
        }
    }

    pub(super) fn peek(&self) -> Kind {
        self.tokens[self.at.min(self.tokens.len() - 1)].kind
    }

    fn span(&self) -> Span {
        self.tokens[self.at.min(self.tokens.len() - 1)].span
    }

    /// The span of the token before this one.
    pub(super) fn last(&self) -> Span {
        self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].span
    }

    fn of(&self, id: ExprId) -> Span {
        self.syntax.expr_spans[id.index()]
    }

    fn word(&self) -> Option<&'a str> {
        let Span { start, end } = self.span();
        (self.peek() == Kind::Word).then(|| &self.source[start as usize..end as usize])
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.word() == Some(keyword);
        self.at += usize::from(found);
        found
    }

    pub(super) fn mark(&mut self, mark: char) -> bool {
        let found = self.peek() == Kind::Mark(mark);
        self.at += usize::from(found);
        found
    }
}
