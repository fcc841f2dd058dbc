//! What is known to be zero above the diagonal, from the ops alone.

use baton_ir::chunked::{Interval, Partial};
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use baton_ir::tile::{Along, Node, Op, Reduce, Scalar};

/// Which tiles are zero above the diagonal.
pub fn lower_triangles(nodes: &[Node]) -> Vec<bool> {
    let mut lower: Vec<bool> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let is = match &node.op {
            Op::Decay(Interval::Between, ..) => true,
            Op::Trilinear(Partial::Weights, ..) => true,
            Op::Map {
                shape,
                operands,
                body,
                reduce: Reduce::None,
            } if shape.len() == 2 => {
                let mut zero: Vec<bool> = vec![];
                for scalar in body {
                    let of = |i: u32| zero[i as usize];
                    zero.push(match *scalar {
                        Scalar::Operand(i) => {
                            let (tile, along) = operands[i as usize];
                            along == Along::Both && lower[tile.index()]
                        }
                        Scalar::Number(x) => x == 0.0,
                        Scalar::Causal(..) => true,
                        Scalar::Valid(a) => of(a),
                        Scalar::Select(x, y, a, b) => [x, y, a, b].into_iter().all(of),
                        Scalar::Unary(function, a) => {
                            of(a)
                                && matches!(
                                    function,
                                    UnaryFn::Neg
                                        | UnaryFn::Abs
                                        | UnaryFn::Sqrt
                                        | UnaryFn::Silu
                                        | UnaryFn::Tanh
                                        | UnaryFn::Relu
                                )
                        }
                        Scalar::Binary(BinaryFn::Mul, a, b) => of(a) || of(b),
                        Scalar::Binary(BinaryFn::Div, a, _) => of(a),
                        Scalar::Binary(_, a, b) => of(a) && of(b),
                    });
                }
                zero.last().copied().unwrap_or(false)
            }
            _ => false,
        };
        lower.push(is);
    }
    lower
}
