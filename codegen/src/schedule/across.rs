//! Loops exchanged: a program of single steps becomes one whose rows are heads.
//!
//! A step of a state that is a number or a vector is little work, and none of it is a product. One head at a
//! time it fills no vector; so several heads stand below one another as the rows of a tile, and the loop inside
//! goes over steps ([`Draft::across`](baton_ir::tile::Draft)). States stay where they are from step to step,
//! what no step changes is computed once, what steps add up is stored once, and nothing is transposed: rows
//! lie as the tensors outside have them.
//!
//! What of a map no step changes becomes a map before the steps, also where it was fused with what one does.
//! Axes of one entry are dropped first, those of the one step among them, so what is left of a tile of a head
//! has rank 0 or 1; what has more, or holds another op than maps, stays as it is.

use super::body::{depends, take_out, whole};
use baton_ir::tile::{
    Along, Builder, Effect, Fill, Op, Pace, PortDecl, Reduce, Region, Scalar, TileId, TileProgram,
};

/// `program`, of chunks of one step, with `rows` heads to a tile, all that a task has where its group shares
/// anything. None where a head's tiles are matrices.
pub fn across(program: &TileProgram, rows: u32) -> Option<TileProgram> {
    assert_eq!(program.chunk, 1, "steps stand by themselves");
    let name = program.name.clone();
    let mut exchange = Exchange {
        program,
        rows,
        tiles: vec![],
        build: Builder::new(name, rows, program.direction).across(),
    };
    for port in &program.ports {
        exchange.build.port(PortDecl {
            pace: if port.per_head {
                Pace::Step
            } else {
                Pace::Task
            },
            per_head: port.pace != Pace::Task,
            dims: squeezed(&port.dims),
            ..port.clone()
        });
    }
    for carry in &program.carries {
        let mut carry = carry.clone();
        carry.dims = squeezed(&carry.dims);
        exchange.build.carry(carry);
    }
    for i in 0..program.nodes.len() {
        let tile = exchange.node(TileId(i as u32))?;
        exchange.tiles.push(tile);
    }
    for &effect in &program.effects {
        exchange.effect(effect);
    }
    Some(exchange.build.finish())
}

/// A shape without its axes of one entry.
fn squeezed(shape: &[u32]) -> Vec<u32> {
    shape.iter().copied().filter(|&size| size != 1).collect()
}

struct Exchange<'a> {
    program: &'a TileProgram,
    rows: u32,
    /// The new tile of each node.
    tiles: Vec<TileId>,
    build: Builder,
}

impl Exchange<'_> {
    fn node(&mut self, tile: TileId) -> Option<TileId> {
        let node = self.program.node(tile);
        let heads = node.region == Region::Heads;
        if squeezed(&node.shape).len() > if heads { 1 } else { 2 } {
            return None;
        }
        let mut op = match &node.op {
            // Rows past the last head are those of the last: what is computed of them is finite.
            Op::Load(port, _) => Op::Load(*port, Fill::Repeat),
            Op::Carry(carry) => Op::Carry(*carry),
            Op::Map {
                shape,
                operands,
                body,
                reduce,
            } => self.map(heads, shape, operands, body, *reduce)?,
            Op::HeadSum(of) => self.sum(*of),
            _ => return None,
        };
        self.hoist(&mut op);
        let changes = |tile: &TileId| self.build.program().node(*tile).region == Region::Heads;
        let region = match &op {
            Op::Load(port, _) if !self.build.program().ports[port.index()].per_head => {
                Region::Before
            }
            Op::Map { operands, .. } if !operands.iter().any(|(tile, _)| changes(tile)) => {
                Region::Before
            }
            _ => Region::Heads,
        };
        Some(self.build.add(op, region))
    }

    /// A map over what is left of its space, below one another for each head.
    fn map(
        &self,
        heads: bool,
        shape: &[u32],
        operands: &[(TileId, Along)],
        body: &[Scalar],
        reduce: Reduce,
    ) -> Option<Op> {
        let masked = |scalar: &Scalar| matches!(scalar, Scalar::Valid(_) | Scalar::Causal(..));
        let left = squeezed(shape);
        if body.iter().any(masked) || heads && left.len() > 1 {
            return None;
        }
        let summed = match reduce {
            Reduce::None => false,
            Reduce::All => true,
            Reduce::First => shape[0] != 1,
            Reduce::Second => shape[1] != 1,
        };
        let rows = heads.then_some(self.rows);
        let space: Vec<u32> = rows.into_iter().chain(left.iter().copied()).collect();
        let along = |&(tile, along): &(TileId, Along)| {
            let of = self.program.node(tile);
            let own = squeezed(&of.shape).len();
            let along = match (of.region == Region::Heads, own, heads) {
                (true, 0, _) => Along::First,
                (true, ..) => Along::Both,
                (false, 0, _) => Along::None,
                (false, _, true) => Along::Second,
                (false, 1, false) if left.len() == 1 => Along::First,
                (false, ..) => along,
            };
            (self.tiles[tile.index()], along)
        };
        Some(Op::Map {
            shape: if space.is_empty() { vec![1] } else { space },
            operands: operands.iter().map(along).collect(),
            body: body.to_vec(),
            reduce: match (heads, left.len()) {
                (false, 0) => Reduce::All,
                (_, 0) => Reduce::None,
                (true, _) if summed => Reduce::Second,
                (false, 1) if summed => Reduce::All,
                (false, 2) => reduce,
                _ => Reduce::None,
            },
        })
    }

    /// Takes what no step changes out of a map, to be computed before them.
    fn hoist(&mut self, op: &mut Op) {
        while let Op::Map {
            shape,
            operands,
            body,
            ..
        } = op
        {
            let program = self.build.program();
            let changes = depends(body, |i| {
                program.node(operands[i].0).region == Region::Heads
            });
            let wide = depends(body, |i| {
                matches!(operands[i].1, Along::Second) || operands[i].1 == whole(shape)
            });
            let kept = |at: usize| {
                let leaf = matches!(body[at], Scalar::Operand(_) | Scalar::Number(_));
                !leaf && wide[at] && !changes[at]
            };
            let mut scalars = body.iter().zip(&changes);
            let found = scalars.find_map(|(scalar, &changes)| {
                let mut operands = scalar.operands().into_iter().map(|of| of as usize);
                operands.find(|&of| changes && kept(of))
            });
            match found {
                Some(at) => take_out(&mut self.build, op, at, Region::Before),
                None => return,
            }
        }
    }

    /// A sum over heads: over the rows that are heads.
    fn sum(&self, of: TileId) -> Op {
        let left = squeezed(&self.program.node(of).shape);
        let (along, reduce) = match left.len() {
            0 => (Along::First, Reduce::All),
            _ => (Along::Both, Reduce::First),
        };
        Op::Map {
            shape: [self.rows].into_iter().chain(left).collect(),
            operands: vec![(self.tiles[of.index()], along)],
            body: vec![Scalar::Operand(0), Scalar::Valid(0)],
            reduce,
        }
    }

    fn effect(&mut self, effect: Effect) {
        let tile = self.stepped(self.tiles[effect.tile().index()]);
        let effect = match effect {
            Effect::Store(port, _) => Effect::Store(port, tile),
            Effect::Carry(carry, _) => Effect::Carry(carry, tile),
            Effect::Accumulate(port, _) => {
                let sum = self.build.add(Op::HeadSum(tile), Region::After);
                Effect::Accumulate(port, sum)
            }
        };
        self.build.effect(effect);
    }

    /// A tile as one of every step.
    fn stepped(&mut self, tile: TileId) -> TileId {
        let node = self.build.program().node(tile);
        if node.region == Region::Heads {
            return tile;
        }
        let (shape, along, reduce) = match node.shape.len() {
            0 => (vec![1], Along::None, Reduce::All),
            1 => (node.shape.clone(), Along::First, Reduce::None),
            _ => (node.shape.clone(), Along::Both, Reduce::None),
        };
        let op = Op::Map {
            shape,
            operands: vec![(tile, along)],
            body: vec![Scalar::Operand(0)],
            reduce,
        };
        self.build.add(op, Region::Heads)
    }
}
