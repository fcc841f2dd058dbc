//! What is zero above the diagonal, from the ops alone.
//!
//! Zero here is zero whatever else a tile is made of: a product with such a tile is selected, not
//! multiplied, so that a NaN or an infinity of a later step does not come through a causal zero.
//! [`selects`] says where a map has to select for that.

use baton_ir::chunked::{Interval, Partial};
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use baton_ir::tile::{Along, Node, Op, Reduce, Scalar, TileId};

/// Which part of a square tile is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Zero {
    /// None of it, as far as is known.
    Nowhere,
    /// Right of the diagonal: `t < s`.
    Above,
    /// The diagonal too: `t <= s`.
    Diagonal,
}

impl Zero {
    fn of(strict: bool) -> Zero {
        if strict { Zero::Diagonal } else { Zero::Above }
    }
}

/// The zeros of every node.
pub fn zeros(nodes: &[Node]) -> Vec<Zero> {
    let mut zeros: Vec<Zero> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let zero = match &node.op {
            Op::Decay(Interval::Between, strict, _)
            | Op::Trilinear(Partial::Weights, strict, ..) => Zero::of(*strict),
            Op::HeadSum(of) => zeros[of.index()],
            Op::Map {
                operands,
                body,
                reduce: Reduce::None,
                ..
            } => {
                let body = of_body(body, operands, &zeros);
                body.last().copied().unwrap_or(Zero::Nowhere)
            }
            _ => Zero::Nowhere,
        };
        zeros.push(zero);
    }
    zeros
}

/// The zeros of each scalar of a map's body, where `zeros` are those of the tiles.
pub fn of_body(body: &[Scalar], operands: &[(TileId, Along)], zeros: &[Zero]) -> Vec<Zero> {
    let mut known: Vec<Zero> = Vec::with_capacity(body.len());
    for scalar in body {
        let of = |i: u32| known[i as usize];
        known.push(match *scalar {
            Scalar::Operand(i) => match operands[i as usize] {
                (tile, Along::Both) => zeros[tile.index()],
                _ => Zero::Nowhere,
            },
            Scalar::Number(_) => Zero::Nowhere,
            Scalar::Causal(a, strict) => of(a).max(Zero::of(strict)),
            Scalar::Valid(a) => of(a),
            Scalar::Select(_, _, a, b) => {
                let zero = |i: u32| match body[i as usize] {
                    Scalar::Number(0.0) => Zero::Diagonal,
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
                _ => Zero::Nowhere,
            },
            Scalar::Binary(BinaryFn::Mul, a, b) => of(a).max(of(b)),
            Scalar::Binary(BinaryFn::Div, a, _) => of(a),
            Scalar::Binary(_, a, b) => of(a).min(of(b)),
        });
    }
    known
}

/// Whether scalar number `at` is zero somewhere only because what is multiplied there is finite:
/// then its zeros are to be selected, unless what is made of it selects them anyway.
pub fn selects(body: &[Scalar], known: &[Zero], at: usize) -> bool {
    let of = |i: u32| known[i as usize];
    let multiplied = match body[at] {
        Scalar::Binary(BinaryFn::Mul, a, b) => of(a) != of(b),
        Scalar::Binary(BinaryFn::Div, a, _) => of(a) != Zero::Nowhere,
        _ => false,
    };
    let reads = |scalar: &&Scalar| scalar.operands().contains(&(at as u32));
    let mut users = body.iter().skip(at + 1).filter(reads);
    let masked = |scalar: &Scalar| match *scalar {
        Scalar::Causal(_, strict) => Zero::of(strict) >= known[at],
        _ => false,
    };
    multiplied && !(at + 1 < body.len() && users.all(masked))
}
