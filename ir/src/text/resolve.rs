//! Syntax to level 1: every name is bound to what it names, or reported.
//!
//! All names share one space, so that a name means one thing in a text. Declarations hold
//! everywhere, a `let` from its statement on. A state's name on the left of `=` is its update.

use super::nearest;
use crate::diag::Diagnostic;
use crate::recurrence::{
    DimId, Expr, ExprId, InputId, LetId, OutputId, ParamId, Port, Recurrence, Spans, StateId, Stmt,
};
use crate::span::Span;
use std::collections::BTreeMap;
use std::ops::Range;

/// Errors after which no likely name is looked for.
const MANY: usize = 50;

/// A name where it stood.
#[derive(Clone, Debug, Default)]
pub(super) struct Name {
    pub text: String,
    pub span: Span,
}

/// A port as written.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub name: Name,
    pub dims: Vec<Name>,
    /// Where `per group` stood.
    pub per_group: Option<Span>,
}

/// What a statement does with its value.
#[derive(Debug)]
pub(super) enum Verb {
    Let(Name),
    Update(Name),
    Output(Entry),
}

/// A statement; without a value when that was ill-formed.
#[derive(Debug)]
pub(super) struct Statement {
    pub verb: Verb,
    pub value: Option<ExprId>,
    /// Its part of [`Syntax::reads`].
    pub reads: Range<usize>,
    pub span: Span,
}

/// A name read in an expression; the arena holds a placeholder at `id`.
#[derive(Debug)]
pub(super) struct Read {
    pub id: ExprId,
    pub name: Name,
}

/// A text whose grammar is known and whose names are not.
#[derive(Debug, Default)]
pub(super) struct Syntax {
    pub name: Name,
    pub dims: Vec<Name>,
    pub inputs: Vec<Entry>,
    pub params: Vec<Entry>,
    pub states: Vec<Entry>,
    pub body: Vec<Statement>,
    pub exprs: Vec<Expr>,
    pub expr_spans: Vec<Span>,
    pub reads: Vec<Read>,
    /// Names of ports that were ill-formed: reading them is no second error.
    pub broken: Vec<Name>,
}

/// What a name names.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    Dim(DimId),
    Input(InputId),
    Param(ParamId),
    State(StateId),
    Let(LetId),
    Output,
    Broken,
}

impl Meaning {
    fn noun(self) -> &'static str {
        match self {
            Meaning::Dim(_) => "dimension",
            Meaning::Input(_) => "input",
            Meaning::Param(_) => "param",
            Meaning::State(_) => "state",
            Meaning::Let(_) => "`let` binding",
            Meaning::Output => "output",
            Meaning::Broken => "name",
        }
    }
}

pub(super) fn resolve(syntax: Syntax, diagnostics: &mut Vec<Diagnostic>) -> Recurrence {
    let mut resolver = Resolver {
        names: BTreeMap::new(),
        out: Recurrence {
            name: syntax.name.text,
            exprs: syntax.exprs,
            spans: Spans {
                name: syntax.name.span,
                exprs: syntax.expr_spans,
                ..Spans::default()
            },
            ..Recurrence::default()
        },
        diagnostics,
    };
    for (i, name) in syntax.dims.into_iter().enumerate() {
        resolver.declare(&name, Meaning::Dim(DimId(i as u32)));
        resolver.out.dims.push(name.text);
        resolver.out.spans.dims.push(name.span);
    }
    for name in syntax.broken {
        resolver.declare(&name, Meaning::Broken);
    }
    for (i, entry) in syntax.inputs.into_iter().enumerate() {
        resolver.declare(&entry.name, Meaning::Input(InputId(i as u32)));
        resolver.out.spans.inputs.push(entry.name.span);
        let port = resolver.port(entry, true);
        resolver.out.inputs.push(port);
    }
    for (i, entry) in syntax.params.into_iter().enumerate() {
        resolver.declare(&entry.name, Meaning::Param(ParamId(i as u32)));
        resolver.out.spans.params.push(entry.name.span);
        let port = resolver.port(entry, false);
        resolver.out.params.push(port);
    }
    for (i, entry) in syntax.states.into_iter().enumerate() {
        resolver.declare(&entry.name, Meaning::State(StateId(i as u32)));
        resolver.out.spans.states.push(entry.name.span);
        let port = resolver.port(entry, false);
        resolver.out.states.push(port);
    }
    for statement in syntax.body {
        for read in &syntax.reads[statement.reads.clone()] {
            resolver.read(read);
        }
        resolver.statement(statement);
    }
    resolver.out
}

struct Resolver<'a> {
    names: BTreeMap<String, Meaning>,
    out: Recurrence,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn declare(&mut self, name: &Name, meaning: Meaning) {
        let Name { text, span } = name;
        match self.names.get(text) {
            Some(Meaning::Broken) => {}
            Some(first) => self.diagnostics.push(
                Diagnostic::new("R010", *span, format!("the name `{text}` is taken"))
                    .found(format!("a second `{text}`, after the {}", first.noun()))
                    .expected("a name of its own")
                    .remedy(format!("rename this {}", meaning.noun())),
            ),
            None => {
                self.names.insert(text.clone(), meaning);
            }
        }
    }

    fn port(&mut self, entry: Entry, is_input: bool) -> Port {
        if let (Some(span), false) = (entry.per_group, is_input) {
            self.diagnostics.push(
                Diagnostic::new(
                    "R018",
                    span,
                    "only an input can be shared by a group of heads",
                )
                .found(format!("`{}: ... per group`", entry.name.text))
                .remedy("remove `per group`"),
            );
        }
        if let Some(third) = entry.dims.get(2) {
            self.diagnostics.push(
                Diagnostic::new(
                    "R019",
                    third.span,
                    "a tensor has at most two dimensions here",
                )
                .found(format!("{} dimensions", entry.dims.len()))
                .expected("a scalar `[]`, a vector `[K]` or a matrix `[K, V]`")
                .remedy("batch, time and heads are implicit: leave them out"),
            );
        }
        let shape = entry.dims.iter().filter_map(|dim| self.dim(dim)).collect();
        Port {
            name: entry.name.text,
            shape,
            per_group: entry.per_group.is_some(),
        }
    }

    fn dim(&mut self, name: &Name) -> Option<DimId> {
        let Name { text, span } = name;
        let found = match self.names.get(text) {
            Some(&Meaning::Dim(id)) => return Some(id),
            Some(other) => format!("`{text}`, {} {}", article(other.noun()), other.noun()),
            None => format!("`{text}`"),
        };
        let expected = match self.out.dims.as_slice() {
            [] => "a name declared in `dims { ... }`".into(),
            dims => format!("one of {}", dims.join(", ")),
        };
        self.diagnostics.push(
            Diagnostic::new("R017", *span, format!("there is no dimension `{text}`"))
                .found(found)
                .expected(expected)
                .remedy(format!("declare it: `dims {{ {text} }}`")),
        );
        None
    }

    fn read(&mut self, read: &Read) {
        let Name { text, span } = &read.name;
        let diagnostic = match self.names.get(text).copied() {
            Some(Meaning::Dim(id)) => return self.bind(read.id, Expr::Size(id)),
            Some(Meaning::Input(id)) => return self.bind(read.id, Expr::Input(id)),
            Some(Meaning::Param(id)) => return self.bind(read.id, Expr::Param(id)),
            Some(Meaning::State(id)) => return self.bind(read.id, Expr::State(id)),
            Some(Meaning::Let(id)) => return self.bind(read.id, Expr::Let(id)),
            Some(Meaning::Broken) => return,
            Some(Meaning::Output) => {
                Diagnostic::new("R013", *span, format!("output `{text}` cannot be read"))
                    .found(format!("output `{text}`"))
                    .expected("an input, a param, a state, a `let` binding or a dimension")
                    .remedy("bind the value by `let` first and use that in both places")
            }
            None if super::is_reserved(text) => {
                Diagnostic::new("R013", *span, format!("function `{text}` has no arguments"))
                    .found(format!("`{text}`"))
                    .expected(format!("`{text}(...)`"))
            }
            None => {
                let message = format!("nothing above is called `{text}`");
                // The search reads every name: many unknown ones would take time without bound.
                let few = self.diagnostics.len() < MANY;
                let remedy = match few
                    .then(|| nearest(text, self.names.keys().map(String::as_str)))
                    .flatten()
                {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "declare it as an input or a param, or bind it by `let`".into(),
                };
                Diagnostic::new("R012", *span, message)
                    .found(format!("`{text}`"))
                    .expected("an input, a param, a state, a `let` binding or a dimension")
                    .remedy(remedy)
            }
        };
        self.diagnostics.push(diagnostic);
    }

    fn bind(&mut self, id: ExprId, expr: Expr) {
        self.out.exprs[id.index()] = expr;
    }

    fn statement(&mut self, statement: Statement) {
        // A statement without a value was reported; its names count all the same.
        let value = statement.value.unwrap_or(ExprId(0));
        let stmt = match statement.verb {
            Verb::Let(name) => {
                let id = LetId(self.out.lets.len() as u32);
                self.declare(&name, Meaning::Let(id));
                self.out.lets.push(name.text);
                self.out.spans.lets.push(name.span);
                Stmt::Let(id, value)
            }
            Verb::Output(entry) => {
                let id = OutputId(self.out.outputs.len() as u32);
                self.declare(&entry.name, Meaning::Output);
                self.out.spans.outputs.push(entry.name.span);
                let port = self.port(entry, false);
                self.out.outputs.push(port);
                Stmt::Output(id, value)
            }
            Verb::Update(name) => match self.updated(&name) {
                Some(id) => Stmt::Update(id, value),
                None => return,
            },
        };
        self.out.body.push(stmt);
        self.out.spans.body.push(statement.span);
    }

    fn updated(&mut self, name: &Name) -> Option<StateId> {
        let Name { text, span } = name;
        let (found, remedy) = match self.names.get(text) {
            Some(&Meaning::State(id)) => return Some(id),
            Some(Meaning::Broken) => return None,
            Some(other) => (
                format!("{} `{text}`", other.noun()),
                "bind the new value by `let` under another name".to_string(),
            ),
            None => (
                format!("`{text}`"),
                format!("declare it in `state {{ ... }}`, or write `let {text} = ...`"),
            ),
        };
        self.diagnostics.push(
            Diagnostic::new("R016", *span, format!("`{text}` is not a state"))
                .found(found)
                .expected("the name of a state")
                .remedy(remedy),
        );
        None
    }
}

fn article(noun: &str) -> &'static str {
    match noun {
        "input" | "output" => "an",
        _ => "a",
    }
}
