//! One chunk of one group: what every op means, said by loops.
//!
//! All arrays over time have C rows. Rows past `len` of an input hold its last row, those of an
//! arriving gradient zero; the program itself takes them out ([`Op::Valid`]).

use crate::chunked::{Axis, Chunked, Op, Target, ValueId};
use crate::interp::array::{Array, index_of, walk};
use crate::interp::pairs;
use crate::pointwise;
use crate::recurrence::Port;

/// One chunk of one group. Arrays are dense, in the layout of the port's declaration:
/// `[R, C, dims..]` over time (`[C, dims..]` per group), else `[R, dims..]`, R = `heads`.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    /// Heads of the group.
    pub heads: usize,
    /// Steps of a chunk, C.
    pub chunk: usize,
    /// Steps of the sequence in this chunk.
    pub len: usize,
    /// Sizes of the dims.
    pub sizes: Vec<usize>,
    /// For each input.
    pub inputs: Vec<Vec<f64>>,
    /// For each param.
    pub params: Vec<Vec<f64>>,
    /// For each state, as it enters.
    pub states: Vec<Vec<f64>>,
    /// For each output the gradient that arrives; may be empty for a program without such ops.
    pub d_outputs: Vec<Vec<f64>>,
    /// For each state the gradient that arrives; may be empty for a program without such ops.
    pub d_states: Vec<Vec<f64>>,
}

/// Runs a verified program on one chunk: its results in order, each dense over the axes
/// of its target as declared; along an axis that the value lacks it is repeated.
pub fn run_chunk(program: &Chunked, bindings: &Bindings) -> Result<Vec<Vec<f64>>, String> {
    let Bindings { chunk, len, .. } = *bindings;
    if len > chunk {
        return Err(format!("a chunk of {chunk} steps cannot hold {len}"));
    }
    if bindings.sizes.len() != program.dims.len() {
        let (given, expected) = (bindings.sizes.len(), program.dims.len());
        return Err(format!("{given} sizes given, expected {expected}"));
    }
    let run = Run { program, bindings };
    let mut values = Vec::with_capacity(program.ops.len());
    for (op, axes) in program.ops.iter().zip(&program.axes) {
        values.push(run.op(op, axes, &values)?);
    }
    let result = |&(target, value): &(Target, ValueId)| {
        let axes = program
            .target_axes(target)
            .ok_or(format!("there is no {target:?}"))?;
        Ok(run.lay(&axes, &values[value.index()]))
    };
    program.results.iter().map(result).collect()
}

struct Run<'a> {
    program: &'a Chunked,
    bindings: &'a Bindings,
}

impl Run<'_> {
    fn size(&self, axis: Axis) -> usize {
        match axis {
            Axis::Head => self.bindings.heads,
            Axis::Time | Axis::Middle | Axis::Source => self.bindings.chunk,
            Axis::Dim(dim) | Axis::Prime(dim) => self.bindings.sizes[dim.index()],
        }
    }

    fn zeros(&self, axes: &[Axis]) -> Array {
        Array::zeros(axes, |axis| self.size(axis))
    }

    /// The value's entries in the order of `axes`, which need not be sorted.
    fn lay(&self, axes: &[Axis], value: &Array) -> Vec<f64> {
        let sizes: Vec<usize> = axes.iter().map(|&axis| self.size(axis)).collect();
        let mut out = Vec::with_capacity(sizes.iter().product());
        walk(&sizes, [value.strides(axes)], |[at]| {
            out.push(value.data[at])
        });
        out
    }

    /// Reads data that is dense in the order of `declared`.
    fn bind(
        &self,
        what: &str,
        declared: &[Axis],
        data: Option<&Vec<f64>>,
    ) -> Result<Array, String> {
        let data = data.ok_or(format!("{what} is not given"))?;
        let mut sorted = declared.to_vec();
        sorted.sort();
        let mut array = self.zeros(&sorted);
        if data.len() != array.data.len() {
            let (given, expected) = (data.len(), array.data.len());
            return Err(format!("{what} has {given} entries, expected {expected}"));
        }
        let sizes: Vec<usize> = declared.iter().map(|&axis| self.size(axis)).collect();
        let strides = array.strides(declared);
        let mut from = data.iter();
        walk(&sizes, [strides], |[to]| {
            array.data[to] = from.next().copied().unwrap_or(f64::NAN)
        });
        Ok(array)
    }

    fn op(&self, op: &Op, axes: &[Axis], values: &[Array]) -> Result<Array, String> {
        let (p, b) = (self.program, self.bindings);
        let port = |kind: &str, port: &Port, time: bool, data: Option<&Vec<f64>>| {
            let what = format!("{kind} `{}`", port.name);
            self.bind(&what, &port.axes(time), data)
        };
        let value = |v: ValueId| &values[v.index()];
        let mut out = self.zeros(axes);
        let sizes = out.sizes.clone();
        let to = out.strides(axes);
        match op {
            Op::Input(i) => {
                let i = i.index();
                return port("input", &p.inputs[i], true, b.inputs.get(i));
            }
            Op::Param(i) => {
                let i = i.index();
                return port("param", &p.params[i], false, b.params.get(i));
            }
            Op::State(i) => {
                let i = i.index();
                return port("state", &p.states[i], false, b.states.get(i));
            }
            Op::DOutput(i) => {
                let i = i.index();
                let kind = "the gradient of output";
                return port(kind, &p.outputs[i], true, b.d_outputs.get(i));
            }
            Op::DState(i) => {
                let i = i.index();
                let kind = "the gradient of state";
                return port(kind, &p.states[i], false, b.d_states.get(i));
            }
            Op::Number(number) => return Ok(Array::number(*number)),
            Op::Size(dim) => return Ok(Array::number(b.sizes[dim.index()] as f64)),
            Op::Unary(function, a) => {
                for (to, &x) in out.data.iter_mut().zip(&value(*a).data) {
                    *to = pointwise::unary(*function, x);
                }
            }
            Op::Select(x, y, a, b) => {
                let [x, y, a, b] = [x, y, a, b].map(|v| value(*v));
                let strides = [x, y, a, b].map(|array| array.strides(axes));
                let [i, j, k, l] = strides;
                walk(&sizes, [to, i, j, k, l], |[o, i, j, k, l]| {
                    out.data[o] = pointwise::select(x.data[i], y.data[j], a.data[k], b.data[l]);
                });
            }
            Op::Binary(function, a, b) => {
                let (a, b) = (value(*a), value(*b));
                walk(
                    &sizes,
                    [to, a.strides(axes), b.strides(axes)],
                    |[o, i, j]| {
                        out.data[o] = pointwise::binary(*function, a.data[i], b.data[j]);
                    },
                );
            }
            Op::Valid(a) => {
                let a = value(*a);
                let t = index_of(Axis::Time, axes);
                walk(&sizes, [to, a.strides(axes), t], |[o, i, t]| {
                    out.data[o] = if t < b.len { a.data[i] } else { 0.0 };
                });
            }
            Op::Broadcast(a, _) => {
                let a = value(*a);
                walk(&sizes, [to, a.strides(axes)], |[o, i]| {
                    out.data[o] = a.data[i];
                });
            }
            Op::Causal(a, strict) => {
                let a = value(*a);
                let t = index_of(Axis::Time, axes);
                let s = index_of(Axis::Source, axes);
                walk(&sizes, [to, a.strides(axes), t, s], |[o, i, t, s]| {
                    let keep = if *strict { t > s } else { t >= s };
                    out.data[o] = if keep { a.data[i] } else { 0.0 };
                });
            }
            Op::Relabel(a, old, new) => {
                let a = value(*a);
                let before: Vec<Axis> = axes
                    .iter()
                    .map(|axis| if axis == new { *old } else { *axis })
                    .collect();
                walk(&sizes, [to, a.strides(&before)], |[o, i]| {
                    out.data[o] = a.data[i];
                });
            }
            Op::Sum(a, _) => {
                let a = value(*a);
                walk(
                    &a.sizes,
                    [a.strides(&a.axes), out.strides(&a.axes)],
                    |[i, o]| {
                        out.data[o] += a.data[i];
                    },
                );
            }
            Op::Contract(a, b, axis) => {
                let (a, b) = (value(*a), value(*b));
                let all: Vec<Axis> = axes.iter().copied().chain([*axis]).collect();
                let sizes: Vec<usize> = all.iter().map(|&axis| self.size(axis)).collect();
                let to = out.strides(&all);
                walk(
                    &sizes,
                    [to, a.strides(&all), b.strides(&all)],
                    |[o, i, j]| {
                        out.data[o] += a.data[i] * b.data[j];
                    },
                );
            }
            Op::Decay(interval, strict, l) => pairs::decay(*interval, *strict, value(*l), &mut out),
            Op::Spread(interval, strict, x) => {
                pairs::spread(*interval, *strict, value(*x), &mut out)
            }
            Op::Trilinear(partial, strict, operands, l) => {
                let operands: Vec<&Array> = operands.iter().map(|&v| value(v)).collect();
                pairs::trilinear(*partial, *strict, &operands, value(*l), &mut out);
            }
            Op::Solve(transposed, l, r) => {
                pairs::solve(*transposed, value(*l), value(*r), &mut out);
            }
            Op::Running(scan) => {
                let floor = scan.bound.floor().unwrap_or(scan.shift);
                let operands = [scan.shift, floor, scan.entering].map(value);
                let bound = |a, b| scan.bound.of(a, b);
                pairs::running(bound, b.len, operands, &mut out);
            }
            Op::Delay(reverse, x, border) => {
                pairs::delay(*reverse, b.len, [value(*x), value(*border)], &mut out);
            }
            Op::Edge(reverse, x) => pairs::edge(*reverse, b.len, value(*x), &mut out),
        }
        Ok(out)
    }
}
