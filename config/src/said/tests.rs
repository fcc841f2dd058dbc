//! What is laid over what; mistakes, all at once.

use super::*;
use crate::{BlockConfig, Mamba2Config, ModelConfig, Shape, TrainConfig, small};
use serde_json::{Value, json};

fn laid(parts: Vec<Said>) -> TrainConfig {
    lay(&Beginning::Fresh, parts).unwrap().config
}

#[test]
fn later_parts_are_laid_over_earlier_ones() {
    let said = |text| Said::setting("--set", text).unwrap();
    let config = laid(vec![
        Said::preset("mamba2-130m").unwrap(),
        said("schedule.steps=500"),
        said("model.block.state_size=64"),
        said("schedule.shape=wsd"),
        said("initial_state=state_passing:p_zero=0.5"),
        said("initial_state=zero"),
    ]);
    // The preset says the warm-up, so that it does not follow from the steps.
    assert_eq!((config.schedule.steps, config.schedule.warmup), (500, 715));
    assert_eq!(config.schedule.shape, Shape::Wsd);
    let BlockConfig::Mamba2(block) = &config.model.block else {
        panic!("Mamba-2")
    };
    let published = Mamba2Config::default();
    assert_eq!(
        *block,
        Mamba2Config {
            state_size: 64,
            ..published
        }
    );
    // Another block begins anew, with what stands around it; the width stays.
    let config = laid(vec![
        Said::preset("mamba2-130m").unwrap(),
        said("model.block=kda"),
    ]);
    assert_eq!(
        (config.model.hidden_size, config.model.intermediate_size),
        (768, Some(384))
    );
    assert!(!config.model.tie_word_embeddings);
    let back = laid(vec![said("model.block=kda"), said("model.block=mamba2")]);
    assert_eq!(back, small::base_config(1, 1000));
    let none = laid(vec![
        said("model.block=kda"),
        said("model.intermediate_size=none"),
    ]);
    assert_eq!(none.model.intermediate_size, None);
}

/// Linear attention has no gate and is asked for none; what was said of one is read as it was.
#[test]
fn a_block_is_asked_for_what_it_has() {
    let of = |block: Value| {
        laid(vec![Said::key("file", "model.block", block)])
            .model
            .block
    };
    let whole = json!({"type": "gla", "num_heads": 4, "key_dim": 32, "value_dim": 32, "gate_rank": 16,
        "gate_normalizer": 16.0});
    assert_eq!(of(json!("gla")), of(whole.clone()));
    assert_eq!(
        of(whole.clone()),
        serde_json::from_value::<ModelConfig>({
            let mut model = json!(small::base_config(1, 1).model);
            model["block"] = whole;
            model
        })
        .unwrap()
        .block
    );
    let plain = of(json!({"type": "linear_attention", "num_heads": 2, "key_dim": 8}));
    let same =
        json!({"type": "recurrence", "text": "linear_attention", "num_heads": 2, "dims": {"K": 8}});
    assert_eq!(plain, of(same));
    let rank = of(json!({"type": "gla", "gate_rank": 3, "ports": {"v": "conv=4"}}));
    let text = json!(rank)["ports"].to_string();
    assert!(
        text.contains("rank=3,") && text.contains("conv=4"),
        "{text}"
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let what = json!({
        "lenght": 3, "text": "book.txt", "checkpoint-every": 9, "peak": 1e-3, "train_length": 0, "parts": "many", "recompute": 1,
        "initial_state": "state_pasing",
        "model": {"hiden_size": 4, "block": {"type": "mamba2", "num_heads": 4, "time_step_limit": [0.1]},
            "intermediate_size": -1},
        "schedule": {"shape": "cosin", "floor": 2, "decay": 3},
        "optimizer": 1,
    });
    let part = Said::part("my.toml", what);
    let other = Said::setting("--set", "model.block.stat_size=4").unwrap();
    let error = lay(&Beginning::Fresh, vec![part, other])
        .unwrap_err()
        .to_string();
    let lines = [
        "my.toml: `lenght` given, expected a key: did you mean `--length`, which is `train_length`?",
        "my.toml: `text` given, expected a key: it is an option, `--text`",
        "my.toml: `checkpoint-every` given, expected a key: it is an option, `--checkpoint-every`",
        "my.toml: `peak` given, expected a key: did you mean `schedule.peak`?",
        "my.toml: `train_length` given as 0, expected a whole number from 1 on",
        "my.toml: `parts` given as \"many\", expected a whole number from 1 on",
        "my.toml: `recompute` given as 1, expected true or false",
        "my.toml: `initial_state` given as \"state_pasing\", expected an initial state: ",
        "my.toml: `model.hiden_size` given, expected a key of `model`: did you mean `model.hidden_size`?",
        "my.toml: `model.block.num_heads` given, expected a key of the block mamba2: its heads are its channels over \
         `model.block.head_dim` (--head-size)",
        "my.toml: `model.block.time_step_limit` given as [0.1], expected two bounds, ",
        "my.toml: `model.intermediate_size` given as -1, expected a whole number from 1 on, or \"none\"",
        "my.toml: `schedule.shape` given as \"cosin\", expected one of cosine, constant, linear, wsd: did you mean \
         \"cosine\"?",
        "my.toml: `schedule.floor` given as 2, expected a number from 0 to 1",
        "my.toml: `optimizer` given as 1, expected keys and their values",
        "--set model.block.stat_size: `model.block.stat_size` given, expected a key of the block mamba2: did you \
         mean `model.block.state_size`?",
    ];
    for line in lines {
        assert!(error.contains(line), "{line}\n{error}");
    }
    assert!(error.starts_with("16 things are wrong"), "{error}");
    // What does not fit together is said beside what cannot be.
    let said = |text| Said::setting("--set", text).unwrap();
    let parts = vec![
        said("seed=x"),
        said("model.block.head_dim=3"),
        said("schedule.decay=1"),
    ];
    let error = lay(&Beginning::Fresh, parts).unwrap_err().to_string();
    for part in [
        "`seed` given as \"x\"",
        "head_dim 3 given, expected a divisor",
        "for wsd alone",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_model_of_weights_stays() {
    let config = small::base_config(1, 10);
    let said = |text| Said::setting("--set", text).unwrap();
    let same = Beginning::Same(config.clone());
    let parts = vec![said("model.hidden_size=128"), said("schedule.steps=20")];
    let laid = lay(&same, parts).unwrap();
    assert_eq!(
        (laid.config.schedule.steps, laid.config.schedule.warmup),
        (20, 1)
    );
    assert_eq!(laid.config.model, config.model);
    let parts = vec![
        said("model.hidden_size=64"),
        said("model.num_hidden_layers=3"),
    ];
    let error = lay(&same, parts).unwrap_err().to_string();
    for part in [
        "2 things",
        "`model.hidden_size` given as 64, expected 128: the weights",
        "_layers` given as 3",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

/// What JSON has no words for is refused as it was written.
#[test]
fn numbers_of_toml_that_are_not_finite_are_said_as_they_are() {
    let path = std::env::temp_dir().join(format!("baton-infinite-{}.toml", std::process::id()));
    let text =
        "[schedule]\npeak = inf\nfloor = -inf\n[optimizer]\nclip = nan\nbeta1 = 2026-01-02\n";
    std::fs::write(&path, text).unwrap();
    let said = Said::file(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = lay(&Beginning::Fresh, said).unwrap_err().to_string();
    for part in [
        "`schedule.peak` given as \"inf\", expected a number from 0 on",
        "`schedule.floor` given as \"-inf\"",
        "`optimizer.clip` given as \"NaN\"",
        "`optimizer.beta1` given as \"2026-01-02\"",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

/// Written whole, every block is read again as it was.
#[test]
fn what_is_written_whole_is_read_again() {
    let blocks = small::PUBLISHED
        .iter()
        .chain(&["gla", "retnet", "longhorn", "delta_net"]);
    for block in blocks {
        let config = laid(vec![
            Said::setting("--set", &format!("model.block={block}")).unwrap(),
        ]);
        let path = std::env::temp_dir().join(format!("baton-{}-{block}.toml", std::process::id()));
        std::fs::write(&path, toml(&config).unwrap()).unwrap();
        let again = laid(Said::file(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(again, config, "{block}");
        let again = laid(vec![Said::part("again", whole(&config))]);
        assert_eq!(again, config, "{block}");
    }
}

/// A hybrid's layers are looked at as a model's block is, and their blocks begin with the same defaults.
#[test]
fn layers_of_a_hybrid_are_asked_for_what_they_have() {
    let layers = |layers: Value| {
        Said::key(
            "file",
            "model",
            json!({"block": {"type": "hybrid", "chunk": 64, "landmark": "encoder", "layers": layers}}),
        )
    };
    let short = laid(vec![layers(json!([
        {"type": "recurrent", "block": {"type": "mamba2", "state_size": 16}},
        {"type": "recurrent", "block": "kda", "mlp": 64},
        {"type": "recurrent", "block": {"type": "gla", "num_heads": 4}},
    ]))]);
    let block = json!(short.model.block);
    let of = |name| json!(small::with(small::base_config(1, 1), name).model.block);
    let mut first = of("mamba2");
    first["state_size"] = json!(16);
    assert_eq!(block["layers"][0]["block"], first);
    assert_eq!(block["layers"][1]["block"], of("kda"));
    let whole = whole(&short);
    assert_eq!(whole["model"]["block"]["layers"][0]["mlp"], json!("none"));
    assert_eq!(
        laid(vec![Said::key("file", "model", whole["model"].clone())]),
        short
    );

    let wrong = layers(json!([
        {"type": "recurrent", "block": {"type": "mamba2", "n_group": 2}},
        {"type": "recurrent", "block": {"state_size": 2}},
        {"type": "atention", "heads": 4},
        {"type": "attention", "heads": 4, "kv_heads": 0, "windows": 8, "positions": "alibi"},
        {"heads": 4},
        {"type": "sparse", "queries": 4, "one": 1},
    ]));
    let said = lay(&Beginning::Fresh, vec![wrong]).unwrap_err().to_string();
    let expected = [
        "`model.block.layers[0].block.n_group` given, expected a key of the block mamba2: did you mean `model.block.layers[0].block.n_groups`?",
        "`model.block.layers[1].block.type` is missing, expected in the layer recurrent",
        "`model.block.layers[2].type` given as \"atention\", expected one of recurrent, attention, chunking, retrieval, grouped, sparse: did you mean \"attention\"?",
        "`model.block.layers[3].window` is missing, expected in the layer attention",
        "`model.block.layers[3].kv_heads` given as 0, expected a whole number from 1 on",
        "`model.block.layers[3].windows` given, expected a key of the layer attention: did you mean `model.block.layers[3].window`?",
        "`model.block.layers[4].type` given as nothing, expected one of recurrent, attention, chunking, retrieval, grouped, sparse",
        "`model.block.layers[5].one` given as 1, expected true or false",
    ];
    assert!(said.contains("8 things are wrong"), "{said}");
    for line in expected {
        assert!(said.contains(line), "{line}\n{said}");
    }
}

/// The pages name every key of a hybrid and of its layers.
#[test]
fn the_pages_name_every_key_of_a_hybrid() {
    let page = |name: &str| {
        let path = format!("{}/../docs/{name}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let rows = |page: &str, from: &str| {
        let part = page
            .split(&format!("\n{from}\n"))
            .nth(1)
            .unwrap()
            .to_string();
        let part = part.split("\n#").next().unwrap().to_string();
        let rows = part
            .lines()
            .filter(|line| line.starts_with("| `") && !line.starts_with("| `type`"));
        rows.map(str::to_string).collect::<Vec<_>>()
    };
    let block = rows(&page("configuration"), "### `hybrid`");
    assert_eq!(block.len(), keys::of_block("hybrid").len());
    for (row, key) in block.iter().zip(keys::of_block("hybrid")) {
        assert!(row.starts_with(&format!("| `{}` |", key.name)), "{row}");
    }
    let layers = rows(&page("retrieval"), "## Models");
    assert_eq!(layers.len(), keys::LAYERS.len());
    for (row, (name, of)) in layers.iter().zip(keys::LAYERS) {
        assert!(row.starts_with(&format!("| `{name}` |")), "{row}");
        for key in of {
            assert!(
                row.contains(&format!("`{}`", key.name)),
                "{} of {name}",
                key.name
            );
        }
    }
}

/// Sequences in which nothing attends to a chunk would leave half of the model as it began.
#[test]
fn sequences_of_a_hybrid_hold_chunks_to_attend_to() {
    fn said(text: &str) -> Said {
        Said::setting("--set", text).unwrap()
    }
    for (name, least) in [("drt", 127), ("ramba", 65)] {
        let block = format!("model.block={name}");
        let block = || said(&block);
        assert_eq!(laid(vec![block()]).train_length, 256, "{name}");
        let short = format!("train_length={}", least - 1);
        let refused = lay(&Beginning::Fresh, vec![block(), said(&short)]).unwrap_err();
        let expected = format!(
            "train_length {} given, expected at least {least}: in shorter",
            least - 1
        );
        assert!(refused.to_string().starts_with(&expected), "{refused}");
        let least = format!("train_length={least}");
        lay(&Beginning::Fresh, vec![block(), said(&least)]).unwrap();
    }
    assert_eq!(laid(vec![said("model.block=window")]).train_length, 64);
}

/// The page's file of a hybrid, whose layers say their number and leave out what blocks begin with.
#[test]
fn the_pages_hybrid_is_one() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let part = page.split("### `hybrid`").nth(1).unwrap();
    let file = part.split("```json\n").nth(1).unwrap();
    let file = serde_json::from_str(file.split("```").next().unwrap()).unwrap();
    let config = laid(vec![Said::part("the page", file)]);
    assert_eq!(
        (config.model.num_hidden_layers, config.train_length),
        (5, 256)
    );
    let hybrid = config.model.hybrid().unwrap();
    assert!(hybrid.chunking().is_some_and(|(at, _)| at == 1));

    let layers = json!([{"type": "recurrent", "block": "mamba2"}]);
    let block = json!({"type": "hybrid", "chunk": 64, "landmark": "encoder", "layers": layers});
    let part = json!({"model": {"num_hidden_layers": 2, "block": block}});
    let error = lay(&Beginning::Fresh, vec![Said::part("file", part)]).unwrap_err();
    let expected = "num_hidden_layers 2 given for a block of 1 layers, expected 1, or nothing";
    assert!(error.to_string().contains(expected), "{error}");
}

/// What the page on training says in JSON fits the small training's two layers.
#[test]
fn the_pages_initial_state_fits_the_defaults() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/training.md");
    let page = std::fs::read_to_string(page).unwrap();
    let tree = page.split("```json\n").nth(1).unwrap();
    let tree: Value = serde_json::from_str(tree.split("```").next().unwrap()).unwrap();
    laid(vec![Said::key("the page", "initial_state", tree)]);
}
