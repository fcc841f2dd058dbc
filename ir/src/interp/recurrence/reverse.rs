//! Reverse mode: one rule for each op.
//!
//! The adjoint of a value stands where the value stands, in a buffer of its own; an op's rule
//! adds to the adjoints of its operands. An operand that is used twice is added to twice. Slopes
//! of pointwise functions, and the chain rule that applies them, are `crate::pointwise`.

use super::program::{Op, Program, Work, inner, inverse_norm};
use crate::pointwise::{self, chain};

impl Program {
    /// Takes the adjoints of what leaves the step to those of what enters it.
    pub(super) fn reverse(&self, values: &[f64], adjoints: &mut [f64]) {
        for op in self.ops.iter().rev() {
            let (from, to) = adjoints.split_at_mut(op.to.at);
            pull(op, values, from, &to[..op.to.len]);
        }
    }
}

/// Adds to the operands' adjoints in `d` what the result's adjoint `dy` gives them.
fn pull(op: &Op, values: &[f64], d: &mut [f64], dy: &[f64]) {
    match op.work {
        Work::Unary(f, a) => {
            let (x, y) = (a.of(values), op.to.of(values));
            let da = a.of_mut(d).iter_mut();
            for (da, ((&x, &y), &dy)) in da.zip(x.iter().zip(y).zip(dy)) {
                *da += chain(dy, pointwise::slope(f, x, y));
            }
        }
        Work::Binary(f, a, b) => {
            let (x, y) = (a.of(values), b.of(values));
            weigh(a.of_mut(d), x, y, dy, |x, y| pointwise::slopes(f, x, y)[0]);
            weigh(b.of_mut(d), y, x, dy, |y, x| pointwise::slopes(f, x, y)[1]);
        }
        Work::Select([x, y, a, b]) => {
            for (i, &dy) in dy.iter().enumerate() {
                let [x, y] = [x, y].map(|of| values[of.meets(i)]);
                d[a.meets(i)] += pointwise::select(x, y, dy, 0.0);
                d[b.meets(i)] += pointwise::select(x, y, 0.0, dy);
            }
        }
        Work::Rows(a) => {
            let cols = (dy.len() / a.len.max(1)).max(1);
            for (da, row) in a.of_mut(d).iter_mut().zip(dy.chunks_exact(cols)) {
                *da += row.iter().sum::<f64>();
            }
        }
        Work::Cols(a) => dy
            .chunks_exact(a.len.max(1))
            .for_each(|row| axpy(1.0, row, a.of_mut(d))),
        Work::Outer(a, b) => {
            for (i, row) in dy.chunks_exact(b.len.max(1)).enumerate() {
                d[a.at + i] += inner(row, b.of(values));
                axpy(a.of(values)[i], row, b.of_mut(d));
            }
        }
        Work::Inner(a, b) => {
            axpy(dy[0], b.of(values), a.of_mut(d));
            axpy(dy[0], a.of(values), b.of_mut(d));
        }
        Work::First(v, m) => {
            for i in 0..v.len {
                let row = i * dy.len()..(i + 1) * dy.len();
                d[v.at + i] += inner(&m.of(values)[row.clone()], dy);
                axpy(v.of(values)[i], dy, &mut m.of_mut(d)[row]);
            }
        }
        Work::Second(v, m) => {
            for (i, &dy) in dy.iter().enumerate() {
                let row = i * v.len..(i + 1) * v.len;
                axpy(dy, &m.of(values)[row.clone()], v.of_mut(d));
                axpy(dy, v.of(values), &mut m.of_mut(d)[row]);
            }
        }
        Work::Sum(a) => a.of_mut(d).iter_mut().for_each(|da| *da += dy[0]),
        Work::L2norm(a) => {
            let x = a.of(values);
            let scale = inverse_norm(x);
            axpy(scale, dy, a.of_mut(d));
            axpy(-inner(x, dy) * scale.powi(3), x, a.of_mut(d));
        }
    }
}

/// `to += scale * from`
fn axpy(scale: f64, from: &[f64], to: &mut [f64]) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to += scale * from);
}

/// `d += dy * partial(own, other)`, summed where the operand was broadcast.
fn weigh(d: &mut [f64], own: &[f64], other: &[f64], dy: &[f64], partial: impl Fn(f64, f64) -> f64) {
    match (d, own, other) {
        (d, own, other) if own.len() == other.len() => {
            let operands = own.iter().zip(other).zip(dy);
            d.iter_mut()
                .zip(operands)
                .for_each(|(d, ((&own, &other), &dy))| *d += chain(dy, partial(own, other)));
        }
        ([d], &[own], other) => {
            let terms = other.iter().zip(dy);
            *d += terms
                .map(|(&other, &dy)| chain(dy, partial(own, other)))
                .sum::<f64>();
        }
        (d, own, &[other]) => {
            let operands = own.iter().zip(dy);
            d.iter_mut()
                .zip(operands)
                .for_each(|(d, (&own, &dy))| *d += chain(dy, partial(own, other)));
        }
        _ => unreachable!("typing lets only equal shapes and scalars meet"),
    }
}
