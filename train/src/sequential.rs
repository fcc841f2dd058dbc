//! Mamba-2 one step after another, forward and backward: the tests' own kernel, so that what the
//! tests of this crate say does not depend on a compiler being right.

use baton_ir::recurrence::Recurrence;
use baton_runtime::tensor::contiguous;
use baton_runtime::{
    Call, Device, Error, Forward, Gradients, Kernel, Options, Saved, Tensor, View,
};
use rayon::prelude::*;
use std::sync::Arc;

/// The tests' own device; it runs mamba2 only.
pub struct Sequential;

impl Device for Sequential {
    fn name(&self) -> &str {
        "sequential"
    }

    fn load(&self, _: &Recurrence, _: &[usize], _: &Options) -> Result<Arc<dyn Kernel>, Error> {
        Ok(Arc::new(Mamba2))
    }
}

/// mamba2 with states [N, P].
pub struct Mamba2;

struct Sizes {
    b: usize,
    t: usize,
    h: usize,
    g: usize,
    n: usize,
    p: usize,
}

fn sizes(call: &Call<'_>) -> Sizes {
    let (x, b) = (&call.inputs[0].shape, &call.inputs[1].shape);
    Sizes {
        b: x[0],
        t: x[1],
        h: x[2],
        g: b[2],
        n: b[3],
        p: x[3],
    }
}

fn at(view: &View<'_>, index: &[usize]) -> f64 {
    let offset: usize = index.iter().zip(&view.strides).map(|(i, s)| i * s).sum();
    view.data[offset] as f64
}

/// All of one head of one sequence.
struct Head<'a> {
    call: &'a Call<'a>,
    s: &'a Sizes,
    b: usize,
    h: usize,
}

impl Head<'_> {
    fn x(&self, t: usize, p: usize) -> f64 {
        at(&self.call.inputs[0], &[self.b, t, self.h, p])
    }
    fn bc(&self, which: usize, t: usize, n: usize) -> f64 {
        at(
            &self.call.inputs[which],
            &[self.b, t, self.h * self.s.g / self.s.h, n],
        )
    }
    fn param(&self, which: usize) -> f64 {
        at(&self.call.params[which], &[self.h])
    }
    fn raw(&self, t: usize) -> f64 {
        at(&self.call.inputs[3], &[self.b, t, self.h]) + self.param(2)
    }
    fn delta(&self, t: usize) -> f64 {
        self.raw(t).exp().ln_1p()
    }
    fn decay(&self, t: usize) -> f64 {
        (-self.param(0).exp() * self.delta(t)).exp()
    }
    /// States before each step, and the last: [T + 1][N P].
    fn states(&self) -> Vec<Vec<f64>> {
        let (n, p) = (self.s.n, self.s.p);
        let first = (0..n * p).map(|i| match &self.call.states[0] {
            Some(state) => at(state, &[self.b, self.h, i / p, i % p]),
            None => 0.0,
        });
        let mut states: Vec<Vec<f64>> = vec![first.collect()];
        for t in 0..self.s.t {
            let (a, delta) = (self.decay(t), self.delta(t));
            let next = states[t].iter().enumerate();
            let next = next.map(|(i, s)| a * s + self.bc(1, t, i / p) * delta * self.x(t, i % p));
            states.push(next.collect());
        }
        states
    }
}

fn heads<R: Send>(call: &Call<'_>, s: &Sizes, f: impl Fn(Head<'_>) -> R + Sync) -> Vec<R> {
    let all = (0..s.b * s.h).into_par_iter();
    all.map(|i| {
        f(Head {
            call,
            s,
            b: i / s.h,
            h: i % s.h,
        })
    })
    .collect()
}

impl Kernel for Mamba2 {
    fn forward(&self, call: &Call<'_>, _: bool) -> Result<Forward, Error> {
        let s = sizes(call);
        let parts = heads(call, &s, |head| {
            let states = head.states();
            let y = (0..s.t * s.p).map(|i| {
                let (t, p) = (i / s.p, i % s.p);
                let read = (0..s.n).map(|n| head.bc(2, t, n) * states[t + 1][n * s.p + p]);
                (read.sum::<f64>() + head.param(1) * head.x(t, p)) as f32
            });
            let last = states[s.t].iter().map(|&s| s as f32);
            (y.collect::<Vec<f32>>(), last.collect::<Vec<f32>>())
        });
        let mut y = Tensor::full(&[s.b, s.t, s.h, s.p], 0.0);
        let mut state = Tensor::full(&[s.b, s.h, s.n, s.p], 0.0);
        let steps = contiguous(&y.shape);
        for (i, (out, last)) in parts.into_iter().enumerate() {
            for (t, row) in out.chunks_exact(s.p).enumerate() {
                let at = i / s.h * steps[0] + t * steps[1] + i % s.h * s.p;
                y.data[at..at + s.p].copy_from_slice(row);
            }
            state.data[i * s.n * s.p..(i + 1) * s.n * s.p].copy_from_slice(&last);
        }
        Ok(Forward {
            outputs: vec![y],
            states: vec![state],
            saved: None,
        })
    }

    fn backward(
        &self,
        call: &Call<'_>,
        _: Option<&Saved>,
        d_outputs: &[Option<View<'_>>],
        d_states: &[Option<View<'_>>],
    ) -> Result<Gradients, Error> {
        let s = sizes(call);
        let zeros = |view: &View<'_>| Tensor::full(&view.shape, 0.0f32);
        let mut inputs: Vec<Tensor> = call.inputs.iter().map(zeros).collect();
        let mut params: Vec<Tensor> = call.params.iter().map(zeros).collect();
        let mut state = Tensor::full(&[s.b, s.h, s.n, s.p], 0.0f32);
        let parts = heads(call, &s, |head| {
            let states = head.states();
            let arrives = |view: &Option<View<'_>>, index: &[usize]| {
                view.as_ref().map_or(0.0, |v| at(v, index))
            };
            let mut ds: Vec<f64> = (0..s.n * s.p)
                .map(|i| arrives(&d_states[0], &[head.b, head.h, i / s.p, i % s.p]))
                .collect();
            let mut steps = Vec::new();
            let (mut da_log, mut dd, mut dbias) = (0.0, 0.0, 0.0);
            for t in (0..s.t).rev() {
                let (a, delta) = (head.decay(t), head.delta(t));
                let dy: Vec<f64> = (0..s.p)
                    .map(|p| arrives(&d_outputs[0], &[head.b, t, head.h, p]))
                    .collect();
                let mut dx: Vec<f64> = dy.iter().map(|dy| dy * head.param(1)).collect();
                let (mut db, mut dc) = (vec![0.0; s.n], vec![0.0; s.n]);
                let (mut d_a, mut d_delta) = (0.0, 0.0);
                dd += (0..s.p).map(|p| dy[p] * head.x(t, p)).sum::<f64>();
                for n in 0..s.n {
                    for p in 0..s.p {
                        let i = n * s.p + p;
                        let (b, x) = (head.bc(1, t, n), head.x(t, p));
                        dc[n] += dy[p] * states[t + 1][i];
                        ds[i] += dy[p] * head.bc(2, t, n);
                        d_a += ds[i] * states[t][i];
                        db[n] += ds[i] * delta * x;
                        dx[p] += ds[i] * delta * b;
                        d_delta += ds[i] * b * x;
                        ds[i] *= a;
                    }
                }
                let rate = -head.param(0).exp();
                d_delta += d_a * a * rate;
                da_log += d_a * a * delta * rate;
                let d_raw = d_delta / (1.0 + (-head.raw(t)).exp());
                dbias += d_raw;
                steps.push((t, dx, db, dc, d_raw));
            }
            (steps, ds, [da_log, dd, dbias])
        });
        for (i, (steps, ds, dp)) in parts.into_iter().enumerate() {
            let (b, h) = (i / s.h, i % s.h);
            for (t, dx, db, dc, d_raw) in steps {
                let row = (b * s.t + t) * s.h + h;
                let group = (b * s.t + t) * s.g + h * s.g / s.h;
                (0..s.p).for_each(|p| inputs[0].data[row * s.p + p] = dx[p] as f32);
                (0..s.n).for_each(|n| inputs[1].data[group * s.n + n] += db[n] as f32);
                (0..s.n).for_each(|n| inputs[2].data[group * s.n + n] += dc[n] as f32);
                inputs[3].data[row] = d_raw as f32;
            }
            (0..s.n * s.p).for_each(|k| state.data[i * s.n * s.p + k] = ds[k] as f32);
            (0..3).for_each(|k| params[k].data[h] += dp[k] as f32);
        }
        Ok(Gradients {
            inputs,
            params,
            states: vec![state],
        })
    }

    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error> {
        let run = self.forward(call, false)?;
        states.clone_from_slice(&run.states);
        Ok(run.outputs)
    }
}
