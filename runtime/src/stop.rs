//! A run that is ended before its end, from another thread.
//!
//! A [`Stop`] holds for the runs that begin on one thread [`during`](Stop::during) a function, so no signature
//! of a run knows of it. It is looked at before every task on the CPU: a run ends with [`Error::Stopped`] once
//! the tasks that were begun are done, and what it had written is nobody's.

use crate::Error;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

thread_local! {
    static BOUND: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// A request to stop, shared by who makes it and who heeds it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks all runs that it holds for to end.
    pub fn request(&self) {
        self.0.store(true, Relaxed);
    }

    /// Runs `work`, whose runs on this thread heed this.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Before(Option<Stop>);
        impl Drop for Before {
            fn drop(&mut self) {
                BOUND.set(self.0.take());
            }
        }
        let _before = Before(BOUND.replace(Some(self.clone())));
        work()
    }

    /// The one that holds for runs that begin here; where there is none, one that nobody requests.
    pub(crate) fn bound() -> Self {
        BOUND.with_borrow(|bound| bound.clone()).unwrap_or_default()
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// An error once it is requested.
    pub(crate) fn heed(&self) -> Result<(), Error> {
        match self.requested() {
            true => Err(Error::Stopped),
            false => Ok(()),
        }
    }
}
