//! R030-R036: everything that is declared has a use, and every tensor a name of its own outside.
//!
//! What is never read is nearly always a slip, and an unread input would have no gradient to
//! speak of; so it is an error and not a warning.

use super::structure::span;
use crate::diag::Diagnostic;
use crate::recurrence::{Expr, Recurrence, Stmt};
use crate::span::Span;

/// Names that mean the implicit dimensions outside.
const IMPLICIT: [(&str, &str); 4] = [
    ("B", "batch"),
    ("T", "time"),
    ("H", "heads"),
    ("G", "groups"),
];

pub(super) fn check(r: &Recurrence, diagnostics: &mut Vec<Diagnostic>) {
    let has = |wanted: Expr| r.exprs.contains(&wanted);
    let updated = |i: usize| {
        let is = |stmt: &Stmt| matches!(stmt, Stmt::Update(id, _) if id.index() == i);
        r.body.iter().any(is)
    };
    for (i, port) in r.states.iter().enumerate() {
        let place = span(r, &r.spans.states, i);
        let name = &port.name;
        if !updated(i) {
            diagnostics.push(
                Diagnostic::new("R030", place, format!("state `{name}` is never updated"))
                    .expected(format!("a statement `{name} = ...;`"))
                    .remedy("update it, or declare it as an input or a param"),
            );
        } else if !has(Expr::State(crate::recurrence::StateId(i as u32))) {
            diagnostics.push(unread(place, "state", name));
        }
    }
    for (i, port) in r.inputs.iter().enumerate() {
        if !has(Expr::Input(crate::recurrence::InputId(i as u32))) {
            diagnostics.push(unread(span(r, &r.spans.inputs, i), "input", &port.name));
        }
    }
    for (i, port) in r.params.iter().enumerate() {
        if !has(Expr::Param(crate::recurrence::ParamId(i as u32))) {
            diagnostics.push(unread(span(r, &r.spans.params, i), "param", &port.name));
        }
    }
    for (i, name) in r.lets.iter().enumerate() {
        if !has(Expr::Let(crate::recurrence::LetId(i as u32))) {
            let place = span(r, &r.spans.lets, i);
            let message = format!("`let {name}` is never read");
            diagnostics
                .push(Diagnostic::new("R032", place, message).remedy("remove it, or use it"));
        }
    }
    dims(r, diagnostics);
    parts(r, diagnostics);
    names(r, diagnostics);
}

fn unread(place: Span, noun: &str, name: &str) -> Diagnostic {
    Diagnostic::new("R031", place, format!("{noun} `{name}` is never read"))
        .expected("at least one use in a statement")
        .remedy(format!("remove `{name}`, or use it"))
}

fn dims(r: &Recurrence, diagnostics: &mut Vec<Diagnostic>) {
    for (i, name) in r.dims.iter().enumerate() {
        let place = span(r, &r.spans.dims, i);
        let mut ports = r.inputs.iter().chain(&r.params).chain(&r.states);
        if !ports.any(|port| port.shape.iter().any(|dim| dim.index() == i)) {
            diagnostics.push(
                Diagnostic::new("R033", place, format!("dimension `{name}` has no size"))
                    .found("a dimension of no tensor")
                    .expected("an input, a param or a state that has it")
                    .remedy(format!("remove `{name}`, or use it in a shape")),
            );
        }
        if let Some((_, meaning)) = IMPLICIT.iter().find(|(implicit, _)| implicit == name) {
            let message = format!("dimension `{name}` would be taken for {meaning}");
            diagnostics.push(
                Diagnostic::new("R035", place, message)
                    .found(format!("`{name}`"))
                    .expected("another name than B, T, H and G")
                    .remedy("rename it; batch, time, heads and groups are implicit"),
            );
        }
    }
}

fn parts(r: &Recurrence, diagnostics: &mut Vec<Diagnostic>) {
    for (count, part, example) in [
        (r.inputs.len(), "input", "inputs { x: [P] }"),
        (r.states.len(), "state", "state { S: [N, P] }"),
        (r.outputs.len(), "output", "output y: [P] = ...;"),
    ] {
        if count == 0 {
            let message = format!("a recurrence has at least one {part}");
            diagnostics.push(
                Diagnostic::new("R034", r.spans.name, message)
                    .found(format!("no {part}"))
                    .remedy(format!("add one: `{example}`")),
            );
        }
    }
}

/// Gradients travel as `d_` and the tensor's name, packed sequences as `cu_seqlens`.
fn names(r: &Recurrence, diagnostics: &mut Vec<Diagnostic>) {
    let ports = [&r.inputs, &r.params, &r.states, &r.outputs];
    let spans = [
        &r.spans.inputs,
        &r.spans.params,
        &r.spans.states,
        &r.spans.outputs,
    ];
    let known = |name: &str| ports.iter().any(|p| p.iter().any(|p| p.name == name));
    for (ports, spans) in ports.iter().zip(spans) {
        for (i, port) in ports.iter().enumerate() {
            let name = &port.name;
            let clash = match name.strip_prefix("d_") {
                Some(of) if known(of) => format!("the gradient of `{of}`"),
                _ if name == "cu_seqlens" => "the offsets of packed sequences".into(),
                _ => continue,
            };
            let message = format!("`{name}` is the name of {clash}");
            diagnostics.push(
                Diagnostic::new("R036", span(r, spans, i), message)
                    .found(format!("tensor `{name}`"))
                    .remedy("choose another name"),
            );
        }
    }
}
