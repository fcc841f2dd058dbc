//! Runs of several ranks, as MPI starts them: the bits of one process, other numbers of ranks after a kill, refusals.
//!
//! Compiled with the feature `mpi` only; `scripts/mpi.sh` says where it is left out.

use crate::program::Folder;
use safetensors::SafeTensors;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `baton` on so many ranks.
fn mpirun(count: usize) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(count.to_string())
        .arg(env!("CARGO_BIN_EXE_baton"));
    command
}

/// `baton train` on so many ranks, on a text or on a folder of them.
fn ranks(count: usize, folder: &Folder, run: &str, more: &[&str]) -> Command {
    let mut command = mpirun(count);
    command.args(train(folder, run, more)).arg("--quiet");
    command.stderr(Stdio::piped());
    command
}

/// The arguments of `baton train`.
fn train(folder: &Folder, run: &str, more: &[&str]) -> Vec<String> {
    let text = folder.path("text");
    if !fs::exists(&text).expect("a folder") {
        fs::create_dir(&text).expect("a folder");
        for i in 0..8 {
            let words = "one segment hands its state to the next. ".repeat(8);
            folder.write(&format!("text/{i}.txt"), &words[..words.len() - 7 * i]);
        }
    }
    let data: &[&str] = match more.contains(&"--data") {
        true => &[],
        false => &["--text", &text],
    };
    let small = "--length 24 --batch 1 --threads 1 --width 32 --layers 2";
    let small = small.split(' ');
    let all = ["train", "--folder", &folder.path(run)].into_iter();
    let all = all.chain(data.iter().copied()).chain(small);
    all.chain(more.iter().copied()).map(String::from).collect()
}

fn done(mut command: Command) -> Output {
    let output = command.output().expect("mpirun starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}

/// Every tensor of a run's checkpoint: weights, moments and what the policy carries.
fn tensors(folder: &Folder, run: &str) -> Vec<(String, Vec<u8>)> {
    let file =
        fs::read(folder.path(&format!("{run}/checkpoint.safetensors"))).expect("a checkpoint");
    let file = SafeTensors::deserialize(&file).expect("safetensors");
    let mut all: Vec<_> = (file.tensors().into_iter())
        .map(|(name, tensor)| (name, tensor.data().to_vec()))
        .collect();
    all.sort();
    all
}

#[test]
fn every_class_has_the_bits_of_one_process() {
    let folder = Folder::new("ranks-classes");
    let policies = ["state_passing:p_zero=0.3", "fitted_noise", "truncated_bptt"];
    let blocks = [
        "mamba2",
        "gla",
        "gated_delta_net",
        "rwkv7",
        "mamba1",
        "mlstm",
    ];
    for (i, block) in blocks.into_iter().enumerate() {
        let (parts, segments, counts): (_, _, &[usize]) = match i % 2 {
            0 => ("2", "6", &[1, 2, 4, 12]),
            _ => ("1", "12", &[1, 2, 3, 4]),
        };
        let policy = policies[i % policies.len()];
        let more = format!(
            "--block {block} --steps 3 --parts {parts} --segments {segments} --initial-state {policy} --reset-documents"
        );
        let more: Vec<&str> = more.split(' ').collect();
        let run = |count: usize| format!("{block}-{count}");
        for &count in counts {
            if count != 12 || i == 0 {
                done(ranks(count, &folder, &run(count), &more));
                assert!(
                    tensors(&folder, &run(count)) == tensors(&folder, &run(1)),
                    "{block}, {count} ranks"
                );
            }
        }
    }
}

#[test]
fn parts_go_to_any_number_of_ranks_that_divides_them() {
    let folder = Folder::new("ranks-parts");
    let more = [
        "--steps",
        "4",
        "--parts",
        "12",
        "--initial-state",
        "state_passing",
    ];
    for count in 1..=4 {
        let output = done(ranks(count, &folder, &count.to_string(), &more));
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(
            said.matches(" after 4 steps").count(),
            1,
            "the first rank alone speaks: {said}"
        );
        assert!(
            tensors(&folder, &count.to_string()) == tensors(&folder, "1"),
            "{count} ranks"
        );
    }
}

/// The result of `baton eval` on so many ranks, without what times differ in, and the file of samples.
fn measured(count: usize, folder: &Folder, arguments: &[&str]) -> (serde_json::Value, String) {
    let samples = folder.path("samples.jsonl");
    let _ = fs::remove_file(&samples);
    let asks = !["perplexity", "states", "remembrance"].contains(&arguments[0]);
    let mut command = mpirun(count);
    command
        .arg("eval")
        .args(arguments)
        .args(["--threads", "1", "--quiet", "--json"])
        .args(["--checkpoint", &folder.path("run/checkpoint.safetensors")]);
    if asks {
        command.args(["--samples", &samples]);
    }
    let said = done(command).stdout;
    // One line: the first rank alone speaks.
    let mut value: serde_json::Value = serde_json::from_slice(&said).expect("one line of JSON");
    value["seconds"] = serde_json::Value::Null;
    let samples = match asks {
        true => fs::read_to_string(&samples).expect("samples"),
        false => String::new(),
    };
    (value, samples)
}

#[test]
fn evaluation_has_the_bits_of_one_process() {
    let folder = Folder::new("ranks-eval");
    done(ranks(1, &folder, "run", &["--steps", "3"]));
    let question = |i: usize| {
        let input = "word ".repeat(1 + 7 * i);
        format!("{{\"input\": \"{input}\", \"outputs\": [\"a\"]}}\n")
    };
    folder.write("q.jsonl", &(0..9).map(question).collect::<String>());
    let file = folder.path("q.jsonl");
    let verbs: [&[&str]; 5] = [
        &[
            "perplexity",
            "--length",
            "50",
            "--sequences",
            "5",
            "--batch",
            "2",
        ],
        &["states", "--length", "20", "--sequences", "17"],
        &[
            "remembrance",
            "--length",
            "40",
            "--sequences",
            "8",
            "--cuts",
            "39",
        ],
        &[
            "passkey",
            "--lengths",
            "1,600,900",
            "--depths",
            "0.5",
            "--trials",
            "5",
            "--batch",
            "2",
        ],
        &[
            "prompts", "--file", &file, "--preset", "ruler", "--tokens", "2", "--batch", "2",
        ],
    ];
    for arguments in verbs {
        let whole = measured(1, &folder, arguments);
        for count in [2, 3] {
            let found = measured(count, &folder, arguments);
            assert!(
                found == whole,
                "{arguments:?}, {count} ranks: {found:?}, one: {whole:?}"
            );
        }
    }
}

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
    let (mut killed, mut tried, mut named) = (0, 0, 0);
    while killed < kills() && tried < 4 * kills() {
        let mut job = ranks(2 + 2 * (tried % 2), &folder, "killed", &more)
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
        named += usize::from(String::from_utf8_lossy(&output.stderr).contains("rank"));
    }
    println!("{killed} kills");
    assert!(killed > 0, "no rank was killed before the job was done");
    assert_eq!(named, killed, "whoever died is named");
    done(ranks(4, &folder, "killed", &more));
    assert!(tensors(&folder, "killed") == whole);
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
    let last = said.lines().rfind(|line| line.starts_with("step 40/40"));
    assert!(
        last.is_some_and(|line| line.contains("rank 1 works")),
        "{said}"
    );
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

/// A folder of shards, of 200 tokens each.
fn shards(folder: &Folder) -> String {
    let words: String = (0..200)
        .map(|i| format!("{} hands it to {}. ", i * 37 % 100, i))
        .collect();
    folder.write("book.txt", &words);
    let data = folder.path("data");
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["tokenize", &folder.path("book.txt"), "--output", &data])
        .args(["--shard-tokens", "500"])
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    data
}

#[test]
fn ranks_read_shards_together_and_find_whatever_is_damaged() {
    let folder = Folder::new("ranks-shards");
    let data = shards(&folder);
    let more = [
        "--data",
        &data,
        "--steps",
        "3",
        "--parts",
        "6",
        "--initial-state",
        "truncated_bptt",
    ];
    for count in [1, 2, 3] {
        let run = count.to_string();
        done(ranks(count, &folder, &run, &more));
        assert!(
            tensors(&folder, &run) == tensors(&folder, "1"),
            "{count} ranks"
        );
    }
    // One of two ranks reads a file through, whichever it is.
    for number in [1, 2] {
        let path = format!("{data}/train-0000{number}.safetensors");
        let whole = fs::read(&path).expect("a shard");
        let mut damaged = whole.clone();
        *damaged.last_mut().expect("tokens") ^= 1;
        fs::write(&path, damaged).expect("a shard");
        let output = ranks(2, &folder, "damaged", &more)
            .output()
            .expect("mpirun starts");
        let said = String::from_utf8_lossy(&output.stderr);
        let named = format!(
            "train-0000{number}.safetensors: no tokenised text: its tokens are not as they were written"
        );
        assert!(!output.status.success() && said.contains(&named), "{said}");
        fs::write(&path, whole).expect("a shard");
    }
}

/// Every file of an experiment but what differs in times.
fn experiment(folder: &Folder, run: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for job in ["micro/base/seed1", "micro/zero-2-steps/seed1"] {
        for name in ["run", "perplexity", "states", "remembrance", "copying"] {
            let path = folder.path(&format!("{run}/{job}/{name}.json"));
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            for place in [
                "/seconds",
                "/progress/seconds",
                "/checkpoint/progress/seconds",
            ] {
                if let Some(seconds) = value.pointer_mut(place) {
                    *seconds = serde_json::Value::Null;
                }
            }
            all.push((format!("{job}/{name}"), value.to_string()));
        }
    }
    all
}

#[test]
fn an_experiment_is_done_together() {
    let folder = Folder::new("ranks-experiment");
    let plan = |parts: usize| {
        format!(
            r#"{{"bases": [{{"name": "micro", "seeds": [1], "config": {{
                "model": {{"hidden_size": 16, "num_hidden_layers": 1}}, "train_length": 8, "batch_size": 2,
                "parts": {parts}, "schedule": {{"steps": 3, "warmup": 1}}}}}}],
            "post_trainings": [{{"name": "zero", "initial_state": {{"type": "zero"}}, "steps": [2]}}],
            "evaluations": {{
                "perplexity": {{"measure": "perplexity", "length": "4x", "sequences": 20}},
                "states": {{"measure": "states", "length": 32, "sequences": 3, "times": 4}},
                "remembrance": {{"measure": "remembrance", "length": "4x", "sequences": 3, "cuts": 4}},
                "copying": {{"measure": "task", "task": "copying", "lengths": [8, 16], "trials": 10}}}}}}"#
        )
    };
    let run = |count: usize, name: &str| {
        let mut command = mpirun(count);
        command
            .args([
                "reproduce",
                &folder.path("plan.json"),
                "--threads",
                "1",
                "--json",
            ])
            .args(["--folder", &folder.path(name)]);
        command.output().expect("mpirun starts")
    };
    folder.write("plan.json", &plan(2));
    for count in [1, 2] {
        let output = run(count, &count.to_string());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let done: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line");
        assert_eq!(done["done"]["trained"], 2);
        assert_eq!(done["done"]["measured"], 8);
    }
    let one = experiment(&folder, "1");
    assert_eq!(one.len(), 10);
    assert_eq!(experiment(&folder, "2"), one);
    for job in ["micro/base/seed1", "micro/zero-2-steps/seed1"] {
        let [one, two] = ["1", "2"].map(|run| tensors(&folder, &format!("{run}/{job}")));
        assert!(one == two, "{job}");
    }
    // What is there is not done again, whoever did it.
    let output = run(2, "1");
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line");
    assert_eq!(done["done"]["trained"], 0);
    assert_eq!(done["done"]["kept"], 8);
    folder.write("plan.json", &plan(1));
    let output = run(2, "3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("parts 1 of 1 segments given with 2 ranks"),
        "{said}"
    );
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
