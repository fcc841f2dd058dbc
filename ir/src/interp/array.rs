//! Dense f64 arrays over named axes, and the one loop that walks several of them at once.
//!
//! Axes are sorted, as in a [`Chunked`](crate::chunked::Chunked) program, and the last is
//! contiguous. An axis that an array lacks has stride zero: this is what broadcasting is.

use crate::chunked::Axis;

/// A value of a level-2 program; level 3 makes one of a tile to share the ops over intervals.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub axes: Vec<Axis>,
    pub sizes: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    pub fn zeros(axes: &[Axis], size: impl Fn(Axis) -> usize) -> Self {
        let sizes: Vec<usize> = axes.iter().map(|&axis| size(axis)).collect();
        Self {
            axes: axes.to_vec(),
            data: vec![0.0; sizes.iter().product()],
            sizes,
        }
    }

    pub fn number(value: f64) -> Self {
        Self {
            axes: vec![],
            sizes: vec![],
            data: vec![value],
        }
    }

    /// Distance of neighbours along `axis`; zero when there is no such axis.
    pub fn stride(&self, axis: Axis) -> usize {
        match self.axes.iter().position(|&own| own == axis) {
            Some(at) => self.sizes[at + 1..].iter().product(),
            None => 0,
        }
    }

    pub fn strides(&self, axes: &[Axis]) -> Vec<usize> {
        axes.iter().map(|&axis| self.stride(axis)).collect()
    }
}

/// One for `axis`, zero for the others: walked along, the index on that axis.
pub(super) fn index_of(axis: Axis, axes: &[Axis]) -> Vec<usize> {
    axes.iter().map(|&own| usize::from(own == axis)).collect()
}

/// Calls `visit` for every index below `sizes`, last axis fastest, with one offset for each of
/// the given strides.
pub(super) fn walk<const N: usize>(
    sizes: &[usize],
    strides: [Vec<usize>; N],
    mut visit: impl FnMut([usize; N]),
) {
    if sizes.contains(&0) {
        return;
    }
    let mut index = vec![0; sizes.len()];
    let mut offsets = [0; N];
    loop {
        visit(offsets);
        let mut axis = sizes.len();
        loop {
            let Some(outer) = axis.checked_sub(1) else {
                return;
            };
            axis = outer;
            index[axis] += 1;
            if index[axis] < sizes[axis] {
                (0..N).for_each(|i| offsets[i] += strides[i][axis]);
                break;
            }
            index[axis] = 0;
            (0..N).for_each(|i| offsets[i] -= (sizes[axis] - 1) * strides[i][axis]);
        }
    }
}
