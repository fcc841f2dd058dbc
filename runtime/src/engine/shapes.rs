//! A recurrence with its sizes: what every device needs to know of both.

use baton_ir::recurrence::{Port, Recurrence};

pub(crate) struct Shapes {
    pub recurrence: Recurrence,
    /// The sizes of its dims.
    pub sizes: Vec<usize>,
}

impl Shapes {
    pub fn new(recurrence: &Recurrence, sizes: &[usize]) -> Self {
        Self {
            recurrence: recurrence.clone(),
            sizes: sizes.to_vec(),
        }
    }

    /// Numbers of one head (at one step, of what has steps).
    pub fn entries(&self, port: &Port) -> usize {
        (0..port.shape.len())
            .map(|at| self.size(port, at))
            .product()
    }

    /// The size of a dim of a port; one where it has none.
    pub fn size(&self, port: &Port, at: usize) -> usize {
        port.shape.get(at).map_or(1, |dim| self.sizes[dim.index()])
    }

    /// `outer` and the sizes of the port's dims.
    pub fn shape(&self, outer: &[usize], port: &Port) -> Vec<usize> {
        let dims = port.shape.iter().map(|dim| self.sizes[dim.index()]);
        outer.iter().copied().chain(dims).collect()
    }

    /// Bytes of `[H, dims...]` of each state in f32: a row of what is carried.
    pub fn rows(&self, heads: usize) -> Vec<usize> {
        let states = self.recurrence.states.iter();
        states.map(|port| 4 * heads * self.entries(port)).collect()
    }
}
