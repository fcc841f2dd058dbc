//! The text form of level 2, both ways.
//!
//! ```text
//! chunked name (forward | reverse) {
//!     dims { K, V }
//!     inputs { q: [K], k: [K] per group }       params, states, outputs alike
//!     %0: [h, t, K] = input q
//!     %1: [t, s] = causal strict %0
//!     output o = %1
//! }
//! ```
//!
//! Values are numbered in order, each with its axes: `h`, `t`, `r`, `s`, a dim, or a dim with a prime.
//! A dim that has the name of another axis is written `dim t`. Printing is canonical, and
//! `parse(print(x)) == x` for every `x` that `crate::verify::chunked` accepts.

use super::cursor::Cursor;
use super::lex::Kind;
use super::ops::{
    DIRECTIONS, INTERVALS, PARTIALS, along, binary, binary_word, number, operands, over, running,
    scan, solve, strictly, trilinear, unary, unary_word, word,
};
use crate::chunked::{Axis, Direction, Draft, Op, Target, ValueId};
use crate::diag::Diagnostic;
use crate::recurrence::{DimId, InputId, OutputId, ParamId, Port, StateId};
use crate::span::Span;
use crate::verify::chunked::Spans;
use std::fmt::Write;

const AXES: &[&str] = &["h", "t", "r", "s", "dim"];
const PORTS: &[&str] = &["inputs", "params", "states", "outputs"];

/// The canonical text.
pub fn print(program: &Draft) -> String {
    let direction = word(DIRECTIONS, program.direction);
    let mut out = format!("chunked {} {direction} {{\n", program.name);
    if !program.dims.is_empty() {
        let _ = writeln!(out, "    dims {{ {} }}", program.dims.join(", "));
    }
    for (kind, ports) in PORTS.iter().zip(ports(program)) {
        let ports: Vec<String> = ports.iter().map(|port| print_port(program, port)).collect();
        if !ports.is_empty() {
            let _ = writeln!(out, "    {kind} {{ {} }}", ports.join(", "));
        }
    }
    out.push('\n');
    for (i, op) in program.ops.iter().enumerate() {
        let axes: Vec<String> = program.axes[i]
            .iter()
            .map(|&axis| print_axis(program, axis))
            .collect();
        let op = print_op(program, op);
        let _ = writeln!(out, "    %{i}: [{}] = {op}", axes.join(", "));
    }
    out.push('\n');
    for &(target, value) in &program.results {
        let target = print_target(program, target);
        let _ = writeln!(out, "    {target} = %{}", value.0);
    }
    out.push_str("}\n");
    out
}

fn ports(program: &Draft) -> [&Vec<Port>; 4] {
    let p = program;
    [&p.inputs, &p.params, &p.states, &p.outputs]
}

fn dim(program: &Draft, id: DimId) -> &str {
    program.dims.get(id.index()).map_or("?", String::as_str)
}

fn name(ports: &[Port], index: usize) -> &str {
    ports.get(index).map_or("?", |port| port.name.as_str())
}

fn print_port(program: &Draft, port: &Port) -> String {
    let dims: Vec<&str> = port.shape.iter().map(|&id| dim(program, id)).collect();
    let group = if port.per_group { " per group" } else { "" };
    format!("{}: [{}]{group}", port.name, dims.join(", "))
}

fn print_axis(program: &Draft, axis: Axis) -> String {
    let named = |id: DimId, prime: &str| {
        let name = dim(program, id);
        let escape = if AXES.contains(&name) { "dim " } else { "" };
        format!("{escape}{name}{prime}")
    };
    match axis {
        Axis::Head => "h".into(),
        Axis::Time => "t".into(),
        Axis::Middle => "r".into(),
        Axis::Source => "s".into(),
        Axis::Dim(id) => named(id, ""),
        Axis::Prime(id) => named(id, "'"),
    }
}

fn print_op(program: &Draft, op: &Op) -> String {
    let axis = |axis: Axis| print_axis(program, axis);
    let p = program;
    match op {
        Op::Input(i) => format!("input {}", name(&p.inputs, i.index())),
        Op::Param(i) => format!("param {}", name(&p.params, i.index())),
        Op::State(i) => format!("state {}", name(&p.states, i.index())),
        Op::DOutput(i) => format!("d_output {}", name(&p.outputs, i.index())),
        Op::DState(i) => format!("d_state {}", name(&p.states, i.index())),
        Op::Number(value) => format!("number {}", number(*value)),
        Op::Size(id) => format!("size {}", dim(p, *id)),
        Op::Unary(function, a) => format!("{} %{}", unary_word(*function), a.0),
        Op::Binary(function, a, b) => format!("{} %{}, %{}", binary_word(*function), a.0, b.0),
        Op::Select(x, y, a, b) => {
            format!("select %{}, %{}, %{}, %{}", x.0, y.0, a.0, b.0)
        }
        Op::Valid(a) => format!("valid %{}", a.0),
        Op::Broadcast(a, along) => format!("broadcast %{}, {}", a.0, axis(*along)),
        Op::Causal(a, strict) => format!("causal {}%{}", strictly(*strict), a.0),
        Op::Relabel(a, from, to) => format!("relabel %{}, {}, {}", a.0, axis(*from), axis(*to)),
        Op::Sum(a, along) => format!("sum %{}, {}", a.0, axis(*along)),
        Op::Contract(a, b, along) => format!("contract %{}, %{}, {}", a.0, b.0, axis(*along)),
        Op::Decay(interval, strict, l) => over("decay", *interval, *strict, l.0),
        Op::Spread(interval, strict, x) => over("spread", *interval, *strict, x.0),
        Op::Trilinear(partial, strict, operands, l) => {
            trilinear(*partial, *strict, operands.iter().map(|v| v.0), l.0)
        }
        Op::Solve(transposed, l, r) => solve(*transposed, l.0, r.0),
        Op::Running(scan) => running(scan.map(|operand| operand.0)),
        Op::Delay(reverse, x, border) => along("delay", *reverse, &[x.0, border.0]),
        Op::Edge(reverse, x) => along("edge", *reverse, &[x.0]),
    }
}

fn print_target(program: &Draft, target: Target) -> String {
    let p = program;
    match target {
        Target::Output(i) => format!("output {}", name(&p.outputs, i.index())),
        Target::State(i) => format!("state {}", name(&p.states, i.index())),
        Target::DInput(i) => format!("d_input {}", name(&p.inputs, i.index())),
        Target::DParam(i) => format!("d_param {}", name(&p.params, i.index())),
        Target::DState(i) => format!("d_state {}", name(&p.states, i.index())),
        Target::LogScalar(i) => format!("log_scalar {}", name(&p.states, i.index())),
        Target::LogRow(i) => format!("log_row {}", name(&p.states, i.index())),
        Target::LogCol(i) => format!("log_col {}", name(&p.states, i.index())),
    }
}

/// Parses one program with its places; on failure returns every syntax and name error. What the
/// program may mean is checked by `crate::verify::chunked`.
pub fn parse(source: &str) -> Result<(Draft, Spans), Vec<Diagnostic>> {
    let mut parser = Parser {
        cursor: Cursor::new(source),
        spans: Spans::default(),
        program: Draft {
            name: String::new(),
            dims: vec![],
            inputs: vec![],
            params: vec![],
            states: vec![],
            outputs: vec![],
            direction: Direction::Forward,
            ops: vec![],
            axes: vec![],
            results: vec![],
        },
    };
    parser.text();
    let Parser {
        cursor,
        program,
        spans,
    } = parser;
    cursor.finish((program, spans))
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    program: Draft,
    spans: Spans,
}

impl Parser<'_> {
    fn text(&mut self) -> Option<()> {
        if !self.cursor.keyword("chunked") {
            return self.cursor.unexpected("`chunked`");
        }
        self.program.name = self.cursor.word("the program's name")?.into();
        self.program.direction = self.cursor.choice(DIRECTIONS)?;
        self.cursor.expect('{')?;
        self.declarations();
        while !self.cursor.closes() {
            let start = self.cursor.position();
            if self.statement().is_none() {
                self.cursor.skip_line(start);
            }
        }
        self.cursor.expect('}')?;
        self.cursor.end()
    }

    fn declarations(&mut self) {
        if self.cursor.keyword("dims") {
            self.cursor.items(|cursor| {
                self.spans.dims.push(cursor.span());
                self.program.dims.push(cursor.word("a dim")?.into());
                Some(())
            });
        }
        for (i, kind) in PORTS.iter().enumerate() {
            if !self.cursor.keyword(kind) {
                continue;
            }
            let (program, spans) = (&mut self.program, &mut self.spans);
            self.cursor.items(|cursor| {
                let span = cursor.span();
                let name = cursor.word("a name")?.to_string();
                cursor.expect(':')?;
                cursor.expect('[')?;
                let names =
                    cursor.list(']', |cursor| Some((cursor.span(), cursor.word("a dim")?)))?;
                // A port with an unknown dim is declared all the same.
                let dims = || program.dims.iter().map(String::as_str);
                let shape = names
                    .into_iter()
                    .filter_map(|(span, name)| find(cursor, span, "dim", name, dims()).map(DimId))
                    .collect();
                let per_group = cursor.keyword("per");
                if per_group && !cursor.keyword("group") {
                    return cursor.unexpected("`group`");
                }
                spans.ports.push(span);
                let ports = match i {
                    0 => &mut program.inputs,
                    1 => &mut program.params,
                    2 => &mut program.states,
                    _ => &mut program.outputs,
                };
                ports.push(Port {
                    name,
                    shape,
                    per_group,
                });
                Some(())
            });
        }
    }

    fn statement(&mut self) -> Option<()> {
        let start = self.cursor.span();
        if self.cursor.peek() != Kind::Mark('%') {
            let target = self.target()?;
            self.cursor.expect('=')?;
            let value = ValueId(self.cursor.value()?);
            self.program.results.push((target, value));
            self.spans.results.push(self.cursor.since(start));
            return Some(());
        }
        let number = self.cursor.definition()?;
        // A faulty op holds its number, so that the ones after it are right.
        let expected = self.program.ops.len();
        let place = self.cursor.since(start);
        self.program.ops.push(Op::Number(0.0));
        self.program.axes.push(vec![]);
        self.spans.ops.push(place);
        if number as usize != expected {
            let message = format!("values are numbered in order: this is %{expected}");
            let diagnostic = Diagnostic::new("R003", place, message)
                .found(format!("%{number}"))
                .expected(format!("%{expected}"));
            self.cursor.diagnostics.push(diagnostic);
        }
        self.cursor.expect(':')?;
        self.cursor.expect('[')?;
        let dims = &self.program.dims;
        self.program.axes[expected] = self.cursor.list(']', |cursor| axis(cursor, dims))?;
        self.cursor.expect('=')?;
        self.program.ops[expected] = self.op()?;
        self.spans.ops[expected] = self.cursor.since(start);
        Some(())
    }

    fn value(&mut self) -> Option<ValueId> {
        self.cursor.value().map(ValueId)
    }

    /// A comma and one more.
    fn second(&mut self) -> Option<ValueId> {
        self.cursor.expect(',')?;
        self.value()
    }

    fn axis(&mut self) -> Option<Axis> {
        self.cursor.expect(',')?;
        axis(&mut self.cursor, &self.program.dims)
    }

    fn port(&mut self, kind: usize) -> Option<u32> {
        let what = ["input", "param", "state", "output"][kind];
        let span = self.cursor.span();
        let name = self.cursor.word(&format!("the name of an {what}"))?;
        let names = ports(&self.program)[kind].iter().map(|p| p.name.as_str());
        find(&mut self.cursor, span, what, name, names)
    }

    fn op(&mut self) -> Option<Op> {
        let span = self.cursor.span();
        let word = self.cursor.word("an op")?;
        if let Some(function) = unary(word) {
            return Some(Op::Unary(function, self.value()?));
        }
        if let Some(function) = binary(word) {
            return Some(Op::Binary(function, self.value()?, self.second()?));
        }
        Some(match word {
            "input" => Op::Input(InputId(self.port(0)?)),
            "param" => Op::Param(ParamId(self.port(1)?)),
            "state" => Op::State(StateId(self.port(2)?)),
            "d_output" => Op::DOutput(OutputId(self.port(3)?)),
            "d_state" => Op::DState(StateId(self.port(2)?)),
            "number" => Op::Number(self.cursor.number()?),
            "size" => {
                let span = self.cursor.span();
                let name = self.cursor.word("a dim")?;
                let dims = self.program.dims.iter().map(String::as_str);
                Op::Size(DimId(find(&mut self.cursor, span, "dim", name, dims)?))
            }
            "select" => {
                let (x, y) = (self.value()?, self.second()?);
                Op::Select(x, y, self.second()?, self.second()?)
            }
            "valid" => Op::Valid(self.value()?),
            "broadcast" => Op::Broadcast(self.value()?, self.axis()?),
            "causal" => {
                let strict = self.cursor.keyword("strict");
                Op::Causal(self.value()?, strict)
            }
            "relabel" => Op::Relabel(self.value()?, self.axis()?, self.axis()?),
            "sum" => Op::Sum(self.value()?, self.axis()?),
            "contract" => Op::Contract(self.value()?, self.second()?, self.axis()?),
            "decay" | "spread" => {
                let interval = self.cursor.choice(INTERVALS)?;
                let strict = self.cursor.keyword("strict");
                let value = self.value()?;
                match word {
                    "decay" => Op::Decay(interval, strict, value),
                    _ => Op::Spread(interval, strict, value),
                }
            }
            "trilinear" => {
                let partial = self.cursor.choice(PARTIALS)?;
                let strict = self.cursor.keyword("strict");
                let (operands, l) = operands(&mut self.cursor)?;
                let operands = operands.into_iter().map(ValueId).collect();
                Op::Trilinear(partial, strict, operands, ValueId(l))
            }
            "solve" => {
                let transposed = self.cursor.keyword("transposed");
                Op::Solve(transposed, self.value()?, self.second()?)
            }
            "delay" => {
                let reverse = self.cursor.keyword("reverse");
                Op::Delay(reverse, self.value()?, self.second()?)
            }
            "edge" => {
                let reverse = self.cursor.keyword("reverse");
                Op::Edge(reverse, self.value()?)
            }
            "running" => Op::Running(scan(&mut self.cursor)?.map(ValueId)),
            _ => return self.cursor.unknown(span, "op", word),
        })
    }

    fn target(&mut self) -> Option<Target> {
        let span = self.cursor.span();
        let word = self.cursor.word("an op or a result")?;
        Some(match word {
            "output" => Target::Output(OutputId(self.port(3)?)),
            "state" => Target::State(StateId(self.port(2)?)),
            "d_input" => Target::DInput(InputId(self.port(0)?)),
            "d_param" => Target::DParam(ParamId(self.port(1)?)),
            "d_state" => Target::DState(StateId(self.port(2)?)),
            "log_scalar" => Target::LogScalar(StateId(self.port(2)?)),
            "log_row" => Target::LogRow(StateId(self.port(2)?)),
            "log_col" => Target::LogCol(StateId(self.port(2)?)),
            _ => return self.cursor.unknown(span, "result", word),
        })
    }
}

/// The position of a name.
fn find<'n>(
    cursor: &mut Cursor,
    span: Span,
    what: &str,
    name: &str,
    mut names: impl Iterator<Item = &'n str>,
) -> Option<u32> {
    match names.position(|other| other == name) {
        Some(at) => Some(at as u32),
        None => cursor.unknown(span, what, name),
    }
}

fn axis(cursor: &mut Cursor, dims: &[String]) -> Option<Axis> {
    let escaped = cursor.keyword("dim");
    let span = cursor.span();
    let name = cursor.word("an axis")?;
    match name {
        "h" if !escaped => return Some(Axis::Head),
        "t" if !escaped => return Some(Axis::Time),
        "r" if !escaped => return Some(Axis::Middle),
        "s" if !escaped => return Some(Axis::Source),
        _ => {}
    }
    let dim = DimId(find(
        cursor,
        span,
        "axis",
        name,
        dims.iter().map(String::as_str),
    )?);
    Some(match cursor.mark('\'') {
        true => Axis::Prime(dim),
        false => Axis::Dim(dim),
    })
}
