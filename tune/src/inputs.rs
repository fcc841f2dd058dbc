//! Inputs to measure and to judge with: from a seed, and as a trained model would give them.
//!
//! Values are standard normal, but for the ports that a log decay is made of. These are set so
//! that a step forgets about [`FORGET`] of the state: the constant is searched for which, put in
//! all of them, brings the log decay nearest to that, and each entry lies within a fifth of it.
//! So no name of a recurrence or port is known here, and neither overflow nor a state that has
//! died away flatters a measurement. Vectors that a state is read along in its own update have length
//! one, and numbers beside them are below one, so that reads take away rather than add.

use baton_codegen::schedule::cost::RunShape;
use baton_ir::pointwise;
use baton_ir::recurrence::{Facts, Port, Pure, PureId, Recurrence};
use baton_runtime::device::gpu::{Storage, rounded};
use baton_runtime::{Call, Tensor, View};

/// The share of the state that a step forgets.
const FORGET: f64 = 0.05;

/// Tensors of one run.
#[derive(Clone)]
pub struct Inputs {
    /// Every input, `[B, T, H, dims...]`.
    pub inputs: Vec<Tensor>,
    /// Every param, `[H, dims...]`.
    pub params: Vec<Tensor>,
    /// Every state in, `[S, H, dims...]`.
    pub states: Vec<Tensor>,
    /// The gradient that arrives for every output.
    pub d_outputs: Vec<Tensor>,
}

impl Inputs {
    /// The tensors of a run; the same for the same arguments.
    pub fn new(recurrence: &Recurrence, facts: &Facts, sizes: &[usize], run: RunShape) -> Self {
        Self::drawn(recurrence, facts, sizes, run, run.batch, 0x5eed)
    }

    /// Those of a seed, for a run with so many sequences: B, or those that are packed in one row.
    pub fn drawn(
        recurrence: &Recurrence,
        facts: &Facts,
        sizes: &[usize],
        run: RunShape,
        sequences: usize,
        seed: u64,
    ) -> Self {
        let decay = Decay::new(recurrence, facts, sizes);
        let reads = Made::of(recurrence, facts, reads(facts));
        let mut seed = Seed(seed);
        let RunShape {
            batch,
            time,
            heads,
            groups,
            ..
        } = run;
        let mut tensor = |outer: &[usize], port: &Port, centre: Option<f64>, read: bool| {
            let inner = port.shape.iter().map(|dim| sizes[dim.index()]);
            let shape: Vec<usize> = outer.iter().copied().chain(inner).collect();
            let len = shape.iter().product();
            let width: usize = port.shape.iter().map(|dim| sizes[dim.index()]).product();
            let length = if read { (width as f32).sqrt() } else { 1.0 };
            let centre = centre.or_else(|| (read && port.shape.is_empty()).then_some(0.5));
            let data = match centre {
                Some(centre) => (0..len)
                    .map(|_| (centre * seed.about_one()) as f32)
                    .collect(),
                None => (0..len).map(|_| seed.normal() / length).collect(),
            };
            Tensor { shape, data }
        };
        Inputs {
            inputs: (recurrence.inputs.iter().enumerate())
                .map(|(i, port)| {
                    let shared = if port.per_group { groups } else { heads };
                    tensor(
                        &[batch, time, shared],
                        port,
                        decay.made.inputs[i].then_some(decay.centre),
                        reads.inputs[i],
                    )
                })
                .collect(),
            params: (recurrence.params.iter().enumerate())
                .map(|(i, port)| {
                    let centre = decay.made.params[i].then_some(decay.centre);
                    tensor(&[heads], port, centre, reads.params[i])
                })
                .collect(),
            states: (recurrence.states.iter())
                .map(|port| tensor(&[sequences, heads], port, None, false))
                .collect(),
            d_outputs: (recurrence.outputs.iter())
                .map(|port| tensor(&[batch, time, heads], port, None, false))
                .collect(),
        }
    }
}

impl Inputs {
    /// The same with what stands along time rounded as a device stores it.
    pub fn rounded(mut self, storage: Storage) -> Inputs {
        for tensor in self.inputs.iter_mut().chain(&mut self.d_outputs) {
            tensor.data = rounded(&tensor.data, storage);
        }
        self
    }

    /// The call of these tensors.
    pub fn call<'a>(&'a self, cu_seqlens: Option<&'a [i64]>) -> Call<'a> {
        Call {
            inputs: self.inputs.iter().map(Tensor::view).collect(),
            params: self.params.iter().map(Tensor::view).collect(),
            states: some(&self.states),
            cu_seqlens,
        }
    }

    /// The gradients that arrive for the outputs and, of the values of the states in, for the states out.
    pub fn arriving(&self) -> [Vec<Option<View<'_>>>; 2] {
        [some(&self.d_outputs), some(&self.states)]
    }
}

fn some(tensors: &[Tensor]) -> Vec<Option<View<'_>>> {
    tensors.iter().map(|tensor| Some(tensor.view())).collect()
}

/// What stands in the reads of states in their updates.
fn reads(facts: &Facts) -> Vec<PureId> {
    let reads = facts.transitions.iter().flat_map(|t| &t.reads);
    let parts = reads.flat_map(|read| {
        let weight = facts.readouts[read.readout.index()].weight;
        [weight.map(|(_, weight)| weight), read.row, read.col]
    });
    parts.flatten().collect()
}

/// Which ports expressions are made of.
struct Made {
    inputs: Vec<bool>,
    params: Vec<bool>,
}

/// Which ports a log decay is made of, and the constant that they are set to.
struct Decay {
    made: Made,
    centre: f64,
}

impl Made {
    fn of(recurrence: &Recurrence, facts: &Facts, mut open: Vec<PureId>) -> Made {
        let mut made = Made {
            inputs: vec![false; recurrence.inputs.len()],
            params: vec![false; recurrence.params.len()],
        };
        let mut known = vec![false; facts.pure.len()];
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut known[id.index()], true) {
                continue;
            }
            match facts.pure(id) {
                Pure::Input(i) => made.inputs[i.index()] = true,
                Pure::Param(i) => made.params[i.index()] = true,
                pure => open.extend(pure.operands()),
            }
        }
        made
    }
}

impl Decay {
    fn new(recurrence: &Recurrence, facts: &Facts, sizes: &[usize]) -> Decay {
        let logs: Vec<PureId> = (facts.transitions.iter())
            .flat_map(|transition| [transition.scalar, transition.row, transition.col])
            .flatten()
            .collect();
        let mut decay = Decay {
            made: Made::of(recurrence, facts, logs.clone()),
            centre: 0.0,
        };
        let distance = |centre: f64| {
            let log: f64 = logs
                .iter()
                .map(|&log| evaluate(facts, sizes, log, centre))
                .sum();
            let forgets = 1.0 - log.exp();
            match forgets > 0.0 {
                true => (forgets / FORGET).ln().abs(),
                false => f64::INFINITY,
            }
        };
        let magnitudes = (-20..=6).map(|power| 2f64.powf(f64::from(power) / 2.0));
        decay.centre = magnitudes
            .flat_map(|magnitude| [-magnitude, magnitude])
            .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
            .unwrap_or(0.0);
        decay
    }
}

/// The value of an expression when every port is `value` everywhere.
fn evaluate(facts: &Facts, sizes: &[usize], id: PureId, value: f64) -> f64 {
    let of = |id| evaluate(facts, sizes, id, value);
    match facts.pure(id) {
        Pure::Number(x) => x,
        Pure::Size(dim) => sizes[dim.index()] as f64,
        Pure::Input(_) | Pure::Param(_) | Pure::Readout(_) => value,
        Pure::Unary(function, a) => pointwise::unary(function, of(a)),
        Pure::Binary(function, a, b) => pointwise::binary(function, of(a), of(b)),
        Pure::Select([x, y, a, b]) => pointwise::select(of(x), of(y), of(a), of(b)),
        Pure::Sum(a) => of(a) * facts.dim(a).map_or(1.0, |dim| sizes[dim.index()] as f64),
    }
}

/// Numbers from a seed (splitmix64).
pub(crate) struct Seed(pub u64);

impl Seed {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `from..=to`.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + (self.bits() % (to - from + 1) as u64) as usize
    }

    /// Near normal: the sum of four uniform numbers, scaled to variance one.
    fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xffff).sum();
        (sum as f32 / 65536.0 - 2.0) * 1.732_050_8
    }

    /// Uniform in `0.8..1.2`.
    fn about_one(&mut self) -> f64 {
        0.8 + 0.4 * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decays_are_moderate_and_values_normal() {
        for &name in baton_ir::builtin::NAMES {
            let text = baton_ir::builtin::text(name).unwrap();
            let recurrence = baton_ir::text::parse(text).unwrap();
            let facts = baton_ir::verify::verify(&recurrence).unwrap();
            let sizes = vec![8; recurrence.dims.len()];
            let decay = Decay::new(&recurrence, &facts, &sizes);
            for transition in &facts.transitions {
                let logs = [transition.scalar, transition.row, transition.col];
                for log in logs.into_iter().flatten() {
                    let log = evaluate(&facts, &sizes, log, decay.centre);
                    assert!((-0.1..-0.015).contains(&log), "{name}: log decay {log}");
                }
            }
        }
        let mut seed = Seed(1);
        let values: Vec<f64> = (0..10_000).map(|_| f64::from(seed.normal())).collect();
        let mean = values.iter().sum::<f64>() / 1e4;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(
            mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }
}
