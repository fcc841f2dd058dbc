//! Functions that stand alone: what costs most in a map goes to a kernel with full vectors.
//!
//! An exponential is twenty times a product, and instructions made here have 128 bits. So before
//! anything is planned, a map over many entries is cut at each such function: what it is a
//! function of becomes a map of its own, then the function alone, and the rest reads the result.

use super::emit::Emitter;
use super::map::{Level, levels};
use super::micro::Function;
use baton_ir::tile::{Along, Builder, Op, Reduce, Region, Scalar, TileId, TileProgram};

/// Entries below which a call is not worth it.
const FEW: u32 = 64;

/// `program` with its costly functions in maps of their own.
pub fn alone(program: &TileProgram) -> TileProgram {
    let mut build = Builder::like(program);
    let mut tiles: Vec<TileId> = vec![];
    for node in &program.nodes {
        let mut op = node.op.clone();
        for tile in op.operands_mut() {
            *tile = tiles[tile.index()];
        }
        while cut(&mut build, &mut op, node.region) {}
        tiles.push(build.add(op, node.region));
    }
    for effect in &program.effects {
        let mut effect = *effect;
        *effect.tile_mut() = tiles[effect.tile().index()];
        build.effect(effect);
    }
    build.finish()
}

/// The function and its operand where a map is nothing else, over many entries.
pub fn bare(op: &Op) -> Option<(Function, TileId)> {
    match op {
        Op::Map {
            shape,
            operands,
            body,
            reduce: Reduce::None,
        } if shape.iter().product::<u32>() >= FEW => match (&body[..], &operands[..]) {
            (&[Scalar::Operand(0), Scalar::Unary(function, 0)], &[(tile, along)])
                if along == whole(shape) =>
            {
                Some((Function::of(function)?, tile))
            }
            _ => None,
        },
        _ => None,
    }
}

/// How a tile of the map's own shape is indexed.
fn whole(shape: &[u32]) -> Along {
    match shape.len() {
        1 => Along::First,
        _ => Along::Both,
    }
}

/// Takes the first costly function out of a map; whether there was one to take out.
fn cut(build: &mut Builder, op: &mut Op, region: Region) -> bool {
    if bare(op).is_some() {
        return false;
    }
    let Op::Map {
        shape,
        operands,
        body,
        reduce,
    } = op
    else {
        return false;
    };
    if shape.iter().product::<u32>() < FEW {
        return false;
    }
    let levels = levels(shape.len(), operands, body);
    let costly = |&(at, scalar): &(usize, &Scalar)| match *scalar {
        Scalar::Unary(function, _) => {
            levels[at] == Level::Column && Function::of(function).is_some()
        }
        _ => false,
    };
    let Some((at, &Scalar::Unary(function, of))) = body.iter().enumerate().find(costly) else {
        return false;
    };
    let along = whole(shape);
    let map = |operands: Vec<(TileId, Along)>, body: Vec<Scalar>| Op::Map {
        shape: shape.clone(),
        operands,
        body,
        reduce: Reduce::None,
    };
    let argument = match body[of as usize] {
        Scalar::Operand(i) if operands[i as usize].1 == along => operands[i as usize].0,
        _ => {
            let (operands, body) = needed(operands, &body[..=of as usize]);
            build.add(map(operands, body), region)
        }
    };
    let only = map(
        vec![(argument, along)],
        vec![Scalar::Operand(0), Scalar::Unary(function, 0)],
    );
    if at + 1 == body.len() && *reduce == Reduce::None {
        *op = only;
        return false;
    }
    let result = build.add(only, region);
    let mut next = body.clone();
    next[at] = Scalar::Operand(operands.len() as u32);
    operands.push((result, along));
    (*operands, *body) = needed(operands, &next);
    true
}

/// What the last scalar of a body needs, renumbered.
fn needed(operands: &[(TileId, Along)], body: &[Scalar]) -> (Vec<(TileId, Along)>, Vec<Scalar>) {
    let mut used = vec![false; body.len()];
    used[body.len() - 1] = true;
    for (at, scalar) in body.iter().enumerate().rev() {
        if used[at] {
            let operands = scalar.operands().into_iter();
            operands.for_each(|of| used[of as usize] = true);
        }
    }
    let (mut kept, mut next): (Vec<(TileId, Along)>, Vec<Scalar>) = (vec![], vec![]);
    let mut renamed = vec![0; body.len()];
    for (at, scalar) in body.iter().enumerate().filter(|&(at, _)| used[at]) {
        renamed[at] = next.len() as u32;
        next.push(match *scalar {
            Scalar::Operand(i) => {
                let operand = operands[i as usize];
                let known = kept.iter().position(|&other| other == operand);
                let number = known.unwrap_or(kept.len());
                if known.is_none() {
                    kept.push(operand);
                }
                Scalar::Operand(number as u32)
            }
            other => other.map_operands(|of| renamed[of as usize]),
        });
    }
    (kept, next)
}

impl Emitter<'_, '_> {
    /// Calls the kernel of a function for all that a tile's place holds.
    pub fn function(&mut self, out: usize, function: Function, of: TileId) {
        let tile = self.plan.tiles[out];
        let (d, s) = (self.place(out), self.place(of.index()));
        let [count, which] = [(tile.rows * tile.row) as i64, function as i64].map(|x| self.word(x));
        self.call(self.kernels.function as usize, &[d, s, count, which]);
    }
}
