//! What is asked of a message-passing library.

use std::fmt;

/// Ranks that send each other messages. What fails below it ends all of them.
pub trait Group {
    /// This one's number, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Sends to another rank. Messages between two ranks arrive in order.
    fn send(&self, to: usize, numbers: &[f32]);

    /// Takes what another rank sends, of the same length.
    fn receive(&self, from: usize, numbers: &mut [f32]);

    /// Gives what one rank has to all, which call it alike.
    fn broadcast(&self, from: usize, numbers: &mut [f32]);

    /// What every rank has, of any length, by rank.
    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>>;

    /// Ends every rank at once.
    fn abort(&self) -> !;
}

impl fmt::Debug for dyn Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}
