//! How a tuning is done and how far it is, of plans and of kits alike.

use baton_tune::{Progress, Terms};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// So many rounds, on numbers that nobody chose.
pub fn terms(rounds: u32, until: Option<Instant>) -> Terms {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Terms {
        rounds: rounds as usize,
        until,
        seed: since.as_nanos() as u64 ^ u64::from(std::process::id()) << 32,
    }
}

/// A bar of a tuning that has not begun.
pub fn bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = "{msg}: {prefix}, {per_sec}, {eta} left {wide_bar}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
    bar.set_message(what.to_string());
    bar
}

/// Shows how far a tuning is.
pub fn counted(bar: &ProgressBar) -> impl FnMut(Progress) {
    |progress: Progress| {
        bar.set_length(progress.of as u64);
        bar.set_position(progress.done as u64);
        bar.set_prefix(match progress.judged < progress.field {
            true => format!("judged {} of {}", progress.judged, progress.field),
            false => format!("measuring {} of {}", progress.still, progress.field),
        });
    }
}

/// That the time was up, and how to go on.
pub fn late(progress: &Progress, again: bool) -> String {
    format!(
        "the time is up after {} of at most {} steps; the same command{} goes on from there",
        progress.done,
        progress.of,
        if again { " without --again" } else { "" }
    )
}
