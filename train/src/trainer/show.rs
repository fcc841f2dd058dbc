//! What a run shows while it goes on: a bar on a terminal, a line now and then elsewhere.
//!
//! Lines come from a thread of their own, so that they come in time however long a step takes; between two
//! of them lie at most [`EVERY`]. All of it goes to the standard error.

use super::StepReport;
use crate::checkpoint::Progress;
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
        self.bar
            .set_message(format!("loss {:.3}  {speed:.0} tokens/s", report.loss));
        self.bar.inc(1);
        let Some((lines, _)) = &self.lines else {
            return;
        };
        let done = report.step + 1;
        let each = gone / (done - self.before.0) as f64;
        let left = Duration::from_secs_f64(each * self.steps.saturating_sub(done) as f64);
        let skipped = if report.skipped { "  not taken" } else { "" };
        // A thread that is gone has said why it went.
        let _ = lines.send(format!(
            "step {done}/{}  loss {:.4}  rate {:.2e}  norm {:.3}  {speed:.0} tokens/s  {} left{skipped}",
            self.steps,
            report.loss,
            report.rate,
            report.norm,
            FormattedDuration(left)
        ));
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

    #[test]
    fn a_line_comes_in_time_whatever_the_steps_take() {
        let (sender, receiver) = channel();
        let every = Duration::from_millis(60);
        let speaker = std::thread::spawn(move || {
            let mut said = Vec::new();
            speak(&receiver, "step 0 begins".into(), every, &mut said);
            String::from_utf8(said).unwrap()
        });
        let wait = |times: u32| std::thread::sleep(every * times);
        wait(3); // a first step that takes long
        for i in 1..=400 {
            sender.send(format!("step {i}")).unwrap();
        }
        wait(3); // another one
        sender.send("step 401".into()).unwrap();
        sender.send("step 402".into()).unwrap();
        drop(sender);
        let said = speaker.join().unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() < 12, "{said}");
        assert_eq!(lines[0], "step 0 begins  (at the next step)");
        let waits = lines
            .iter()
            .filter(|line| line.ends_with("(at the next step)"));
        assert!(waits.count() >= 3, "{said}");
        assert!(lines.contains(&"step 400"), "{said}");
        assert_eq!(lines.last(), Some(&"step 402"));
    }
}
