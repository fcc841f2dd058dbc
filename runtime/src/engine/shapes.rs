//! A recurrence with its sizes: what every device needs to know of both.
//!
//! Where a dim is cut into strips, the sizes are those of the whole, which callers give and get, and a kernel has
//! those of a strip.

use baton_codegen::schedule::Strips;
use baton_ir::recurrence::{Port, Recurrence};

pub(crate) struct Shapes {
    pub recurrence: Recurrence,
    /// The sizes of its dims.
    pub sizes: Vec<usize>,
    /// How a dim is cut, where one is.
    strips: Option<Strips>,
}

impl Shapes {
    pub fn new(recurrence: &Recurrence, sizes: &[usize]) -> Self {
        Self {
            recurrence: recurrence.clone(),
            sizes: sizes.to_vec(),
            strips: None,
        }
    }

    /// The same with a dim cut.
    #[cfg(feature = "gpu")]
    pub fn in_strips(self, strips: Option<Strips>) -> Self {
        Self { strips, ..self }
    }

    /// Strips of every head; one where no dim is cut.
    pub fn strips(&self) -> usize {
        self.strips.map_or(1, |strips| strips.count)
    }

    /// Whether a tensor has a slice for each strip.
    pub fn sliced(&self, port: &Port) -> bool {
        self.strips.is_some_and(|strips| strips.cut(port))
    }

    /// [`entries`](Self::entries) of one strip.
    pub fn strip_entries(&self, port: &Port) -> usize {
        let strips = if self.sliced(port) { self.strips() } else { 1 };
        self.entries(port) / strips
    }

    /// [`size`](Self::size) in one strip.
    pub fn strip_size(&self, port: &Port, at: usize) -> usize {
        let own = |strips: &Strips| port.shape.get(at) == Some(&strips.dim);
        self.size(port, at) / self.strips.filter(own).map_or(1, |strips| strips.count)
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

    /// Bytes of `[H, dims...]` of a strip of each state in f32: a row of what is carried.
    pub fn rows(&self, heads: usize) -> Vec<usize> {
        let states = self.recurrence.states.iter();
        let row = |port| 4 * heads * self.strip_entries(port);
        states.map(row).collect()
    }
}

/// What states are to a run.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Values,
    Gradients,
}
