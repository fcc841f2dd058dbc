//! Functions that stand alone: what costs most in a map goes to a kernel with full vectors.
//!
//! An exponential is twenty times a product, and instructions made here have 128 bits. So before
//! anything is planned, a map over many entries is cut at each such function: what it is a
//! function of becomes a map of its own, then the function alone, and the rest reads the result.

use super::emit::Emitter;
use super::map::{Level, levels};
use super::micro::Function;
use crate::schedule::{take_out, whole};
use baton_ir::tile::{Builder, Op, Reduce, Region, Scalar, TileId, TileProgram};

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

/// Takes the first costly function out of a map, or what it is a function of; whether there was one.
fn cut(build: &mut Builder, op: &mut Op, region: Region) -> bool {
    if bare(op).is_some() {
        return false;
    }
    let Op::Map {
        shape,
        operands,
        body,
        ..
    } = &*op
    else {
        return false;
    };
    if shape.iter().product::<u32>() < FEW {
        return false;
    }
    let levels = levels(shape.len(), operands, body);
    let mut scalars = body.iter().enumerate();
    let costly = scalars.find_map(|(at, scalar)| match *scalar {
        Scalar::Unary(function, of) if levels[at] == Level::Column => {
            Function::of(function).map(|_| (at, of as usize))
        }
        _ => None,
    });
    let Some((at, of)) = costly else {
        return false;
    };
    let at = match body[of] {
        Scalar::Operand(i) if operands[i as usize].1 == whole(shape) => at,
        _ => of,
    };
    take_out(build, op, at, region);
    true
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
