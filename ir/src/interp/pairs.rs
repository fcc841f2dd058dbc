//! The ops over pairs of a reading step `t` and a writing step `s`, for levels 2 and 3.
//!
//! `Decay`, `Spread` and `Trilinear` run over the pairs one head and channel at a time, with a
//! running sum of the log decays between them; `Solve` and `Running` take one step after the other.

use super::array::{Array, walk};
use crate::chunked::{Axis, Interval, Partial};

/// Offsets of `arrays` for every combination of the axes of `l` other than time and source.
fn lanes<const N: usize>(all: &[Axis], arrays: [&Array; N], mut visit: impl FnMut([usize; N])) {
    let rest: Vec<Axis> = all
        .iter()
        .copied()
        .filter(|axis| !matches!(axis, Axis::Time | Axis::Source))
        .collect();
    let size = |axis: &Axis| {
        let owner = arrays.iter().find(|array| array.axes.contains(axis));
        owner.map_or(1, |array| {
            let at = array.axes.iter().position(|own| own == axis);
            at.map_or(1, |at| array.sizes[at])
        })
    };
    let sizes: Vec<usize> = rest.iter().map(size).collect();
    walk(&sizes, arrays.map(|array| array.strides(&rest)), &mut visit);
}

/// Calls `visit(t, s, D)` for every pair of the mask, `D` the decay from `s` to `t`.
fn pairs(
    steps: usize,
    strict: bool,
    l: impl Fn(usize) -> f64,
    mut visit: impl FnMut(usize, usize, f64),
) {
    for s in 0..steps {
        if !strict {
            visit(s, s, 1.0);
        }
        let mut sum: f64 = 0.0;
        for t in s + 1..steps {
            if !strict {
                sum += l(t);
            }
            visit(t, s, sum.exp());
            if strict {
                sum += l(t);
            }
        }
    }
}

fn steps(array: &Array) -> usize {
    let at = array.axes.iter().position(|&axis| axis == Axis::Time);
    at.map_or(0, |at| array.sizes[at])
}

pub(super) fn decay(interval: Interval, strict: bool, l: &Array, out: &mut Array) {
    let (steps, step) = (steps(l), l.stride(Axis::Time));
    let (time, source) = (out.stride(Axis::Time), out.stride(Axis::Source));
    let shape = out.clone();
    lanes(&shape.axes, [l, &shape], |[from, to]| {
        let l = |r: usize| l.data[from + r * step];
        let mut sum: f64 = 0.0;
        match interval {
            Interval::Between => pairs(steps, strict, l, |t, s, decay| {
                out.data[to + t * time + s * source] = decay;
            }),
            Interval::Start => (0..steps).for_each(|t| {
                let before = sum;
                sum += l(t);
                out.data[to + t * time] = if strict { before } else { sum }.exp();
            }),
            Interval::End => (0..steps).rev().for_each(|t| {
                out.data[to + t * time] = sum.exp();
                sum += l(t);
            }),
            Interval::Total => {
                (0..steps).for_each(|t| sum += l(t));
                out.data[to] = sum.exp();
            }
        }
    });
}

pub(super) fn spread(interval: Interval, strict: bool, x: &Array, out: &mut Array) {
    let (steps, step) = (steps(out), out.stride(Axis::Time));
    let (time, source) = (x.stride(Axis::Time), x.stride(Axis::Source));
    let shape = out.clone();
    lanes(&shape.axes, [x, &shape], |[from, to]| {
        let x = |t: usize, s: usize| x.data[from + t * time + s * source];
        let mut add = |r: usize, value: f64| out.data[to + r * step] += value;
        let mut sum = 0.0;
        match interval {
            Interval::Between => (0..steps).for_each(|s| {
                behind(s + 1..steps, strict, |t| x(t, s), &mut add);
            }),
            Interval::Start => behind(0..steps, strict, |t| x(t, 0), &mut add),
            Interval::End => (0..steps).for_each(|r| {
                add(r, sum);
                sum += x(r, 0);
            }),
            Interval::Total => (0..steps).for_each(|r| add(r, x(0, 0))),
        }
    });
}

/// Gives every `r` of `range` the sum of `x` over the `t >= r` (strict: `t > r`) of it.
fn behind(
    range: std::ops::Range<usize>,
    strict: bool,
    x: impl Fn(usize) -> f64,
    mut add: impl FnMut(usize, f64),
) {
    let mut sum = 0.0;
    for r in range.rev() {
        let after = sum;
        sum += x(r);
        add(r, if strict { after } else { sum });
    }
}

pub(super) fn solve(transposed: bool, l: &Array, r: &Array, out: &mut Array) {
    let rows = steps(out);
    let (l_t, l_s) = (l.stride(Axis::Time), l.stride(Axis::Source));
    let (r_t, out_t) = (r.stride(Axis::Time), out.stride(Axis::Time));
    // Every axis of the result but its steps; a source is one of them, as L's is summed.
    let rest: Vec<Axis> = { out.axes.iter().copied() }
        .filter(|axis| *axis != Axis::Time)
        .collect();
    let at = |axis: &Axis| out.axes.iter().position(|own| own == axis);
    let sizes: Vec<usize> = { rest.iter().filter_map(at) }
        .map(|i| out.sizes[i])
        .collect();
    let of_l: Vec<usize> = { rest.iter() }
        .map(|&axis| {
            if axis == Axis::Head {
                l.stride(axis)
            } else {
                0
            }
        })
        .collect();
    let strides = [of_l, r.strides(&rest), out.strides(&rest)];
    walk(&sizes, strides, |[l0, r0, to]| {
        for i in 0..rows {
            let t = if transposed { rows - 1 - i } else { i };
            let mut sum = r.data[r0 + t * r_t];
            for j in 0..i {
                let s = if transposed { rows - 1 - j } else { j };
                let (late, early) = (t.max(s), t.min(s));
                sum += l.data[l0 + late * l_t + early * l_s] * out.data[to + s * out_t];
            }
            out.data[to + t * out_t] = sum;
        }
    });
}

/// Past the `len` steps of the sequence nothing moves.
pub(super) fn running(
    function: impl Fn(f64, f64) -> f64,
    len: usize,
    [shift, floor, entering]: [&Array; 3],
    out: &mut Array,
) {
    let (count, time) = (steps(out), out.stride(Axis::Time));
    let (by, to) = (shift.stride(Axis::Time), floor.stride(Axis::Time));
    let shape = out.clone();
    let arrays = [shift, floor, entering, &shape];
    lanes(&shape.axes, arrays, |[a, b, m, o]| {
        let mut value = entering.data[m];
        for t in 0..count {
            if t < len {
                value = function(value + shift.data[a + t * by], floor.data[b + t * to]);
            }
            out.data[o + t * time] = value;
        }
    });
}

/// Past the `len` steps of the sequence the last one is repeated; in reverse zero stands there.
pub(super) fn delay(reverse: bool, len: usize, [x, border]: [&Array; 2], out: &mut Array) {
    let (count, time, step) = (steps(out), out.stride(Axis::Time), x.stride(Axis::Time));
    let shape = out.clone();
    lanes(&shape.axes, [x, border, &shape], |[x0, b, o]| {
        for t in 0..count {
            let t_valid = t.min(len.saturating_sub(1));
            out.data[o + t * time] = match reverse {
                true if t >= len => 0.0,
                true if t + 1 == len => border.data[b],
                true => x.data[x0 + (t + 1) * step],
                false if t_valid == 0 => border.data[b],
                false => x.data[x0 + (t_valid - 1) * step],
            };
        }
    });
}

pub(super) fn edge(reverse: bool, len: usize, x: &Array, out: &mut Array) {
    let at = if reverse { 0 } else { len.saturating_sub(1) } * x.stride(Axis::Time);
    let shape = out.clone();
    lanes(&shape.axes, [x, &shape], |[from, to]| {
        out.data[to] = x.data[from + at]
    });
}

pub(super) fn trilinear(
    partial: Partial,
    strict: bool,
    operands: &[&Array],
    l: &Array,
    out: &mut Array,
) {
    let steps = steps(l);
    let one = Array::number(1.0);
    let (m, q, k) = match *operands {
        [q, k] if partial == Partial::Weights => (&one, q, k),
        [m, k] if partial == Partial::Query => (m, &one, k),
        [m, q] => (m, q, &one),
        [m, q, k] => (m, q, k),
        _ => return,
    };
    let mut axes = out.axes.clone();
    axes.extend(l.axes.iter().filter(|axis| !out.axes.contains(axis)));
    let (time, source) = (Axis::Time, Axis::Source);
    let (m_t, m_s) = (m.stride(time), m.stride(source));
    let (q_t, k_s, l_t) = (q.stride(time), k.stride(source), l.stride(time));
    let (out_t, out_s) = (out.stride(time), out.stride(source));
    let mut term = vec![0.0; steps * steps];
    let shape = out.clone();
    lanes(&axes, [m, q, k, l, &shape], |[m0, q0, k0, l0, to]| {
        term.fill(0.0);
        pairs(
            steps,
            strict,
            |r| l.data[l0 + r * l_t],
            |t, s, decay| {
                let m = m.data[m0 + t * m_t + s * m_s];
                term[t * steps + s] = m * q.data[q0 + t * q_t] * k.data[k0 + s * k_s] * decay;
            },
        );
        if partial == Partial::LogDecay {
            for s in 0..steps {
                let add = |r: usize, value: f64| out.data[to + r * out_t] += value;
                behind(s + 1..steps, strict, |t| term[t * steps + s], add);
            }
            return;
        }
        for t in 0..steps {
            for s in 0..steps {
                out.data[to + t * out_t + s * out_s] += term[t * steps + s];
            }
        }
    });
}
