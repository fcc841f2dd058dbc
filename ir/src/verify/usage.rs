//! R030-R036: everything that is declared has a use, and every tensor a name of its own outside.
//!
//! What is never read is nearly always a slip, and an unread input would have no gradient to
//! speak of; so it is an error and not a warning.

use super::structure::span;
use crate::diag::Diagnostic;
use crate::recurrence::{Expr, Recurrence, Stmt};
use crate::span::Span;
use std::collections::BTreeSet;

/// Names that mean the implicit dimensions outside.
const IMPLICIT: [(&str, &str); 4] = [
    ("B", "batch"),
    ("T", "time"),
    ("H", "heads"),
    ("G", "groups"),
];

pub(super) fn check(r: &Recurrence, diagnostics: &mut Vec<Diagnostic>) {
    let reads = Reads::new(r);
    for (i, port) in r.states.iter().enumerate() {
        let place = span(r, &r.spans.states, i);
        let name = &port.name;
        if !reads.updated[i] {
            diagnostics.push(
                Diagnostic::new("R030", place, format!("state `{name}` is never updated"))
                    .expected(format!("a statement `{name} = ...;`"))
                    .remedy("update it, or declare it as an input or a param"),
            );
        } else if !reads.states[i] {
            diagnostics.push(unread(place, "state", name));
        }
    }
    for (i, port) in r.inputs.iter().enumerate() {
        if !reads.inputs[i] {
            diagnostics.push(unread(span(r, &r.spans.inputs, i), "input", &port.name));
        }
    }
    for (i, port) in r.params.iter().enumerate() {
        if !reads.params[i] {
            diagnostics.push(unread(span(r, &r.spans.params, i), "param", &port.name));
        }
    }
    for (i, name) in r.lets.iter().enumerate() {
        if !reads.lets[i] {
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

/// What is read anywhere, and what is updated.
struct Reads {
    inputs: Vec<bool>,
    params: Vec<bool>,
    states: Vec<bool>,
    lets: Vec<bool>,
    updated: Vec<bool>,
}

impl Reads {
    fn new(r: &Recurrence) -> Self {
        let mut reads = Reads {
            inputs: vec![false; r.inputs.len()],
            params: vec![false; r.params.len()],
            states: vec![false; r.states.len()],
            lets: vec![false; r.lets.len()],
            updated: vec![false; r.states.len()],
        };
        for expr in &r.exprs {
            match *expr {
                Expr::Input(id) => reads.inputs[id.index()] = true,
                Expr::Param(id) => reads.params[id.index()] = true,
                Expr::State(id) => reads.states[id.index()] = true,
                Expr::Let(id) => reads.lets[id.index()] = true,
                _ => {}
            }
        }
        for stmt in &r.body {
            if let Stmt::Update(id, _) = *stmt {
                reads.updated[id.index()] = true;
            }
        }
        reads
    }
}

fn unread(place: Span, noun: &str, name: &str) -> Diagnostic {
    Diagnostic::new("R031", place, format!("{noun} `{name}` is never read"))
        .expected("at least one use in a statement")
        .remedy(format!("remove `{name}`, or use it"))
}

fn dims(r: &Recurrence, diagnostics: &mut Vec<Diagnostic>) {
    let ports = r.inputs.iter().chain(&r.params).chain(&r.states);
    let dims = ports.flat_map(|port| port.shape.iter());
    let sized: BTreeSet<usize> = dims.map(|dim| dim.index()).collect();
    for (i, name) in r.dims.iter().enumerate() {
        let place = span(r, &r.spans.dims, i);
        if !sized.contains(&i) {
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
    let all = ports.iter().flat_map(|ports| ports.iter());
    let all: BTreeSet<&str> = all.map(|port| port.name.as_str()).collect();
    let known = |name: &str| all.contains(name);
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
