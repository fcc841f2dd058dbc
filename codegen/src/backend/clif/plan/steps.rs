//! Which axes of a tile are steps of the chunk (where loops are exchanged, heads of the block).
//!
//! Rows past the end of a sequence hold copies of its last step, and a program makes them zero in one
//! factor of whatever it sums over steps. Zero times a copy of a NaN is a NaN, though, and a strict
//! reader past the end sees the last step where the last reader does not. So what sums over steps
//! here ends at the last valid one, and needs to know which axes those are. An axis is one of steps if
//! anything that it is indexed with is, so what is repeated along steps may go unrecognised, and it
//! holds nothing of a step.

use baton_ir::chunked::{Interval, Partial};
use baton_ir::tile::{Along, Op, Pace, Reduce, Scalar, TileId, TileProgram};

/// For the first and the second axis of a tile: whether it is one of steps.
pub type Steps = [bool; 2];

/// The axes of every node.
pub fn steps(program: &TileProgram) -> Vec<Steps> {
    let mut known: Vec<Steps> = Vec::with_capacity(program.nodes.len());
    for node in &program.nodes {
        let of = |tile: &TileId| known[tile.index()];
        known.push(match &node.op {
            Op::Load(port, _) => [program.ports[port.index()].pace == Pace::Step, false],
            Op::Carry(_) => [program.across, false],
            Op::Map {
                operands,
                body,
                reduce,
                ..
            } => {
                let [first, second] = of_map(operands, body, &known);
                match reduce {
                    Reduce::None => [first, second],
                    Reduce::First => [second, false],
                    Reduce::Second => [first, false],
                    Reduce::All => [false; 2],
                }
            }
            Op::Matmul { a, ta, b, tb, .. } => {
                let vector = |tile: &TileId| program.node(*tile).shape.len() == 1;
                let rows = (!vector(a) || *ta).then(|| of(a)[usize::from(*ta && !vector(a))]);
                let cols = (!vector(b) || !*tb).then(|| of(b)[usize::from(!*tb && !vector(b))]);
                match (rows, cols) {
                    (Some(rows), Some(cols)) => [rows, cols],
                    (Some(one), None) | (None, Some(one)) => [one, false],
                    (None, None) => [false; 2],
                }
            }
            Op::Decay(Interval::Between, ..) | Op::Trilinear(Partial::Weights, ..) => [true; 2],
            Op::Decay(Interval::Total, ..) => [false; 2],
            Op::Decay(..) | Op::Spread(..) | Op::Trilinear(..) => [true, false],
            Op::Solve { r, .. } => [true, of(r)[1]],
            Op::Running(_) | Op::Delay { .. } => [true, false],
            Op::Edge { .. } => [false; 2],
            Op::HeadSum(tile) => of(tile),
        });
    }
    known
}

/// The axes of a map's space.
pub fn of_map(operands: &[(TileId, Along)], body: &[Scalar], known: &[Steps]) -> Steps {
    let mut steps = [false; 2];
    for &(tile, along) in operands {
        let [first, second] = known[tile.index()];
        match along {
            Along::None => (),
            Along::First => steps[0] |= first,
            Along::Second => steps[1] |= first,
            Along::Both => {
                steps[0] |= first;
                steps[1] |= second;
            }
        }
    }
    for scalar in body {
        match scalar {
            Scalar::Valid(_) => steps[0] = true,
            Scalar::Causal(..) => steps = [true; 2],
            _ => (),
        }
    }
    steps
}

/// Whether a product sums over steps.
pub fn sums_steps(program: &TileProgram, known: &[Steps], op: &Op) -> bool {
    let Op::Matmul { a, ta, b, tb, .. } = op else {
        return false;
    };
    // The axis of the operand that is summed; an operand of rank 1 may have none.
    let inner = |tile: TileId, last: bool| {
        let rank = program.node(tile).shape.len();
        let axis = match (rank, last) {
            (2, true) => 1,
            (2, false) | (1, true) => 0,
            _ => return false,
        };
        known[tile.index()][axis]
    };
    inner(*a, !*ta) || inner(*b, *tb)
}
