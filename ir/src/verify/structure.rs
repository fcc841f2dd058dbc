//! R020: a recurrence is sound as data, whoever built it.
//!
//! The parser returns only sound ones; its fields are public, so everything that indexes by a
//! handle relies on this check and not on the parser.

use super::chunked::is_word;
use crate::diag::Diagnostic;
use crate::recurrence::{Expr, Recurrence, Stmt};
use crate::span::Span;
use crate::text::MAX_HEIGHT;
use std::collections::BTreeSet;

/// The first breach, or nothing; later checks index freely.
pub(super) fn check(recurrence: &Recurrence) -> Option<Diagnostic> {
    let breach = |what: String| {
        Some(
            Diagnostic::new(
                "R020",
                recurrence.spans.name,
                "the recurrence is ill-formed",
            )
            .found(what)
            .remedy("build recurrences by `text::parse`"),
        )
    };
    let ports = [
        &recurrence.inputs,
        &recurrence.params,
        &recurrence.states,
        &recurrence.outputs,
    ];
    let mut names = BTreeSet::new();
    let outside = ports.iter().flat_map(|ports| ports.iter());
    for name in outside.map(|port| &port.name).chain(&recurrence.dims) {
        if !is_word(name) || !names.insert(name) {
            return breach(format!("`{name}`, which is no word or names two things"));
        }
    }
    if !is_word(&recurrence.name) {
        return breach(format!("the name `{}`, which is no word", recurrence.name));
    }
    for (kind, port) in ports
        .iter()
        .enumerate()
        .flat_map(|(i, p)| p.iter().map(move |p| (i, p)))
    {
        let known = port
            .shape
            .iter()
            .all(|dim| dim.index() < recurrence.dims.len());
        if !known || port.shape.len() > 2 || (port.per_group && kind != 0) {
            return breach(format!("port `{}` of shape {:?}", port.name, port.shape));
        }
    }
    let mut bound = vec![usize::MAX; recurrence.lets.len()];
    for stmt in &recurrence.body {
        if let Stmt::Let(id, value) = *stmt
            && let Some(place) = bound.get_mut(id.index())
        {
            *place = value.index().min(*place);
        }
    }
    for (i, expr) in recurrence.exprs.iter().enumerate() {
        let sound = match *expr {
            Expr::Number(value) => value.is_finite() && !value.is_sign_negative(),
            Expr::Size(id) => id.index() < recurrence.dims.len(),
            Expr::Input(id) => id.index() < recurrence.inputs.len(),
            Expr::Param(id) => id.index() < recurrence.params.len(),
            Expr::State(id) => id.index() < recurrence.states.len(),
            Expr::Let(id) => bound.get(id.index()).is_some_and(|&value| value < i),
            _ => expr.operands().iter().flatten().all(|id| id.index() < i),
        };
        if !sound {
            return breach(format!("expression {i}, {expr:?}"));
        }
    }
    let mut heights: Vec<usize> = Vec::with_capacity(recurrence.exprs.len());
    for (i, expr) in recurrence.exprs.iter().enumerate() {
        let operands = expr.operands().into_iter().flatten();
        let highest = operands.map(|id| heights[id.index()] + 1).max();
        heights.push(highest.unwrap_or(0));
        if heights[i] > MAX_HEIGHT {
            return breach(format!("expression {i} of a height above {MAX_HEIGHT}"));
        }
    }
    let (mut lets, mut outputs) = (0, 0);
    for stmt in &recurrence.body {
        let (value, sound) = match *stmt {
            Stmt::Let(id, value) => {
                lets += 1;
                (
                    value,
                    id.index() + 1 == lets && lets <= recurrence.lets.len(),
                )
            }
            Stmt::Output(id, value) => {
                outputs += 1;
                (
                    value,
                    id.index() + 1 == outputs && outputs <= recurrence.outputs.len(),
                )
            }
            Stmt::Update(id, value) => (value, id.index() < recurrence.states.len()),
        };
        if !sound || value.index() >= recurrence.exprs.len() {
            return breach(format!("statement {stmt:?}"));
        }
    }
    if lets != recurrence.lets.len() || outputs != recurrence.outputs.len() {
        return breach("a `let` or an output without its statement".into());
    }
    let mut above = 0;
    for stmt in &recurrence.body {
        let (Stmt::Let(_, value) | Stmt::Update(_, value) | Stmt::Output(_, value)) = *stmt;
        for part in recurrence.parts(value, |_| false) {
            if let Expr::Let(id) = *recurrence.expr(part)
                && id.index() >= above
            {
                return breach(format!(
                    "expression {}, a `let` above its statement",
                    part.0
                ));
            }
        }
        above += usize::from(matches!(stmt, Stmt::Let(..)));
    }
    shared(recurrence).and_then(|i| breach(format!("expression {i} in two statements")))
}

/// An expression that two statements use: a state in it would have two values.
fn shared(recurrence: &Recurrence) -> Option<usize> {
    let mut owners = vec![None; recurrence.exprs.len()];
    for (number, stmt) in recurrence.body.iter().enumerate() {
        let (Stmt::Let(_, value) | Stmt::Update(_, value) | Stmt::Output(_, value)) = *stmt;
        if owners[value.index()].replace(number).is_some() {
            return Some(value.index());
        }
    }
    for i in (0..owners.len()).rev() {
        for operand in recurrence.exprs[i].operands().into_iter().flatten() {
            let owner = owners[operand.index()];
            if owner.is_some() && owner != owners[i] {
                return Some(operand.index());
            }
            owners[operand.index()] = owners[i];
        }
    }
    None
}

/// The span at `index`, or the recurrence's name where a built one has no spans.
pub(super) fn span(recurrence: &Recurrence, spans: &[Span], index: usize) -> Span {
    spans.get(index).copied().unwrap_or(recurrence.spans.name)
}
