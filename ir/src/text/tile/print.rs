//! Level 3 to its canonical text.

use super::super::ops::{DIRECTIONS, word};
use super::op::{self, carry_name, port_name};
use super::{ACROSS, CARRIES, HELD, PACES, REGIONS, ROLES};
use crate::tile::{CarryRole, Draft, Effect, Held, Role};
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
        let op = op::print(program, &node.op);
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
