//! At which size a target has kernels for a recurrence: as it is, in strips, or at none near.
//!
//! A size that fits as it is stays whole. Else the first dim that can be cut is cut into the fewest strips
//! whose kernels fit; they are the kernels of a smaller size, so many of them are there already. What fits neither way
//! is refused with the nearest size that runs.

use crate::Compiler;
use crate::schedule::{Strips, bound};
use crate::target::Target;
use baton_ir::recurrence::DimId;
use std::fmt;

/// Why a target has no kernels at a size.
#[derive(Clone, Debug, PartialEq)]
pub struct Misfit<E> {
    /// What the kernels lack.
    pub why: E,
    /// Why it is not cut into strips, for each dim of a state.
    pub whole: Vec<String>,
    /// The nearest size that runs; none where no smaller one does, and something else is amiss.
    pub nearest: Option<String>,
}

impl<E: fmt::Display> fmt::Display for Misfit<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.why)?;
        let Some(nearest) = &self.nearest else {
            return Ok(());
        };
        if !self.whole.is_empty() {
            write!(f, "; no strips are cut: {}", self.whole.join(", "))?;
        }
        write!(f, "; the nearest size that runs is {nearest}")
    }
}

impl<E: std::error::Error> std::error::Error for Misfit<E> {}

impl Compiler {
    /// Why a dim is not cut into strips; `None` where it can be.
    pub fn bound(&self, dim: DimId) -> Option<String> {
        bound(self.forward(), dim)
    }

    /// The dims that its states have, in order.
    pub fn state_dims(&self) -> impl Iterator<Item = DimId> {
        let states = &self.recurrence().states;
        let has = |dim: &DimId| states.iter().any(|state| state.shape.contains(dim));
        (0..self.sizes().len() as u32).map(DimId).filter(has)
    }

    /// The compiler of what the target runs for this size, whole or a strip, and the chunk; `chunk` is the caller's
    /// choice, if any.
    pub fn fit<T: Target>(
        self,
        target: &T,
        chunk: Option<usize>,
    ) -> Result<(Compiler, usize), Misfit<T::Error>> {
        let why = match self.fits_at(target, chunk) {
            Ok(chunk) => return Ok((self, chunk)),
            Err(why) => why,
        };
        for strips in self.narrowest() {
            let fits = |count| {
                let strip = self.in_strips(Strips { count, ..strips });
                strip
                    .fits_at(target, chunk)
                    .ok()
                    .map(|chunk| (strip, chunk))
            };
            if fits(strips.count).is_some() {
                let found = counts(self.sizes()[strips.dim.index()]).find_map(fits);
                return Ok(found.expect("the narrowest fit"));
            }
        }
        Err(Misfit {
            why,
            whole: self
                .state_dims()
                .filter_map(|dim| self.bound(dim))
                .collect(),
            nearest: self.nearest(target, chunk),
        })
    }

    /// The narrowest strips of each dim that can be cut.
    fn narrowest(&self) -> impl Iterator<Item = Strips> {
        let free = |dim: &DimId| self.bound(*dim).is_none();
        let strips = |dim: DimId| {
            let size = self.sizes()[dim.index()];
            let width = if size.is_multiple_of(16) { 16 } else { 1 };
            let count = size / width;
            (count > 1).then_some(Strips { dim, count })
        };
        self.state_dims().filter(free).filter_map(strips)
    }

    /// The chunk at which every kernel of a run fits: the one that is asked for, or one of the target's.
    fn fits_at<T: Target>(&self, target: &T, chunk: Option<usize>) -> Result<usize, T::Error> {
        match chunk {
            Some(chunk) => self.fits(target, chunk).map(|_| chunk),
            None => self.chunk(target),
        }
    }

    /// The size that runs with the least taken off one dim.
    fn nearest<T: Target>(&self, target: &T, chunk: Option<usize>) -> Option<String> {
        let fits = |compiler: &Compiler| compiler.fits_at(target, chunk).is_ok();
        let runs = |compiler: &Compiler| {
            let mut strips = compiler.narrowest();
            fits(compiler) || strips.any(|strips| fits(&compiler.in_strips(strips)))
        };
        let one = |dim: DimId| {
            let size = self.sizes()[dim.index()];
            let mut smaller = steps_down(size).map(|width| (width, self.resized(dim, width)));
            let (width, found) = smaller.find(|(_, compiler)| runs(compiler))?;
            Some((width * 1000 / size, found.sizes_text()))
        };
        let found = self.state_dims().filter_map(one);
        found.max_by_key(|(share, _)| *share).map(|(_, text)| text)
    }
}

/// Into how many strips of one width a size falls, fewest first.
fn counts(size: usize) -> impl Iterator<Item = usize> {
    (2..=size).filter(move |count| size.is_multiple_of(*count))
}

/// Sizes below one, the nearest first: by sixteenths of the power of two above, and no finer than 16.
fn steps_down(size: usize) -> impl Iterator<Item = usize> {
    let step = (size.next_power_of_two() / 16).max(16);
    (1..size.div_ceil(step)).rev().map(move |n| n * step)
}
