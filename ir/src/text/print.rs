//! Level 1 to its canonical text.
//!
//! Blocks in fixed order, empty ones left out; statements as they run; the fewest parentheses
//! that give the same tree back.

use crate::recurrence::{BinaryFn, DimId, Expr, ExprId, Port, Recurrence, Stmt, UnaryFn};
use std::fmt::Write;

/// The canonical text of a recurrence.
pub fn print(recurrence: &Recurrence) -> String {
    let mut out = format!("recurrence {} {{\n", recurrence.name);
    let blocks = [
        ("dims  ", recurrence.dims.clone()),
        ("inputs", ports(recurrence, &recurrence.inputs)),
        ("params", ports(recurrence, &recurrence.params)),
        ("state ", ports(recurrence, &recurrence.states)),
    ];
    for (title, entries) in blocks.iter().filter(|(_, entries)| !entries.is_empty()) {
        let _ = writeln!(out, "    {title} {{ {} }}", entries.join(", "));
    }
    if !recurrence.body.is_empty() {
        out.push('\n');
    }
    for stmt in &recurrence.body {
        let _ = match *stmt {
            Stmt::Let(id, value) => write!(
                out,
                "    let {} = {}",
                recurrence.lets[id.index()],
                expression(recurrence, value)
            ),
            Stmt::Update(id, value) => write!(
                out,
                "    {} = {}",
                recurrence.states[id.index()].name,
                expression(recurrence, value)
            ),
            Stmt::Output(id, value) => write!(
                out,
                "    output {} = {}",
                port(recurrence, &recurrence.outputs[id.index()]),
                expression(recurrence, value)
            ),
        };
        out.push_str(";\n");
    }
    out.push_str("}\n");
    out
}

/// The text of one expression.
pub fn expression(recurrence: &Recurrence, id: ExprId) -> String {
    let mut out = String::new();
    write_expr(recurrence, id, Level::Sum, &mut out);
    out
}

fn ports(recurrence: &Recurrence, ports: &[Port]) -> Vec<String> {
    ports.iter().map(|p| port(recurrence, p)).collect()
}

fn port(recurrence: &Recurrence, port: &Port) -> String {
    let group = if port.per_group { " per group" } else { "" };
    format!("{}: {}{group}", port.name, shape(recurrence, &port.shape))
}

/// A shape as it stands in the text: `[K, V]`.
pub fn shape(recurrence: &Recurrence, shape: &[DimId]) -> String {
    let names: Vec<&str> = shape
        .iter()
        .map(|dim| recurrence.dims[dim.index()].as_str())
        .collect();
    format!("[{}]", names.join(", "))
}

/// How tightly an expression holds together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Sum,
    Product,
    Minus,
    Atom,
}

impl Level {
    pub(super) fn unary(function: UnaryFn) -> Level {
        if function == UnaryFn::Neg {
            Level::Minus
        } else {
            Level::Atom
        }
    }

    pub(super) fn binary(function: BinaryFn) -> Level {
        match function {
            BinaryFn::Add | BinaryFn::Sub => Level::Sum,
            BinaryFn::Mul | BinaryFn::Div => Level::Product,
            BinaryFn::Min | BinaryFn::Max => Level::Atom,
        }
    }
}

fn level(expr: &Expr) -> Level {
    match expr {
        Expr::Binary(function, ..) => Level::binary(*function),
        Expr::Unary(function, _) => Level::unary(*function),
        _ => Level::Atom,
    }
}

fn write_expr(recurrence: &Recurrence, id: ExprId, least: Level, out: &mut String) {
    let expr = recurrence.expr(id);
    let own = level(expr);
    if own < least {
        out.push('(');
        write_expr(recurrence, id, Level::Sum, out);
        out.push(')');
        return;
    }
    match *expr {
        Expr::Number(value) => {
            let whole = value.fract() == 0.0 && value.abs() < 1e15;
            let _ = if whole {
                write!(out, "{value}")
            } else {
                write!(out, "{value:?}")
            };
        }
        Expr::Size(id) => out.push_str(&recurrence.dims[id.index()]),
        Expr::Input(id) => out.push_str(&recurrence.inputs[id.index()].name),
        Expr::Param(id) => out.push_str(&recurrence.params[id.index()].name),
        Expr::Let(id) => out.push_str(&recurrence.lets[id.index()]),
        Expr::State(id) => out.push_str(&recurrence.states[id.index()].name),
        Expr::Unary(UnaryFn::Neg, a) => {
            out.push('-');
            write_expr(recurrence, a, Level::Minus, out);
        }
        Expr::Binary(f, a, b) if own < Level::Atom => {
            let tighter = match own {
                Level::Sum => Level::Product,
                _ => Level::Minus,
            };
            write_expr(recurrence, a, own, out);
            let _ = write!(out, " {} ", f.name());
            write_expr(recurrence, b, tighter, out);
        }
        Expr::Unary(f, a) => call(recurrence, f.name(), &[a], out),
        Expr::Binary(f, a, b) => call(recurrence, f.name(), &[a, b], out),
        Expr::Select([x, y, a, b]) => {
            out.push_str("select(");
            write_expr(recurrence, x, Level::Sum, out);
            for (mark, operand) in [(" > ", y), (", ", a), (", ", b)] {
                out.push_str(mark);
                write_expr(recurrence, operand, Level::Sum, out);
            }
            out.push(')');
        }
        Expr::Rows(a) => call(recurrence, "rows", &[a], out),
        Expr::Cols(a) => call(recurrence, "cols", &[a], out),
        Expr::Outer(a, b) => call(recurrence, "outer", &[a, b], out),
        Expr::Dot(a, b) => call(recurrence, "dot", &[a, b], out),
        Expr::Sum(a) => call(recurrence, "sum", &[a], out),
        Expr::L2norm(a) => call(recurrence, "l2norm", &[a], out),
    }
}

fn call(recurrence: &Recurrence, name: &str, arguments: &[ExprId], out: &mut String) {
    out.push_str(name);
    for (i, &argument) in arguments.iter().enumerate() {
        out.push_str(if i == 0 { "(" } else { ", " });
        write_expr(recurrence, argument, Level::Sum, out);
    }
    out.push(')');
}
