//! What a run shows while it goes on: a bar on a terminal, a line now and then elsewhere.
//!
//! Lines come from a thread of their own, so that they come in time however long a step takes; between two
//! of them lie at most [`EVERY`]. All of it goes to the standard error.

use super::StepReport;
use baton_weights::checkpoint::Progress;
use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest time between two lines.
const EVERY: Duration = Duration::from_secs(30);

/// What shows the steps of a run.
pub(super) struct Show {
    bar: ProgressBar,
    lines: Option<(Sender<String>, JoinHandle<()>)>,
    begun: Instant,
    /// Steps and tokens before it began, and steps in all.
    before: (u64, u64),
    steps: u64,
}

impl Show {
    /// A run called `title` that stands at `progress`; shows nothing without a title.
    pub fn new(title: Option<&str>, steps: u64, progress: &Progress) -> Self {
        let bar = bar(title, steps, progress.step);
        let lines = (title.is_some() && bar.is_hidden()).then(|| {
            let (sender, receiver) = channel();
            let begins = format!("step {}/{steps} begins", progress.step);
            let speak = move || speak(&receiver, begins, EVERY, &mut std::io::stderr());
            (sender, std::thread::spawn(speak))
        });
        Show {
            bar,
            lines,
            begun: Instant::now(),
            before: (progress.step, progress.tokens),
            steps,
        }
    }

    /// Shows a step that is done.
    pub fn step(&self, report: &StepReport) {
        let gone = self.begun.elapsed().as_secs_f64();
        let speed = (report.tokens - self.before.1) as f64 / gone;
        let slow = (report.slow).map_or(String::new(), |slow| format!("  {slow}"));
        let message = format!("loss {:.3}  {speed:.0} tokens/s{slow}", report.loss);
        self.bar.set_message(message);
        self.bar.inc(1);
        if let (Some(loss), true) = (&report.held_out, self.speaks()) {
            let past = loss
                .past
                .map_or(String::new(), |past| format!(", {past:.4} past it"));
            let line = format!(
                "step {}/{}  held out: loss {:.4} within the training length{past}\n",
                report.step + 1,
                self.steps,
                loss.within
            );
            // Nobody who reads it is no reason to end a run.
            self.bar
                .suspend(|| drop(std::io::stderr().write_all(line.as_bytes())));
        }
        let Some((lines, _)) = &self.lines else {
            return;
        };
        let done = report.step + 1;
        let each = gone / (done - self.before.0) as f64;
        let left = time(each, self.steps.saturating_sub(done));
        let skipped = if report.skipped { "  not taken" } else { "" };
        // A thread that is gone has said why it went.
        let _ = lines.send(format!(
            "step {done}/{}  loss {:.4}  rate {:.2e}  norm {:.3}  {speed:.0} tokens/s  {} left{skipped}{slow}",
            self.steps,
            report.loss,
            report.rate,
            report.norm,
            FormattedDuration(left)
        ));
    }

    /// Whether anything is shown.
    fn speaks(&self) -> bool {
        self.lines.is_some() || !self.bar.is_hidden()
    }

    /// Shows the last step, and no more.
    pub fn end(self, whole: bool) {
        match whole {
            true => self.bar.finish(),
            false => self.bar.abandon(),
        }
        if let Some((lines, thread)) = self.lines {
            drop(lines);
            let _ = thread.join();
        }
    }
}

/// How long so many steps take of so many seconds each, or the longest time that there is.
fn time(each: f64, steps: u64) -> Duration {
    Duration::try_from_secs_f64(each * steps as f64).unwrap_or(Duration::MAX)
}

/// Says the first line that comes, then the newest each time that `every` is over, and the last.
fn speak(lines: &Receiver<String>, begins: String, every: Duration, to: &mut dyn Write) {
    let (mut newest, mut said, mut new) = (begins, Instant::now(), false);
    let mut due = Duration::ZERO;
    loop {
        let wait = every.saturating_sub(said.elapsed());
        let (line, ended) = match lines.recv_timeout(wait) {
            Ok(line) => {
                (newest, new) = (line, true);
                if said.elapsed() < due {
                    continue;
                }
                (newest.clone(), false)
            }
            Err(RecvTimeoutError::Timeout) if new => (newest.clone(), false),
            Err(RecvTimeoutError::Timeout) => (format!("{newest}  (at the next step)"), false),
            Err(RecvTimeoutError::Disconnected) if new => (newest.clone(), true),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // Nobody who reads it is no reason to end a run.
        let _ = writeln!(to, "{line}");
        if ended {
            return;
        }
        (said, new, due) = (Instant::now(), false, every);
    }
}

fn bar(title: Option<&str>, steps: u64, done: u64) -> ProgressBar {
    let Some(title) = title else {
        return ProgressBar::hidden();
    };
    let template = "{prefix:>16} {bar:30} {pos}/{len}  {elapsed} gone, {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(steps).with_style(style);
    bar.with_prefix(title.to_string()).with_position(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives on every line that is written.
    struct Lines(Vec<u8>, Sender<String>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend(bytes);
            if self.0.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.0).trim_end().to_string();
                let _ = self.1.send(line);
                self.0.clear();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn steps_without_end_take_the_longest_time() {
        assert_eq!(time(0.5, 6), Duration::from_secs(3));
        let left = time(2.0, u64::MAX);
        assert_eq!(left, Duration::MAX);
        assert!(FormattedDuration(left).to_string().contains("d "));
    }

    #[test]
    fn a_line_comes_in_time_whatever_the_steps_take() {
        let (steps, receiver) = channel();
        let (to, said) = channel();
        let every = Duration::from_millis(30);
        std::thread::spawn(move || {
            let begins = "step 0 begins".into();
            speak(&receiver, begins, every, &mut Lines(Vec::new(), to));
        });
        let next = || said.recv_timeout(Duration::from_secs(60)).expect("a line");
        // A first step that takes long, and goes on taking it.
        for _ in 0..2 {
            assert_eq!(next(), "step 0 begins  (at the next step)");
        }
        for i in 1..=400 {
            steps.send(format!("step {i}")).unwrap();
        }
        // Steps that take no time are not all said, the newest is, and then again while nothing comes.
        let mut lines = vec![next()];
        while lines.last().is_some_and(|line| line != "step 400") {
            lines.push(next());
        }
        assert!(lines.len() < 200, "{lines:?}");
        assert_eq!(next(), "step 400  (at the next step)");
        for step in ["step 401", "step 402"] {
            steps.send(step.into()).unwrap();
        }
        drop(steps);
        let rest: Vec<String> = said.iter().collect();
        assert_eq!(rest.last().map(String::as_str), Some("step 402"));
    }
}
