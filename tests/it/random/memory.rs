//! Tensors in f32 inside memory filled with NaN, contiguous, with gaps, or with their axes turned.

use baton_ir::recurrence::Port;
use baton_runtime::{Call, Device, Options, Tensor, View};
use baton_tests::Random;
use baton_tests::random::{Drawn, Numbers, Setting, Shift};

const MARGIN: usize = 37;

/// A tensor surrounded by NaN.
struct Held {
    data: Vec<f32>,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Held {
    fn new(values: &[f64], shape: Vec<usize>, shift: Shift, random: &mut Random) -> Held {
        let mut order: Vec<usize> = (0..shape.len()).collect();
        if shift == Shift::Turned {
            for i in (1..order.len()).rev() {
                order.swap(i, random.below(i + 1));
            }
        }
        let mut strides = vec![1; shape.len()];
        let mut step = 1;
        for &axis in order.iter().rev() {
            if shift != Shift::None && random.chance(0.5) {
                step += 1 + random.below(4);
            }
            strides[axis] = step;
            step *= shape[axis];
        }
        let mut data = vec![f32::NAN; MARGIN + step + MARGIN];
        for (i, value) in values.iter().enumerate() {
            let (mut rest, mut at) = (i, MARGIN);
            for axis in (0..shape.len()).rev() {
                at += rest % shape[axis] * strides[axis];
                rest /= shape[axis];
            }
            data[at] = *value as f32;
        }
        Held {
            data,
            shape,
            strides,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            data: &self.data[MARGIN..],
            shape: self.shape.clone(),
            strides: self.strides.clone(),
        }
    }
}

/// A case in f32 memory.
pub struct Prepared<'c> {
    setting: &'c Setting,
    numbers: &'c Numbers,
    inputs: Vec<Held>,
    params: Vec<Held>,
    states: Vec<Option<Held>>,
    d_outputs: Vec<Option<Held>>,
    d_states: Vec<Option<Held>>,
    cu_seqlens: Option<Vec<i64>>,
}

fn views(all: &[Option<Held>]) -> Vec<Option<View<'_>>> {
    all.iter()
        .map(|held| held.as_ref().map(Held::view))
        .collect()
}

impl<'c> Prepared<'c> {
    pub fn new(drawn: &'c Drawn, numbers: &'c Numbers) -> Self {
        let setting = &drawn.setting;
        let mut random = Random::named(setting.seed, "memory");
        let mut hold = |port: &Port, values: &[f64], outer: &[usize]| {
            let mut shape = outer.to_vec();
            shape.push(match port.per_group {
                true => setting.groups,
                false => setting.heads,
            });
            shape.extend(port.shape.iter().map(|dim| numbers.sizes[dim.index()]));
            Held::new(values, shape, setting.shift, &mut random)
        };
        let r = &numbers.recurrence;
        let steps = [setting.batch, setting.time];
        let sequences = [setting.sequences()];
        let mut given = |ports: &[Port], all: &[Vec<f64>], outer: &[usize]| -> Vec<Held> {
            let pairs = ports.iter().zip(all);
            pairs
                .map(|(port, values)| hold(port, values, outer))
                .collect()
        };
        let inputs = given(&r.inputs, &numbers.inputs, &steps);
        let params = given(&r.params, &numbers.params, &[]);
        let mut maybe = |ports: &[Port], all: &[Option<Vec<f64>>], outer: &[usize]| {
            let pairs = ports.iter().zip(all);
            let held = |(port, values): (&Port, &Option<Vec<f64>>)| {
                values.as_ref().map(|values| hold(port, values, outer))
            };
            pairs.map(held).collect::<Vec<_>>()
        };
        Prepared {
            inputs,
            params,
            states: maybe(&r.states, &numbers.states, &sequences),
            d_outputs: maybe(&r.outputs, &numbers.d_outputs, &steps),
            d_states: maybe(&r.states, &numbers.d_states, &sequences),
            cu_seqlens: (setting.cu_seqlens.as_ref())
                .map(|ends| ends.iter().map(|end| *end as i64).collect()),
            setting,
            numbers,
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            inputs: self.inputs.iter().map(Held::view).collect(),
            params: self.params.iter().map(Held::view).collect(),
            states: views(&self.states),
            cu_seqlens: self.cu_seqlens.as_deref(),
        }
    }

    /// Outputs, states, then the gradients of inputs, params and states.
    pub fn run(&self, device: &dyn Device) -> Result<Vec<Tensor>, baton_runtime::Error> {
        let options = Options {
            chunk: self.setting.chunk,
            keep_bytes: self.setting.keep_bytes,
        };
        let kernel = device.load(&self.numbers.recurrence, &self.numbers.sizes, &options)?;
        let call = self.call();
        let forward = kernel.forward(&call, self.setting.keep)?;
        let (d_outputs, d_states) = (views(&self.d_outputs), views(&self.d_states));
        let gradients = kernel.backward(&call, forward.saved.as_ref(), &d_outputs, &d_states)?;
        let all = [
            forward.outputs,
            forward.states,
            gradients.inputs,
            gradients.params,
        ];
        let all = all.into_iter().chain([gradients.states]);
        Ok(all.flatten().collect())
    }

    /// Outputs of every step and the states that leave the last, by the decode step.
    pub fn steps(&self, device: &dyn Device) -> Result<Vec<Tensor>, baton_runtime::Error> {
        let r = &self.numbers.recurrence;
        let kernel = device.load(r, &self.numbers.sizes, &Options::default())?;
        let setting = self.setting;
        let mut states: Vec<Tensor> = (r.states.iter().zip(&self.states))
            .map(|(port, held)| match held {
                Some(held) => held.view().to_tensor(),
                None => {
                    let mut shape = vec![setting.batch, setting.heads];
                    shape.extend(port.shape.iter().map(|dim| self.numbers.sizes[dim.index()]));
                    Tensor::full(&shape, 0.0)
                }
            })
            .collect();
        let mut outputs: Vec<Vec<Tensor>> = vec![vec![]; r.outputs.len()];
        for t in 0..setting.time {
            let mut call = self.call();
            for view in &mut call.inputs {
                view.data = &view.data[t * view.strides[1]..];
                view.shape[1] = 1;
            }
            call.states.iter_mut().for_each(|state| *state = None);
            let step = kernel.step(&call, &mut states)?;
            outputs
                .iter_mut()
                .zip(step)
                .for_each(|(all, out)| all.push(out));
        }
        let joined = outputs.into_iter().map(|steps| {
            // [T][B, 1, H, dims] to [B, T, H, dims]
            let row = steps
                .first()
                .map_or(0, |step| step.data.len() / setting.batch);
            let rows = |b: usize| {
                steps
                    .iter()
                    .flat_map(move |s| s.data[b * row..][..row].to_vec())
            };
            let data: Vec<f32> = (0..setting.batch).flat_map(rows).collect();
            Tensor {
                shape: vec![data.len()],
                data,
            }
        });
        let mut all: Vec<Tensor> = joined.collect();
        all.extend(states);
        Ok(all)
    }
}
