//! Products of up to three factors: every way that a factor stands to the rows, every order, mask and sum, at sizes of every
//! residue.

use super::{Draft, Numbers, check};
use crate::backend::clif::products::alone_in;
use baton_ir::chunked::Direction;
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::{Along, Fill, Op, Reduce, Scalar};

const ALONG: [Along; 4] = [Along::Both, Along::First, Along::Second, Along::None];

/// The products of `count` operands: from the left, and of three also from the right.
fn bodies(count: usize) -> Vec<Vec<Scalar>> {
    let operands: Vec<Scalar> = (0..count as u32).map(Scalar::Operand).collect();
    let product = |a, b| Scalar::Binary(BinaryFn::Mul, a, b);
    let of = |more: &[Scalar]| [&operands[..], more].concat();
    match count {
        1 => vec![of(&[])],
        2 => vec![of(&[product(0, 1)])],
        _ => vec![
            of(&[product(0, 1), product(3, 2)]),
            of(&[product(1, 2), product(0, 3)]),
        ],
    }
}

#[test]
fn every_product() {
    let mut numbers = Numbers::new(11);
    let mut taken = [0; 2];
    for round in 0..40 {
        // Half of them steps against steps, which may be causal.
        let rows = numbers.next(1.0, 70.0) as usize;
        let cols = match round % 2 {
            0 => rows,
            _ => numbers.next(1.0, 140.0) as usize,
        };
        let mut draft = Draft::new(rows, Direction::Forward);
        let both = [
            draft.tile(&[rows, cols], 0.5, 1.0),
            draft.steps(&[cols], Fill::Repeat),
        ];
        let [first, second, none] =
            [vec![rows], vec![cols], vec![]].map(|shape| draft.tile(&shape, 0.5, 1.0));
        // Nothing cancels in a sum.
        draft.ranges.fill((0.5, 1.0));
        for _ in 0..24 {
            let count = 1 + numbers.next(0.0, 3.0) as usize;
            let operands = (0..count).map(|_| {
                let along = ALONG[numbers.next(0.0, 4.0) as usize];
                let tile = match along {
                    Along::Both => both[numbers.next(0.0, 2.0) as usize],
                    Along::First => first,
                    Along::Second => second,
                    Along::None => none,
                };
                (tile, along)
            });
            let operands: Vec<_> = operands.collect();
            let ways = bodies(count);
            let mut body = ways[numbers.next(0.0, ways.len() as f32) as usize].clone();
            if round % 2 == 0 && numbers.next(0.0, 1.0) < 0.5 {
                let strict = numbers.next(0.0, 1.0) < 0.5;
                body.push(Scalar::Causal(body.len() as u32 - 1, strict));
            }
            // What is summed over steps is zero past the end.
            body.push(Scalar::Valid(body.len() as u32 - 1));
            // A sum of one number some thousand times is off by as many roundings of one sign.
            let one = (operands.iter()).all(|(tile, _)| [first, none].contains(tile));
            let (reduce, shape) = match numbers.next(0.0, 3.0) as usize {
                _ if one => (Reduce::None, vec![rows, cols]),
                0 => (Reduce::None, vec![rows, cols]),
                1 => (Reduce::Second, vec![rows]),
                _ => (Reduce::All, vec![]),
            };
            let op = Op::Map {
                shape: vec![rows as u32, cols as u32],
                operands,
                body,
                reduce,
            };
            taken[usize::from(alone_in(&op).is_some())] += 1;
            let out = draft.node(op, &shape);
            draft.keep(out);
        }
        for len in [1, rows.div_ceil(2), 2 * rows - 1] {
            check(&draft, len, 2, 2e-6);
        }
    }
    // Most go to the kernel; the rest are small, or have no factor that is a tile or a row.
    assert!(taken[1] > 400 && taken[0] > 50, "{taken:?}");
}
