//! The text of an op of level 3, both ways.

use super::super::ops::{
    INTERVALS, PARTIALS, along, operands, over, running, scan, solve, trilinear, word,
};
use super::{ALONG, FILLS, Parser, REDUCES, TRIANGLES, scalar};
use crate::tile::{CarryId, Draft, Op, PortId, Reduce, TileId, Triangle};
use std::fmt::Write;

/// The canonical text of an op.
pub(super) fn print(program: &Draft, op: &Op) -> String {
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

pub(super) fn port_name(program: &Draft, port: PortId) -> &str {
    let port = program.ports.get(port.index());
    port.map_or("?", |port| port.name.as_str())
}

pub(super) fn carry_name(program: &Draft, carry: CarryId) -> &str {
    let carry = program.carries.get(carry.index());
    carry.map_or("?", |carry| carry.name.as_str())
}

impl Parser<'_> {
    fn tile(&mut self) -> Option<TileId> {
        self.cursor.value().map(TileId)
    }

    pub(super) fn op(&mut self) -> Option<Op> {
        let span = self.cursor.span();
        let word = self.cursor.word("an op")?;
        Some(match word {
            "load" => Op::Load(self.port()?, self.cursor.choice(FILLS)?),
            "carry" => Op::Carry(self.carry()?),
            "map" => return self.map(),
            "matmul" => {
                let (a, ta) = (self.tile()?, self.cursor.mark('\''));
                self.cursor.expect(',')?;
                let (b, tb) = (self.tile()?, self.cursor.mark('\''));
                let add = match self.cursor.mark('+') {
                    true => Some(self.tile()?),
                    false => None,
                };
                let triangle = match self.cursor.keyword("lower") {
                    true => self.cursor.choice(TRIANGLES)?,
                    false => Triangle::None,
                };
                Op::Matmul {
                    a,
                    ta,
                    b,
                    tb,
                    add,
                    triangle,
                }
            }
            "decay" | "spread" => {
                let interval = self.cursor.choice(INTERVALS)?;
                let strict = self.cursor.keyword("strict");
                let tile = self.tile()?;
                match word {
                    "decay" => Op::Decay(interval, strict, tile),
                    _ => Op::Spread(interval, strict, tile),
                }
            }
            "trilinear" => {
                let partial = self.cursor.choice(PARTIALS)?;
                let strict = self.cursor.keyword("strict");
                let (operands, l) = operands(&mut self.cursor)?;
                let operands = operands.into_iter().map(TileId).collect();
                Op::Trilinear(partial, strict, operands, TileId(l))
            }
            "solve" => {
                let transposed = self.cursor.keyword("transposed");
                let l = self.tile()?;
                self.cursor.expect(',')?;
                let r = self.tile()?;
                Op::Solve { transposed, l, r }
            }
            "delay" => {
                let reverse = self.cursor.keyword("reverse");
                let x = self.tile()?;
                self.cursor.expect(',')?;
                let border = self.tile()?;
                Op::Delay { reverse, x, border }
            }
            "edge" => {
                let reverse = self.cursor.keyword("reverse");
                let x = self.tile()?;
                Op::Edge { reverse, x }
            }
            "running" => Op::Running(scan(&mut self.cursor)?.map(TileId)),
            "head_sum" => Op::HeadSum(self.tile()?),
            _ => return self.cursor.unknown(span, "op", word),
        })
    }

    fn map(&mut self) -> Option<Op> {
        let shape = self.cursor.sizes()?;
        let mut operands = Vec::new();
        while !self.cursor.mark('{') {
            if !operands.is_empty() {
                self.cursor.expect(',')?;
            }
            let name = scalar::operand(operands.len());
            if !self.cursor.keyword(&name) {
                return self
                    .cursor
                    .unexpected(&format!("`{name}`: operands are lettered"));
            }
            self.cursor.expect('=')?;
            operands.push((self.tile()?, self.cursor.choice(ALONG)?));
        }
        let body = scalar::parse(&mut self.cursor, operands.len())?;
        let reduce = match self.cursor.keyword("sum") {
            true => self.cursor.choice(REDUCES)?,
            false => Reduce::None,
        };
        Some(Op::Map {
            shape,
            operands,
            body,
            reduce,
        })
    }
}
