//! Layers beside the recurrences: attention with a window, and retrieval of chunks.
//!
//! A chunking layer and a retrieval layer change nothing in the stream; what they find goes to the layers after
//! them in a [`Beside`], which lives for one run of the model. A layer that attends to chunks has two ways of
//! wiring: what it found is added to the stream, or reaches it through the feed-forward alone
//! (`bypass`, as DRT has it).

mod attention;
mod chunking;
mod cross;
mod encoder;
mod memory;
mod plan;
mod retrieval;

pub use attention::WindowAttention;
pub use chunking::Chunking;
pub use cross::{CrossAttention, Grouped};
pub use encoder::EncoderLayer;
pub(crate) use memory::Kept;
pub use memory::Memory;
pub(super) use plan::{Maker, Plan, join, row, select, unpacked};
pub use retrieval::Retrieval;

use crate::op::attention::{Choice, Read};
use baton_retrieval::Store;
use burn::Tensor;

/// What layers hand to those after them beside the stream, in one run of a model.
#[derive(Default)]
pub struct Beside {
    /// Of the noise of choices, where there is any.
    pub(super) noise: Option<u64>,
    /// From the chunking layer.
    cut: Option<Cut>,
    /// From the last retrieval layer.
    found: Option<(Read, Choice)>,
}

/// Chunks of this segment.
struct Cut {
    /// Positions of a chunk.
    chunk: usize,
    /// Positions of the open chunk before the segment; the same in all sequences.
    open: usize,
    /// Chunks that were completed, in each sequence.
    count: usize,
    /// Keys and values [B C, S, Hk, d]; absent where none was.
    own: Option<[Tensor<4>; 2]>,
    /// [B, C, W].
    landmarks: Option<Tensor<3>>,
    /// Chunks before, of each sequence.
    stores: Vec<Store>,
    /// Positions, heads and numbers of a chunk's keys.
    size: [usize; 3],
}

impl Beside {
    /// With the seed of the noise of choices.
    pub(super) fn new(noise: Option<u64>) -> Self {
        Beside {
            noise,
            ..Beside::default()
        }
    }
}
