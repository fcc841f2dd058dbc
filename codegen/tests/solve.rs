//! The derivative of a solve, by reverse mode, against finite differences of the level-2 interpreter:
//! of a system for a vector a step, and of one for a triangle, which two systems in turn are made of.

use baton_codegen::grad;
use baton_ir::chunked::{Axis, Builder, Chunked, Direction, Interval, Op, Target, ValueId};
use baton_ir::interp::chunked::{Bindings, run_chunk};
use baton_ir::recurrence::{DimId, InputId, OutputId, Port, Recurrence, StateId};

const HEADS: usize = 2;
const CHUNK: usize = 6;
const LEN: usize = 5;
const SIZES: [usize; 2] = [3, 2];

fn port(name: &str, shape: &[u32], per_group: bool) -> Port {
    Port {
        name: name.into(),
        shape: shape.iter().map(|&dim| DimId(dim)).collect(),
        per_group,
    }
}

/// `o = (I - A)^-1 x + (I - B C)^-1 x`, A and C of heads, B shared by them, B C by way of a system.
fn program() -> Chunked {
    let recurrence = Recurrence {
        name: "solved".into(),
        dims: vec!["K".into(), "V".into()],
        inputs: vec![
            port("a", &[0], false),
            port("b", &[0], true),
            port("x", &[1], false),
            port("l", &[], false),
        ],
        states: vec![port("S", &[1], false)],
        outputs: vec![port("o", &[1], false)],
        ..Recurrence::default()
    };
    let name = "solved_forward".to_string();
    let mut b = Builder::new(&recurrence, name, Direction::Forward);
    let [a, shared, x, l] = [0, 1, 2, 3].map(|i| {
        let input = b.add(Op::Input(InputId(i)));
        b.add(Op::Valid(input))
    });
    let causal = |b: &mut Builder, left: ValueId, right: ValueId| {
        let right = b.relabel(right, Axis::Time, Axis::Source);
        let weights = b.contract(left, right, Axis::Dim(DimId(0)));
        b.add(Op::Causal(weights, true))
    };
    let decay = b.add(Op::Decay(Interval::Between, true, l));
    let own = causal(&mut b, a, shared);
    let own = b.mul(own, decay);
    let alike = causal(&mut b, shared, shared);
    let once = b.add(Op::Solve(false, own, x));
    // [t, s] on the right, of a system that heads share.
    let turned = b.add(Op::Solve(false, alike, own));
    let turned = b.add(Op::Causal(turned, true));
    let left = b.relabel(own, Axis::Source, Axis::Middle);
    let right = b.relabel(turned, Axis::Time, Axis::Middle);
    let product = b.contract(left, right, Axis::Middle);
    let twice = b.add(Op::Solve(false, product, x));
    let sum = b.plus(once, twice);
    let state = b.add(Op::State(StateId(0)));
    let sum = b.mul(sum, state);
    b.result(Target::Output(OutputId(0)), sum);
    b.result(Target::State(StateId(0)), state);
    b.finish()
}

fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..8).for_each(|_| _ = next());
    (0..count).map(|_| next()).collect()
}

#[test]
fn the_derivative_of_a_solve_is_that_of_its_differences() {
    let forward = program();
    let reverse = grad(&forward);
    let rows = [
        HEADS * CHUNK * SIZES[0],
        CHUNK * SIZES[0],
        HEADS * CHUNK * SIZES[1],
        HEADS * CHUNK,
    ];
    let inputs: Vec<Vec<f64>> = rows
        .iter()
        .zip(1..)
        .map(|(&n, seed)| noise(n, seed))
        .collect();
    let arriving = noise(HEADS * CHUNK * SIZES[1], 9);
    let zero_past = |h: usize, t: usize, v: usize| match t < LEN {
        true => arriving[(h * CHUNK + t) * SIZES[1] + v],
        false => 0.0,
    };
    let d_output: Vec<f64> = { 0..HEADS * CHUNK * SIZES[1] }
        .map(|i| zero_past(i / SIZES[1] / CHUNK, i / SIZES[1] % CHUNK, i % SIZES[1]))
        .collect();
    let bindings = |inputs: &[Vec<f64>]| Bindings {
        heads: HEADS,
        chunk: CHUNK,
        len: LEN,
        sizes: SIZES.to_vec(),
        inputs: inputs.to_vec(),
        params: vec![],
        states: vec![noise(HEADS * SIZES[1], 11)],
        d_outputs: vec![d_output.clone()],
        d_states: vec![vec![0.0; HEADS * SIZES[1]]],
    };
    let loss = |inputs: &[Vec<f64>]| -> f64 {
        let results = run_chunk(&forward, &bindings(inputs)).unwrap();
        results[0].iter().zip(&d_output).map(|(o, d)| o * d).sum()
    };
    let gradients = run_chunk(&reverse, &bindings(&inputs)).unwrap();
    let mut seen = 0;
    for (target, found) in reverse.results.iter().zip(&gradients) {
        let (Target::DInput(input), _) = *target else {
            continue;
        };
        let which = input.index();
        for i in 0..inputs[which].len() {
            let moved = |by: f64| {
                let mut inputs = inputs.clone();
                inputs[which][i] += by;
                loss(&inputs)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                (slope - found[i]).abs() < 1e-7 * (1.0 + slope.abs()),
                "input {which} entry {i}: {}, by differences {slope}",
                found[i]
            );
        }
        seen += 1;
    }
    assert_eq!(seen, inputs.len());
}
