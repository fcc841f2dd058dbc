//! A small kernel by hand against single steps, and what poison must catch.

use super::{CarryPlace, JUNK, Memory, PortPlace, run_task};
use crate::chunked::{Direction, Interval, Partial};
use crate::recurrence::BinaryFn;
use crate::tile::{
    Along, Builder, CarryDecl, CarryId, CarryRole, Effect, Fill, Held, Op, Pace, PortDecl, PortId,
    Reduce, Region, Role, Scalar, TileId, TileProgram, Triangle,
};
use crate::verify::tile::verify;

const C: u32 = 4;
const K: u32 = 3;
const V: u32 = 2;

fn port(name: &str, role: Role, pace: Pace, per_head: bool, dims: &[u32]) -> PortDecl {
    PortDecl {
        name: name.into(),
        role,
        pace,
        per_head,
        held: Held::Storage,
        dims: dims.to_vec(),
    }
}

fn mul(shape: &[u32], a: (TileId, Along), b: (TileId, Along), causal: bool) -> Op {
    let mut body = vec![
        Scalar::Operand(0),
        Scalar::Operand(1),
        Scalar::Binary(BinaryFn::Mul, 0, 1),
    ];
    body.extend(causal.then_some(Scalar::Causal(2, false)));
    Op::Map {
        shape: shape.to_vec(),
        operands: vec![a, b],
        body,
        reduce: Reduce::None,
    }
}

fn matmul(a: TileId, ta: bool, b: TileId, tb: bool, add: Option<TileId>, t: Triangle) -> Op {
    Op::Matmul {
        a,
        ta,
        b,
        tb,
        add,
        triangle: t,
    }
}

/// `S = exp(g) * S + outer(k, v); o = dot(q, S)` with k per group; beside it what enters each
/// chunk, the outputs summed over heads, and the sum of g.
fn kernel() -> TileProgram {
    let mut p = Builder::new("gla_forward".into(), C, Direction::Forward);
    for decl in [
        port("q", Role::Input(0), Pace::Step, true, &[K]),
        port("k", Role::Input(1), Pace::Step, false, &[K]),
        port("v", Role::Input(2), Pace::Step, true, &[V]),
        port("g", Role::Input(3), Pace::Step, true, &[]),
        port("o", Role::Output(0), Pace::Step, true, &[V]),
        port("entering", Role::Entering(0), Pace::Chunk, true, &[K, V]),
        port("all", Role::Output(1), Pace::Step, false, &[V]),
        port("sum", Role::DParam(0), Pace::Task, true, &[]),
    ] {
        p.port(decl);
    }
    p.carry(CarryDecl {
        name: "S".into(),
        role: CarryRole::State(0),
        dims: vec![K, V],
    });
    use Region::{After, Before, Heads};
    let mut add = |op, region| p.add(op, region);
    let k = add(Op::Load(PortId(1), Fill::Zero), Before);
    let q = add(Op::Load(PortId(0), Fill::Repeat), Heads);
    let v = add(Op::Load(PortId(2), Fill::Zero), Heads);
    let g = add(Op::Load(PortId(3), Fill::Zero), Heads);
    let s = add(Op::Carry(CarryId(0)), Heads);
    let between = add(Op::Decay(Interval::Between, false, g), Heads);
    let scores = add(matmul(q, false, k, true, None, Triangle::Out), Heads);
    let both = Along::Both;
    let m = add(mul(&[C, C], (scores, both), (between, both), true), Heads);
    let start = add(Op::Decay(Interval::Start, false, g), Heads);
    let decayed = add(mul(&[C, K], (q, both), (start, Along::First), false), Heads);
    let inter = add(
        matmul(decayed, false, s, false, None, Triangle::None),
        Heads,
    );
    let o = add(matmul(m, false, v, false, Some(inter), Triangle::A), Heads);
    let end = add(Op::Decay(Interval::End, false, g), Heads);
    let weighted = add(mul(&[C, K], (k, both), (end, Along::First), false), Heads);
    let total = add(Op::Decay(Interval::Total, false, g), Heads);
    let kept = add(mul(&[K, V], (s, both), (total, Along::None), false), Heads);
    let next = add(
        matmul(weighted, true, v, false, Some(kept), Triangle::None),
        Heads,
    );
    let sum = add(
        Op::Map {
            shape: vec![C],
            operands: vec![(g, Along::First)],
            body: vec![Scalar::Operand(0), Scalar::Valid(0)],
            reduce: Reduce::All,
        },
        Heads,
    );
    let all = add(Op::HeadSum(o), After);
    for effect in [
        Effect::Store(PortId(4), o),
        Effect::Store(PortId(5), s),
        Effect::Accumulate(PortId(7), sum),
        Effect::Carry(CarryId(0), next),
        Effect::Store(PortId(6), all),
    ] {
        p.effect(effect);
    }
    p.finish()
}

fn noise(count: usize, seed: f64) -> Vec<f64> {
    (0..count)
        .map(|i| ((i as f64 + 1.0) * 12.9898 * seed).sin())
        .collect()
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() < 1e-13, "entry {i}: {a} and {b}");
    }
}

#[test]
fn a_task_says_what_single_steps_say() {
    let (len, heads, kd, vd) = (10, 2, K as usize, V as usize);
    // Rows lie three heads apart of which the task has two; NaN in what it may not read.
    let spread = |data: Vec<f64>, row: usize, inner: usize| {
        let mut out = vec![f64::NAN; len * row];
        for t in 0..len {
            out[t * row..][..heads * inner]
                .copy_from_slice(&data[t * heads * inner..][..heads * inner]);
        }
        out
    };
    let q = noise(len * heads * kd, 1.0);
    let k = noise(len * kd, 2.0);
    let v = noise(len * heads * vd, 3.0);
    let g: Vec<f64> = noise(len * heads, 4.0).iter().map(|x| x - 1.0).collect();
    let s0 = noise(heads * kd * vd, 5.0);
    let (mut s, mut o) = (s0.clone(), vec![0.0; len * heads * vd]);
    let (mut all, mut entering) = (vec![0.0; len * vd], vec![]);
    let mut sum = vec![7.0; heads];
    for t in 0..len {
        if t % C as usize == 0 {
            entering.extend_from_slice(&s);
        }
        for h in 0..heads {
            sum[h] += g[t * heads + h];
            for j in 0..vd {
                for i in 0..kd {
                    let entry = &mut s[(h * kd + i) * vd + j];
                    *entry = g[t * heads + h].exp() * *entry
                        + k[t * kd + i] * v[(t * heads + h) * vd + j];
                    o[(t * heads + h) * vd + j] += q[(t * heads + h) * kd + i] * *entry;
                }
                all[t * vd + j] += o[(t * heads + h) * vd + j];
            }
        }
    }
    let (mut q, mut v) = (spread(q, 3 * kd, kd), spread(v, 3 * vd, vd));
    let (mut k, mut g) = (k, g);
    let mut out_o = vec![f64::NAN; len * heads * vd];
    let mut out_entering = vec![f64::NAN; entering.len()];
    let mut out_all = vec![f64::NAN; len * vd];
    let (mut out_sum, mut state) = (vec![7.0; heads], s0);
    let place = |buffer, time, head| PortPlace {
        buffer,
        base: 0,
        time,
        head,
    };
    let mut memory = Memory {
        buffers: vec![
            &mut q,
            &mut k,
            &mut v,
            &mut g,
            &mut out_o,
            &mut out_entering,
            &mut out_all,
            &mut out_sum,
            &mut state,
        ],
        ports: vec![
            place(0, 3 * kd, kd),
            place(1, kd, 0),
            place(2, 3 * vd, vd),
            place(3, heads, 1),
            place(4, heads * vd, vd),
            place(5, heads * kd * vd, kd * vd),
            place(6, vd, 0),
            place(7, 0, 1),
        ],
        carries: vec![CarryPlace {
            buffer: 8,
            base: 0,
            head: kd * vd,
        }],
        len,
        heads,
    };
    run_task(&kernel(), &mut memory).unwrap();
    for (buffer, expected) in [(4, &o), (5, &entering), (6, &all), (7, &sum), (8, &s)] {
        close(memory.buffers[buffer], expected);
    }
    memory.ports[4].base = 1;
    let error = run_task(&kernel(), &mut memory).unwrap_err();
    assert!(error.contains("port `o` of chunk 2"), "{error}");
    memory.ports[4].buffer = 9;
    let error = run_task(&kernel(), &mut memory).unwrap_err();
    assert!(error.contains("buffer 9"), "{error}");
    memory.ports[4] = place(4, heads * vd, vd);
    memory.carries[0].base = usize::MAX;
    let error = run_task(&kernel(), &mut memory).unwrap_err();
    assert!(error.contains("carry `S` of head 0"), "{error}");
}

#[test]
fn false_claims_are_caught() {
    let mut program = kernel().into_draft();
    // The scores as they are, without the mask, claimed to be lower.
    for node in &mut program.nodes {
        if let Op::Map { body, .. } = &mut node.op {
            body.retain(|scalar| !matches!(scalar, Scalar::Causal(..)));
        }
        if let Op::Decay(Interval::Between, _, l) = node.op {
            node.op = mul(&[C, C], (l, Along::First), (l, Along::Second), false);
        }
    }
    let program = verify(program, &Default::default()).unwrap();
    let mut data = vec![1.0; 64];
    let mut memory = Memory {
        buffers: vec![&mut data],
        ports: vec![PortPlace::default(); 8],
        carries: vec![CarryPlace::default()],
        len: 4,
        heads: 1,
    };
    let error = run_task(&program, &mut memory).unwrap_err();
    assert!(error.contains(&format!("holds {JUNK} above")), "{error}");
}

/// One op over given tiles, stored whole.
fn single(inputs: &[(&[u32], &[f64])], op: impl Fn(&[TileId]) -> Op) -> Vec<f64> {
    let mut build = Builder::new("single".into(), C, Direction::Reverse);
    let mut data: Vec<Vec<f64>> = Vec::new();
    let mut tiles = Vec::new();
    for (i, (dims, values)) in inputs.iter().enumerate() {
        let port = port("in", Role::Input(i as u32), Pace::Chunk, false, dims);
        let load = Op::Load(build.port(port), Fill::Zero);
        tiles.push(build.add(load, Region::Before));
        data.push(values.to_vec());
    }
    let result = build.add(op(&tiles), Region::Before);
    let dims = build.program().node(result).shape.clone();
    data.push(vec![f64::NAN; super::ops::entries(&dims)]);
    let out = build.port(port("out", Role::Output(0), Pace::Chunk, false, &dims));
    build.effect(Effect::Store(out, result));
    let program = build.finish();
    let ports = (0..data.len())
        .map(|buffer| PortPlace {
            buffer,
            ..PortPlace::default()
        })
        .collect();
    let mut memory = Memory {
        buffers: data.iter_mut().map(Vec::as_mut_slice).collect(),
        ports,
        carries: vec![],
        len: 3,
        heads: 1,
    };
    run_task(&program, &mut memory).unwrap();
    data.pop().unwrap()
}

#[test]
fn products_transpose_and_add() {
    let (m, v): (&[f64], &[f64]) = (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 10.0, 100.0]);
    let none = Triangle::None;
    let row = single(&[(&[1, 3], v), (&[3, 2], m)], |t| {
        matmul(t[0], false, t[1], false, None, none)
    });
    assert_eq!(row, [531.0, 642.0]);
    let column = single(&[(&[2, 3], m), (&[1, 3], v)], |t| {
        matmul(t[0], false, t[1], true, None, none)
    });
    assert_eq!(column, [321.0, 654.0]);
    let outer = single(&[(&[1, 3], v), (&[1, 2], &[1.0, 2.0])], |t| {
        matmul(t[0], true, t[1], false, None, none)
    });
    assert_eq!(outer, [1.0, 2.0, 10.0, 20.0, 100.0, 200.0]);
    let dot = single(&[(&[1, 3], v), (&[1, 1], &[5.0])], |t| {
        matmul(t[0], false, t[0], true, Some(t[1]), none)
    });
    assert_eq!(dot, [10106.0]);
}

#[test]
fn maps_reduce_and_select() {
    let data: Vec<f64> = (1..=8).map(f64::from).collect();
    let reduced = |reduce, last| {
        single(&[(&[C, 2], &data)], |t| Op::Map {
            shape: vec![C, 2],
            operands: vec![(t[0], Along::Both)],
            body: vec![Scalar::Operand(0), last],
            reduce,
        })
    };
    // Three of the four rows are steps of the sequence.
    assert_eq!(reduced(Reduce::First, Scalar::Valid(0)), [9.0, 12.0]);
    assert_eq!(
        reduced(Reduce::Second, Scalar::Valid(0)),
        [3.0, 7.0, 11.0, 0.0]
    );
    assert_eq!(reduced(Reduce::All, Scalar::Select(0, 0, 0, 0)), [36.0]);
}

#[test]
fn intervals_over_channels() {
    let l: Vec<f64> = (1..=8).map(|i| -0.1 * f64::from(i)).collect();
    let decay = |interval, strict| single(&[(&[C, 2], &l)], |t| Op::Decay(interval, strict, t[0]));
    let logs = |x: Vec<f64>| x.iter().map(|x| x.ln()).collect::<Vec<_>>();
    close(&logs(decay(Interval::Total, false)), &[-1.6, -2.0]);
    let start = [0.0, 0.0, -0.1, -0.2, -0.4, -0.6, -0.9, -1.2];
    close(&logs(decay(Interval::Start, true)), &start);
    let end = [-1.5, -1.8, -1.2, -1.4, -0.7, -0.8, 0.0, 0.0];
    close(&logs(decay(Interval::End, false)), &end);
    let spread = single(&[(&[2], &[3.0, 4.0])], |t| {
        Op::Spread(Interval::Total, false, t[0])
    });
    assert_eq!(spread, [3.0, 4.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0]);
    let ones = vec![1.0; 16];
    let spread = single(&[(&[C, C], &ones)], |t| {
        Op::Spread(Interval::Between, false, t[0])
    });
    // Step r lies in the intervals of r sources and C - r readers.
    assert_eq!(spread, [0.0, 3.0, 4.0, 3.0]);
    let strict = single(&[(&[C, C], &ones)], |t| {
        Op::Spread(Interval::Between, true, t[0])
    });
    assert_eq!(strict, [0.0, 2.0, 2.0, 0.0]);
    let key = single(
        &[(&[C, C], &ones), (&[C, 2], &[1.0; 8]), (&[C, 2], &[0.0; 8])],
        |t| Op::Trilinear(Partial::Key, true, vec![t[0], t[1]], t[2]),
    );
    assert_eq!(key, [3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.0, 0.0]);
}
