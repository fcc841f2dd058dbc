//! The shared harness: cases with inputs from a seed, the truth, and the measure of error.
//!
//! A [`Case`] is a recurrence with sizes and numbers. Its numbers are exact in f32, so that every
//! executor starts from the same values, and its truth is the level-1 interpreter in f64.

pub mod fuzz;
pub mod harness;
pub mod random;
mod splitmix;
mod texts;

pub use baton_codegen::target::arithmetic as tolerance;
pub use baton_ir::interp::errors::relative_error;
pub use splitmix::Random;
pub use texts::{EXTRAS, STEPPED};

use baton_codegen::Compiler;
use baton_codegen::target::Gpu;
use baton_ir::interp::errors::param_terms;
use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{Gradient, Outcome, forward, gradient};
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::verify::verify;
use baton_ir::{builtin, text};
use baton_runtime::device::gpu::{Storage, rounded};
use std::ops::Range;
use std::sync::OnceLock;

/// How strongly the states decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// Not at all.
    None,
    /// By a few per cent a step.
    Weak,
    /// By more than `exp(-200)` in sixteen steps.
    Strong,
}

/// The extents of a case.
#[derive(Clone, Debug)]
pub struct Extents {
    /// Sizes of the dims; those that the recurrence does not have are dropped.
    pub sizes: Vec<usize>,
    /// B
    pub batch: usize,
    /// T
    pub time: usize,
    /// H
    pub heads: usize,
    /// G
    pub groups: usize,
    /// Offsets of packed sequences.
    pub cu_seqlens: Option<Vec<usize>>,
}

/// A recurrence with numbers.
pub struct Case {
    /// What is run.
    pub recurrence: Recurrence,
    /// How large.
    pub extents: Extents,
    /// Inputs in order.
    pub inputs: Vec<Vec<f64>>,
    /// Params in order.
    pub params: Vec<Vec<f64>>,
    /// States in, in order.
    pub states: Vec<Vec<f64>>,
    /// Arriving gradients of the outputs.
    pub d_outputs: Vec<Vec<f64>>,
    /// Arriving gradients of the states.
    pub d_states: Vec<Vec<f64>>,
}

impl Case {
    /// A built-in recurrence with numbers from `seed`.
    pub fn builtin(name: &str, extents: Extents, decay: Decay, seed: u64) -> Case {
        Case::new(
            builtin::text(name).expect("a built-in name"),
            extents,
            decay,
            seed,
        )
    }

    /// A recurrence with numbers from `seed`.
    pub fn new(source: &str, mut extents: Extents, decay: Decay, seed: u64) -> Case {
        let recurrence = text::parse(source).expect("a well-formed recurrence");
        extents.sizes.truncate(recurrence.dims.len());
        let mut random = Random(seed);
        let steps = extents.batch * extents.time;
        let sequences = extents
            .cu_seqlens
            .as_ref()
            .map_or(extents.batch, |ends| ends.len() - 1);
        let size = |port: &Port| -> usize {
            let lanes = if port.per_group {
                extents.groups
            } else {
                extents.heads
            };
            lanes
                * port
                    .shape
                    .iter()
                    .map(|dim| extents.sizes[dim.index()])
                    .product::<usize>()
        };
        let fill = |random: &mut Random, port: &Port, rows: usize| -> Vec<f64> {
            (0..rows * size(port))
                .map(|_| sample(random, &port.name, decay))
                .collect()
        };
        let mut case = Case {
            inputs: recurrence
                .inputs
                .iter()
                .map(|p| fill(&mut random, p, steps))
                .collect(),
            params: recurrence
                .params
                .iter()
                .map(|p| fill(&mut random, p, 1))
                .collect(),
            states: recurrence
                .states
                .iter()
                .map(|p| {
                    let mut values = fill(&mut random, p, sequences);
                    // A normaliser: its readout is a divisor, which nearly cancels where signs are mixed.
                    if p.name == "z" {
                        values.iter_mut().for_each(|x| *x = x.abs());
                    }
                    values
                })
                .collect(),
            d_outputs: recurrence
                .outputs
                .iter()
                .map(|p| fill(&mut random, p, steps))
                .collect(),
            d_states: recurrence
                .states
                .iter()
                .map(|p| fill(&mut random, p, sequences))
                .collect(),
            recurrence,
            extents,
        };
        case.tame();
        case
    }

    /// mLSTM's input gates about two. Where a state is read in its own update: keys of length one, as layers make them, Comba's `p` a part of
    /// the key, and RWKV-7's `a = -kk` and `b = kk * (a rate in 0..1)`. With others the states grow without bound.
    fn tame(&mut self) {
        // Else the normaliser's floor decides at nearly every step, and what one late step alone sends back is
        // lost in the rounding of its own terms.
        if self.recurrence.name == "mlstm" {
            self.inputs[3].iter_mut().for_each(|gate| *gate += 2.0);
        }
        let facts = verify(&self.recurrence).expect("a recurrence that verifies");
        if facts.transitions.iter().all(|t| t.reads.is_empty()) {
            return;
        }
        let (mut turned, mut keys): (Option<Vec<f64>>, _) = (None, vec![]);
        for (port, values) in self.recurrence.inputs.iter().zip(&mut self.inputs) {
            let width: usize = { port.shape.iter() }
                .map(|dim| self.extents.sizes[dim.index()])
                .product();
            match (port.name.as_str(), &turned) {
                ("k" | "k0" | "k1", _) => {
                    unit(values, width, 1.0);
                    keys = values.clone();
                }
                ("p", _) if keys.len() == values.len() => {
                    let pairs = values
                        .chunks_exact_mut(width.max(1))
                        .zip(keys.chunks_exact(width.max(1)));
                    for (p, key) in pairs {
                        let part = 0.5 + 0.5 / (1.0 + p[0].exp());
                        let scaled = key.iter().map(|x| f64::from((x * part) as f32));
                        p.iter_mut().zip(scaled).for_each(|(p, x)| *p = x);
                    }
                }
                ("a", _) if !port.shape.is_empty() => {
                    unit(values, width, -1.0);
                    turned = Some(values.clone());
                }
                ("b", Some(a)) => {
                    let rate = |b: f64| 1.0 / (1.0 + b.exp());
                    let pairs = values.iter_mut().zip(a);
                    pairs.for_each(|(b, a)| *b = f64::from((-a * rate(*b)) as f32));
                }
                _ => {}
            }
        }
    }

    /// The case with what stands along time rounded as a device stores it: both sides start from the
    /// same numbers.
    pub fn rounded(mut self, storage: Storage) -> Case {
        for values in self.inputs.iter_mut().chain(&mut self.d_outputs) {
            let narrow: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let narrow = rounded(&narrow, storage);
            *values = narrow.into_iter().map(f64::from).collect();
        }
        self
    }

    /// Some steps of a case of one sequence, from the states and to the gradients of the whole.
    pub fn steps(&self, range: Range<usize>) -> Case {
        let cut = |all: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let one = |values: &Vec<f64>| {
                let row = values.len() / self.extents.time;
                values[range.start * row..range.end * row].to_vec()
            };
            all.iter().map(one).collect()
        };
        Case {
            recurrence: self.recurrence.clone(),
            extents: Extents {
                time: range.len(),
                ..self.extents.clone()
            },
            inputs: cut(&self.inputs),
            params: self.params.clone(),
            states: self.states.clone(),
            d_outputs: cut(&self.d_outputs),
            d_states: self.d_states.clone(),
        }
    }

    /// How large the terms of each param's gradient are.
    pub fn param_terms(&self) -> Vec<f64> {
        let (outputs, states) = (given(&self.d_outputs), given(&self.d_states));
        param_terms(&self.problem(), &outputs, &states).expect("the interpreter runs")
    }

    /// The problem that an interpreter runs.
    pub fn problem(&self) -> Problem<'_> {
        Problem {
            recurrence: &self.recurrence,
            sizes: self.extents.sizes.clone(),
            batch: self.extents.batch,
            time: self.extents.time,
            heads: self.extents.heads,
            groups: self.extents.groups,
            cu_seqlens: self.extents.cu_seqlens.clone(),
            inputs: self.inputs.iter().map(Vec::as_slice).collect(),
            params: self.params.iter().map(Vec::as_slice).collect(),
            states: self.states.iter().map(|s| Some(s.as_slice())).collect(),
        }
    }

    /// Outputs, states and gradients by the level-1 interpreter.
    pub fn truth(&self) -> (Outcome, Gradient) {
        let (outputs, states) = (given(&self.d_outputs), given(&self.d_states));
        let problem = self.problem();
        let outcome = forward(&problem).expect("the interpreter runs");
        let gradient = gradient(&problem, &outputs, &states).expect("the interpreter runs");
        (outcome, gradient)
    }
}

fn given(all: &[Vec<f64>]) -> Vec<Option<&[f64]>> {
    all.iter().map(|values| Some(values.as_slice())).collect()
}

/// Vectors of a length, as far as f32 has it.
fn unit(values: &mut [f64], width: usize, length: f64) {
    for vector in values.chunks_exact_mut(width.max(1)) {
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scaled = |x: &f64| f64::from((x * length / norm.max(1e-30)) as f32);
        vector.iter_mut().for_each(|x| *x = scaled(x));
    }
}

/// The built-in recurrences that a GPU has shipped kernels for: what is asked is the target, at a size that
/// every kernel has.
pub fn on_gpu() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    let target = Gpu::sm_80(Storage::F32);
    let has = |name: &&str| {
        let recurrence = text::parse(builtin::text(name).expect("a built-in name"));
        let recurrence = recurrence.expect("a well-formed recurrence");
        let compiler = Compiler::new(&recurrence, &vec![16; recurrence.dims.len()]);
        compiler.is_ok_and(|compiler| compiler.ships(&target))
    };
    NAMES.get_or_init(|| builtin::NAMES.iter().copied().filter(has).collect())
}

/// A number for a tensor of that name: log decays are negative, the rest is normal.
fn sample(random: &mut Random, name: &str, decay: Decay) -> f64 {
    let log_decay = |random: &mut Random| match decay {
        Decay::None => 0.0,
        Decay::Weak => -0.1 * random.uniform(),
        Decay::Strong => -26.0 * random.uniform(),
    };
    let value = match name {
        "g" | "w" | "adt" | "log_decay" => log_decay(random),
        "reset" => match random.uniform() < 0.1 {
            true => f64::INFINITY,
            false => 0.0,
        },
        "a_log" => match decay {
            Decay::None => -80.0,
            Decay::Weak => random.uniform() * 3.0 - 4.0,
            Decay::Strong => 3.0,
        },
        "dt_bias" => 0.2 * random.normal(),
        // Up to two: eigenvalues from -1 on.
        "beta" | "beta0" | "beta1" => 2.0 * random.uniform(),
        _ => 0.5 * random.normal(),
    };
    f64::from(value as f32)
}

/// What the compiler holds of absence 5 of ARCHITECTURE.md: a program of level 3 is not forged,
///
/// ```compile_fail,E0423
/// use baton_ir::{tile::Draft, verify::Verified};
/// fn forge(draft: Draft) -> Verified<Draft> { Verified(draft) }
/// ```
///
/// and not changed.
///
/// ```compile_fail,E0594
/// fn change(program: &mut baton_ir::tile::TileProgram) { program.chunk = 0; }
/// ```
#[cfg(doctest)]
pub struct Forged;
