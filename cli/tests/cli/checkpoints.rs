//! Checkpoints that people have: what is not ours comes back through training and conversion, and what cannot be
//! read says what it is.

use crate::program::{Folder, baton, load, save};
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::symlink;

fn golden(name: &str) -> String {
    let folder = "../train/tests/golden";
    format!("{}/{folder}/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A copy of the published Mamba-2 with its configuration changed.
fn copy(folder: &Folder, name: &str, change: &dyn Fn(&mut Map<String, Value>)) -> String {
    let to = folder.path(name);
    fs::create_dir_all(&to).unwrap();
    let from = golden("mamba2_hf");
    fs::copy(
        format!("{from}/model.safetensors"),
        format!("{to}/model.safetensors"),
    )
    .unwrap();
    let mut config = config(&from);
    change(&mut config);
    let text = serde_json::to_string(&config).unwrap();
    // As transformers 4 writes it, which reads nothing else.
    let text = text.replace(r#"{"__float__":"Infinity"}"#, "Infinity");
    fs::write(format!("{to}/config.json"), text).unwrap();
    to
}

fn config(folder: &str) -> Map<String, Value> {
    let text = fs::read_to_string(format!("{folder}/config.json")).unwrap();
    let text = match text.contains("__float__") {
        true => text,
        false => text.replace("Infinity", r#"{"__float__": "Infinity"}"#),
    };
    serde_json::from_str(&text).unwrap()
}

fn train(from: &str, to: &str) {
    let task = "recall:vocabulary=96,pairs=2";
    let given = ["post-train", "--from", from, "--folder", to, "--task", task];
    let few = "--steps 1 --length 16 --batch 2 --rate 1e-3 --quiet";
    let done = baton(&given.into_iter().chain(few.split(' ')).collect::<Vec<_>>());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

/// What a run holds of a published checkpoint goes with the run, also where that died before it had written its own.
#[test]
fn what_a_run_left_without_a_checkpoint_gives_way_to_the_next() {
    let folder = Folder::new("checkpoints-died");
    let from = |name: &str, token: u64| {
        let from = copy(&folder, name, &|config| {
            config.insert("bos_token_id".into(), token.into());
        });
        fs::write(format!("{from}/{name}.md"), name).unwrap();
        from
    };
    let (one, two) = (from("one", 3), from("two", 4));
    let run = folder.path("run");
    let published = format!("{run}/published");
    let dies = || fs::remove_file(format!("{run}/checkpoint.safetensors")).unwrap();
    let held = || {
        let entries = fs::read_dir(&published).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    train(&one, &run);
    assert_eq!(held(), ["config.json", "one.md"]);
    dies();
    train(&two, &run);
    assert_eq!(held(), ["config.json", "two.md"]);
    assert_eq!(config(&published)["bos_token_id"], 4);

    // Weights are no run's, and a checkpoint that was moved has come with what is there.
    let task = ["--task", "copying:max=5", "--length", "16", "--steps", "1"];
    let fresh = ["train", "--folder", &run, "--batch", "2", "--quiet"];
    let fresh = [&fresh[..], &task].concat();
    let weights = format!("{published}/model.safetensors");
    let [last, moved] = ["checkpoint", "moved"].map(|name| format!("{run}/{name}.safetensors"));
    fs::rename(&last, &moved).unwrap();
    let refused = || {
        let refused = baton(&fresh);
        let why = "published: it holds weights or belongs to a checkpoint beside it";
        assert!(
            refused.code == 2 && refused.stderr.contains(why),
            "{}",
            refused.stderr
        );
        assert!(held().contains(&"two.md".to_string()));
    };
    refused();
    train(&moved, &run);
    assert_eq!(held(), ["config.json", "two.md"]);
    dies();
    fs::remove_file(&moved).unwrap();
    fs::write(&weights, "weights").unwrap();
    refused();
    fs::remove_file(&weights).unwrap();
    let done = baton(&fresh);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(!fs::exists(&published).unwrap());
}

fn convert(from: &str, to: &str, more: &[&str]) {
    let done = baton(&[&["convert", "--from", from, "--to", to], more].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

#[test]
fn training_and_conversion_give_back_every_key_and_file_that_came() {
    let folder = Folder::new("checkpoints-back");
    let from = copy(&folder, "from", &|config| {
        config.insert("eos_token_id".into(), json!([7, 9]));
        config.insert("bos_token_id".into(), 3.into());
        config.insert("pad_token_id".into(), 5.into());
        config.insert("chunk_size".into(), 64.into());
        config.insert("hidden_act".into(), "swish".into());
        config.insert("residual_in_fp32".into(), false.into());
        config.insert("architectures".into(), json!(["TheirMamba"]));
        config.insert("theirs".into(), json!({"a": [1, null, "x"]}));
        config.remove("time_step_rank");
    });
    let files = [
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "merges.txt",
        "modeling_theirs.py",
        "templates/chat.jinja",
    ];
    fs::create_dir_all(format!("{from}/templates")).unwrap();
    for file in files {
        fs::write(format!("{from}/{file}"), file).unwrap();
    }
    // Weights of another program would be others after training.
    for weights in ["model.gguf", "pytorch_model.bin", "flax_model.msgpack"] {
        fs::write(format!("{from}/{weights}"), "weights").unwrap();
    }
    let path = |name: &str| folder.path(name);
    train(&from, &path("run"));
    train(&path("run"), &path("second"));
    convert(&path("second"), &path("trained"), &[]);
    convert(&from, &path("own"), &["--layout", "baton"]);
    convert(
        &path("own"),
        &path("through"),
        &["--layout", "hugging-face"],
    );
    convert(&from, &path("same"), &[]);
    for name in ["trained", "through", "same"] {
        let to = path(name);
        assert_eq!(config(&to), config(&from), "{name}");
        let text = fs::read_to_string(format!("{to}/config.json")).unwrap();
        assert!(
            text.contains(" Infinity") && !text.contains("__float__"),
            "{text}"
        );
        for file in files {
            let text = fs::read_to_string(format!("{to}/{file}"));
            assert_eq!(text.ok().as_deref(), Some(file), "{name}");
        }
        let mut held: Vec<_> = fs::read_dir(&to).unwrap().collect();
        held.retain(|entry| entry.as_ref().unwrap().path().is_file());
        assert_eq!(held.len(), files.len() - 1 + 2, "{name}: {held:?}");
    }
    let readers = |file: &str| fs::metadata(path(file)).unwrap().permissions();
    assert_eq!(
        readers("same/model.safetensors"),
        readers("same/config.json"),
        "whoever reads the configuration reads the weights"
    );
    let weights = |name: &str| load(&format!("{}/model.safetensors", path(name)));
    assert_eq!(weights("same"), weights("from"));
    assert_eq!(weights("through"), weights("from"));
    assert_ne!(weights("trained"), weights("from"));
    // Another program's layout has the files beside its weights too.
    convert(&from, &path("theirs"), &["--layout", "authors"]);
    convert(
        &path("theirs"),
        &path("back"),
        &["--layout", "hugging-face"],
    );
    for (name, file) in [
        ("theirs", files[0]),
        ("theirs", files[5]),
        ("back", files[1]),
    ] {
        let text = fs::read_to_string(format!("{}/{file}", path(name)));
        assert_eq!(text.ok().as_deref(), Some(file), "{name}");
    }
    convert(&from, &path("half"), &["--dtype", "bf16"]);
    let mut expected = config(&from);
    expected.insert("dtype".into(), "bfloat16".into());
    assert_eq!(config(&path("half")), expected);
}

/// Weights of f64 are those of f32, rounded.
#[test]
fn weights_of_f64_are_rounded() {
    let folder = Folder::new("checkpoints-double");
    let double = copy(&folder, "double", &|_| {});
    let path = format!("{double}/model.safetensors");
    let plain = load(&path);
    let mut tensors = plain.clone();
    for (dtype, _, data) in tensors.values_mut() {
        *dtype = Dtype::F64;
        data.iter_mut().for_each(|x| *x *= 1.0 + 1e-12);
    }
    save(&path, &tensors);
    let single = folder.path("single");
    convert(&double, &single, &[]);
    assert_eq!(load(&format!("{single}/model.safetensors")), plain);
    let (_, _, data) = tensors.get_mut("backbone.norm_f.weight").unwrap();
    data[2] = 1e300;
    save(&path, &tensors);
    let said = refused(&double);
    assert!(
        said.contains("tensor `backbone.norm_f.weight` holds inf at element 2"),
        "{said}"
    );
}

/// The error of a checkpoint that cannot be read.
fn refused(checkpoint: &str) -> String {
    let output = format!("{checkpoint}.out");
    let done = baton(&[
        "eval",
        "logits",
        "--checkpoint",
        checkpoint,
        "--inputs",
        &golden("mamba2_hf_golden.safetensors"),
        "--output",
        &output,
    ]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (2, ""),
        "{}",
        done.stderr
    );
    done.stderr
}

#[test]
fn what_stands_for_a_checkpoint_says_what_it_is() {
    let folder = Folder::new("checkpoints-stand-ins");
    let plain = |_: &mut Map<String, Value>| {};
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    let lfs = copy(&folder, "lfs", &plain);
    fs::write(format!("{lfs}/model.safetensors"), pointer).unwrap();
    let torch = copy(&folder, "torch", &plain);
    fs::remove_file(format!("{torch}/model.safetensors")).unwrap();
    fs::write(format!("{torch}/pytorch_model.bin"), pointer).unwrap();
    let config = copy(&folder, "config", &plain);
    fs::write(format!("{config}/config.json"), pointer).unwrap();
    for folder in [lfs, torch, config] {
        let said = refused(&folder);
        assert!(
            said.contains("a pointer of Git LFS") && said.contains("git lfs pull"),
            "{said}"
        );
    }
    for file in ["model.safetensors", "config.json"] {
        let hub = copy(&folder, &format!("hub-{file}"), &plain);
        let path = format!("{hub}/{file}");
        fs::remove_file(&path).unwrap();
        symlink("../blobs/0123", &path).unwrap();
        let said = refused(&hub);
        assert!(
            said.contains(&format!("{path}: it is a link to `../blobs/0123`")),
            "{said}"
        );
    }
    let whole = copy(&folder, "whole", &plain);
    for file in ["model.safetensors", "config.json"] {
        let said = refused(&format!("{whole}/{file}"));
        assert!(
            said.contains("a file of a published checkpoint, expected its folder"),
            "{said}"
        );
        assert!(said.trim_end().ends_with(&whole), "{said}");
    }
    let run = folder.path("run");
    fs::create_dir_all(&run).unwrap();
    fs::write(format!("{run}/lock"), "").unwrap();
    for path in [run.clone(), format!("{run}/checkpoint.safetensors")] {
        let said = refused(&path);
        assert!(
            said.contains("the run in this folder has no checkpoint yet"),
            "{said}"
        );
    }
    assert!(refused(&folder.path("nowhere")).contains("no such file or folder"));
}

#[test]
fn names_with_something_before_them_are_refused_by_it() {
    let folder = Folder::new("checkpoints-prefix");
    for before in ["model.", "module.", "_orig_mod.", "state_dict.", "a.b."] {
        let named = copy(&folder, before, &|_| {});
        let path = format!("{named}/model.safetensors");
        let tensors = load(&path).into_iter();
        save(
            &path,
            &tensors
                .map(|(name, t)| (format!("{before}{name}"), t))
                .collect(),
        );
        let said = refused(&named);
        let expected = format!("`{before}` stands before the names");
        assert!(said.contains(&expected), "{said}");
    }
    let inner = copy(&folder, "inner", &|_| {});
    let path = format!("{inner}/model.safetensors");
    let tensors = load(&path).into_iter();
    let named = tensors.map(|(name, t)| (name.trim_start_matches("backbone.").to_string(), t));
    save(&path, &named.collect());
    assert!(refused(&inner).contains("the names lack `backbone.`"));
}

#[test]
fn a_tied_head_a_mark_and_words_are_read_and_what_is_none_of_them_is_named() {
    let folder = Folder::new("checkpoints-read");
    let values = load(&golden("mamba2_hf_golden.safetensors"));
    let inputs = folder.path("ids.safetensors");
    save(
        &inputs,
        &[("input_ids".to_string(), values["input_ids"].clone())].into(),
    );
    let states = |checkpoint: &str| {
        let output = folder.path("out.safetensors");
        let done = baton(&[
            "eval",
            "logits",
            "--states",
            "--checkpoint",
            checkpoint,
            "--inputs",
            &inputs,
            "--output",
            &output,
        ]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        load(&output)
    };
    let plain = states(&golden("mamba2_hf"));

    let tied = copy(&folder, "tied", &|_| {});
    let path = format!("{tied}/model.safetensors");
    let mut tensors = load(&path);
    let embedding = tensors.remove("backbone.embeddings.weight").unwrap();
    tensors.insert("lm_head.weight".into(), embedding);
    save(&path, &tensors);
    let config = format!("{tied}/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("\u{feff}{text}")).unwrap();
    assert_eq!(states(&tied), plain);

    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [[&[0xff, 0xfe], &wide[..]].concat(), wide.clone()] {
        fs::write(&config, bytes).unwrap();
        let said = refused(&tied);
        assert!(
            said.contains("config.json: a text in UTF-16 given, expected UTF-8"),
            "{said}"
        );
    }
    for limit in ["[0.0, NaN]", "[NaN, Infinity]", "[0.5, 0.1]"] {
        let limited = copy(&folder, "limited", &|_| {});
        let config = format!("{limited}/config.json");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("[0.0,Infinity]", limit)).unwrap();
        let said = refused(&limited);
        assert!(said.contains("`time_step_limit` is ["), "{limit}: {said}");
    }
    // A convolution of one tap leaves its last input, as one of four whose others are zero does.
    let cut = |name: &str, taps: usize, left: usize| {
        let cut = copy(&folder, name, &|config| {
            config.insert("conv_kernel".into(), left.into());
        });
        let path = format!("{cut}/model.safetensors");
        let mut tensors = load(&path);
        for (_, (_, shape, data)) in tensors
            .iter_mut()
            .filter(|(name, _)| name.ends_with("conv1d.weight"))
        {
            shape[2] = left;
            let rows = data.chunks(4).map(|row| {
                let own = |w: usize| if w + taps < 4 { 0.0 } else { row[w] };
                (4 - left..4).map(own).collect::<Vec<f64>>()
            });
            *data = rows.collect::<Vec<_>>().concat();
        }
        save(&path, &tensors);
        states(&cut)
    };
    let (one, four) = (cut("one", 1, 1), cut("four", 1, 4));
    assert_eq!(one["logits"], four["logits"]);
    for layer in 0..3 {
        let name = format!("conv.{layer}");
        let last: Vec<f64> = four[&name].2.chunks(4).map(|window| window[3]).collect();
        assert!(last.iter().any(|&x| x != 0.0));
        assert_eq!(one[&name].2, last);
        assert_eq!(one[&name].1[2], 1);
    }
}
