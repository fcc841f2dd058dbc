//! Runs a check so that whatever goes wrong is a failure with its case: an error, a panic, or no end.

use std::fmt::{self, Display, Formatter};
use std::panic;
use std::sync::{Mutex, Once, mpsc};
use std::thread;
use std::time::Duration;

/// How long one case may take before it is taken for endless; these take milliseconds.
const LIMIT: Duration = Duration::from_secs(120);

/// What went wrong.
#[derive(Clone, Debug)]
pub enum Failure {
    /// A well-formed program was refused.
    Refused(String),
    /// A number or a claim is wrong.
    Wrong(String),
    /// A panic.
    Panic(String),
    /// No end within [`LIMIT`].
    Endless,
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(why) => write!(f, "refused: {why}"),
            Failure::Wrong(what) => write!(f, "wrong: {what}"),
            Failure::Panic(message) => write!(f, "panic: {message}"),
            Failure::Endless => write!(f, "no end within {} s", LIMIT.as_secs()),
        }
    }
}

static LAST: Mutex<Option<String>> = Mutex::new(None);
const NAME: &str = "random-case";

/// Panics of cases and of the threads that work for them are kept instead of printed.
fn hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let own = |name: &str| name == NAME || name.starts_with("baton-");
            match thread::current().name().is_some_and(own) {
                true => *LAST.lock().expect("nothing panics with it") = Some(info.to_string()),
                false => before(info),
            }
        }));
    });
}

/// The result of `check` on a thread of its own.
pub fn guarded<T: Send + 'static>(
    check: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    hook();
    let (send, receive) = mpsc::channel();
    let run = move || {
        let result = panic::catch_unwind(panic::AssertUnwindSafe(check));
        // Nobody waits for an answer that comes too late.
        let _ = send.send(result);
    };
    let spawned = thread::Builder::new()
        .name(NAME.into())
        .stack_size(8 << 20)
        .spawn(run);
    let thread = spawned.expect("a thread starts");
    match receive.recv_timeout(LIMIT) {
        Ok(result) => {
            thread.join().expect("it caught what there was");
            result.unwrap_or_else(|payload| {
                let last = LAST.lock().expect("nothing panics with it").take();
                let text = payload.downcast_ref::<String>().cloned();
                let text = text.or(payload.downcast_ref::<&str>().map(|s| s.to_string()));
                Err(Failure::Panic(last.or(text).unwrap_or_default()))
            })
        }
        Err(_) => Err(Failure::Endless),
    }
}
