//! The skeleton: chunks in both directions, heads, carries, sums over heads, fills and stores.

use super::{Draft, check};
use baton_ir::chunked::Direction;
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::{
    Along, Effect, Fill, Op, Pace, Reduce, Region, Role, Scalar, TileId, Triangle,
};

fn binary(draft: &mut Draft, f: BinaryFn, a: (TileId, Along), b: (TileId, Along)) -> TileId {
    let shape = draft.shape(a.0);
    let op = Op::Map {
        shape: shape.iter().map(|&d| d as u32).collect(),
        operands: vec![a, b],
        body: vec![
            Scalar::Operand(0),
            Scalar::Operand(1),
            Scalar::Binary(f, 0, 1),
        ],
        reduce: Reduce::None,
    };
    draft.node(op, &shape)
}

/// A linear attention with everything around it: keys shared by the heads, a decayed state, a
/// vector state, a number, the entering state kept, a gradient summed over heads and one over
/// steps. `read_late` reads the old state after the new one was made.
fn attention(direction: Direction, c: usize, n: usize, p: usize, read_late: bool) -> Draft {
    let mut draft = Draft::new(c, direction);
    draft.region = Region::Before;
    let q = draft.steps(&[n], Fill::Repeat);
    let k = draft.steps(&[n], Fill::Zero);
    draft.region = Region::Heads;
    let v = draft.steps(&[p], Fill::Repeat);
    let scale = draft.port(Role::Param, Pace::Task, true, &[]);
    let scale = draft.node(Op::Load(scale, Fill::Zero), &[]);
    let gain = draft.port(Role::Param, Pace::Task, false, &[n]);
    let gain = draft.node(Op::Load(gain, Fill::Zero), &[n]);
    let (state, old) = draft.carry(&[n, p]);
    let (vector, old_vector) = draft.carry(&[n]);
    let (number, old_number) = draft.carry(&[]);

    let product = |a, ta, b, tb, add| Op::Matmul {
        a,
        ta,
        b,
        tb,
        add,
        triangle: Triangle::None,
    };
    let read = |draft: &mut Draft| {
        let y = draft.node(product(q, false, old, false, None), &[c, p]);
        draft.keep_steps(y);
        y
    };
    let early = (!read_late).then(|| read(&mut draft));
    let scaled = binary(
        &mut draft,
        BinaryFn::Mul,
        (old, Along::Both),
        (scale, Along::None),
    );
    let gained = binary(
        &mut draft,
        BinaryFn::Mul,
        (scaled, Along::Both),
        (gain, Along::First),
    );
    let new = draft.node(product(k, true, v, false, Some(gained)), &[n, p]);
    let y = early.unwrap_or_else(|| read(&mut draft));
    draft.keep(old);

    let sum = draft.node(
        Op::Map {
            shape: vec![c as u32, n as u32],
            operands: vec![(k, Along::Both)],
            body: vec![Scalar::Operand(0), Scalar::Valid(0)],
            reduce: Reduce::First,
        },
        &[n],
    );
    let new_vector = binary(
        &mut draft,
        BinaryFn::Add,
        (old_vector, Along::First),
        (sum, Along::First),
    );
    let all = draft.node(
        Op::Map {
            shape: vec![c as u32, p as u32],
            operands: vec![(y, Along::Both), (old_number, Along::None)],
            body: vec![
                Scalar::Operand(0),
                Scalar::Valid(0),
                Scalar::Operand(1),
                Scalar::Binary(BinaryFn::Mul, 1, 2),
            ],
            reduce: Reduce::All,
        },
        &[],
    );
    let to = draft.port(Role::DParam, Pace::Task, true, &[]);
    draft.build.effect(Effect::Accumulate(to, all));
    let to = draft.port(Role::DParam, Pace::Task, true, &[n]);
    draft.build.effect(Effect::Accumulate(to, sum));

    let dq = draft.node(product(v, false, old, true, None), &[c, n]);
    let dk = draft.node(product(v, false, new, true, Some(dq)), &[c, n]);
    draft.region = Region::After;
    for tile in [dq, dk] {
        let summed = draft.node(Op::HeadSum(tile), &[c, n]);
        let masked = binary(
            &mut draft,
            BinaryFn::Mul,
            (summed, Along::Both),
            (k, Along::Both),
        );
        draft.keep_steps(masked);
    }
    for (carry, tile) in [(state, new), (vector, new_vector), (number, scale)] {
        draft.build.effect(Effect::Carry(carry, tile));
    }
    draft
}

#[test]
fn tasks() {
    for direction in [Direction::Forward, Direction::Reverse] {
        for (c, n, p) in [
            (1, 1, 1),
            (1, 16, 32),
            (3, 5, 17),
            (16, 16, 16),
            (5, 32, 48),
        ] {
            for read_late in [false, true] {
                let draft = attention(direction, c, n, p, read_late);
                for len in [1, c, c + 1, 3 * c, 4 * c - 1] {
                    for heads in [1, 3] {
                        check(&draft, len, heads, 3e-6);
                    }
                }
            }
        }
    }
}

/// Two carries that change places: neither may be read after it is replaced.
#[test]
fn carries_swap() {
    for n in [1, 5, 16, 48] {
        let mut draft = Draft::new(4, Direction::Forward);
        let (a, old_a) = draft.carry(&[n]);
        let (b, old_b) = draft.carry(&[n]);
        let sum = binary(
            &mut draft,
            BinaryFn::Add,
            (old_a, Along::First),
            (old_b, Along::First),
        );
        draft.keep(sum);
        draft.build.effect(Effect::Carry(a, old_b));
        draft.build.effect(Effect::Carry(b, old_a));
        check(&draft, 10, 2, 1e-7);
    }
}

/// One new value for two carries, and one made from the other's old value.
#[test]
fn carries_share() {
    for n in [3, 16] {
        let mut draft = Draft::new(2, Direction::Forward);
        let (a, old_a) = draft.carry(&[n, n]);
        let (b, old_b) = draft.carry(&[n, n]);
        let both = (Along::Both, Along::Both);
        let x = binary(&mut draft, BinaryFn::Sub, (old_a, both.0), (old_b, both.1));
        let y = binary(&mut draft, BinaryFn::Max, (x, both.0), (old_a, both.1));
        draft.build.effect(Effect::Carry(b, y));
        draft.build.effect(Effect::Carry(a, x));
        let (c, _) = draft.carry(&[n, n]);
        draft.build.effect(Effect::Carry(c, x));
        check(&draft, 7, 2, 3e-6);
    }
}

/// What the heads share goes to every head's place.
#[test]
fn rows_of_steps() {
    for dims in [&[][..], &[1], &[7], &[16], &[50]] {
        for fill in [Fill::Zero, Fill::Repeat] {
            let mut draft = Draft::new(6, Direction::Reverse);
            let x = draft.steps(dims, fill);
            draft.keep(x);
            draft.keep_steps(x);
            for len in [1, 5, 6, 7, 12] {
                check(&draft, len, 2, 0.0);
            }
        }
    }
}
