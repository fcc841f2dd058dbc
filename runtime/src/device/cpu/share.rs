//! Work shared out over threads, or done by the one that asks.
//!
//! Handing work to a thread and being woken when it is done takes 25 to 75 microseconds, as long as a decode step of a layer. So
//! what is little, and what one thread does anyway, the caller's thread does itself.
//!
//! Invariant: which thread does a piece decides nothing but when it is done.

use rayon::ThreadPool;
use rayon::prelude::*;

/// How much all pieces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Worth other threads.
    Much,
    /// Done before another thread is awake.
    Little,
}

/// Does the pieces from 0 to `count`, each once.
pub(super) fn share(
    pool: &ThreadPool,
    work: Work,
    count: usize,
    piece: impl Fn(usize) + Send + Sync,
) {
    match work == Work::Little || count < 2 || pool.current_num_threads() == 1 {
        true => (0..count).for_each(piece),
        false => pool.install(|| (0..count).into_par_iter().with_max_len(1).for_each(piece)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::ThreadPoolBuilder;
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    /// How often each piece was done, and by how many threads.
    fn done(threads: usize, work: Work, count: usize, each: Duration) -> (Vec<usize>, usize) {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let times: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        let hands = Mutex::new(HashSet::new());
        share(&pool, work, count, |at| {
            times[at].fetch_add(1, Ordering::Relaxed);
            hands.lock().unwrap().insert(thread::current().id());
            thread::sleep(each);
        });
        let times = times.into_iter().map(AtomicUsize::into_inner);
        (times.collect(), hands.into_inner().unwrap().len())
    }

    #[test]
    fn every_piece_is_done_once_by_no_more_threads_than_there_are() {
        for threads in 1..=5 {
            for count in [0, 1, 2, 3, 7, 64] {
                for work in [Work::Much, Work::Little] {
                    let (times, hands) = done(threads, work, count, Duration::ZERO);
                    assert!(times.iter().all(|&n| n == 1), "{times:?}");
                    assert!(hands <= threads.min(count), "{hands} of {threads}");
                }
            }
        }
    }

    #[test]
    fn others_are_called_where_it_is_worth_it() {
        let each = Duration::from_millis(20);
        assert_eq!(done(3, Work::Much, 12, each).1, 3);
        assert_eq!(done(3, Work::Little, 3, each).1, 1);
        assert_eq!(done(1, Work::Much, 3, each).1, 1);
    }
}
