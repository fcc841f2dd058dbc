//! Heads side by side: a program that runs several heads of a group at once.
//!
//! What the heads of a group share (loads of B and C, their product) stands once in such a program,
//! what belongs to a head once for each, with ports and carries of its own. A sum over heads becomes
//! products that add onto each other, so it holds the registers of one head; where the value is no
//! product, an ordinary sum. The order of every sum is that of the heads.

use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::{
    Along, Builder, CarryId, Effect, Node, Op, PortId, Reduce, Region, Scalar, TileId, TileProgram,
};
use std::collections::BTreeMap;

/// Heads that blocks run side by side: registers allow no more.
pub const SIDE_BY_SIDE: u32 = 2;

/// A program for several heads, and whose copies its ports and carries are.
#[derive(Clone, Debug, PartialEq)]
pub struct SideBySide {
    /// The program.
    pub program: TileProgram,
    /// The heads side by side.
    pub heads: u32,
    /// For each of its ports: the port it stands for, and the head among those side by side.
    pub ports: Vec<(PortId, u32)>,
    /// The same of carries.
    pub carries: Vec<(CarryId, u32)>,
}

/// `program` with `heads` heads side by side.
pub fn side_by_side(program: &TileProgram, heads: u32) -> SideBySide {
    let copies = |each: bool| 0..if each { heads } else { 1 };
    let ports: Vec<(PortId, u32)> = (program.ports.iter().enumerate())
        .flat_map(|(i, port)| copies(port.per_head).map(move |head| (PortId(i as u32), head)))
        .collect();
    let carries: Vec<(CarryId, u32)> = (0..program.carries.len() as u32)
        .flat_map(|i| copies(true).map(move |head| (CarryId(i), head)))
        .collect();
    let name = |name: &mut String, head: u32| match head {
        0 => {}
        _ => *name += &format!("_{head}"),
    };
    let port_decl = |&(of, head): &(PortId, u32)| {
        let mut port = program.ports[of.index()].clone();
        name(&mut port.name, head);
        port
    };
    let carry_decl = |&(of, head): &(CarryId, u32)| {
        let mut carry = program.carries[of.index()].clone();
        name(&mut carry.name, head);
        carry
    };
    let mut out = Builder::new(program.name.clone(), program.chunk, program.direction);
    for decl in ports.iter().map(port_decl) {
        out.port(decl);
    }
    for decl in carries.iter().map(carry_decl) {
        out.carry(decl);
    }
    let port = |of, head| PortId(ports.partition_point(|&(port, _)| port < of) as u32 + head);
    let carry = |of: CarryId, head: u32| CarryId(of.0 * heads + head);
    let chains = Chains::of(program);
    // The tiles of each node, one a head, or one that all heads share; and what those of a sum over
    // heads add up to.
    let mut tiles: Vec<Vec<TileId>> = vec![vec![]; program.nodes.len()];
    let mut totals: BTreeMap<TileId, TileId> = BTreeMap::new();
    for region in [Region::Before, Region::Heads, Region::After] {
        let nodes = || program.nodes.iter().enumerate();
        for head in copies(region == Region::Heads) {
            for (at, node) in nodes().filter(|(_, node)| node.region == region) {
                let mut op = node.op.clone();
                for tile in op.operands_mut() {
                    let copies = &tiles[tile.index()];
                    let copy = || copies[(head as usize).min(copies.len() - 1)];
                    *tile = totals.get(tile).copied().unwrap_or_else(copy);
                }
                match &mut op {
                    Op::Load(id, _) => *id = port(*id, head),
                    Op::Carry(id) => *id = carry(*id, head),
                    Op::Matmul { add, .. } if head > 0 => {
                        let before = |end: TileId| tiles[end.index()][head as usize - 1];
                        *add = add.or(chains.end(TileId(at as u32)).map(before));
                    }
                    _ => {}
                }
                tiles[at].push(out.add(op, region));
            }
        }
        for (_, node) in nodes().filter(|_| region == Region::Heads) {
            if let Op::HeadSum(x) = node.op {
                let all = &tiles[x.index()];
                if heads > 1 && !chains.ends(x) {
                    totals.insert(x, out.add(sum(all, program.node(x)), region));
                } else {
                    totals.insert(x, all[all.len() - 1]);
                }
            }
        }
    }
    for effect in &program.effects {
        let copies = &tiles[effect.tile().index()];
        for (head, &tile) in (0..).zip(copies) {
            out.effect(match *effect {
                Effect::Store(of, _) => Effect::Store(port(of, head), tile),
                Effect::Accumulate(of, _) => Effect::Accumulate(port(of, head), tile),
                Effect::Carry(of, _) => Effect::Carry(carry(of, head), tile),
            });
        }
    }
    SideBySide {
        program: out.finish(),
        heads,
        ports,
        carries,
    }
}

/// Sums over heads whose value is a product, or products that add onto each other: each head can
/// begin with what the head before it ended with. The first product, which adds nothing, and the value
/// that is summed.
struct Chains(Vec<(TileId, TileId)>);

impl Chains {
    fn of(program: &TileProgram) -> Self {
        let readers = |tile: TileId| {
            let operands = program.nodes.iter().flat_map(|node| node.op.operands());
            let written = program.effects.iter().map(Effect::tile);
            operands.chain(written).filter(|&read| read == tile).count()
        };
        let begin = |mut at: TileId| loop {
            match program.node(at).op {
                _ if readers(at) != 1 => return None,
                Op::Matmul { add: None, .. } => return Some(at),
                Op::Matmul { add: Some(add), .. } => at = add,
                _ => return None,
            }
        };
        let sums = program.nodes.iter().filter_map(|node| match node.op {
            Op::HeadSum(end) => begin(end).map(|begin| (begin, end)),
            _ => None,
        });
        Chains(sums.collect())
    }

    /// The end of the chain that begins with this product.
    fn end(&self, product: TileId) -> Option<TileId> {
        let found = self.0.iter().find(|(begin, _)| *begin == product);
        found.map(|&(_, end)| end)
    }

    fn ends(&self, tile: TileId) -> bool {
        self.0.iter().any(|&(_, end)| end == tile)
    }
}

/// The sum of one tile a head, of which `node` is one.
fn sum(tiles: &[TileId], node: &Node) -> Op {
    let rank = node.shape.len();
    let along = [Along::None, Along::First, Along::Both][rank];
    let mut body: Vec<Scalar> = (0..tiles.len() as u32).map(Scalar::Operand).collect();
    let mut so_far = 0;
    for head in 1..tiles.len() as u32 {
        body.push(Scalar::Binary(BinaryFn::Add, so_far, head));
        so_far = body.len() as u32 - 1;
    }
    let (shape, reduce) = match rank {
        // A number is a map over one element, summed.
        0 => (vec![1], Reduce::All),
        _ => (node.shape.clone(), Reduce::None),
    };
    Op::Map {
        shape,
        operands: tiles.iter().map(|&tile| (tile, along)).collect(),
        body,
        reduce,
    }
}
