//! What is known of a node from its op alone: sizes, which axes are steps, operations.
//!
//! Operations are counted where ops are typed, so also of what no machine could hold: counts saturate.

use super::{BinaryFn, Scalar, UnaryFn};

/// Which axes of a tile, the first and the second, are steps of the chunk (where loops are exchanged, heads of the
/// block). An axis is one of steps if anything that it is indexed with is, so what is repeated along steps may go
/// unrecognised, and it holds nothing of a step.
pub type Steps = [bool; 2];

/// Which part of a square tile is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Zeros {
    /// None of it, as far as is known.
    #[default]
    Nowhere,
    /// Right of the diagonal: `t < s`.
    Above,
    /// The diagonal too: `t <= s`.
    Diagonal,
}

impl Zeros {
    /// Above the diagonal, or (strictly) on it too.
    pub(super) fn of(strict: bool) -> Zeros {
        if strict {
            Zeros::Diagonal
        } else {
            Zeros::Above
        }
    }
}

/// What an op gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gives {
    /// The sizes of its result.
    pub shape: Vec<u32>,
    /// Which axes of it are steps.
    pub steps: Steps,
    /// Where it is zero whatever its operands hold.
    pub zeros: Zeros,
    /// What computing it once takes.
    pub flops: Flops,
}

/// Operations, by the unit that does them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flops {
    /// Multiplies and adds of products that the algebra needs.
    pub products: u64,
    /// The same of whole tiles, masked halves included.
    pub whole_products: u64,
    /// Additions, multiplications, selections and comparisons of maps, decays and sums.
    pub pointwise: u64,
    /// Exponentials, roots, quotients and their kin.
    pub functions: u64,
}

impl Flops {
    /// Those of an op that moves numbers.
    pub(super) const NONE: Flops = Flops {
        products: 0,
        whole_products: 0,
        pointwise: 0,
        functions: 0,
    };

    /// A multiply and an add for each of `needed` terms, of which tiles hold `whole`.
    pub(super) fn terms(needed: u64, whole: u64) -> Flops {
        Flops {
            products: times(&[2, needed]),
            whole_products: times(&[2, whole]),
            ..Flops::NONE
        }
    }

    /// Additions and their kin.
    pub(super) fn pointwise(count: u64) -> Flops {
        Flops {
            pointwise: count,
            ..Flops::NONE
        }
    }

    /// The same beside so many functions.
    pub(super) fn functions(self, count: u64) -> Flops {
        Flops {
            functions: count,
            ..self
        }
    }
}

/// Entries of a tile.
pub(super) fn entries(shape: &[u32]) -> u64 {
    let sizes: Vec<u64> = shape.iter().map(|&size| size.into()).collect();
    times(&sizes)
}

/// A product of counts.
pub(super) fn times(counts: &[u64]) -> u64 {
    counts.iter().copied().fold(1, u64::saturating_mul)
}

/// Pairs of steps (t, s) of a chunk with s before t, or t itself.
pub(super) fn pairs(chunk: u32, strict: bool) -> u64 {
    let chunk = u64::from(chunk);
    chunk * (chunk + 1) / 2 - if strict { chunk } else { 0 }
}

/// Scalars of a map's body that are computed for each entry: all, and of these the functions.
pub(super) fn computed(body: &[Scalar]) -> [u64; 2] {
    // More than an addition, a multiplication or a selection.
    let function = |scalar: &&Scalar| match scalar {
        Scalar::Unary(function, _) => {
            !matches!(function, UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Relu)
        }
        Scalar::Binary(function, ..) => *function == BinaryFn::Div,
        _ => false,
    };
    let leaf = |scalar: &&Scalar| matches!(scalar, Scalar::Operand(_) | Scalar::Number(_));
    let all = body.iter().filter(|scalar| !leaf(scalar)).count();
    [all as u64, body.iter().filter(function).count() as u64]
}
