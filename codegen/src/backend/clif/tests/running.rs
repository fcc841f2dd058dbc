//! Running extremes, angles, delays and edges: every width around a block of 16 columns, numbers, short chunks, NaN.

use super::{Draft, check};
use baton_ir::chunked::Direction;
use baton_ir::recurrence::BinaryFn;
use baton_ir::running::{Bound, Scan};
use baton_ir::tile::{Fill, Op, PortId};

/// A running maximum, minimum and angle of `n` numbers, of one where there is no `n`; each moved by a step both ways, and
/// its edges.
fn extremes(c: usize, n: Option<usize>) -> Draft {
    let mut draft = Draft::new(c, Direction::Forward);
    let dims: Vec<usize> = n.into_iter().collect();
    let rows: Vec<usize> = [c].into_iter().chain(n).collect();
    let [shift, floor] = [0, 1].map(|_| draft.steps(&dims, Fill::Repeat));
    let entering = draft.tile(&dims, -2.0, 2.0);
    draft.ranges[0] = (-0.5, 0.4);
    let extreme = |function| Bound::Extreme {
        function,
        first: true,
        floor,
    };
    for bound in [extreme(BinaryFn::Max), extreme(BinaryFn::Min), Bound::Turns] {
        let running = Op::Running(Scan {
            bound,
            shift,
            entering,
        });
        let x = draft.node(running, &rows);
        draft.keep_steps(x);
        for reverse in [false, true] {
            let border = entering;
            let moved = draft.node(Op::Delay { reverse, x, border }, &rows);
            draft.keep_steps(moved);
            let edge = draft.node(Op::Edge { reverse, x }, &dims);
            draft.keep(edge);
        }
    }
    draft
}

#[test]
fn extremes_of_every_width() {
    for c in [1, 2, 15, 16, 17, 40] {
        for n in [
            None,
            Some(1),
            Some(2),
            Some(15),
            Some(16),
            Some(17),
            Some(33),
            Some(48),
        ] {
            let draft = extremes(c, n);
            for len in [c, c.div_ceil(2), 2 * c + c.min(3)] {
                check(&draft, len, 2, 1e-6);
            }
        }
    }
}

/// A NaN on either side reaches what follows it, and nothing before.
#[test]
fn a_nan_is_kept() {
    for n in [None, Some(5), Some(20)] {
        for port in [0, 1, 2] {
            let mut draft = extremes(24, n);
            let at = if port == 2 {
                n.unwrap_or(1) - 1
            } else {
                9 * n.unwrap_or(1)
            };
            draft.planted.push((PortId(port), at, f32::NAN));
            check(&draft, 24, 1, 1e-6);
        }
    }
}
