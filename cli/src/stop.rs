//! Being told to stop: the first SIGINT or SIGTERM asks for it, the second ends the program at once.

use crate::failure::Failure;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether the program was asked to stop, and by what.
pub struct Stop {
    /// For those who can.
    pub asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Failure> {
        let (asked, signal) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let listen = |number: i32| -> io::Result<()> {
            flag::register_conditional_default(number, asked.clone())?;
            flag::register(number, asked.clone())?;
            flag::register_usize(number, signal.clone(), number as usize)?;
            Ok(())
        };
        let listening = [SIGINT, SIGTERM].into_iter().try_for_each(listen);
        listening.map_err(|why| Failure::new(format!("cannot listen to signals: {why}")))?;
        Ok(Stop { asked, signal })
    }

    /// The signal that asked.
    pub fn signal(&self) -> i32 {
        self.signal.load(Ordering::Relaxed) as i32
    }
}

/// What a signal is called.
pub fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

/// Makes a file that grows past the limit of the process an error of the write, not its end.
pub fn outgrow() {
    // Without a handler the write is the end; there is nothing to do for it.
    let _ = flag::register(SIGXFSZ, Arc::default());
}
