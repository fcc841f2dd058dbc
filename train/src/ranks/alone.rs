//! A process by itself.

use super::group::Group;

/// The group of one rank, which nobody sends to.
pub struct Alone;

impl Group for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn send(&self, to: usize, _: &[f32]) {
        unreachable!("rank {to} of a process alone")
    }

    fn receive(&self, from: usize, _: &mut [f32]) {
        unreachable!("rank {from} of a process alone")
    }

    fn broadcast(&self, _: usize, _: &mut [f32]) {}

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        vec![own.to_vec()]
    }

    fn abort(&self) -> ! {
        std::process::exit(1)
    }
}
