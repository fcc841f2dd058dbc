//! How a run is cut on a device, and how much it keeps: by shapes alone, so a backward run finds what its
//! forward kept.

use super::cut::Cut;
use super::machine::Kernels;
use crate::Error;
use crate::device::check::Extent;
use baton_codegen::schedule::Load;
use baton_ir::tile::Role;

/// The cut of a run whose extents and offsets were checked; in chunks of `chunk` steps where that is said.
pub(crate) fn cut(
    kernels: &dyn Kernels,
    chunk: Option<usize>,
    extent: Extent,
    ends: Option<&[i64]>,
) -> Result<Cut, Error> {
    kernels.admits(&extent)?;
    let sequences: Vec<[i64; 3]> = match ends {
        Some(ends) => ends.windows(2).map(|w| [0, w[0], w[1] - w[0]]).collect(),
        None => (0..extent.batch as i64)
            .map(|row| [row, 0, extent.time as i64])
            .collect(),
    };
    // Each strip of a state goes through a sequence as a sequence of its own.
    let strips = kernels.shapes().strips() as i64;
    let strip =
        |[row, start, steps]: [i64; 3]| (0..strips).map(move |i| [row * strips + i, start, steps]);
    let bounds: Vec<[i64; 3]> = sequences.into_iter().flat_map(strip).collect();
    let lengths = bounds.iter().map(|&[.., steps]| steps as usize);
    let state_bytes = kept_head_bytes(kernels).into_iter().sum();
    let load = Load::of(lengths, [extent.heads, extent.groups], state_bytes);
    Ok(Cut::by(kernels.plan(load, chunk), extent, &bounds))
}

/// Bytes of one head of a strip of each state in the dtype in which what enters every chunk is kept.
pub(crate) fn kept_head_bytes(kernels: &dyn Kernels) -> Vec<usize> {
    let shapes = kernels.shapes();
    let states = shapes.recurrence.states.iter().zip(0..);
    let bytes = states.map(|(port, i)| {
        let storage = kernels.storage(Role::Entering(i), port);
        shapes.strip_entries(port) * storage.bytes() as usize
    });
    bytes.collect()
}

/// Bytes of what a forward run keeps of each state: what enters every chunk, in the dtype in which it is kept;
/// or, window by window, what enters the ranges and what leaves each window, in f32.
pub(crate) fn kept_bytes(kernels: &dyn Kernels, cut: &Cut) -> Vec<usize> {
    let heads = cut.extent.heads;
    match cut.keeps_all() {
        true => {
            let states = kept_head_bytes(kernels).into_iter();
            states.map(|head| cut.chunks * heads * head).collect()
        }
        false => {
            let states = kernels.shapes().rows(heads).into_iter();
            states
                .map(|row| (cut.ranges.len() + cut.runs()) * row)
                .collect()
        }
    }
}
