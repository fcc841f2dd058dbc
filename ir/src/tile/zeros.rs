//! What is zero above the diagonal, from the ops alone.
//!
//! Zero here is zero whatever else a tile is made of: a product with such a tile is selected, not
//! multiplied, so that a NaN or an infinity of a later step does not come through a causal zero.
//! [`selects`] says where a map has to select for that.

use super::gives::{Gives, Zeros};
use super::{Along, BinaryFn, Scalar, TileId, UnaryFn};

/// The zeros of each scalar of a map's body, where the tiles are `known`.
pub fn of_body(body: &[Scalar], operands: &[(TileId, Along)], known: &[Gives]) -> Vec<Zeros> {
    let of_tile = |tile: TileId| {
        known
            .get(tile.index())
            .map_or(Zeros::Nowhere, |known| known.zeros)
    };
    let mut zeros: Vec<Zeros> = Vec::with_capacity(body.len());
    for scalar in body {
        let of = |i: u32| zeros[i as usize];
        zeros.push(match *scalar {
            Scalar::Operand(i) => match operands[i as usize] {
                (tile, Along::Both) => of_tile(tile),
                _ => Zeros::Nowhere,
            },
            Scalar::Number(_) => Zeros::Nowhere,
            Scalar::Causal(a, strict) => of(a).max(Zeros::of(strict)),
            Scalar::Valid(a) => of(a),
            Scalar::Select(_, _, a, b) => {
                let zero = |i: u32| match body[i as usize] {
                    Scalar::Number(0.0) => Zeros::Diagonal,
                    _ => of(i),
                };
                zero(a).min(zero(b))
            }
            Scalar::Unary(function, a) => match function {
                UnaryFn::Neg
                | UnaryFn::Abs
                | UnaryFn::Sqrt
                | UnaryFn::Silu
                | UnaryFn::Tanh
                | UnaryFn::Relu
                | UnaryFn::Sin
                | UnaryFn::Wrap => of(a),
                _ => Zeros::Nowhere,
            },
            Scalar::Binary(BinaryFn::Mul, a, b) => of(a).max(of(b)),
            Scalar::Binary(BinaryFn::Div, a, _) => of(a),
            Scalar::Binary(_, a, b) => of(a).min(of(b)),
        });
    }
    zeros
}

/// Whether scalar number `at` is zero somewhere only because what is multiplied there is finite:
/// then its zeros are to be selected, unless what is made of it selects them anyway.
pub fn selects(body: &[Scalar], known: &[Zeros], at: usize) -> bool {
    let of = |i: u32| known[i as usize];
    let multiplied = match body[at] {
        Scalar::Binary(BinaryFn::Mul, a, b) => of(a) != of(b),
        Scalar::Binary(BinaryFn::Div, a, _) => of(a) != Zeros::Nowhere,
        _ => false,
    };
    let reads = |scalar: &&Scalar| scalar.operands().contains(&(at as u32));
    let mut users = body.iter().skip(at + 1).filter(reads);
    let masked = |scalar: &Scalar| match *scalar {
        Scalar::Causal(_, strict) => Zeros::of(strict) >= known[at],
        _ => false,
    };
    multiplied && !(at + 1 < body.len() && users.all(masked))
}
