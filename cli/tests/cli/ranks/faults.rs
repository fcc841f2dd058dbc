//! Ranks that die, that are slow, and that are not alike.

use super::{done, mpirun, ranks, tensors, train};
use crate::program::Folder;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The processes of a job below `mpirun`.
fn children(of: &Child) -> Vec<String> {
    let found = Command::new("pgrep")
        .args(["-P", &of.id().to_string(), "baton"])
        .output();
    let found = String::from_utf8(found.expect("pgrep").stdout).expect("UTF-8");
    found.lines().map(String::from).collect()
}

#[test]
fn a_rank_that_dies_ends_the_job_which_goes_on_with_another_number() {
    let folder = Folder::new("ranks-killed");
    let more = "--steps 150 --parts 4 --checkpoint-every 1 --initial-state state_passing";
    let more: Vec<&str> = more.split(' ').collect();
    done(ranks(1, &folder, "whole", &more));
    let whole = tensors(&folder, "whole");
    let (mut killed, mut tried) = (0, 0);
    let mut unnamed = Vec::new();
    while killed < kills() && tried < 4 * kills() {
        let job = ranks(2 + 2 * (tried % 2), &folder, "killed", &more)
            .stdout(Stdio::null())
            .spawn()
            .expect("mpirun starts");
        let begun = Instant::now();
        while children(&job).is_empty() && begun.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(10));
        }
        sleep(Duration::from_millis(170 * tried as u64 % 700));
        let running = children(&job);
        if let Some(one) = running.get(tried % running.len().max(1)) {
            let _ = Command::new("kill").args(["-s", "KILL", one]).status();
        }
        let begun = Instant::now();
        let output = job.wait_with_output().expect("it ends");
        tried += 1;
        if output.status.success() {
            assert!(tensors(&folder, "killed") == whole);
            fs::remove_dir_all(folder.path("killed")).expect("a folder");
            continue;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "a job outlives its rank"
        );
        killed += 1;
        let said = String::from_utf8_lossy(&output.stderr);
        if !said.contains("rank") {
            unnamed.push(said.into_owned());
        }
    }
    println!("{killed} kills");
    assert!(killed > 0, "no rank was killed before the job was done");
    // A process that dies before it has joined has no number yet: the launcher says that there was one.
    let joined = unnamed
        .iter()
        .find(|said| !said.contains("1 process returned"));
    assert!(joined.is_none(), "whoever died is named: {joined:?}");
    assert!(
        4 * unnamed.len() <= killed,
        "{} of {killed} are not named",
        unnamed.len()
    );
    done(ranks(4, &folder, "killed", &more));
    assert!(tensors(&folder, "killed") == whole);
}

#[test]
fn a_signal_that_another_rank_hears_is_named() {
    let folder = Folder::new("ranks-heard");
    let more = "--steps 100000 --parts 2 --checkpoint-every 1";
    let more: Vec<&str> = more.split(' ').collect();
    let job = ranks(2, &folder, "heard", &more)
        .stdout(Stdio::piped())
        .spawn()
        .expect("mpirun starts");
    let begun = Instant::now();
    let checkpoint = folder.path("heard/checkpoint.safetensors");
    while !fs::exists(&checkpoint).unwrap_or(false) && begun.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(50));
    }
    let rank = |id: &String| fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    let second = |id: &&String| {
        let said = String::from_utf8_lossy(&rank(id)).into_owned();
        said.contains("OMPI_COMM_WORLD_RANK=1\0")
    };
    let running = children(&job);
    let second = running.iter().find(second).expect("a second rank");
    let sent = Command::new("kill").args(["-s", "TERM", second]).status();
    assert!(sent.expect("kill").success());
    let output = job.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("stopped by SIGTERM after step"), "{said}");
}

/// How many kills; BATON_KILLS says another number.
fn kills() -> usize {
    let said = std::env::var("BATON_KILLS").ok();
    said.and_then(|kills| kills.parse().ok()).unwrap_or(20)
}

#[test]
fn what_is_best_on_the_way_is_enough_to_go_on_from() {
    let folder = Folder::new("ranks-best");
    let more = "--steps 80 --parts 4 --eval-every 1 --eval-times 1 --eval-sequences 2 --initial-state truncated_bptt";
    let more: Vec<&str> = more.split(' ').collect();
    done(ranks(1, &folder, "one", &more));
    let whole = tensors(&folder, "one");
    let mut job = ranks(2, &folder, "two", &more);
    let mut job = job.stdout(Stdio::null()).spawn().expect("mpirun starts");
    let path = |name: &str| folder.path(&format!("two/{name}.safetensors"));
    let begun = Instant::now();
    while !fs::exists(path("best")).expect("a folder") {
        assert!(
            begun.elapsed() < Duration::from_secs(300),
            "no step is best"
        );
        sleep(Duration::from_millis(2));
    }
    for one in children(&job) {
        let _ = Command::new("kill").args(["-s", "KILL", &one]).status();
    }
    let ended = job.wait().expect("it ends");
    assert!(!ended.success() && !fs::exists(path("checkpoint")).expect("a folder"));
    // The seconds of a step that is not done again.
    let first = || {
        let lines = fs::read_to_string(folder.path("two/metrics.jsonl")).expect("metrics");
        lines.lines().next().expect("a step").to_string()
    };
    let before = first();
    done(ranks(4, &folder, "two", &more));
    assert_eq!(first(), before);
    assert!(tensors(&folder, "two") == whole);
}

#[test]
fn the_rank_that_others_wait_for_is_named() {
    let folder = Folder::new("ranks-slow");
    let more = ["--steps", "40", "--parts", "2"];
    let arguments = train(&folder, "run", &more);
    // A machine that works a third of the time.
    let slowly = "\"$@\" & p=$!; (while kill -STOP $p; do sleep 0.04; kill -CONT $p; sleep 0.02; done) & s=$!; \
        wait $p; r=$?; kill $s; exit $r";
    let baton = env!("CARGO_BIN_EXE_baton");
    let mut command = mpirun(1);
    command
        .args(&arguments)
        .args([":", "-n", "1", "sh", "-c", slowly, "sh", baton]);
    command.args(&arguments);
    let output = done(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut progress = said.lines().filter(|line| line.starts_with("step "));
    assert!(progress.any(|line| line.contains("rank 1 works")), "{said}");
}

#[test]
fn another_program_is_refused_by_name() {
    let folder = Folder::new("ranks-program");
    let arguments = train(&folder, "run", &["--steps", "2", "--parts", "2"]);
    let other = folder.path("other");
    let mut program = fs::read(env!("CARGO_BIN_EXE_baton")).expect("the program");
    program.push(0);
    fs::write(&other, program).expect("a copy");
    let status = Command::new("chmod").args(["+x", &other]).status();
    assert!(status.expect("chmod").success());
    let mut command = mpirun(1);
    command
        .args(&arguments)
        .args([":", "-n", "1", &other])
        .args(&arguments);
    let output = command.output().expect("mpirun starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success()
            && said.contains("rank 1 runs something else than rank 0: `program` was"),
        "{said}"
    );
}

#[test]
fn a_rank_that_finds_no_other_refuses() {
    let folder = Folder::new("ranks-lone");
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(train(&folder, "run", &["--steps", "2", "--parts", "2"]))
        // As the launcher of another MPI says.
        .env("PMI_SIZE", "2")
        .output()
        .expect("baton starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2)
            && said.contains("2 ranks were started and this one found no other"),
        "{said}"
    );
    assert!(!fs::exists(folder.path("run")).expect("a folder"));
}

#[test]
fn what_cannot_be_shared_out_is_refused() {
    let folder = Folder::new("ranks-refused");
    let output = ranks(3, &folder, "run", &["--parts", "4"])
        .output()
        .expect("mpirun starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("parts 4 of 1 segments given with 3 ranks, expected a multiple of 3 parts"),
        "{said}"
    );
    assert!(!fs::exists(folder.path("run/checkpoint.safetensors")).expect("a folder"));
    let output = mpirun(2)
        .args(["check", "gla"])
        .output()
        .expect("mpirun starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("2 ranks were started, expected one"),
        "{said}"
    );
}
