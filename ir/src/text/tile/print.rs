//! Level 3 to its canonical text.

use super::super::ops::{DIRECTIONS, along, over, running, solve, trilinear, word};
use super::{
    ACROSS, ALONG, CARRIES, FILLS, HELD, PACES, REDUCES, REGIONS, ROLES, TRIANGLES, scalar,
};
use crate::tile::{CarryId, CarryRole, Draft, Effect, Held, Op, PortId, Role};
use std::fmt::Write;

/// The canonical text.
pub fn print(program: &Draft) -> String {
    let direction = word(DIRECTIONS, program.direction);
    let mut out = format!("tile {} {direction} ", program.name);
    if program.across {
        let _ = write!(out, "{ACROSS} ");
    }
    let _ = writeln!(out, "{} {{", program.chunk);
    for port in &program.ports {
        let (role, number) = role(port.role);
        let pace = word(PACES, port.pace);
        let head = if port.per_head { " per head" } else { "" };
        let held = match port.held {
            Held::Storage => String::new(),
            held => format!(" {}", word(HELD, held)),
        };
        let (name, dims) = (&port.name, &port.dims);
        let _ = writeln!(
            out,
            "    port {name}: {dims:?} {pace}{head}{held} = {role} {number}"
        );
    }
    for carry in &program.carries {
        let (role, number) = carry_role(carry.role);
        let (name, dims) = (&carry.name, &carry.dims);
        let _ = writeln!(out, "    carry {name}: {dims:?} = {role} {number}");
    }
    let mut region = None;
    for (i, node) in program.nodes.iter().enumerate() {
        if region != Some(node.region) {
            region = Some(node.region);
            let _ = writeln!(out, "\n  {}", word(REGIONS, node.region));
        }
        let op = print_op(program, &node.op);
        let _ = writeln!(out, "    %{i}: {:?} = {op}", node.shape);
    }
    if !program.effects.is_empty() {
        out.push_str("\n  effects\n");
    }
    for effect in &program.effects {
        let _ = match *effect {
            Effect::Store(port, tile) => {
                writeln!(out, "    store {} = %{}", port_name(program, port), tile.0)
            }
            Effect::Accumulate(port, tile) => {
                writeln!(
                    out,
                    "    accumulate {} = %{}",
                    port_name(program, port),
                    tile.0
                )
            }
            Effect::Carry(carry, tile) => {
                writeln!(
                    out,
                    "    carry {} = %{}",
                    carry_name(program, carry),
                    tile.0
                )
            }
        };
    }
    out.push_str("}\n");
    out
}

fn role(role: Role) -> (&'static str, u32) {
    let (kind, number) = match role {
        Role::Input(i) => (0, i),
        Role::Param(i) => (1, i),
        Role::Output(i) => (2, i),
        Role::DOutput(i) => (3, i),
        Role::DInput(i) => (4, i),
        Role::DParam(i) => (5, i),
        Role::Entering(i) => (6, i),
    };
    (ROLES[kind].0, number)
}

fn carry_role(role: CarryRole) -> (&'static str, u32) {
    let (kind, number) = match role {
        CarryRole::State(i) => (0, i),
        CarryRole::DState(i) => (1, i),
        CarryRole::LogScalar(i) => (2, i),
        CarryRole::LogRow(i) => (3, i),
        CarryRole::LogCol(i) => (4, i),
    };
    (CARRIES[kind].0, number)
}

fn port_name(program: &Draft, port: PortId) -> &str {
    let port = program.ports.get(port.index());
    port.map_or("?", |port| port.name.as_str())
}

fn carry_name(program: &Draft, carry: CarryId) -> &str {
    let carry = program.carries.get(carry.index());
    carry.map_or("?", |carry| carry.name.as_str())
}

fn print_op(program: &Draft, op: &Op) -> String {
    match op {
        Op::Load(port, fill) => {
            let fill = word(FILLS, *fill);
            format!("load {} {fill}", port_name(program, *port))
        }
        Op::Carry(carry) => format!("carry {}", carry_name(program, *carry)),
        Op::Map {
            shape,
            operands,
            body,
            reduce,
        } => {
            let mut out = format!("map {shape:?}");
            for (i, (tile, along)) in operands.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let (name, along) = (scalar::operand(i), word(ALONG, *along));
                let _ = write!(out, "{comma} {name} = %{} {along}", tile.0);
            }
            let _ = write!(out, " {{ {} }}", scalar::print(body));
            if let Some((word, _)) = REDUCES.iter().find(|(_, other)| other == reduce) {
                let _ = write!(out, " sum {word}");
            }
            out
        }
        Op::Matmul {
            a,
            ta,
            b,
            tb,
            add,
            triangle,
        } => {
            let prime = |transposed: bool| if transposed { "'" } else { "" };
            let mut out = format!("matmul %{}{}, %{}{}", a.0, prime(*ta), b.0, prime(*tb));
            if let Some(add) = add {
                let _ = write!(out, " + %{}", add.0);
            }
            if let Some((word, _)) = TRIANGLES.iter().find(|(_, other)| other == triangle) {
                let _ = write!(out, " lower {word}");
            }
            out
        }
        Op::Decay(interval, strict, l) => over("decay", *interval, *strict, l.0),
        Op::Spread(interval, strict, x) => over("spread", *interval, *strict, x.0),
        Op::Trilinear(partial, strict, operands, l) => {
            trilinear(*partial, *strict, operands.iter().map(|v| v.0), l.0)
        }
        Op::Solve { transposed, l, r } => solve(*transposed, l.0, r.0),
        Op::Running(scan) => running(scan.map(|operand| operand.0)),
        Op::Delay { reverse, x, border } => along("delay", *reverse, &[x.0, border.0]),
        Op::Edge { reverse, x } => along("edge", *reverse, &[x.0]),
        Op::HeadSum(tile) => format!("head_sum %{}", tile.0),
    }
}
