//! Work shared out over threads, of whom the one that asks is one.
//!
//! Waking a thread takes as long as a decode step: some 25 microseconds on an idle machine, and as long again until who waits
//! for it goes on. So the caller's thread begins by itself, and calls others where enough is left to do.
//!
//! Invariant: which thread does a piece decides nothing but when it is done.

use rayon::ThreadPool;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is done sooner than this is done before another thread is awake.
const WORTH: Duration = Duration::from_micros(20);

/// What is known of the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// One alone may be worth a thread.
    Long,
    /// All together may be less than it takes to wake one.
    Short,
}

/// Does the pieces from 0 to `count`, each once, by as many threads as `pool` has.
pub(super) fn share(pool: &ThreadPool, pieces: Pieces, count: usize, piece: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let take = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        (at < count).then(|| piece(at)).is_some()
    };
    let others = pool.current_num_threads().min(count).saturating_sub(1);
    if pieces == Pieces::Short || others == 0 {
        let begun = Instant::now();
        while others == 0 || begun.elapsed() < WORTH {
            if !take() {
                return;
            }
        }
    }
    pool.in_place_scope(|scope| {
        (0..others).for_each(|_| scope.spawn(|_| while take() {}));
        while take() {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::ThreadPoolBuilder;
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::thread;

    /// How often each piece was done, and by how many threads.
    fn done(threads: usize, pieces: Pieces, count: usize, each: Duration) -> (Vec<usize>, usize) {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let times: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        let hands = Mutex::new(HashSet::new());
        share(&pool, pieces, count, |at| {
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
                for pieces in [Pieces::Long, Pieces::Short] {
                    let (times, hands) = done(threads, pieces, count, Duration::ZERO);
                    assert!(times.iter().all(|&n| n == 1), "{times:?}");
                    assert!(hands <= threads.min(count), "{hands} of {threads}");
                }
            }
        }
    }

    /// Long pieces are done side by side, and so are short ones once they have taken a while.
    #[test]
    fn others_are_called_where_it_is_worth_it() {
        for pieces in [Pieces::Long, Pieces::Short] {
            let (_, hands) = done(3, pieces, 12, Duration::from_millis(20));
            assert_eq!(hands, 3);
        }
        let (_, hands) = done(3, Pieces::Short, 1, Duration::from_millis(20));
        assert_eq!(hands, 1);
    }
}
