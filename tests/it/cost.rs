//! The cost model against what the tile interpreter touches and multiplies, program by program.
//!
//! Bytes: memory outside has exactly the entries that the model counts; the interpreter must do with
//! them, must not with one fewer, and must leave none unwritten that it writes. Operations: every
//! product is walked, term by term.

use baton_codegen::schedule::cost::{Cost, RunShape};
use baton_codegen::{Compiler, Phase};
use baton_ir::interp::tile::{CarryPlace, Memory, PortPlace, run_task};
use baton_ir::tile::{Effect, Op, Pace, Region, TileProgram, Triangle};
use baton_ir::{builtin, text};
use baton_tests::EXTRAS;

/// What entries hold before a run, where they are written.
const UNTOUCHED: f64 = f64::MAX;

fn entries(dims: &[u32]) -> usize {
    dims.iter().map(|&n| n as usize).product()
}

/// Runs a program over a whole run, a task for each sequence and group, in buffers of these sizes.
fn touched(program: &TileProgram, run: RunShape, sizes: &[usize]) -> Result<Vec<Vec<f64>>, String> {
    let written = |port: usize| {
        program.effects.iter().any(
            |effect| matches!(effect, Effect::Store(to, _) | Effect::Accumulate(to, _) if to.index() == port),
        )
    };
    let accumulated = |port: usize| {
        (program.effects.iter())
            .any(|effect| matches!(effect, Effect::Accumulate(to, _) if to.index() == port))
    };
    let fresh = |(i, &size): (usize, &usize)| match i < program.ports.len() {
        true if accumulated(i) => vec![0.0; size],
        true if written(i) => vec![UNTOUCHED; size],
        _ => vec![0.125; size],
    };
    let mut buffers: Vec<Vec<f64>> = sizes.iter().enumerate().map(fresh).collect();
    let group_heads = run.heads / run.groups;
    let chunks = run.time.div_ceil(program.chunk as usize);
    for sequence in 0..run.batch {
        for group in 0..run.groups {
            let ports = program.ports.iter().enumerate().map(|(i, port)| {
                let lanes = if port.per_head { run.heads } else { run.groups };
                let lane = if port.per_head {
                    group * group_heads
                } else {
                    group
                };
                let first = match port.pace {
                    Pace::Step => sequence * run.time,
                    Pace::Chunk => sequence * chunks,
                    Pace::Task => 0,
                };
                PortPlace {
                    buffer: i,
                    base: (first * lanes + lane) * entries(&port.dims),
                    time: lanes * entries(&port.dims),
                    head: entries(&port.dims),
                }
            });
            let carries = program
                .carries
                .iter()
                .enumerate()
                .map(|(i, carry)| CarryPlace {
                    buffer: program.ports.len() + i,
                    base: (sequence * run.heads + group * group_heads) * entries(&carry.dims),
                    head: entries(&carry.dims),
                });
            let mut memory = Memory {
                ports: ports.collect(),
                carries: carries.collect(),
                buffers: buffers.iter_mut().map(Vec::as_mut_slice).collect(),
                len: run.time,
                heads: group_heads,
            };
            run_task(program, &mut memory)?;
        }
    }
    Ok(buffers)
}

/// Needed and whole multiplies and adds, term by term.
fn products(program: &TileProgram, run: RunShape) -> [u64; 2] {
    let mut found = [0, 0];
    let chunk = program.chunk as usize;
    for _ in 0..run.batch * run.time.div_ceil(chunk) {
        for node in &program.nodes {
            let lanes = match node.region {
                Region::Heads => run.heads,
                Region::Before | Region::After => run.groups,
            };
            let mut term = |needed: bool| {
                found[0] += 2 * lanes as u64 * u64::from(needed);
                found[1] += 2 * lanes as u64;
            };
            match &node.op {
                Op::Matmul {
                    a,
                    ta,
                    b,
                    tb,
                    triangle,
                    ..
                } => {
                    let sides = |tile, transposed| {
                        let [rows, columns] = match *program.node(tile).shape {
                            [m, n] => [m, n],
                            [n] => [1, n],
                            _ => panic!("a product of a number"),
                        };
                        if transposed {
                            [columns, rows]
                        } else {
                            [rows, columns]
                        }
                    };
                    let ([m, inner], [_, n]) = (sides(*a, *ta), sides(*b, *tb));
                    for i in 0..m {
                        for k in 0..inner {
                            for j in 0..n {
                                term(match triangle {
                                    Triangle::None => true,
                                    Triangle::A if *ta => i <= k,
                                    Triangle::A => k <= i,
                                    Triangle::Out => j <= i,
                                });
                            }
                        }
                    }
                }
                Op::Trilinear(_, strict, _, l) => {
                    for t in 0..chunk {
                        for s in 0..chunk {
                            for _ in 0..program.node(*l).shape[1] {
                                term(if *strict { s < t } else { s <= t });
                            }
                        }
                    }
                }
                Op::Solve { r, .. } => {
                    for t in 0..chunk {
                        for s in 0..chunk {
                            (0..program.node(*r).shape[1]).for_each(|_| term(s < t));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Random numbers below a bound, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn the_model_counts_what_the_interpreter_touches() {
    let mut random = Random(7);
    let texts = builtin::NAMES.iter().filter_map(|name| builtin::text(name));
    for text in texts.chain(EXTRAS.iter().copied()) {
        let recurrence = text::parse(text).expect("it parses");
        let shared = recurrence.inputs.iter().any(|input| input.per_group);
        for phase in Phase::ALL {
            let sizes: Vec<_> = recurrence
                .dims
                .iter()
                .map(|_| 1 + random.below(6))
                .collect();
            let groups = 1 + random.below(2);
            let heads = groups * (1 + random.below(3));
            let run = RunShape {
                batch: 1 + random.below(2),
                time: 1 + random.below(11),
                heads,
                groups: if shared { groups } else { heads },
                entering: random.below(2) == 0,
            };
            let compiler = Compiler::new(&recurrence, &sizes).expect("it verifies");
            let program = compiler.program(phase, 1 + random.below(5));
            let of = format!(
                "{} of {} at {sizes:?}, {run:?}, C {}",
                program.name, recurrence.name, program.chunk
            );
            let cost = Cost::new(&program, run, |_| 1);
            let carries = program
                .carries
                .iter()
                .map(|carry| run.batch * heads * entries(&carry.dims));
            let sizes: Vec<usize> = (cost.ports.iter().map(|&bytes| bytes as usize))
                .chain(carries)
                .collect();
            let buffers =
                touched(&program, run, &sizes).unwrap_or_else(|why| panic!("{of}: {why}"));
            let written = buffers
                .iter()
                .all(|buffer| buffer.iter().all(|&x| x != UNTOUCHED));
            assert!(written, "{of}: counts entries that are not written");
            for i in 0..sizes.len() {
                let mut short = sizes.clone();
                short[i] -= 1;
                assert!(
                    touched(&program, run, &short).is_err(),
                    "{of}: place {i} is counted too large"
                );
            }
            for (carry, (&bytes, &size)) in cost
                .carries
                .iter()
                .zip(&sizes[cost.ports.len()..])
                .enumerate()
            {
                let state = program.carries[carry].name.clone();
                let enters = run.entering
                    && (program.nodes.iter())
                        .any(|node| matches!(node.op, Op::Carry(id) if id.index() == carry));
                let logs = !matches!(
                    program.carries[carry].role,
                    baton_ir::tile::CarryRole::State(_) | baton_ir::tile::CarryRole::DState(_)
                );
                let times = if run.entering && !logs { 2 } else { 1 };
                assert_eq!(bytes, 4 * times * size as u64, "{of}: carry {state}");
                assert!(!enters || logs || times == 2);
            }
            let [needed, whole] = products(&program, run);
            assert_eq!(
                (cost.flops.products, cost.flops.whole_products),
                (needed, whole),
                "{of}"
            );
        }
    }
}

/// The closed forms of a scalar decay with shared `b` and `c`, per token and head: Q P in the
/// chunk, 4 N P through the state, and Q N per token for the weights of a group.
#[test]
fn the_model_agrees_with_the_closed_form() {
    let text = builtin::text("mamba2").expect("a built-in recurrence");
    let recurrence = text::parse(text).expect("it parses");
    let (n, p, q) = (128, 64, 64);
    let compiler = Compiler::new(&recurrence, &[n, p]).expect("it verifies");
    let run = RunShape {
        batch: 1,
        time: 2048,
        heads: 80,
        groups: 1,
        entering: true,
    };
    let (tokens, heads) = (2048, 80);
    let cost = Cost::new(&compiler.program(Phase::Forward, q), run, |_| 4);
    let (n, p, q) = (n as u64, p as u64, q as u64);
    let products = tokens * heads * ((q + 1) * p + 4 * n * p) + tokens * (q + 1) * n;
    assert_eq!(cost.flops.products, products);
    let entries = tokens * (2 * heads * p + 2 * n + heads) + 3 * heads + 2 * heads * n * p;
    assert_eq!(cost.bytes(), 4 * entries);
}
