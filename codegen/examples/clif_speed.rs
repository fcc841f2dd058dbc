//! How fast the CPU back end is, op by op: GFLOP/s of products, nanoseconds of the rest.
//!
//! `cargo run --release -p baton-codegen --example clif_speed [FILTER]`. Each op is a program of
//! its own whose result replaces a carry, run for many chunks of one step in one call, so that a
//! call costs nothing; the best of many short runs counts, so
//! that a loaded machine does little harm.

use baton_codegen::backend::clif::{Abi, Code, compile};
use baton_codegen::target::Native;
use baton_codegen::{Compiler, Phase};
use baton_ir::builtin;
use baton_ir::chunked::{Direction, Interval, Partial};
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use baton_ir::tile::*;
use std::time::Instant;

struct Sketch(Builder);

impl Sketch {
    fn new(chunk: usize) -> Self {
        Self(Builder::new(
            "speed".into(),
            chunk as u32,
            Direction::Forward,
        ))
    }

    fn node(&mut self, op: Op, shape: &[usize]) -> TileId {
        let tile = self.0.add(op, Region::Heads);
        let found = &self.0.program().node(tile).shape;
        assert!(found.iter().map(|&d| d as usize).eq(shape.iter().copied()));
        tile
    }

    fn tile(&mut self, shape: &[usize]) -> TileId {
        let number = self.0.program().ports.len() as u32;
        let port = self.0.port(PortDecl {
            name: format!("p{number}"),
            role: Role::Input(number),
            pace: Pace::Task,
            per_head: false,
            held: Held::Storage,
            dims: shape.iter().map(|&d| d as u32).collect(),
        });
        self.node(Op::Load(port, Fill::Zero), shape)
    }

    fn keep(&mut self, tile: TileId) {
        let carry = self.0.carry(CarryDecl {
            name: "out".into(),
            role: CarryRole::State(0),
            dims: self.0.program().node(tile).shape.clone(),
        });
        self.0.effect(Effect::Carry(carry, tile));
    }

    /// Nanoseconds of one chunk.
    fn time(&self) -> f64 {
        let code = compile(&self.0.clone().finish()).expect("it compiles");
        let chunk = self.0.program().chunk as usize;
        let mut chunks = 1;
        loop {
            let seconds = self.run(&code, chunk * chunks);
            if seconds > 3e-4 {
                break;
            }
            chunks *= 2;
        }
        let best = (0..300)
            .map(|_| self.run(&code, chunk * chunks))
            .fold(f64::INFINITY, f64::min);
        1e9 * best / chunks as f64
    }

    fn run(&self, code: &Code, len: usize) -> f64 {
        let numbers = |dims: &[u32]| dims.iter().product::<u32>() as usize;
        let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 * -1e-3;
        let tensor = |dims: &[u32]| (0..numbers(dims) + 16).map(value).collect::<Vec<f32>>();
        let mut ports: Vec<_> = self
            .0
            .program()
            .ports
            .iter()
            .map(|p| tensor(&p.dims))
            .collect();
        let mut carries: Vec<_> = self
            .0
            .program()
            .carries
            .iter()
            .map(|c| tensor(&c.dims))
            .collect();
        let mut scratch = vec![0u8; code.scratch_bytes() + 64];
        let skip = scratch.as_ptr().align_offset(64);
        let abi = code.abi();
        let mut words = abi.task(len, 1, scratch[skip..].as_mut_ptr());
        let align = |t: &mut Vec<f32>| {
            let skip = t.as_ptr().align_offset(64).min(16);
            t[skip..].as_mut_ptr().cast::<u8>()
        };
        for (i, port) in ports.iter_mut().enumerate() {
            abi.set_port(&mut words, PortId(i as u32), align(port), 0, 0);
        }
        for (i, carry) in carries.iter_mut().enumerate() {
            abi.set_carry(&mut words, CarryId(i as u32), align(carry), 0);
        }
        let start = Instant::now();
        // SAFETY: the words describe the tensors above, each with 16 numbers to spare.
        unsafe { code.call(words.as_ptr()) };
        start.elapsed().as_secs_f64()
    }
}

fn products(show: &impl Fn(&str) -> bool) {
    for (m, n, k, ta, tb, triangle) in [
        (64, 64, 128, false, false, Triangle::None),
        (64, 64, 128, true, false, Triangle::None),
        (64, 64, 128, false, true, Triangle::None),
        (64, 64, 64, false, false, Triangle::None),
        (128, 64, 64, true, false, Triangle::None),
        (128, 128, 128, false, false, Triangle::None),
        (32, 32, 32, false, false, Triangle::None),
        (16, 16, 16, false, false, Triangle::None),
        (16, 64, 128, false, false, Triangle::None),
        (128, 64, 16, true, false, Triangle::None),
        (64, 64, 64, false, false, Triangle::A),
        (64, 64, 64, true, false, Triangle::A),
        (64, 64, 128, false, true, Triangle::Out),
        (1, 64, 128, false, false, Triangle::None),
        (128, 64, 1, true, false, Triangle::None),
    ] {
        let name = format!("matmul {m}x{n}x{k} ta={ta} tb={tb} {triangle:?}");
        if !show(&name) {
            continue;
        }
        let mut draft = Sketch::new(1);
        let a = draft.tile(&if ta { [k, m] } else { [m, k] });
        let b = draft.tile(&if tb { [n, k] } else { [k, n] });
        let op = Op::Matmul {
            a,
            ta,
            b,
            tb,
            add: None,
            triangle,
        };
        let out = draft.node(op, &[m, n]);
        draft.keep(out);
        let ns = draft.time();
        let flops = (2 * m * n * k) as f64;
        println!("{name:50} {ns:9.1} ns {:7.1} GFLOP/s", flops / ns);
    }
}

fn maps(show: &impl Fn(&str) -> bool) {
    let mut bodies: Vec<(String, Vec<Scalar>)> = UnaryFn::ALL
        .iter()
        .map(|&f| {
            let body = vec![Scalar::Operand(0), Scalar::Unary(f, 0)];
            (format!("map {}", f.name()), body)
        })
        .collect();
    bodies.push(("map causal".into(), {
        vec![Scalar::Operand(0), Scalar::Causal(0, false)]
    }));
    bodies.push(("map a*a+a".into(), {
        vec![
            Scalar::Operand(0),
            Scalar::Binary(BinaryFn::Mul, 0, 0),
            Scalar::Binary(BinaryFn::Add, 1, 0),
        ]
    }));
    for (name, body) in bodies {
        for reduce in [Reduce::None, Reduce::First, Reduce::Second, Reduce::All] {
            let name = format!("{name} {reduce:?}");
            if !show(&name) || (reduce != Reduce::None && body.len() < 3) {
                continue;
            }
            let mut draft = Sketch::new(1);
            let a = draft.tile(&[64, 64]);
            let op = Op::Map {
                shape: vec![64, 64],
                operands: vec![(a, Along::Both)],
                body: body.clone(),
                reduce,
            };
            let shape: &[usize] = match reduce {
                Reduce::None => &[64, 64],
                Reduce::All => &[],
                _ => &[64],
            };
            let out = draft.node(op, shape);
            draft.keep(out);
            let ns = draft.time();
            println!("{name:50} {ns:9.1} ns {:7.3} ns/number", ns / 4096.0);
        }
    }
}

/// Ops over intervals; the chunk gives the time range, so it is not one step here.
fn intervals(show: &impl Fn(&str) -> bool) {
    for c in [16, 64] {
        for n in [64, 128] {
            for partial in [
                Partial::Weights,
                Partial::Query,
                Partial::Key,
                Partial::LogDecay,
            ] {
                let name = format!("trilinear {partial:?} C={c} n={n}");
                if !show(&name) {
                    continue;
                }
                let mut draft = Sketch::new(c);
                let m = draft.tile(&[c, c]);
                let [q, k, l] = [(); 3].map(|()| draft.tile(&[c, n]));
                let (operands, shape) = match partial {
                    Partial::Weights => (vec![q, k], [c, c]),
                    Partial::Query => (vec![m, k], [c, n]),
                    Partial::Key => (vec![m, q], [c, n]),
                    Partial::LogDecay => (vec![m, q, k], [c, n]),
                };
                let out = draft.node(Op::Trilinear(partial, false, operands, l), &shape);
                draft.keep(out);
                let ns = draft.time();
                println!("{name:50} {ns:9.1} ns {:7.1} ns/step", ns / c as f64);
            }
        }
        let ops = |name: &str, l: &[usize], shape: &[usize], op: &dyn Fn(TileId) -> Op| {
            let name = format!("{name} C={c}");
            if show(&name) {
                let mut draft = Sketch::new(c);
                let l = draft.tile(l);
                let out = draft.node(op(l), shape);
                draft.keep(out);
                let ns = draft.time();
                println!("{name:50} {ns:9.1} ns {:7.1} ns/step", ns / c as f64);
            }
        };
        let (between, start) = (Interval::Between, Interval::Start);
        ops("decay Between", &[c], &[c, c], &|l| {
            Op::Decay(between, false, l)
        });
        ops("decay Start", &[c], &[c], &|l| Op::Decay(start, false, l));
        ops("decay Start n=64", &[c, 64], &[c, 64], &|l| {
            Op::Decay(start, false, l)
        });
        ops("spread Between", &[c, c], &[c], &|x| {
            Op::Spread(between, false, x)
        });
        ops("spread Start n=64", &[c, 64], &[c, 64], &|x| {
            Op::Spread(start, false, x)
        });
    }
}

/// Whole kernels of the built-ins: time to compile, and for one step of one head. Dims named P, V
/// or D are 64, others 128; eight heads.
fn kernels(show: &impl Fn(&str) -> bool) {
    const HEADS: usize = 8;
    for recurrence in builtin::NAMES {
        let text = builtin::text(recurrence).expect("it is a built-in");
        let parsed = baton_ir::text::parse(text).expect("it parses");
        let sizes: Vec<usize> = parsed
            .dims
            .iter()
            .map(|dim| {
                if ["P", "V", "D"].contains(&&dim[..]) {
                    64
                } else {
                    128
                }
            })
            .collect();
        for (phase, chunk) in [
            (Phase::Forward, 64),
            (Phase::Forward, 32),
            (Phase::Forward, 16),
            (Phase::Forward, 1),
            (Phase::ForwardKeep, 64),
            (Phase::Backward, 64),
            (Phase::Backward, 32),
            (Phase::Backward, 16),
        ] {
            let name = format!("{recurrence} {phase:?} {sizes:?} C={chunk}");
            if !show(&name) {
                continue;
            }
            let start = Instant::now();
            let compiler = Compiler::of_any(&parsed, &sizes).expect("it is valid");
            let derived = start.elapsed();
            let artifact = compiler
                .compile(&Native, phase, chunk)
                .expect("it compiles");
            let compiled = start.elapsed() - derived;
            let len = 512;
            let ns = Whole::new(&artifact.program, len, HEADS).time(&artifact.code);
            println!(
                "{name:44} {:7.1} ns/step/head, derived {:5.2} ms, compiled {:5.2} ms, {:5.1} KB code, {:6.1} KB scratch",
                ns / (len * HEADS) as f64,
                derived.as_secs_f64() * 1e3,
                compiled.as_secs_f64() * 1e3,
                artifact.code.code_bytes() as f64 / 1e3,
                artifact.code.scratch_bytes() as f64 / 1e3,
            );
        }
    }
}

/// The tensors of a task of a whole kernel: steps outermost, then heads.
struct Whole {
    tensors: Vec<Vec<f32>>,
    words: Vec<i64>,
    abi: Abi,
}

impl Whole {
    fn new(program: &TileProgram, len: usize, heads: usize) -> Self {
        let abi = Abi::new(program);
        let mut words = abi.task(len, heads, std::ptr::null_mut());
        let mut tensors = vec![];
        let numbers = |dims: &[u32]| dims.iter().product::<u32>() as usize;
        let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 * -1e-3;
        for (i, port) in program.ports.iter().enumerate() {
            let times = match port.pace {
                Pace::Step => len,
                Pace::Chunk => len.div_ceil(program.chunk as usize),
                Pace::Task => 1,
            };
            let (one, heads) = (numbers(&port.dims), if port.per_head { heads } else { 1 });
            let mut tensor: Vec<f32> = (0..one * heads * times).map(value).collect();
            let base = tensor.as_mut_ptr().cast();
            let (time, head) = (4 * (one * heads) as i64, 4 * one as i64);
            abi.set_port(&mut words, PortId(i as u32), base, time, head);
            tensors.push(tensor);
        }
        for (i, carry) in program.carries.iter().enumerate() {
            let one = numbers(&carry.dims);
            let mut tensor: Vec<f32> = (0..one * heads).map(value).collect();
            let base = tensor.as_mut_ptr().cast();
            abi.set_carry(&mut words, CarryId(i as u32), base, 4 * one as i64);
            tensors.push(tensor);
        }
        Self {
            tensors,
            words,
            abi,
        }
    }

    /// Nanoseconds of the task.
    fn time(mut self, code: &Code) -> f64 {
        let mut scratch = vec![0u8; code.scratch_bytes() + 64];
        let skip = scratch.as_ptr().align_offset(64);
        let empty = self.abi.task(0, 0, scratch[skip..].as_mut_ptr());
        self.words[2] = empty[2];
        let best = (0..30)
            .map(|_| {
                let start = Instant::now();
                // SAFETY: the words describe `tensors`, which live as long as `self`.
                unsafe { code.call(self.words.as_ptr()) };
                start.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min);
        drop(self.tensors);
        1e9 * best
    }
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let show = |name: &str| name.contains(&filter);
    products(&show);
    maps(&show);
    intervals(&show);
    kernels(&show);
}
