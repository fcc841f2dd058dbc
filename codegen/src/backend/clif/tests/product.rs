//! Products: all forms, sizes, transpositions and triangles.

use super::super::plan::plan;
use super::{Draft, check};
use baton_ir::chunked::Direction;
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::{Along, Effect, Op, PortId, Reduce, Scalar, TileId, Triangle};

const TOLERANCE: f64 = 1e-6;

fn causal(draft: &mut Draft, x: TileId, strict: bool) -> TileId {
    let shape = draft.shape(x);
    let op = Op::Map {
        shape: shape.iter().map(|&d| d as u32).collect(),
        operands: vec![(x, Along::Both)],
        body: vec![Scalar::Operand(0), Scalar::Causal(0, strict)],
        reduce: Reduce::None,
    };
    draft.node(op, &shape)
}

fn product(a: TileId, ta: bool, b: TileId, tb: bool, add: Option<TileId>) -> Op {
    Op::Matmul {
        a,
        ta,
        b,
        tb,
        add,
        triangle: Triangle::None,
    }
}

fn turned(shape: [usize; 2], turn: bool) -> [usize; 2] {
    if turn { [shape[1], shape[0]] } else { shape }
}

#[test]
fn matrices() {
    let sizes = [1, 3, 5, 16, 17, 64];
    for (m, n, k) in sizes
        .iter()
        .flat_map(|&m| sizes.iter().flat_map(move |&n| sizes.map(|k| (m, n, k))))
    {
        let mut draft = Draft::new(4, Direction::Forward);
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = draft.tile(&turned([m, k], ta), -1.0, 1.0);
            let b = draft.tile(&turned([k, n], tb), -1.0, 1.0);
            let c = draft.tile(&[m, n], -1.0, 1.0);
            for add in [None, Some(c)] {
                let out = draft.node(product(a, ta, b, tb, add), &[m, n]);
                draft.keep(out);
            }
        }
        check(&draft, 3, 1, TOLERANCE);
    }
}

/// A chunk of one step: a row against a matrix in either order, and products of one row or column.
#[test]
fn single_rows() {
    for (n, k) in [(1, 1), (3, 5), (16, 17), (64, 16), (17, 64), (130, 70)] {
        let mut draft = Draft::new(4, Direction::Forward);
        let long = draft.tile(&[1, k], -1.0, 1.0);
        let wide = draft.tile(&[1, n], -1.0, 1.0);
        let square = draft.tile(&[n, k], -1.0, 1.0);
        let turned = draft.tile(&[k, n], -1.0, 1.0);
        for op in [
            product(long, false, turned, false, None),
            product(long, false, square, true, None),
            product(long, false, square, true, Some(wide)),
        ] {
            let out = draft.node(op, &[1, n]);
            draft.keep(out);
        }
        for (op, shape) in [
            (product(turned, true, long, true, None), [n, 1]),
            (product(wide, true, long, false, Some(square)), [n, k]),
            (product(long, false, long, true, None), [1, 1]),
        ] {
            let out = draft.node(op, &shape);
            draft.keep(out);
        }
        check(&draft, 3, 2, TOLERANCE);
    }
}

/// A tile by a number, or its rows or columns by numbers; `first` is the factor.
fn times(draft: &mut Draft, tile: TileId, along: Along, first: bool) -> TileId {
    let shape = draft.shape(tile);
    let factors = match along {
        Along::First => vec![shape[0]],
        Along::Second => vec![shape[1]],
        _ => vec![],
    };
    let by = draft.tile(&factors, -2.0, 2.0);
    let mut operands = vec![(tile, Along::Both), (by, along)];
    if first {
        operands.reverse();
    }
    let op = Op::Map {
        shape: shape.iter().map(|&d| d as u32).collect(),
        operands,
        body: vec![
            Scalar::Operand(0),
            Scalar::Operand(1),
            Scalar::Binary(BinaryFn::Mul, 0, 1),
        ],
        reduce: Reduce::None,
    };
    draft.node(op, &shape)
}

const ALONG: [Along; 3] = [Along::None, Along::First, Along::Second];

/// What is added is multiplied first, as a whole, by rows or by columns: by the product itself, unless the map is read by others too.
#[test]
fn scaled() {
    let sizes = [
        (1, 1, 1),
        (1, 70, 3),
        (5, 3, 17),
        (9, 16, 1),
        (17, 33, 40),
        (64, 64, 64),
    ];
    for ((m, n, k), along) in sizes
        .iter()
        .flat_map(|&size| ALONG.map(|along| (size, along)))
    {
        for (first, shared) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut draft = Draft::new(4, Direction::Forward);
            let a = draft.tile(&[m, k], -1.0, 1.0);
            let b = draft.tile(&[k, n], -1.0, 1.0);
            let (carry, state) = draft.carry(&[m, n]);
            let add = times(&mut draft, state, along, first);
            let out = draft.node(product(a, false, b, false, Some(add)), &[m, n]);
            draft.build.effect(Effect::Carry(carry, out));
            if shared {
                draft.keep(add);
            }
            let planned = plan(&draft.program()).scaled[out.index()];
            assert_eq!(planned.is_some(), !shared);
            check(&draft, 4, 2, TOLERANCE);
        }
    }
}

/// The same beside every triangle of the left operand, the strict ones included.
#[test]
fn scaled_triangles() {
    for c in [1, 2, 7, 8, 9, 16, 17, 37, 64] {
        for along in ALONG {
            let mut draft = Draft::new(c, Direction::Forward);
            let full = draft.tile(&[c, c], -1.0, 1.0);
            let x = draft.tile(&[c, 40], -1.0, 1.0);
            for (strict, ta) in [(false, false), (false, true), (true, false), (true, true)] {
                let lower = causal(&mut draft, full, strict);
                let add = times(&mut draft, x, along, false);
                let op = Op::Matmul {
                    a: lower,
                    ta,
                    b: x,
                    tb: false,
                    add: Some(add),
                    triangle: Triangle::A,
                };
                let out = draft.node(op, &[c, 40]);
                draft.keep(out);
                assert!(plan(&draft.program()).scaled[out.index()].is_some());
            }
            check(&draft, c, 1, TOLERANCE);
        }
    }
}

#[test]
fn triangles() {
    for c in [1, 3, 16, 17, 37, 64] {
        for n in [1, 16, 40] {
            let mut draft = Draft::new(c, Direction::Forward);
            let full = draft.tile(&[c, c], -1.0, 1.0);
            let lower = causal(&mut draft, full, false);
            let x = draft.tile(&[c, n], -1.0, 1.0);
            for ta in [false, true] {
                for add in [None, Some(x)] {
                    let op = Op::Matmul {
                        a: lower,
                        ta,
                        b: x,
                        tb: false,
                        add,
                        triangle: Triangle::A,
                    };
                    let out = draft.node(op, &[c, n]);
                    draft.keep(out);
                }
            }
            for add in [None, Some(full)] {
                let op = Op::Matmul {
                    a: x,
                    ta: false,
                    b: x,
                    tb: true,
                    add,
                    triangle: Triangle::Out,
                };
                let out = draft.node(op, &[c, c]);
                let out = causal(&mut draft, out, false);
                draft.keep(out);
            }
            check(&draft, c, 1, TOLERANCE);
        }
    }
}

/// What stands against the part that a triangle leaves out takes no part: NaN in a row of the right
/// operand reaches the rows of the result that take it, and no other.
#[test]
fn triangles_leave_out() {
    for c in [1, 2, 5, 6, 7, 8, 9, 16, 17, 37, 64] {
        for n in [1, 16, 40] {
            for at in [0, c / 3, c - 1] {
                let mut draft = Draft::new(c, Direction::Forward);
                let full = draft.tile(&[c, c], -1.0, 1.0);
                let lower = causal(&mut draft, full, false);
                let x = draft.tile(&[c, n], -1.0, 1.0);
                draft.planted.push((PortId(1), at * n, f32::NAN));
                let add = draft.tile(&[c, n], -1.0, 1.0);
                for ta in [false, true] {
                    for add in [None, Some(add)] {
                        let op = Op::Matmul {
                            a: lower,
                            ta,
                            b: x,
                            tb: false,
                            add,
                            triangle: Triangle::A,
                        };
                        let out = draft.node(op, &[c, n]);
                        draft.keep(out);
                    }
                }
                check(&draft, c, 1, TOLERANCE);
            }
        }
    }
}
