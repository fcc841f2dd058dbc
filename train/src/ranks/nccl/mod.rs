//! Ranks whose long messages go from GPU to GPU, by NCCL; everything else goes by the group that started them.
//!
//! A message goes in pieces through two slots, each a buffer here and one on the GPU: while a piece is on its way the next
//! is copied. Both sides cut by the length, which both know. What arrives is what was sent, so sums, which are made in
//! the order of ranks above this, have the bits that they have by MPI; NCCL's own reduction has an order of its own and
//! is not asked for.

#[cfg(feature = "nccl")]
mod cuda;
#[cfg(test)]
mod tests;

use super::group::Group;
#[cfg(feature = "nccl")]
use crate::Error;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

/// Elements of the shortest message that is worth the way over the GPU; each one costs launches and two copies.
const LONG: usize = 1 << 14;

/// What is asked of NCCL and of a GPU's memory. An operation on a slot begins when the one before on the same slot is
/// done, and the operations of a rank are done in their order.
trait Wire {
    /// Elements that a slot holds.
    fn holds(&self) -> usize;

    /// Begins to send what `piece` holds now.
    fn send(&mut self, slot: usize, to: usize, piece: &[f32]) -> Result<(), String>;

    /// Begins to receive so many elements into a slot.
    fn receive(&mut self, slot: usize, from: usize, count: usize) -> Result<(), String>;

    /// Begins to give `count` elements of one rank to all, there those of `own`, into a slot of each.
    fn broadcast(
        &mut self,
        slot: usize,
        from: usize,
        count: usize,
        own: Option<&[f32]>,
    ) -> Result<(), String>;

    /// Waits for what a slot was to get, and gives it.
    fn take(&mut self, slot: usize, piece: &mut [f32]) -> Result<(), String>;
}

/// The ranks of a group, each with a GPU.
struct Nccl<W> {
    by: Rc<dyn Group>,
    wire: RefCell<W>,
}

/// The ranks of `by`, which send long messages from GPU to GPU; this one's is number `ordinal` of its machine.
#[cfg(feature = "nccl")]
pub fn nccl(by: Rc<dyn Group>, ordinal: usize) -> Result<Rc<dyn Group>, Error> {
    if by.size() == 1 {
        return Ok(by);
    }
    let wire = cuda::Cuda::join(&*by, ordinal).map_err(|why| {
        let rank = by.rank();
        Error::Config(format!(
            "rank {rank} on GPU {ordinal}: {why}; expected NCCL and a GPU for each rank, or the link `mpi`"
        ))
    })?;
    let wire = RefCell::new(wire);
    Ok(Rc::new(Nccl { by, wire }))
}

/// The pieces of a message, each with its slot.
fn pieces(length: usize, holds: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let starts = (0..length).step_by(holds).enumerate();
    starts.map(move |(i, from)| (i % 2, from..length.min(from + holds)))
}

impl<W: Wire> Nccl<W> {
    /// Does what cannot fail without ending all ranks.
    fn must(&self, work: impl FnOnce(&mut W) -> Result<(), String>) {
        if let Err(why) = work(&mut self.wire.borrow_mut()) {
            eprintln!("error: rank {}: {why}", self.rank());
            self.by.abort()
        }
    }

    /// Takes the pieces that `begin` begins, one behind it.
    fn take(
        &self,
        numbers: &mut [f32],
        mut begin: impl FnMut(&mut W, usize, usize) -> Result<(), String>,
    ) {
        self.must(|wire| {
            let mut before: Option<(usize, Range<usize>)> = None;
            for (slot, piece) in pieces(numbers.len(), wire.holds()) {
                begin(wire, slot, piece.len())?;
                if let Some((slot, piece)) = before.replace((slot, piece)) {
                    wire.take(slot, &mut numbers[piece])?;
                }
            }
            match before {
                Some((slot, piece)) => wire.take(slot, &mut numbers[piece]),
                None => Ok(()),
            }
        });
    }
}

impl<W: Wire> Group for Nccl<W> {
    fn rank(&self) -> usize {
        self.by.rank()
    }

    fn size(&self) -> usize {
        self.by.size()
    }

    fn send(&self, to: usize, numbers: &[f32]) {
        if numbers.len() < LONG {
            return self.by.send(to, numbers);
        }
        self.must(|wire| {
            let mut all = pieces(numbers.len(), wire.holds());
            all.try_for_each(|(slot, piece)| wire.send(slot, to, &numbers[piece]))
        });
    }

    fn receive(&self, from: usize, numbers: &mut [f32]) {
        if numbers.len() < LONG {
            return self.by.receive(from, numbers);
        }
        self.take(numbers, |wire, slot, count| wire.receive(slot, from, count));
    }

    fn broadcast(&self, from: usize, numbers: &mut [f32]) {
        if numbers.len() < LONG {
            return self.by.broadcast(from, numbers);
        }
        if self.rank() != from {
            let begin = |wire: &mut W, slot, count| wire.broadcast(slot, from, count, None);
            return self.take(numbers, begin);
        }
        self.must(|wire| {
            let mut all = pieces(numbers.len(), wire.holds());
            all.try_for_each(|(slot, piece)| {
                wire.broadcast(slot, from, piece.len(), Some(&numbers[piece]))
            })
        });
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        self.by.gather(own)
    }

    fn abort(&self) -> ! {
        self.by.abort()
    }
}
