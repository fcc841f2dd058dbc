//! The ops that compute: maps, products and those over intervals.

use crate::chunked::{Axis, Interval};
use crate::interp::array::Array;
use crate::interp::pairs;
use crate::pointwise;
use crate::recurrence::DimId;
use crate::tile::{Along, Op, Reduce, Scalar, TileId, Triangle};

/// What stands above the diagonal of a product that promises only its lower triangle.
pub const JUNK: f64 = 1e3;

pub(super) fn run<'s>(
    op: &Op,
    shape: &[u32],
    len: usize,
    tiles: &[Vec<f64>],
    shapes: impl Fn(TileId) -> &'s [u32],
) -> Result<Vec<f64>, String> {
    let tile = |id: TileId| tiles[id.index()].as_slice();
    match op {
        Op::Map {
            shape: space,
            operands,
            body,
            reduce,
        } => {
            let operands: Vec<_> = operands.iter().map(|&(id, a)| (tile(id), a)).collect();
            Ok(map(space, &operands, body, *reduce, len, entries(shape)))
        }
        Op::Matmul {
            a,
            ta,
            b,
            tb,
            add,
            triangle,
        } => {
            let a = Matrix::new(tile(*a), shapes(*a), *ta)?;
            let b = Matrix::new(tile(*b), shapes(*b), *tb)?;
            matmul(a, *ta, b, add.map(tile), *triangle)
        }
        Op::Decay(interval, strict, l) => {
            let l = array(tile(*l), shapes(*l), Axis::Time);
            let out = match (interval, shape) {
                (Interval::Between, _) => vec![Axis::Time, Axis::Source],
                (Interval::Total, _) => vec![CHANNEL; shape.len()],
                _ => l.axes.clone(),
            };
            let mut out = zeros(&out, shape);
            pairs::decay(*interval, *strict, &l, &mut out);
            Ok(out.data)
        }
        Op::Spread(interval, strict, x) => {
            let mut from = array(tile(*x), shapes(*x), Axis::Time);
            match interval {
                Interval::Between => from.axes = vec![Axis::Time, Axis::Source],
                Interval::Total => from.axes = vec![CHANNEL; from.sizes.len()],
                Interval::Start | Interval::End => {}
            }
            let mut out = zeros(&[Axis::Time, CHANNEL][..shape.len()], shape);
            pairs::spread(*interval, *strict, &from, &mut out);
            Ok(out.data)
        }
        Op::Trilinear(partial, strict, operands, l) => {
            use crate::chunked::Partial;
            let order = match partial {
                Partial::Weights => "qk",
                Partial::Query => "mk",
                Partial::Key => "mq",
                Partial::LogDecay => "mqk",
            };
            let operand = |(id, letter): (&TileId, char)| {
                let mut array = array(tile(*id), shapes(*id), Axis::Time);
                match letter {
                    'm' => array.axes = vec![Axis::Time, Axis::Source],
                    'k' => array.axes = vec![Axis::Source, CHANNEL],
                    _ => {}
                }
                array
            };
            let operands: Vec<Array> = operands.iter().zip(order.chars()).map(operand).collect();
            let l = array(tile(*l), shapes(*l), Axis::Time);
            let out: [Axis; 2] = match partial {
                Partial::Weights => [Axis::Time, Axis::Source],
                Partial::Query | Partial::LogDecay => [Axis::Time, CHANNEL],
                Partial::Key => [Axis::Source, CHANNEL],
            };
            let mut out = zeros(&out, shape);
            let operands: Vec<&Array> = operands.iter().collect();
            pairs::trilinear(*partial, *strict, &operands, &l, &mut out);
            Ok(out.data)
        }
        Op::Solve { transposed, l, r } => {
            let mut l = array(tile(*l), shapes(*l), Axis::Time);
            l.axes = vec![Axis::Time, Axis::Source];
            let r = array(tile(*r), shapes(*r), Axis::Time);
            let mut out = zeros(&[Axis::Time, CHANNEL], shape);
            pairs::solve(*transposed, &l, &r, &mut out);
            Ok(out.data)
        }
        Op::Running(scan) => {
            let steps = |id: TileId| array(tile(id), shapes(id), Axis::Time);
            let (shift, floor) = (steps(scan.shift), scan.bound.floor().map(steps));
            let entering = row(tile(scan.entering), shapes(scan.entering));
            let mut out = zeros(&[Axis::Time, CHANNEL][..shape.len()], shape);
            let floor = floor.as_ref().unwrap_or(&shift);
            let bound = |a, b| scan.bound.of(a, b);
            pairs::running(bound, len, [&shift, floor, &entering], &mut out);
            Ok(out.data)
        }
        Op::Delay { reverse, x, border } => {
            let x = array(tile(*x), shapes(*x), Axis::Time);
            let border = row(tile(*border), shapes(*border));
            let mut out = zeros(&[Axis::Time, CHANNEL][..shape.len()], shape);
            pairs::delay(*reverse, len, [&x, &border], &mut out);
            Ok(out.data)
        }
        Op::Edge { reverse, x } => {
            let x = array(tile(*x), shapes(*x), Axis::Time);
            let mut out = zeros(&[CHANNEL][..shape.len()], shape);
            pairs::edge(*reverse, len, &x, &mut out);
            Ok(out.data)
        }
        Op::Load(..) | Op::Carry(_) | Op::HeadSum(_) => {
            Err(format!("{op:?} reads memory or heads, not tiles"))
        }
    }
}

/// Entries of a tile.
pub(super) fn entries(shape: &[u32]) -> usize {
    shape.iter().map(|&size| size as usize).product()
}

const CHANNEL: Axis = Axis::Dim(DimId(0));

/// A tile `[C]` or `[C, n]` as an array over `first` and the channel.
fn array(data: &[f64], shape: &[u32], first: Axis) -> Array {
    Array {
        axes: [first, CHANNEL][..shape.len()].to_vec(),
        sizes: shape.iter().map(|&size| size as usize).collect(),
        data: data.to_vec(),
    }
}

/// A tile `[n]` or `[]` as an array over the channel.
fn row(data: &[f64], shape: &[u32]) -> Array {
    let mut row = zeros(&[CHANNEL][..shape.len()], shape);
    row.data.copy_from_slice(data);
    row
}

fn zeros(axes: &[Axis], shape: &[u32]) -> Array {
    Array {
        axes: axes.to_vec(),
        sizes: shape.iter().map(|&size| size as usize).collect(),
        data: vec![0.0; entries(shape)],
    }
}

fn map(
    space: &[u32],
    operands: &[(&[f64], Along)],
    body: &[Scalar],
    reduce: Reduce,
    len: usize,
    entries: usize,
) -> Vec<f64> {
    let rows = space[0] as usize;
    let columns = space.get(1).map_or(1, |&size| size as usize);
    let mut out = vec![0.0; entries];
    let mut scalars: Vec<f64> = Vec::with_capacity(body.len());
    for i in 0..rows {
        for j in 0..columns {
            scalars.clear();
            for scalar in body {
                let of = |at: u32| scalars[at as usize];
                let value = match *scalar {
                    Scalar::Operand(number) => {
                        let (data, along) = operands[number as usize];
                        match along {
                            Along::None => data[0],
                            Along::First => data[i],
                            Along::Second => data[j],
                            Along::Both => data[i * columns + j],
                        }
                    }
                    Scalar::Number(number) => number,
                    Scalar::Unary(function, a) => pointwise::unary(function, of(a)),
                    Scalar::Binary(function, a, b) => pointwise::binary(function, of(a), of(b)),
                    Scalar::Select(x, y, a, b) => pointwise::select(of(x), of(y), of(a), of(b)),
                    Scalar::Valid(a) if i < len => of(a),
                    Scalar::Causal(a, strict) if if strict { i > j } else { i >= j } => of(a),
                    Scalar::Valid(_) | Scalar::Causal(..) => 0.0,
                };
                scalars.push(value);
            }
            let to = match reduce {
                Reduce::None => i * columns + j,
                Reduce::First => j,
                Reduce::Second => i,
                Reduce::All => 0,
            };
            out[to] += scalars.last().copied().unwrap_or(f64::NAN);
        }
    }
    out
}

/// A view of a tile as rows and columns.
struct Matrix<'a> {
    data: &'a [f64],
    rows: usize,
    columns: usize,
    /// Distances of rows and of columns.
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    fn new(data: &'a [f64], shape: &[u32], transposed: bool) -> Result<Self, String> {
        let &[rows, columns] = shape else {
            return Err(format!("a product takes matrices, not {shape:?}"));
        };
        let (mut sizes, mut strides) = ([rows as usize, columns as usize], [columns as usize, 1]);
        if transposed {
            sizes.reverse();
            strides.reverse();
        }
        let [rows, columns] = sizes;
        Ok(Self {
            data,
            rows,
            columns,
            strides,
        })
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.data[row * self.strides[0] + column * self.strides[1]]
    }
}

/// Whether a triangle of `a`, as it is or transposed, leaves this entry out.
fn left_out(transposed: bool, row: usize, column: usize) -> bool {
    match transposed {
        true => column < row,
        false => column > row,
    }
}

fn matmul(
    a: Matrix,
    ta: bool,
    b: Matrix,
    add: Option<&[f64]>,
    triangle: Triangle,
) -> Result<Vec<f64>, String> {
    if triangle == Triangle::A {
        for row in 0..a.rows {
            for column in 0..a.columns {
                let value = a.at(row, column);
                // A NaN is what multiplying a masked one by zero leaves.
                if left_out(ta, row, column) && value != 0.0 && !value.is_nan() {
                    return Err(format!("`a` is said to be lower but holds {value} above"));
                }
            }
        }
    }
    let mut out = add.map_or(vec![0.0; a.rows * b.columns], <[f64]>::to_vec);
    for i in 0..a.rows {
        for j in 0..b.columns {
            let to = &mut out[i * b.columns + j];
            if triangle == Triangle::Out && j > i {
                *to = JUNK;
                continue;
            }
            *to += (0..a.columns)
                .filter(|&k| triangle != Triangle::A || !left_out(ta, i, k))
                .map(|k| a.at(i, k) * b.at(k, j))
                .sum::<f64>();
        }
    }
    Ok(out)
}
