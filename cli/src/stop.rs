//! Being told to stop: a first SIGINT, SIGTERM or SIGHUP asks for it, another one ends the program at once.
//!
//! What comes within a second of the first is the same wish: `timeout` signals its child and then its group, and so do
//! launchers and terminals, where the second signal must not undo what the first one asked for. A thread listens, as
//! a handler has no clock and may say nothing.

use crate::failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use std::io::Write;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long signals are the same wish.
const SAME: Duration = Duration::from_secs(1);

/// Whether the program was asked to stop, and by what.
#[derive(Clone, Default)]
pub struct Stop {
    /// For those who can.
    pub asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    begun: Arc<AtomicBool>,
    aloud: Arc<AtomicBool>,
}

impl Stop {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Failure> {
        let stop = Stop::of_run(false)?;
        stop.begin(false);
        Ok(stop)
    }

    /// Listens for a run: until it begins a signal ends the program, as nothing is lost. Says what is heard if `aloud`.
    pub fn of_run(aloud: bool) -> Result<Self, Failure> {
        let hangup = (!outlives_its_terminal()).then_some(SIGHUP);
        let signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup));
        let signals =
            signals.map_err(|why| Failure::new(format!("cannot listen to signals: {why}")))?;
        let stop = Stop::default();
        stop.aloud.store(aloud, Ordering::Relaxed);
        let heard = stop.clone();
        std::thread::spawn(move || heard.hear(signals));
        Ok(stop)
    }

    /// From now on there is something to end in good order; it is said by one of several ranks.
    pub fn begin(&self, aloud: bool) {
        self.aloud.fetch_and(aloud, Ordering::Relaxed);
        self.begun.store(true, Ordering::Relaxed);
    }

    /// The signal that asked.
    pub fn signal(&self) -> i32 {
        self.signal.load(Ordering::Relaxed) as i32
    }

    fn hear(&self, mut signals: Signals) {
        let mut first: Option<Instant> = None;
        for number in signals.forever() {
            let (ends, what) = match first {
                _ if !self.begun.load(Ordering::Relaxed) => {
                    (true, "ended before the first step, with nothing to keep")
                }
                None => (
                    false,
                    "the run ends after this step, with a checkpoint; a second signal ends it at once",
                ),
                Some(first) if first.elapsed() < SAME => continue,
                Some(_) => (true, "ended at once; the checkpoint before stays"),
            };
            if self.aloud.load(Ordering::Relaxed) {
                // Nobody who reads it is no reason to stay.
                let _ = writeln!(std::io::stderr(), "{}: {what}", name(number));
            }
            if ends {
                // What cannot be ended so goes on, and hears the next one.
                let _ = low_level::emulate_default_handler(number);
            }
            self.signal.store(number as usize, Ordering::Relaxed);
            self.asked.store(true, Ordering::Relaxed);
            first.get_or_insert_with(Instant::now);
        }
    }
}

/// Whether whoever started the program had it ignore SIGHUP, as `nohup` does.
fn outlives_its_terminal() -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it asks only; the answer is written to `now`, of whose fields zero is a value.
    let now = unsafe {
        libc::sigaction(SIGHUP, std::ptr::null(), now.as_mut_ptr());
        now.assume_init()
    };
    now.sa_sigaction == libc::SIG_IGN
}

/// What a signal is called.
pub fn name(signal: i32) -> &'static str {
    low_level::signal_name(signal).unwrap_or("a signal")
}

/// Makes a file that grows past the limit of the process an error of the write, not its end.
pub fn outgrow() {
    // Without a handler the write is the end; there is nothing to do for it.
    let _ = flag::register(SIGXFSZ, Arc::default());
}
