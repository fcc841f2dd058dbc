//! Runs that are watched and stopped: what they say, what they leave, how they end.

use crate::program::Folder;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

const STEPS: &str = "200000";

fn start(folder: &Folder, length: &str, more: &[&str]) -> Child {
    begin(
        Command::new(env!("CARGO_BIN_EXE_baton")),
        folder,
        length,
        more,
    )
}

fn begin(mut program: Command, folder: &Folder, length: &str, more: &[&str]) -> Child {
    let text = folder.write(
        "text.txt",
        &"one segment hands its state to the next. ".repeat(300),
    );
    program
        .args(["train", "--text", &text, "--folder", &folder.path("run")])
        .args([
            "--length",
            length,
            "--batch",
            "2",
            "--threads",
            "1",
            "--steps",
            STEPS,
        ])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("baton starts")
}

/// Waits for the line of the first step; what was said until then.
fn first_step(child: &mut Child) -> (String, BufReader<ChildStderr>) {
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    let mut said = String::new();
    while !said.contains("\nstep 1/") {
        let read = lines.read_line(&mut said).expect("UTF-8");
        assert!(read > 0, "{said}");
    }
    (said, lines)
}

/// Two signals so far apart that each is heard; whether the program was still there for the second.
fn twice(child: &mut Child, apart: Duration) -> bool {
    signal(child, "TERM");
    std::thread::sleep(apart);
    let waits = child.try_wait().expect("waited").is_none();
    if waits {
        signal(child, "TERM");
    }
    waits
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.expect("kill").success());
}

fn steps(folder: &Folder) -> usize {
    let metrics = fs::read_to_string(folder.path("run/metrics.jsonl")).expect("metrics");
    metrics.lines().count()
}

#[test]
fn a_signal_ends_a_run_after_its_step_with_a_checkpoint() {
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let folder = Folder::new(&format!("stop-{name}"));
        let mut child = start(&folder, "16", &["--checkpoint-every", "0"]);
        let (said, mut rest) = first_step(&mut child);
        for part in [
            "train\n  model         mamba2, 2 layers of width 128, 2",
            " parameters\n  device        cpu, 1 thread\n  data          text.txt, the last 15 % held out (/",
            "\n  steps         200000 of 2 sequences of 16 tokens, from step 0\n  rate          3e-3 after ",
            "\n  initial state {\"type\":\"zero\"}\n  files         ",
            "run: checkpoint.safetensors every 10 min and at the end, metrics.jsonl\nstep 1/200000  loss 5.",
            "  rate 3.00e-5  norm ",
            " tokens/s  ",
            " left",
        ] {
            assert!(said.contains(part), "{part} is not in\n{said}");
        }
        signal(&child, name);
        std::io::copy(&mut rest, &mut std::io::sink()).expect("read");
        let done = child.wait_with_output().expect("waited");
        assert_eq!(done.status.signal(), Some(number));
        let told = String::from_utf8(done.stdout).expect("UTF-8");
        let done = steps(&folder);
        let expected = format!("stopped by SIG{name} after step {done} of {STEPS}, which ");
        assert!(told.starts_with(&expected), "{told}");
        assert!(
            told.ends_with("holds: the same command goes on from there\n"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1);

        // It does, and the second run says from where.
        let mut child = start(&folder, "16", &["--checkpoint-every", "0"]);
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let from = format!("tokens, from step {done}");
        assert!(lines.any(|line| line.expect("UTF-8").ends_with(&from)));
        child.kill().expect("killed");
        child.wait().expect("waited");
    }
}

/// What `nohup` started outlives its terminal.
#[test]
fn a_hangup_that_is_ignored_ends_nothing() {
    let folder = Folder::new("stop-nohup");
    let mut program = Command::new("nohup");
    program.arg(env!("CARGO_BIN_EXE_baton"));
    let mut child = begin(program, &folder, "16", &["--checkpoint-every", "0"]);
    let (_, mut rest) = first_step(&mut child);
    signal(&child, "HUP");
    let before = steps(&folder);
    while steps(&folder) <= before + 1 {
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, "TERM");
    std::io::copy(&mut rest, &mut std::io::sink()).expect("read");
    let done = child.wait_with_output().expect("waited");
    assert_eq!(done.status.signal(), Some(15));
}

/// `timeout` sends its signal to the program and then to the program's group.
#[test]
fn signals_of_one_moment_are_one() {
    let folder = Folder::new("stop-timeout");
    let seen = (0..20).any(|_| {
        let mut child = start(&folder, "4096", &["--checkpoint-every", "0"]);
        let (_, mut rest) = first_step(&mut child);
        let both = twice(&mut child, Duration::from_millis(20));
        let mut said = String::new();
        rest.read_to_string(&mut said).expect("UTF-8");
        let done = child.wait_with_output().expect("waited");
        assert_eq!(done.status.signal(), Some(15));
        let told = String::from_utf8(done.stdout).expect("UTF-8");
        let step = steps(&folder);
        let expected = format!("stopped by SIGTERM after step {step} of {STEPS}, which ");
        assert!(told.starts_with(&expected), "{told}\n{said}");
        let heard = "SIGTERM: the run ends after this step, with a checkpoint; a second signal ends it at once\n";
        assert!(said.contains(heard), "{said}");
        assert_eq!(said.matches("SIGTERM").count(), 1, "{said}");
        both
    });
    assert!(seen, "no step took as long");
}

/// What has not begun has nothing to keep, and says so.
#[test]
fn a_signal_before_the_run_ends_it_with_a_line() {
    let folder = Folder::new("stop-early");
    let pipe = folder.path("pipe.txt");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let child = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["train", "--text", &pipe, "--folder", &folder.path("run")])
        .stderr(Stdio::piped())
        .spawn()
        .expect("baton starts");
    // Opened when the other end reads, and it listens before that.
    let writer = fs::OpenOptions::new().write(true).open(&pipe);
    signal(&child, "TERM");
    let done = child.wait_with_output().expect("waited");
    drop(writer);
    assert_eq!(done.status.signal(), Some(15));
    assert_eq!(
        String::from_utf8(done.stderr).expect("UTF-8"),
        "SIGTERM: ended before the first step, with nothing to keep\n"
    );
}

/// A step of hours is not waited for by somebody who asks again.
#[test]
fn a_later_signal_ends_it_at_once() {
    let folder = Folder::new("stop-twice");
    let text = folder.write(
        "text.txt",
        &"one segment hands its state to the next. ".repeat(2000),
    );
    let run = folder.path("run");
    // A signal that comes before the first step ends it before that: then it came too early.
    let again = |after: u64| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_baton"))
            .args(["train", "--text", &text, "--folder", &run])
            .args(["--threads", "1", "--length", "60000", "--batch", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("baton starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = String::new();
        while !said.contains("  files ") {
            assert!(lines.read_line(&mut said).expect("UTF-8") > 0, "{said}");
        }
        std::thread::sleep(Duration::from_millis(after));
        let waits = twice(&mut child, Duration::from_millis(1100));
        lines.read_to_string(&mut said).expect("UTF-8");
        let done = child.wait_with_output().expect("waited");
        assert_eq!(done.status.signal(), Some(15));
        waits
            && done.stdout.is_empty()
            && said.ends_with("SIGTERM: ended at once; the checkpoint before stays\n")
    };
    assert!((1..20).any(|attempt| again(100 * attempt)));
    assert_eq!(steps(&folder), 0);
    let checkpoint = fs::exists(folder.path("run/checkpoint.safetensors"));
    assert!(!checkpoint.expect("seen"));
}

/// Neither a prompt that is waited for nor a long one is read to its end first.
#[test]
fn a_signal_ends_the_reading_of_a_prompt() {
    let folder = Folder::new("stop-prompt");
    let pipe = folder.path("pipe.txt");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../checkpoints/mamba2-64/base");
    for bytes in [0, 16 << 20] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_baton"))
            .args(["generate", "--quiet", "--checkpoint", base])
            .args(["--prompt-file", &pipe])
            .stdout(Stdio::piped())
            .spawn()
            .expect("baton starts");
        // Opened when the other end reads.
        let opened = fs::OpenOptions::new().write(true).open(&pipe);
        let mut writer = Some(opened.expect("a pipe"));
        if bytes > 0 {
            let mut writer = writer.take().expect("just opened");
            writer.write_all(&vec![b'a'; bytes]).expect("read");
            drop(writer);
            std::thread::sleep(Duration::from_millis(500));
        }
        signal(&child, "TERM");
        let sent = Instant::now();
        let runs = |child: &mut Child| child.try_wait().expect("waited").is_none();
        while runs(&mut child) && sent.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended = !runs(&mut child);
        let _ = child.kill();
        let done = child.wait_with_output().expect("waited");
        drop(writer);
        assert!(ended, "a prompt of {bytes} bytes");
        assert_eq!(done.status.signal(), Some(15));
    }
}
