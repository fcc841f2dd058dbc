//! What a kernel has to do: operations and bytes, counted from its tile program.
//!
//! Operations are those of products (`Matmul`, `Trilinear`): a multiply and an add for each term.
//! Terms above the diagonal of a causal product are not counted, whatever a back end computes
//! there; neither are pointwise functions. Bytes are those of the ports and carries, each read or
//! written once: what a machine with enough cache would move. Work that a run does again, for
//! segments or checkpoints, is no part of either, so that a share of the peak is honest.

use baton_ir::tile::{CarryRole, Op, Pace, Region, TileProgram, Triangle};

/// The dimensions outside of a recurrence.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// B
    pub batch: usize,
    /// T
    pub time: usize,
    /// H
    pub heads: usize,
    /// G; H where no input is per group.
    pub groups: usize,
}

/// Operations and bytes of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Multiplies and adds of all products.
    pub flops: u64,
    /// Bytes read and written, f32.
    pub bytes: u64,
}

/// Counts one sweep of `program`.
pub fn work(program: &TileProgram, extent: Extent) -> Work {
    let chunk = u64::from(program.chunk);
    let [batch, time, heads, groups] =
        [extent.batch, extent.time, extent.heads, extent.groups].map(|n| n as u64);
    let chunks = batch * time.div_ceil(chunk);
    let flops = (program.nodes.iter())
        .map(|node| {
            let times = match node.region {
                Region::Heads => heads,
                Region::Before | Region::After => groups,
            };
            times * chunks * flops(program, &node.op)
        })
        .sum();
    let ports = program.ports.iter().map(|port| {
        let rows = match port.pace {
            Pace::Step => batch * time,
            Pace::Chunk => chunks,
            Pace::Task => 1,
        };
        rows * if port.per_head { heads } else { groups } * size(&port.dims)
    });
    let carries = program.carries.iter().map(|carry| match carry.role {
        CarryRole::State(_) | CarryRole::DState(_) => 2 * batch * heads * size(&carry.dims),
        CarryRole::LogScalar(_) | CarryRole::LogRow(_) | CarryRole::LogCol(_) => 0,
    });
    Work {
        flops,
        bytes: size_of::<f32>() as u64 * ports.chain(carries).sum::<u64>(),
    }
}

/// Operations of one node for one chunk and head.
fn flops(program: &TileProgram, op: &Op) -> u64 {
    let chunk = u64::from(program.chunk);
    match op {
        Op::Matmul {
            a,
            ta,
            b,
            tb,
            triangle,
            ..
        } => {
            let [rows, inner] = matrix(&program.node(*a).shape, *ta);
            let [_, columns] = matrix(&program.node(*b).shape, *tb);
            let square = 2 * rows * inner * columns;
            match triangle {
                Triangle::None => square,
                Triangle::A | Triangle::Out => square * (chunk + 1) / (2 * chunk),
            }
        }
        Op::Trilinear(_, strict, _, l) => {
            let pairs = chunk * (chunk + 1) / 2 - if *strict { chunk } else { 0 };
            2 * pairs * u64::from(program.node(*l).shape[1])
        }
        Op::Load(..)
        | Op::Carry(_)
        | Op::Map { .. }
        | Op::Decay(..)
        | Op::Spread(..)
        | Op::HeadSum(_) => 0,
    }
}

/// Rows and columns of an operand as it enters a product: a vector is one row, or one column
/// when transposed.
fn matrix(shape: &[u32], transposed: bool) -> [u64; 2] {
    let [rows, columns] = match *shape {
        [rows, columns] => [rows, columns],
        [n] => [1, n],
        _ => [1, 1],
    };
    match transposed {
        true => [columns.into(), rows.into()],
        false => [rows.into(), columns.into()],
    }
}

fn size(dims: &[u32]) -> u64 {
    dims.iter().map(|&n| u64::from(n)).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_codegen::{Compiler, Phase};

    /// The closed forms of a scalar decay with shared `b` and `c`, per token and head: Q P in the
    /// chunk, 4 N P through the state, and Q N per token for the weights of a group.
    #[test]
    fn agrees_with_the_closed_form() {
        let text = baton_ir::builtin::text("mamba2").unwrap();
        let recurrence = baton_ir::text::parse(text).unwrap();
        let (n, p, q) = (128, 64, 64);
        let compiler = Compiler::new(&recurrence, &[n, p]).unwrap();
        let extent = Extent {
            batch: 1,
            time: 2048,
            heads: 80,
            groups: 1,
        };
        let (tokens, heads) = (2048, 80);
        let work = work(&compiler.program(Phase::Forward, q), extent);
        let (n, p, q) = (n as u64, p as u64, q as u64);
        let flops = tokens * heads * ((q + 1) * p + 4 * n * p) + tokens * (q + 1) * n;
        assert_eq!(work.flops, flops);
        let ports = tokens * (2 * heads * p + 2 * n + heads) + 3 * heads + 2 * heads * n * p;
        assert_eq!(work.bytes, 4 * ports);
    }
}
