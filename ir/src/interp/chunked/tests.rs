//! Level 2 against loops over single steps, and its derivative ops against finite differences.

use super::{Arriving, Bindings, forward, reverse, run_chunk};
use crate::chunked::{Axis, Builder, Chunked, Direction, Interval, Op, Partial, Target, ValueId};
use crate::interp::problem::Problem;
use crate::recurrence::{BinaryFn, DimId, InputId, OutputId, ParamId, Port, Recurrence, StateId};

const K: Axis = Axis::Dim(DimId(0));
const T: Axis = Axis::Time;
const S: Axis = Axis::Source;

/// Numbers without pattern in -1..1.
fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..8).for_each(|_| _ = next());
    (0..count).map(|_| next()).collect()
}

fn port(name: &str, shape: &[u32], per_group: bool) -> Port {
    Port {
        name: name.into(),
        shape: shape.iter().map(|&dim| DimId(dim)).collect(),
        per_group,
    }
}

/// `S = rows(exp(g)) * S + outer(k, v); o = dot(q, S)`.
fn gla() -> Recurrence {
    Recurrence {
        name: "gla".into(),
        dims: vec!["K".into(), "V".into()],
        inputs: vec![
            port("q", &[0], false),
            port("k", &[0], true),
            port("v", &[1], false),
            port("g", &[0], false),
        ],
        states: vec![port("S", &[0, 1], false)],
        outputs: vec![port("o", &[1], false)],
        ..Recurrence::default()
    }
}

/// The output reads the state after the update, or before it when `strict`.
fn gla_forward(strict: bool) -> Chunked {
    let mut b = Builder::new(&gla(), "gla_forward".into(), Direction::Forward);
    let input = |b: &mut Builder, i| b.add(Op::Input(InputId(i)));
    let (q, k, v, g) = (
        input(&mut b, 0),
        input(&mut b, 1),
        input(&mut b, 2),
        input(&mut b, 3),
    );
    let [k, v, l] = [k, v, g].map(|x| b.add(Op::Valid(x)));
    let state = b.add(Op::State(StateId(0)));
    let (ks, vs) = (b.relabel(k, T, S), b.relabel(v, T, S));
    let weights = b.add(Op::Trilinear(Partial::Weights, strict, vec![q, ks], l));
    let intra = b.contract(weights, vs, S);
    let start = b.add(Op::Decay(Interval::Start, strict, l));
    let decayed = b.mul(q, start);
    let inter = b.contract(decayed, state, K);
    let o = b.plus(intra, inter);
    let end = b.add(Op::Decay(Interval::End, false, l));
    let total = b.add(Op::Decay(Interval::Total, false, l));
    let kept = b.mul(total, state);
    let weighted = b.mul(k, end);
    let added = b.contract(weighted, v, T);
    let leaving = b.plus(kept, added);
    b.result(Target::Output(OutputId(0)), o);
    b.result(Target::State(StateId(0)), leaving);
    b.finish()
}

/// One head of one sequence, step by step: the outputs, and the state is updated.
fn gla_steps(strict: bool, n: [usize; 2], rows: &[[&[f64]; 4]], state: &mut [f64]) -> Vec<f64> {
    let read = |q: &[f64], state: &[f64]| -> Vec<f64> {
        (0..n[1])
            .map(|j| (0..n[0]).map(|i| q[i] * state[i * n[1] + j]).sum())
            .collect()
    };
    let mut out = Vec::new();
    for [q, k, v, g] in rows {
        if strict {
            out.extend(read(q, state));
        }
        for j in 0..n[1] {
            for i in 0..n[0] {
                let entry = &mut state[i * n[1] + j];
                *entry = g[i].exp() * *entry + k[i] * v[j];
            }
        }
        if !strict {
            out.extend(read(q, state));
        }
    }
    out
}

fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "entry {i}: {a} and {b}");
    }
}

#[test]
fn chunks_say_what_single_steps_say() {
    let recurrence = gla();
    let [kd, vd] = [3, 2];
    let (heads, groups) = (4, 2);
    let cases = [
        (2, 11, None),
        (2, 8, None),
        (1, 9, Some(vec![0, 1, 1, 7, 9])),
        (2, 0, None),
    ];
    for (batch, time, cu_seqlens) in cases {
        let steps = batch * time;
        let [q, k, v] = [(1, heads * kd), (2, groups * kd), (3, heads * vd)]
            .map(|(seed, row)| noise(steps * row, seed));
        let g: Vec<f64> = noise(steps * heads * kd, 4)
            .iter()
            .map(|x| 3.0 * x - 3.0)
            .collect();
        let mut problem = Problem {
            recurrence: &recurrence,
            sizes: vec![kd, vd],
            batch,
            time,
            heads,
            groups,
            cu_seqlens,
            inputs: vec![&q, &k, &v, &g],
            params: vec![],
            states: vec![None],
        };
        let sequences = problem.sequences();
        let h0 = noise(sequences.len() * heads * vd * kd, 5);
        problem.states = vec![Some(&h0)];
        for (strict, chunk) in [(false, 4), (true, 4), (false, 16), (true, 1)] {
            let whole = forward(&gla_forward(strict), &problem, chunk).unwrap();
            let mut states = h0.clone();
            let mut out = vec![f64::NAN; steps * heads * vd];
            for (number, sequence) in sequences.iter().enumerate() {
                for h in 0..heads {
                    let first = sequence.row * time + sequence.start;
                    let at = |data: &'_ [f64], step: usize, row, h, n| {
                        data[step * row + h * n..][..n].to_vec()
                    };
                    let rows: Vec<[Vec<f64>; 4]> = (first..first + sequence.len)
                        .map(|step| {
                            [
                                at(&q, step, heads * kd, h, kd),
                                at(&k, step, groups * kd, h / 2, kd),
                                at(&v, step, heads * vd, h, vd),
                                at(&g, step, heads * kd, h, kd),
                            ]
                        })
                        .collect();
                    let rows: Vec<[&[f64]; 4]> = rows
                        .iter()
                        .map(|[q, k, v, g]| [&q[..], &k[..], &v[..], &g[..]])
                        .collect();
                    let state = &mut states[(number * heads + h) * vd * kd..][..vd * kd];
                    let o = gla_steps(strict, [kd, vd], &rows, state);
                    for (t, o) in o.chunks(vd).enumerate() {
                        out[((first + t) * heads + h) * vd..][..vd].copy_from_slice(o);
                    }
                }
            }
            close(whole.get(Target::Output(OutputId(0))).unwrap(), &out, 1e-13);
            close(
                whole.get(Target::State(StateId(0))).unwrap(),
                &states,
                1e-13,
            );
        }
    }
}

/// `S = exp(g) * S + x; y = d * S`, x per group.
fn scalar() -> Recurrence {
    Recurrence {
        name: "scalar".into(),
        inputs: vec![port("g", &[], false), port("x", &[], true)],
        params: vec![port("d", &[], false)],
        states: vec![port("S", &[], false)],
        outputs: vec![port("y", &[], false)],
        ..Recurrence::default()
    }
}

/// The state after each step, and the pieces it is made of.
struct Pieces {
    between: ValueId,
    start: ValueId,
    end: ValueId,
    total: ValueId,
    x: ValueId,
    source: ValueId,
    d: ValueId,
    entering: ValueId,
    state: ValueId,
}

fn pieces(b: &mut Builder) -> Pieces {
    let [g, x] = [0, 1].map(|i| b.add(Op::Input(InputId(i))));
    let [l, x] = [g, x].map(|x| b.add(Op::Valid(x)));
    let d = b.add(Op::Param(ParamId(0)));
    let entering = b.add(Op::State(StateId(0)));
    let [between, start, end, total] = [
        Interval::Between,
        Interval::Start,
        Interval::End,
        Interval::Total,
    ]
    .map(|interval| b.add(Op::Decay(interval, false, l)));
    let source = b.relabel(x, T, S);
    let intra = b.contract(between, source, S);
    let inter = b.mul(start, entering);
    let state = b.plus(intra, inter);
    Pieces {
        between,
        start,
        end,
        total,
        x,
        source,
        d,
        entering,
        state,
    }
}

fn scalar_forward() -> Chunked {
    let mut b = Builder::new(&scalar(), "scalar_forward".into(), Direction::Forward);
    let p = pieces(&mut b);
    let y = b.mul(p.d, p.state);
    let kept = b.mul(p.total, p.entering);
    let added = b.contract(p.end, p.x, T);
    let leaving = b.plus(kept, added);
    b.result(Target::Output(OutputId(0)), y);
    b.result(Target::State(StateId(0)), leaving);
    b.finish()
}

fn scalar_reverse() -> Chunked {
    let mut b = Builder::new(&scalar(), "scalar_reverse".into(), Direction::Reverse);
    let p = pieces(&mut b);
    let dy = b.add(Op::DOutput(OutputId(0)));
    let leaving = b.add(Op::DState(StateId(0)));
    let dd = b.contract(dy, p.state, T);
    let ds = b.mul(p.d, dy);
    // [h, t, s]
    let pairs = b.mul(ds, p.source);
    let pairs = b.mul(pairs, p.between);
    let reads = b.mul(ds, p.start);
    let read = b.mul(reads, p.entering);
    let writes = b.mul(leaving, p.end);
    let write = b.mul(writes, p.x);
    let through = b.mul(leaving, p.total);
    let keep = b.mul(through, p.entering);
    let dl = [
        (Interval::Between, pairs),
        (Interval::Start, read),
        (Interval::End, write),
        (Interval::Total, keep),
    ]
    .map(|(interval, x)| b.add(Op::Spread(interval, false, x)))
    .into_iter()
    .reduce(|a, c| b.plus(a, c))
    .unwrap();
    let dl = b.add(Op::Valid(dl));
    let dx = b.contract(p.between, ds, T);
    let dx = b.relabel(dx, S, T);
    let dx = b.plus(dx, writes);
    let dx = b.add(Op::Valid(dx));
    let dx = b.sum_to(dx, &[T]);
    let read = b.add(Op::Sum(reads, T));
    let ds = b.plus(read, through);
    b.result(Target::DInput(InputId(0)), dl);
    b.result(Target::DInput(InputId(1)), dx);
    b.result(Target::DParam(ParamId(0)), dd);
    b.result(Target::DState(StateId(0)), ds);
    b.finish()
}

#[test]
fn reverse_programs_give_gradients() {
    let recurrence = scalar();
    let (time, heads, groups) = (9, 4, 2);
    for (batch, cu_seqlens) in [(2, None), (1, Some(vec![0, 3, 3, 9]))] {
        let sequences = cu_seqlens.as_ref().map_or(batch, |ends| ends.len() - 1);
        let steps = batch * time;
        let g: Vec<f64> = noise(steps * heads, 1).iter().map(|x| x - 1.0).collect();
        let data = [
            g,
            noise(steps * groups, 2),
            noise(heads, 3),
            noise(sequences * heads, 4),
        ];
        let (dy, ds) = (noise(steps * heads, 5), noise(sequences * heads, 6));
        let problem = |data: &[Vec<f64>; 4], use_it: &mut dyn FnMut(&Problem)| {
            use_it(&Problem {
                recurrence: &recurrence,
                sizes: vec![],
                batch,
                time,
                heads,
                groups,
                cu_seqlens: cu_seqlens.clone(),
                inputs: vec![&data[0], &data[1]],
                params: vec![&data[2]],
                states: vec![Some(&data[3])],
            });
        };
        let loss = |data: &[Vec<f64>; 4]| {
            let mut loss = 0.0;
            problem(data, &mut |problem| {
                let whole = forward(&scalar_forward(), problem, 4).unwrap();
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                loss = dot(whole.get(Target::Output(OutputId(0))).unwrap(), &dy)
                    + dot(whole.get(Target::State(StateId(0))).unwrap(), &ds);
            });
            loss
        };
        problem(&data, &mut |problem| {
            let entering = forward(&scalar_forward(), problem, 4).unwrap().entering;
            let arriving = Arriving {
                outputs: vec![Some(&dy)],
                states: vec![Some(&ds)],
            };
            let whole = reverse(&scalar_reverse(), problem, 4, &entering, &arriving).unwrap();
            let targets = [
                Target::DInput(InputId(0)),
                Target::DInput(InputId(1)),
                Target::DParam(ParamId(0)),
                Target::DState(StateId(0)),
            ];
            for (which, target) in targets.into_iter().enumerate() {
                let gradient = whole.get(target).unwrap();
                assert_eq!(gradient.len(), data[which].len());
                for (i, &gradient) in gradient.iter().enumerate() {
                    let moved = |by: f64| {
                        let mut data = data.clone();
                        data[which][i] += by;
                        loss(&data)
                    };
                    let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!(
                        (slope - gradient).abs() < 1e-8,
                        "{target:?} {i}: {gradient}, by differences {slope}"
                    );
                }
            }
        });
    }
}

/// The partials of the form with `m[t, s] = u[t] w[s]`, and the form itself by head and channel.
fn trilinear(strict: bool) -> Chunked {
    let recurrence = Recurrence {
        name: "form".into(),
        dims: vec!["K".into()],
        inputs: vec![
            port("u", &[], false),
            port("w", &[], true),
            port("q", &[0], false),
            port("k", &[0], true),
            port("l", &[0], false),
        ],
        states: vec![port("A", &[0], false)],
        outputs: vec![port("o", &[], false), port("x", &[0], false)],
        ..Recurrence::default()
    };
    let mut b = Builder::new(&recurrence, "form".into(), Direction::Reverse);
    let [u, w, q, k, l] = [0, 1, 2, 3, 4].map(|i| b.add(Op::Input(InputId(i))));
    let w = b.relabel(w, T, S);
    let k = b.relabel(k, T, S);
    let m = b.binary(BinaryFn::Mul, u, w);
    let weights = b.add(Op::Trilinear(Partial::Weights, strict, vec![q, k], l));
    // By u: sum over s of the partial by m times w.
    let du = b.contract(weights, w, S);
    let dq = b.add(Op::Trilinear(Partial::Query, strict, vec![m, k], l));
    let dk = b.add(Op::Trilinear(Partial::Key, strict, vec![m, q], l));
    let dk = b.sum_to(dk, &[S, K]);
    let dk = b.relabel(dk, S, T);
    let dl = b.add(Op::Trilinear(Partial::LogDecay, strict, vec![m, q, k], l));
    let form = b.mul(dq, q);
    let form = b.sum_to(form, &[Axis::Head, K]);
    b.result(Target::DInput(InputId(0)), du);
    b.result(Target::DInput(InputId(2)), dq);
    b.result(Target::DInput(InputId(3)), dk);
    b.result(Target::DInput(InputId(4)), dl);
    b.result(Target::DState(StateId(0)), form);
    b.finish()
}

#[test]
fn partials_of_the_trilinear_form() {
    let (heads, chunk, kd) = (2, 5, 3);
    let sizes = [
        heads * chunk,
        chunk,
        heads * chunk * kd,
        chunk * kd,
        heads * chunk * kd,
    ];
    let inputs: Vec<Vec<f64>> = (0..5).map(|i| noise(sizes[i], i as u64 + 1)).collect();
    for strict in [false, true] {
        let program = trilinear(strict);
        let run = |inputs: &[Vec<f64>]| {
            let bindings = Bindings {
                heads,
                chunk,
                len: chunk,
                sizes: vec![kd],
                inputs: inputs.to_vec(),
                states: vec![vec![0.0; heads * kd]],
                ..Bindings::default()
            };
            run_chunk(&program, &bindings).unwrap()
        };
        // The form itself, said outright.
        let [u, w, q, k, l] = [0, 1, 2, 3, 4].map(|i| &inputs[i]);
        let mut form = vec![0.0; heads * kd];
        for h in 0..heads {
            for c in 0..kd {
                for t in 0..chunk {
                    for s in 0..=t {
                        if strict && s == t {
                            continue;
                        }
                        let last = if strict { t } else { t + 1 };
                        let log: f64 = (s + 1..last).map(|r| l[(h * chunk + r) * kd + c]).sum();
                        form[h * kd + c] += u[h * chunk + t]
                            * w[s]
                            * q[(h * chunk + t) * kd + c]
                            * k[s * kd + c]
                            * log.exp();
                    }
                }
            }
        }
        let results = run(&inputs);
        close(&results[4], &form, 1e-13);
        let total = |inputs: &[Vec<f64>]| run(inputs)[4].iter().sum::<f64>();
        for (result, which) in [(0, 0), (1, 2), (2, 3), (3, 4)] {
            for i in 0..sizes[which] {
                let moved = |by: f64| {
                    let mut inputs = inputs.clone();
                    inputs[which][i] += by;
                    total(&inputs)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let partial = results[result][i];
                assert!(
                    (slope - partial).abs() < 1e-8,
                    "input {which} entry {i} strict {strict}: {partial}, by differences {slope}"
                );
            }
        }
    }
}

#[test]
fn spread_is_the_adjoint_of_the_sum() {
    let recurrence = Recurrence {
        name: "sums".into(),
        inputs: vec![port("l", &[], false), port("x", &[], false)],
        states: vec![port("z", &[], false)],
        outputs: vec![port("y", &[], false)],
        ..Recurrence::default()
    };
    let chunk = 6;
    let (l, x) = (noise(chunk, 1), noise(chunk, 2));
    let intervals = [
        Interval::Between,
        Interval::Start,
        Interval::End,
        Interval::Total,
    ];
    for (interval, strict) in intervals.into_iter().flat_map(|i| [(i, false), (i, true)]) {
        if strict && matches!(interval, Interval::End | Interval::Total) {
            continue;
        }
        let mut b = Builder::new(&recurrence, "sums".into(), Direction::Reverse);
        let [l_id, x_id] = [0, 1].map(|i| b.add(Op::Input(InputId(i))));
        let decay = b.add(Op::Decay(interval, strict, l_id));
        let weights = match interval {
            Interval::Between => {
                let source = b.relabel(x_id, T, S);
                b.mul(x_id, source)
            }
            Interval::Start | Interval::End => x_id,
            Interval::Total => b.add(Op::Sum(x_id, T)),
        };
        let product = b.mul(weights, decay);
        let loss = b.sum_to(product, &[Axis::Head]);
        let spread = b.add(Op::Spread(interval, strict, product));
        b.result(Target::DState(StateId(0)), loss);
        b.result(Target::DInput(InputId(0)), spread);
        let program = b.finish();
        let run = |l: &[f64]| {
            let bindings = Bindings {
                heads: 1,
                chunk,
                len: 3,
                inputs: vec![l.to_vec(), x.clone()],
                ..Bindings::default()
            };
            run_chunk(&program, &bindings).unwrap()
        };
        let gradient = &run(&l)[1];
        for i in 0..chunk {
            let moved = |by: f64| {
                let mut l = l.clone();
                l[i] += by;
                run(&l)[0][0]
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                (slope - gradient[i]).abs() < 1e-8,
                "{interval:?} strict {strict} {i}: {}, by differences {slope}",
                gradient[i]
            );
        }
    }
}

#[test]
fn wrong_sizes_are_named() {
    let recurrence = gla();
    let data = noise(12, 1);
    let problem = Problem {
        recurrence: &recurrence,
        sizes: vec![3, 2],
        batch: 1,
        time: 2,
        heads: 2,
        groups: 1,
        cu_seqlens: None,
        inputs: vec![&data, &data[..5], &data[..8], &data],
        params: vec![],
        states: vec![None],
    };
    let error = forward(&gla_forward(false), &problem, 4).unwrap_err();
    assert_eq!(error, "input `k` has 5 entries, expected 6");
    let problem = Problem {
        inputs: vec![&data, &data[..6], &data[..8], &data],
        ..problem
    };
    assert!(forward(&gla_forward(false), &problem, 4).is_ok());
    let error = forward(&scalar_forward(), &problem, 4).unwrap_err();
    assert!(error.contains("`scalar_forward`"), "{error}");
    let keep = gla_forward(false).keep(|target| target != Target::State(StateId(0)));
    let error = forward(&keep, &problem, 1).unwrap_err();
    assert!(error.contains("does not say what leaves"), "{error}");
}
