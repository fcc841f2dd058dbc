//! How long ranks work and how long they wait for each other: the one that the others wait for is named.

use super::group::Group;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A group that counts the time spent in its calls.
pub(crate) struct Clocked {
    by: Rc<dyn Group>,
    waited: Cell<Duration>,
}

impl Clocked {
    pub fn new(by: Rc<dyn Group>) -> Self {
        let waited = Cell::default();
        Clocked { by, waited }
    }

    /// The time spent in calls since it was asked last.
    pub fn waited(&self) -> Duration {
        self.waited.take()
    }

    fn timed<T>(&self, call: impl FnOnce(&dyn Group) -> T) -> T {
        let begun = Instant::now();
        let found = call(&*self.by);
        self.waited.set(self.waited.get() + begun.elapsed());
        found
    }
}

impl Group for Clocked {
    fn rank(&self) -> usize {
        self.by.rank()
    }

    fn size(&self) -> usize {
        self.by.size()
    }

    fn send(&self, to: usize, numbers: &[f32]) {
        self.timed(|by| by.send(to, numbers));
    }

    fn receive(&self, from: usize, numbers: &mut [f32]) {
        self.timed(|by| by.receive(from, numbers));
    }

    fn broadcast(&self, from: usize, numbers: &mut [f32]) {
        self.timed(|by| by.broadcast(from, numbers));
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        self.timed(|by| by.gather(own))
    }

    fn abort(&self) -> ! {
        self.by.abort()
    }
}

/// A rank that works so long that the others wait for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// Which.
    pub rank: usize,
    /// How many times as long as the rank in the middle.
    pub times: f32,
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Slow { rank, times } = self;
        write!(
            f,
            "rank {rank} works {times:.1} times as long as the others"
        )
    }
}

/// What is no more than the noise of a machine.
const MUCH: f32 = 1.5;

/// Seconds that every rank worked in the last steps, of which older ones count less and less.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work(Vec<f32>);

impl Work {
    /// The slow one after another step of so many seconds by rank, if there is one.
    pub fn slow(&mut self, seconds: &[f32]) -> Option<Slow> {
        self.0.resize(seconds.len(), 0.0);
        for (sum, new) in self.0.iter_mut().zip(seconds) {
            *sum = 0.9 * *sum + new;
        }
        let mut sorted = self.0.clone();
        sorted.sort_by(f32::total_cmp);
        let middle = sorted[(sorted.len() - 1) / 2];
        let all = self.0.iter().copied().enumerate();
        let (rank, longest) = all.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let times = longest / middle;
        (times >= MUCH).then_some(Slow { rank, times })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::together;
    use super::*;
    use std::thread::sleep;

    #[test]
    fn the_one_that_others_wait_for_is_named() {
        let mut work = Work::default();
        for seconds in [[1.0, 1.1, 0.9, 1.0], [1.0, 1.4, 1.0, 1.1]] {
            assert_eq!(work.slow(&seconds), None);
        }
        // One long step is one of ten, and many are not forgotten at once.
        assert_eq!(work.slow(&[1.0, 1.0, 1.5, 1.0]), None);
        let found = (0..20).map(|_| work.slow(&[1.0, 1.0, 2.0, 1.0])).last();
        let slow = found.flatten().expect("a slow rank");
        assert_eq!(slow.rank, 2);
        assert!((slow.times - 2.0).abs() < 0.1, "{slow}");
        assert_eq!(
            slow.to_string(),
            "rank 2 works 2.0 times as long as the others"
        );
        assert!(work.slow(&[1.0; 4]).is_some());
        // Of two ranks the faster one is the measure; one is never slow.
        let two = Work::default().slow(&[3.0, 1.0]).expect("a slow rank");
        assert_eq!((two.rank, two.times), (0, 3.0));
        assert_eq!(Work::default().slow(&[3.0]), None);
    }

    #[test]
    fn who_waits_is_not_slow() {
        let long = Duration::from_millis(200);
        let waited = together(2, |group| {
            let clocked = Clocked::new(group);
            if clocked.rank() == 1 {
                sleep(long);
                clocked.send(0, &[1.0]);
            } else {
                clocked.receive(1, &mut [0.0]);
            }
            (clocked.waited(), clocked.waited())
        });
        assert!(
            waited[0].0 >= long / 2 && waited[1].0 < long / 2,
            "{waited:?}"
        );
        assert_eq!(waited[0].1, Duration::ZERO);
    }
}
