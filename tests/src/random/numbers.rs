//! The numbers of a case: a function of the seed, the tensor's name and the element.
//!
//! The first letter of an input says what it is (`values`): log decays from none to very strong,
//! positive numbers, small ones, any. All are exact in f32, so that every executor starts from the
//! same values.

use super::Drawn;
use crate::{Case, Extents, Random};
use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{Gradient, Outcome, forward, gradient};
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::text;

/// A drawn case with everything that an executor is given.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// What is run.
    pub recurrence: Recurrence,
    /// Sizes of its dims, in order.
    pub sizes: Vec<usize>,
    /// Inputs in order.
    pub inputs: Vec<Vec<f64>>,
    /// Params in order.
    pub params: Vec<Vec<f64>>,
    /// States in.
    pub states: Vec<Option<Vec<f64>>>,
    /// Arriving gradients of the outputs.
    pub d_outputs: Vec<Option<Vec<f64>>>,
    /// Arriving gradients of the states.
    pub d_states: Vec<Option<Vec<f64>>>,
}

/// What the step interpreter says in f64.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Outputs and leaving states.
    pub outcome: Outcome,
    /// Every gradient.
    pub gradient: Gradient,
}

impl Truth {
    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        let (outcome, gradient) = (&self.outcome, &self.gradient);
        let forward = outcome.outputs.iter().chain(&outcome.states);
        let gradients = gradient.inputs.iter().chain(&gradient.params);
        let mut all = forward.chain(gradients).chain(&gradient.states).flatten();
        all.all(|x| x.is_finite())
    }
}

/// `Some` slices.
pub fn given(all: &[Option<Vec<f64>>]) -> Vec<Option<&[f64]>> {
    all.iter().map(Option::as_deref).collect()
}

impl Drawn {
    /// The program's text, parsed; what is refused comes back as it was reported.
    pub fn parse(&self) -> Result<Recurrence, String> {
        let source = self.program.to_string();
        text::parse(&source).map_err(|diagnostics| text::render("drawn.rec", &source, &diagnostics))
    }

    /// The numbers of a parsed program; `round` takes them to the dtype of storage.
    pub fn numbers(&self, recurrence: Recurrence, round: impl Fn(f64) -> f64) -> Numbers {
        let setting = &self.setting;
        let steps = setting.batch * setting.time;
        let sequences = setting.sequences();
        let sizes: Vec<usize> = recurrence.dims.iter().map(|d| setting.size(d)).collect();
        let fill = |port: &Port, prefix: &str, rows: usize| -> Vec<f64> {
            let name = format!("{prefix}{}", port.name);
            let lanes = match port.per_group {
                true => setting.groups,
                false => setting.heads,
            };
            let entries: usize = port.shape.iter().map(|dim| sizes[dim.index()]).product();
            let mut random = Random::named(setting.seed, &name);
            let kind = Kind::new(&name, setting.wild, &mut random);
            let draw = |_| round(f64::from(kind.sample(&mut random) as f32));
            (0..rows * lanes * entries).map(draw).collect()
        };
        let maybe = |port: &Port, prefix: &str, rows: usize| {
            let coin = Random::named(setting.seed, &format!("{prefix}{} absent", port.name)).bits();
            (!setting.absent || coin.is_multiple_of(2)).then(|| fill(port, prefix, rows))
        };
        let r = &recurrence;
        let headless = |port: &Port| !port.per_group;
        let mut states: Vec<_> = r.states.iter().map(|p| maybe(p, "", sequences)).collect();
        if !r.inputs.iter().any(headless) && r.params.is_empty() {
            // Something has to say H.
            states[0].get_or_insert_with(|| fill(&r.states[0], "", sequences));
        }
        Numbers {
            inputs: r.inputs.iter().map(|p| fill(p, "", steps)).collect(),
            params: r.params.iter().map(|p| fill(p, "", 1)).collect(),
            d_outputs: r.outputs.iter().map(|p| maybe(p, "d_", steps)).collect(),
            d_states: r.states.iter().map(|p| maybe(p, "d_", sequences)).collect(),
            states,
            sizes,
            recurrence,
        }
    }

    /// The problem that an interpreter runs.
    pub fn problem<'a>(&self, numbers: &'a Numbers) -> Problem<'a> {
        let setting = &self.setting;
        Problem {
            recurrence: &numbers.recurrence,
            sizes: numbers.sizes.clone(),
            batch: setting.batch,
            time: setting.time,
            heads: setting.heads,
            groups: setting.groups,
            cu_seqlens: setting.cu_seqlens.clone(),
            inputs: numbers.inputs.iter().map(Vec::as_slice).collect(),
            params: numbers.params.iter().map(Vec::as_slice).collect(),
            states: given(&numbers.states),
        }
    }

    /// Outputs, states and gradients by the step interpreter.
    pub fn truth(&self, numbers: &Numbers) -> Result<Truth, String> {
        let problem = self.problem(numbers);
        let (outputs, states) = (given(&numbers.d_outputs), given(&numbers.d_states));
        Ok(Truth {
            outcome: forward(&problem)?,
            gradient: gradient(&problem, &outputs, &states)?,
        })
    }

    /// The case of the fixed suites, in which everything absent is zero.
    pub fn case(&self, numbers: &Numbers) -> Case {
        let setting = &self.setting;
        let r = &numbers.recurrence;
        let problem = self.problem(numbers);
        let steps = setting.batch * setting.time;
        let filled = |all: &[Option<Vec<f64>>], ports: &[Port], rows: usize| -> Vec<Vec<f64>> {
            let filled = |(values, port): (&Option<Vec<f64>>, &Port)| {
                let zeros = || vec![0.0; rows * problem.row(port)];
                values.clone().unwrap_or_else(zeros)
            };
            all.iter().zip(ports).map(filled).collect()
        };
        Case {
            extents: Extents {
                sizes: numbers.sizes.clone(),
                batch: setting.batch,
                time: setting.time,
                heads: setting.heads,
                groups: setting.groups,
                cu_seqlens: setting.cu_seqlens.clone(),
            },
            inputs: numbers.inputs.clone(),
            params: numbers.params.clone(),
            states: filled(&numbers.states, &r.states, setting.sequences()),
            d_outputs: filled(&numbers.d_outputs, &r.outputs, steps),
            d_states: filled(&numbers.d_states, &r.states, setting.sequences()),
            recurrence: r.clone(),
        }
    }
}

/// How the numbers of a tensor are distributed.
enum Kind {
    Log(f64),
    Positive(f64),
    Bounded(f64),
    Any(f64),
}

impl Kind {
    fn new(name: &str, wild: bool, random: &mut Random) -> Kind {
        let scale = match wild {
            true => 10f64.powf(6.0 * random.uniform() - 3.0),
            false => 0.5,
        };
        match name.as_bytes()[0] {
            b'g' => Kind::Log(*random.pick(&[0.0, 0.01, 0.1, 0.1, 1.0, 5.0, 26.0])),
            b'p' => Kind::Positive(scale.clamp(0.01, 100.0)),
            b'b' => Kind::Bounded(if wild { scale.min(2.0) } else { 1.0 }),
            b'd' => Kind::Any(scale.clamp(0.01, 100.0)),
            _ => Kind::Any(scale),
        }
    }

    fn sample(&self, random: &mut Random) -> f64 {
        match self {
            Kind::Log(strength) => -strength * random.uniform(),
            Kind::Positive(scale) => scale * (0.2 + random.uniform()),
            Kind::Bounded(scale) => scale * (2.0 * random.uniform() - 1.0),
            Kind::Any(scale) => scale * random.normal(),
        }
    }
}
