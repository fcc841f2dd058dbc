//! Long runs as processes: killed at any moment they go on to the same bits, and two of them never
//! share a folder.

use crate::program::{Folder, baton};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STEPS: u64 = 400;
const EVERY: u64 = 3;

/// A run of a model so small that a step takes a millisecond.
fn config(folder: &Folder) -> String {
    let config = json!({
        "model": {
            "vocab_size": 256, "hidden_size": 8, "num_hidden_layers": 2,
            "layer_norm_epsilon": 1e-5,
            "block": {
                "type": "mamba2", "expand": 2, "head_dim": 8, "state_size": 8, "n_groups": 1,
                "conv_kernel": 4, "a_init_range": [0.02, 0.3], "time_step_range": [1e-3, 1e-1],
                "time_step_floor": 1e-4, "rescale_prenorm_residual": true,
            },
        },
        "train_length": 16, "batch_size": 2, "parts": 2,
        "schedule": { "peak": 3e-3, "warmup": 10, "steps": STEPS, "floor": 0.1 },
        "optimizer": {
            "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0,
        },
        "initial_state": { "type": "mixed", "of": [
            { "weight": 1.0, "policy": { "type": "state_passing", "conv": "carried" } },
            { "weight": 1.0, "policy": { "type": "fitted_noise" } },
        ]},
        "seed": 1,
    });
    folder.write("config.json", &config.to_string())
}

pub fn text(folder: &Folder) -> String {
    let words = "the state is the baton: one segment hands it to the next. ";
    folder.write("text.txt", &words.repeat(30))
}

fn arguments(config: &str, text: &str, run: &str) -> Vec<String> {
    let every = EVERY.to_string();
    let all = [
        "train",
        "--config",
        config,
        "--text",
        text,
        "--folder",
        run,
        "--checkpoint-every",
        &every,
        "--threads",
        "1",
        "--quiet",
    ];
    all.map(String::from).to_vec()
}

pub fn start(arguments: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("baton starts")
}

/// Step and loss of every whole line.
pub fn losses(run: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(Path::new(run).join("metrics.jsonl")).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        (
            value["step"].as_u64().expect("a step"),
            value["loss"].to_string(),
        )
    };
    whole.map(line).collect()
}

/// Bytes by name.
pub type Contents = Vec<(String, Vec<u8>)>;

/// The step of the checkpoint, which is whole whenever it is there; its tensors.
pub fn checkpoint(run: &str) -> Option<(u64, Contents)> {
    let bytes = fs::read(Path::new(run).join("checkpoint.safetensors")).ok()?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a whole checkpoint");
    let header = &metadata.metadata().as_ref().expect("metadata")["baton"];
    let header: Value = serde_json::from_str(header).expect("JSON");
    let file = SafeTensors::deserialize(&bytes).expect("a whole checkpoint");
    let tensors = file.tensors().into_iter();
    let mut tensors: Contents = tensors
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect();
    tensors.sort();
    Some((
        header["progress"]["step"].as_u64().expect("a step"),
        tensors,
    ))
}

/// Tells one metrics file from the one that takes its place.
fn inode(run: &str) -> Option<u64> {
    let metrics = fs::metadata(Path::new(run).join("metrics.jsonl")).ok()?;
    Some(std::os::unix::fs::MetadataExt::ino(&metrics))
}

fn is_writing(run: &str) -> bool {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().contains("checkpoint.safetensors."))
}

/// Fifty kills in one run, every fifth of them while a checkpoint is being written; what comes out
/// is the run that nobody disturbed.
#[test]
fn a_run_killed_at_fifty_moments_has_the_same_bits() {
    let folder = Folder::new("train_killed");
    let (config, text) = (config(&folder), text(&folder));
    let (calm, killed) = (folder.path("calm"), folder.path("killed"));
    let done = baton(&arguments(&config, &text, &calm));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let want = losses(&calm);
    assert_eq!(want.len() as u64, STEPS);

    let arguments = arguments(&config, &text, &killed);
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |n: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % n
    };
    let (mut reached, mut kills, mut parts, mut ended) = (0, 0, 0, 0);
    while kills < 50 {
        let before = inode(&killed);
        let mut child = start(&arguments);
        let begun = Instant::now();
        let running = |child: &mut Child| {
            child.try_wait().expect("waited").is_none() && begun.elapsed().as_secs() < 30
        };
        let early = kills % 5 == 4;
        if early {
            std::thread::sleep(Duration::from_micros(random(60_000)));
        }
        // The process starts and compiles its kernels; then it begins the metrics anew and steps.
        while !early
            && (inode(&killed) == before || losses(&killed).len() as u64 <= reached)
            && running(&mut child)
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        match kills % 5 {
            0 => while !is_writing(&killed) && running(&mut child) {},
            1 | 4 => {}
            _ => std::thread::sleep(Duration::from_micros(random(12_000))),
        }
        child.kill().expect("killed");
        let status = child.wait().expect("waited");
        if status.success() {
            // It was through before the kill came: begin a new run, the kills count on.
            assert_eq!(losses(&killed), want);
            ended += 1;
            fs::remove_dir_all(&killed).expect("removed");
            reached = 0;
            continue;
        }
        kills += 1;
        parts += usize::from(is_writing(&killed));
        let step = checkpoint(&killed).map_or(0, |(step, _)| step);
        assert!(step >= reached, "from step {reached} back to {step}");
        // Lines of a step come after the checkpoints of the steps before it.
        let last = losses(&killed).last().map_or(0, |(step, _)| *step);
        assert!(
            step >= last / EVERY * EVERY,
            "at step {last}, checkpoint of {step}"
        );
        reached = step;
    }
    assert!(parts > 0, "no kill hit a checkpoint that was being written");
    assert!(ended < 25, "{ended} runs ended before their kill");

    let done = baton(&arguments);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(losses(&killed), want);
    assert_eq!(checkpoint(&killed), checkpoint(&calm));
    assert!(!is_writing(&killed), "leftovers are cleared away");
}

#[test]
fn one_trainer_works_in_a_folder_and_only_on_its_own_configuration() {
    let folder = Folder::new("train_alone");
    let (config, text) = (config(&folder), text(&folder));
    let run = folder.path("run");
    let mut first = start(&arguments(&config, &text, &run));
    let begun = Instant::now();
    while losses(&run).is_empty() && begun.elapsed().as_secs() < 30 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = baton(&arguments(&config, &text, &run));
    first.kill().expect("killed");
    first.wait().expect("waited");
    assert_eq!(second.code, 2);
    assert!(
        second
            .stderr
            .contains("another trainer works in this folder"),
        "{}",
        second.stderr
    );
    let kept = losses(&run).len();
    assert!(kept > 0);
    let other = fs::read_to_string(&config)
        .expect("read")
        .replace("\"seed\":1", "\"seed\":2");
    let other = folder.write("other.json", &other);
    let before = checkpoint(&run);
    let done = baton(&arguments(&other, &text, &run));
    if before.is_some() {
        assert_eq!(done.code, 2);
        assert!(
            done.stderr
                .contains("`config.seed` was 1 there and is 2 now"),
            "{}",
            done.stderr
        );
        assert_eq!(checkpoint(&run), before);
    }
}

#[test]
fn tokens_are_written_once_and_trained_on() {
    let folder = Folder::new("train_tokens");
    let books = folder.path("books");
    fs::create_dir_all(&books).expect("a folder");
    for (name, text) in [("a.txt", "one text. "), ("b.txt", "another text. ")] {
        fs::write(Path::new(&books).join(name), text.repeat(60)).expect("written");
    }
    let (tokens, run) = (folder.path("tokens"), folder.path("run"));
    let write = ["tokenize", "--text", &books, "--output", &tokens, "--json"];
    let wrote = baton(&write);
    assert_eq!(wrote.code, 0, "{}", wrote.stderr);
    let said = wrote.json();
    assert_eq!(
        (&said["documents"], &said["tokens"]),
        (&json!(2), &json!(1224))
    );
    let again = baton(&write);
    assert_eq!(again.code, 2);
    assert!(
        again.stderr.contains("is there already"),
        "{}",
        again.stderr
    );
    for (source, folder) in [(["--data", &tokens], "a"), (["--text", &books], "b")] {
        let run = format!("{run}{folder}");
        let train = [
            "train",
            source[0],
            source[1],
            "--folder",
            &run,
            "--steps",
            "2",
            "--length",
            "16",
            "--batch",
            "2",
            "--reset-documents",
            "--initial-state",
            "truncated_bptt:conv=carried",
            "--quiet",
        ];
        let done = baton(&train);
        assert_eq!(done.code, 0, "{}", done.stderr);
    }
    assert_eq!(losses(&format!("{run}a")), losses(&format!("{run}b")));
}

#[test]
fn initial_states_are_said_in_short_or_as_json() {
    let folder = Folder::new("train_initial_state");
    let (text, run) = (text(&folder), folder.path("run"));
    let tree = r#"{"type": "state_passing", "p_zero": 0.5, "conv": "carried"}"#;
    let file = folder.write("state.json", tree);
    let train = |initial_state: &str, name: &str| {
        let run = format!("{run}{name}");
        let done = baton(&[
            "train",
            "--text",
            &text,
            "--folder",
            &run,
            "--steps",
            "3",
            "--length",
            "16",
            "--batch",
            "2",
            "--quiet",
            "--initial-state",
            initial_state,
        ]);
        (done, losses(&run))
    };
    let (_, short) = train("state_passing:p_zero=0.5,conv=carried", "short");
    let (_, long) = train(&file, "long");
    assert_eq!((short.len(), &short), (3, &long));
    let (refused, none) = train("state_passing:pzero=1", "refused");
    assert_eq!((refused.code, none.len()), (2, 0));
    assert!(
        refused.stderr.contains("`pzero` given"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_published_checkpoint_is_trained_further() {
    let folder = Folder::new("train_published");
    let from = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../train/tests/golden/mamba2_hf"
    );
    let run = folder.path("run");
    let given = [
        "post-train",
        "--from",
        from,
        "--folder",
        &run,
        "--task",
        "recall:vocabulary=96,pairs=2",
        "--steps",
        "3",
        "--length",
        "16",
        "--batch",
        "2",
        "--quiet",
        "--initial-state",
        "fitted_noise:fit=1",
    ];
    let refused = baton(&given);
    assert_eq!(refused.code, 2);
    assert!(
        refused
            .stderr
            .contains("expected the peak learning rate (--rate) too"),
        "{}",
        refused.stderr
    );
    let kept = baton(&[&given[..], &["--rate", "1e-3"]].concat());
    assert_eq!(kept.code, 0, "{}", kept.stderr);
    let again = folder.path("again");
    let mut given = given.to_vec();
    given[4] = &again;
    let other = baton(&[&given[..], &["--rate", "1e-3", "--recompute"]].concat());
    assert_eq!(other.code, 0, "{}", other.stderr);
    let all = losses(&run);
    assert_eq!((all.len(), &all), (3, &losses(&again)));
    assert_eq!(checkpoint(&run), checkpoint(&again));
}

/// The driver is looked for before Burn's device is, which would panic without one.
#[test]
fn training_on_a_gpu_says_what_it_lacks() {
    if Path::new("/dev/nvidiactl").exists() {
        return;
    }
    let folder = Folder::new("training-on-a-gpu");
    let (config, text) = (config(&folder), text(&folder));
    let mut arguments = arguments(&config, &text, &folder.path("run"));
    arguments.extend(["--device", "cuda"].map(String::from));
    let refused = baton(&arguments);
    assert_ne!(refused.code, 0);
    assert!(!refused.stderr.contains("panic"), "{}", refused.stderr);
    let expected = match cfg!(feature = "train-cuda") {
        true => "libcuda.so.1",
        false => "--features train-cuda",
    };
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
}

/// Each block trains, its run is published in its class's layout where it has one, and post-training
/// goes on from that with states passed.
#[test]
fn every_published_block_trains_and_goes_on_as_published() {
    let folder = Folder::new("train-blocks");
    let text = text(&folder);
    for (block, layout) in [
        ("mamba1", "hugging-face"),
        ("mamba1", "authors"),
        ("gated_delta_net", "hugging-face"),
        ("kda", "baton"),
        ("mlstm", "hugging-face"),
        ("rwkv7", "hugging-face"),
    ] {
        let run = folder.path(&format!("{block}-{layout}"));
        let done = |arguments: &[&str]| {
            let done = baton(arguments);
            assert_eq!(done.code, 0, "{block}: {}", done.stderr);
        };
        let small = ["--text", &text, "--quiet", "--steps", "2", "--length", "8"];
        let small = [&small[..], &["--batch", "2"]].concat();
        let train = ["train", "--block", block, "--folder", &run];
        done(&[&train[..], &small].concat());
        let published = format!("{run}-published");
        done(&[
            "convert", "--from", &run, "--to", &published, "--layout", layout,
        ]);
        let on = format!("{run}-on");
        let post = ["post-train", "--from", &published, "--folder", &on];
        let passed = ["--initial-state", "state_passing", "--rate", "1e-3"];
        done(&[&post[..], &passed, &small].concat());
        assert_eq!(losses(&on).len(), 2, "{block}");
    }
}
