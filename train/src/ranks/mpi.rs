//! MPI's ranks, by the library that the program was built with.
//!
//! Only the thread that started MPI calls it. An error inside the library ends all ranks, which is its default.

use super::group::Group;
use crate::Error;
use mpi::Threading;
use mpi::collective::CommunicatorCollectives;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Root, Source};

/// Elements of one message: counts are 32-bit numbers in MPI.
const MOST: usize = 1 << 28;

/// All ranks that the launcher started.
pub struct Mpi {
    // Dropped before the library is shut down.
    world: SimpleCommunicator,
    _universe: Universe,
}

impl Mpi {
    /// Joins the other ranks. Once in a process.
    pub fn start() -> Result<Self, Error> {
        let failed = || {
            Error::Config(
                "MPI did not start in this process, expected one start and a library that lets other threads compute"
                    .into(),
            )
        };
        let (universe, level) =
            mpi::initialize_with_threading(Threading::Funneled).ok_or_else(failed)?;
        if level < Threading::Funneled {
            return Err(failed());
        }
        Ok(Mpi {
            world: universe.world(),
            _universe: universe,
        })
    }
}

impl Group for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn send(&self, to: usize, numbers: &[f32]) {
        let to = self.world.process_at_rank(to as i32);
        numbers.chunks(MOST).for_each(|part| to.send(part));
    }

    fn receive(&self, from: usize, numbers: &mut [f32]) {
        let from = self.world.process_at_rank(from as i32);
        for part in numbers.chunks_mut(MOST) {
            from.receive_into(part);
        }
    }

    fn broadcast(&self, from: usize, numbers: &mut [f32]) {
        let from = self.world.process_at_rank(from as i32);
        for part in numbers.chunks_mut(MOST) {
            from.broadcast_into(part);
        }
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        let mut lengths = vec![0u64; self.size()];
        self.world
            .all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let mut all: Vec<Vec<u8>> = vec![Vec::new(); self.size()];
        let each = MOST / self.size();
        let longest = lengths.iter().max().map_or(0, |&longest| longest as usize);
        for from in (0..longest).step_by(each) {
            let part = |length: usize| from.min(length)..(from + each).min(length);
            let counts: Vec<i32> = (lengths.iter())
                .map(|&length| part(length as usize).len() as i32)
                .collect();
            let places: Vec<i32> = (counts.iter())
                .scan(0, |at, count| {
                    let own = *at;
                    *at += count;
                    Some(own)
                })
                .collect();
            let mut received = vec![0u8; counts.iter().map(|&count| count as usize).sum()];
            let mut partition = PartitionMut::new(&mut received[..], &counts[..], &places[..]);
            self.world
                .all_gather_varcount_into(&own[part(own.len())], &mut partition);
            for (rank, all) in all.iter_mut().enumerate() {
                let (at, count) = (places[rank] as usize, counts[rank] as usize);
                all.extend_from_slice(&received[at..at + count]);
            }
        }
        all
    }

    fn abort(&self) -> ! {
        self.world.abort(1)
    }
}
