//! Functions that stand alone: what costs most in a map goes to a kernel with full vectors.
//!
//! An exponential is twenty times a product, and instructions made here have 128 bits. So
//! before anything is planned, a map over many entries is cut at each such function: what it is a
//! function of becomes a map of its own, then the function alone, and the rest reads the result. What the kernels
//! do beside is to multiply a row by a number first: rates by steps, as decays are made.

use super::emit::Emitter;
use super::map::{Level, levels};
use super::micro::has_kernel;
use crate::schedule::{Operands, take_out, whole};
use baton_ir::recurrence::{BinaryFn, UnaryFn};
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

/// A function of a tile's numbers, or of each row by a factor.
pub struct Alone {
    function: UnaryFn,
    of: TileId,
    factors: Option<TileId>,
}

/// The function where a map over many entries is nothing else.
pub fn alone_in(op: &Op) -> Option<Alone> {
    let Op::Map {
        shape,
        operands,
        body,
        reduce: Reduce::None,
    } = op
    else {
        return None;
    };
    let Some(&Scalar::Unary(function, of)) = body.last() else {
        return None;
    };
    if !has_kernel(function) {
        return None;
    }
    let (of, factors) = argument(shape, operands, body, of)?;
    let read = 1 + 2 * usize::from(factors.is_some());
    (shape.iter().product::<u32>() >= FEW && body.len() == read + 1).then_some(Alone {
        function,
        of,
        factors,
    })
}

/// What the kernels take the function of: a whole tile, or one with a factor for each row.
fn argument(
    shape: &[u32],
    operands: &Operands,
    body: &[Scalar],
    of: u32,
) -> Option<(TileId, Option<TileId>)> {
    let operand = |of: u32, along: Along| match body[of as usize] {
        Scalar::Operand(i) if operands[i as usize].1 == along => Some(operands[i as usize].0),
        _ => None,
    };
    let scaled = |a: u32, b: u32| {
        let rows = operand(b, Along::First).filter(|_| shape.len() == 2)?;
        Some((operand(a, Along::Both)?, Some(rows)))
    };
    match body[of as usize] {
        Scalar::Binary(BinaryFn::Mul, a, b) => scaled(a, b).or_else(|| scaled(b, a)),
        _ => Some((operand(of, whole(shape))?, None)),
    }
}

/// Takes the first costly function out of a map, or what it is a function of; whether there was one.
fn cut(build: &mut Builder, op: &mut Op, region: Region) -> bool {
    if alone_in(op).is_some() {
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
        Scalar::Unary(function, of) if levels[at] == Level::Column && has_kernel(function) => {
            Some((at, of))
        }
        _ => None,
    });
    let Some((at, of)) = costly else {
        return false;
    };
    let at = match argument(shape, operands, body, of) {
        Some(_) => at,
        None => of as usize,
    };
    take_out(build, op, at, region);
    true
}

impl Emitter<'_, '_> {
    /// Calls the kernel of a function for all that a tile's place holds.
    pub fn function(&mut self, out: usize, alone: &Alone) {
        let tile = self.plan.tiles[out];
        let (d, s) = (self.place(out), self.place(alone.of.index()));
        let (factors, rows) = match alone.factors {
            Some(factors) => (self.place(factors.index()), tile.rows),
            None => (self.word(0), 1),
        };
        let columns = tile.rows * tile.row / rows;
        let [rows, columns, which] =
            [rows as i64, columns as i64, alone.function as i64].map(|x| self.word(x));
        let kernel = self.kernels.function as usize;
        self.call(kernel, &[d, s, factors, rows, columns, which]);
    }
}
