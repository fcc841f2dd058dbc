//! Systems with a triangle: every size around a block of 16, both forms, short chunks, and what may not
//! be read.

use super::{Draft, check};
use baton_ir::chunked::Direction;
use baton_ir::tile::{Fill, Op, TileId};

fn solve(draft: &mut Draft, transposed: bool, l: TileId, r: TileId) -> TileId {
    let shape = draft.shape(r);
    draft.node(Op::Solve { transposed, l, r }, &shape)
}

/// A triangle that is random above its diagonal too, and does not let the unknowns grow.
fn system(c: usize, n: usize) -> (Draft, TileId, TileId) {
    let mut draft = Draft::new(c, Direction::Forward);
    let [l, r] = [c, n].map(|columns| draft.steps(&[columns], Fill::Zero));
    draft.ranges[0] = (-0.2, 0.2);
    (draft, l, r)
}

#[test]
fn systems_of_every_size() {
    for c in [1, 2, 7, 15, 16, 17, 31, 32, 33, 50, 64, 128] {
        for n in [1, 5, 16, 40, 64, 100] {
            let (mut draft, l, r) = system(c, n);
            for transposed in [false, true] {
                let u = solve(&mut draft, transposed, l, r);
                draft.keep_steps(u);
            }
            for len in [c, c.div_ceil(2), 2 * c + c.min(3)] {
                check(&draft, len, 2, 1e-6);
            }
        }
    }
}

/// Unknowns that are used again, and lie where the right side was.
#[test]
fn systems_of_unknowns() {
    for (c, n) in [(20, 20), (33, 47), (64, 64)] {
        let (mut draft, l, r) = system(c, n);
        let once = solve(&mut draft, false, l, r);
        let twice = solve(&mut draft, true, l, once);
        let more = solve(&mut draft, false, l, twice);
        draft.keep_steps(more);
        check(&draft, c, 1, 1e-6);
        check(&draft, c - 7, 1, 1e-6);
    }
}

/// What stands on the diagonal or above it is not read, and no step reads a later one.
#[test]
fn a_nan_reaches_what_follows_it() {
    let (c, n) = (40, 5);
    for transposed in [false, true] {
        let (mut draft, l, r) = system(c, n);
        let u = solve(&mut draft, transposed, l, r);
        draft.keep_steps(u);
        let (l, r) = (baton_ir::tile::PortId(0), baton_ir::tile::PortId(1));
        for t in 0..c {
            draft
                .planted
                .extend((t..c).map(|s| (l, t * c + s, f32::NAN)));
        }
        draft.planted.push((r, 21 * n + 3, f32::NAN));
        // The interpreter has a NaN where there is one to be, and nowhere else.
        check(&draft, c, 1, 1e-6);
    }
}
