//! The same work on many things, on every core, with progress.

use crate::failure::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `work` on each of `items`, in parallel; results in order, or the first failure. `begin` makes what a
/// thread works with. Progress is shown where a person watches.
pub fn each<T: Sync, S, R: Send>(
    items: &[T],
    what: &str,
    begin: impl Fn() -> Result<S, Failure> + Sync,
    work: impl Fn(&mut S, usize, &T) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure> {
    let bar = ProgressBar::new(items.len() as u64);
    let style = "{msg} {pos} of {len}, {per_sec}, {eta} left {wide_bar}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
    bar.set_message(what.to_string());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<R, Failure>>>> =
        Mutex::new(items.iter().map(|_| None).collect());
    let keep = |at: usize, result| {
        done.lock().expect("no holder of this lock panics")[at] = Some(result);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                let mut own = None;
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let ready = match own.take() {
                        Some(ready) => Ok(ready),
                        None => begin(),
                    };
                    let result = ready.and_then(|mut ready| {
                        let result = work(&mut ready, at, item);
                        own = Some(ready);
                        result
                    });
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    keep(at, result);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let done = done.into_inner().expect("no holder of this lock panics");
    done.into_iter().flatten().collect()
}
