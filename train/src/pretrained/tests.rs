//! Every layout against the others and against what is damaged, on the tiny published checkpoint.

use super::*;
use baton_config::{BlockConfig, BlockText, Mamba2Config};
use baton_runtime::Tensor;
use baton_runtime::device::interpreter::Interpreter;
use baton_weights::pretrained::{Layout, Precision, save};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Of a folder.
const CONFIG: &str = "config.json";
/// Of a model whose head is its own.
const HEAD: &str = "lm_head.weight";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// An empty folder of a test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = format!("baton-pretrained-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }

    /// A copy of a golden folder in it.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.0.join(name);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(golden(name)).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
        to
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Replaces `from` in a text file.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn refusal(path: &Path) -> String {
    open(path, &Interpreter)
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn both_layouts_hold_the_same_model() {
    let hf = read(&golden("mamba2_hf")).unwrap();
    let authors = read(&golden("mamba2_authors")).unwrap();
    assert_eq!(hf.layout, Layout::HuggingFace);
    assert_eq!(authors.layout, Layout::Authors);
    assert_eq!(hf.weights.len(), 29);
    assert_eq!(hf.weights, authors.weights);
    assert_eq!(authors.config.vocab_size, 96); // 90, padded
    let mut same = authors.config.clone();
    let BlockConfig::Mamba2(block) = &mut same.block else {
        panic!("{same:?}")
    };
    block.rescale_prenorm_residual = false; // how weights begin; the authors' layout does not say
    assert_eq!(hf.config, same);
}

#[test]
fn every_layout_gives_back_what_it_was_given() {
    let scratch = Scratch::new("layouts");
    for (i, from) in ["mamba2_hf", "mamba2_authors"].into_iter().enumerate() {
        let stored = read(&golden(from)).unwrap();
        for layout in [Layout::HuggingFace, Layout::Authors, Layout::Baton] {
            let to = scratch.0.join(format!("{i}-{layout:?}"));
            save(&stored, &to, layout, Precision::F32).unwrap();
            let back = read(&to).unwrap();
            assert_eq!(back.layout, layout);
            assert_eq!(back.weights, stored.weights);
            let opened = open(&to, &Interpreter).unwrap();
            assert_eq!(models::parameters(&opened.model).len(), 29);
            if layout == stored.layout {
                assert_eq!(back.config, stored.config);
                assert_eq!(back.source(), stored.source());
            }
        }
    }
}

#[test]
fn a_head_of_its_own_and_all_biases_are_kept() {
    let scratch = Scratch::new("untied");
    let config = ModelConfig {
        vocab_size: 11,
        hidden_size: 8,
        num_hidden_layers: 1,
        layer_norm_epsilon: 1e-5,
        tie_word_embeddings: false,
        intermediate_size: None,
        output_logit_soft_cap: None,
        block: BlockConfig::Mamba2(Mamba2Config {
            head_dim: 4,
            state_size: 2,
            use_bias: true,
            use_conv_bias: false,
            time_step_limit: [Some(0.01), Some(0.5)],
            rescale_prenorm_residual: false,
            ..Default::default()
        }),
    };
    let model = LanguageModel::new(&config, &Interpreter, 3).unwrap();
    let weights: BTreeMap<_, _> = models::parameters(&model)
        .into_iter()
        .map(|p| (p.name, p.value))
        .collect();
    for name in ["lm_head.weight", "backbone.layers.0.mixer.out_proj.bias"] {
        assert!(weights.contains_key(name), "{name}");
    }
    assert!(!weights.contains_key("backbone.layers.0.mixer.conv1d.bias"));
    let mut stored = Stored::new(config, weights);
    stored.train_length = Some(64);
    for layout in [Layout::HuggingFace, Layout::Authors, Layout::Baton] {
        let to = scratch.0.join(format!("{layout:?}"));
        save(&stored, &to, layout, Precision::F32).unwrap();
        let mut back = read(&to).unwrap();
        assert_eq!(back.train_length, (layout == Layout::Baton).then_some(64));
        if let BlockConfig::Mamba2(block) = &mut back.config.block {
            block.rescale_prenorm_residual = false;
        }
        assert_eq!(back.config, stored.config);
        let ids = [3, 0, 7];
        let logits = |stored: Stored| {
            let model = super::model(stored, &Interpreter).unwrap().valid();
            let (logits, _) = model.forward(&ids, [1, 3], None).unwrap();
            crate::op::Value::new(logits).unwrap().to_host()
        };
        assert_eq!(logits(back), logits(stored.clone()));
    }
}

#[test]
fn short_floats_are_rounded_to_the_nearest() {
    let scratch = Scratch::new("precision");
    let stored = read(&golden("mamba2_hf")).unwrap();
    for (precision, bound) in [
        (Precision::Bf16, 1.0 / 256.0),
        (Precision::F16, 1.0 / 2048.0),
    ] {
        for layout in [Layout::HuggingFace, Layout::Authors] {
            let to = scratch.0.join(format!("{layout:?}-{precision:?}"));
            save(&stored, &to, layout, precision).unwrap();
            let back = read(&to).unwrap();
            for (name, tensor) in &stored.weights {
                for (x, y) in tensor.data.iter().zip(&back.weights[name].data) {
                    // The least step of f16 below its normal range is 2^-24.
                    assert!((x - y).abs() <= bound * x.abs() + 3e-8, "{name}: {x} {y}");
                }
            }
            assert_ne!(stored.weights, back.weights);
        }
    }
}

#[test]
fn nothing_is_overwritten() {
    let scratch = Scratch::new("overwrite");
    let stored = read(&golden("mamba2_hf")).unwrap();
    let to = scratch.copy("mamba2_hf");
    let before = fs::read(to.join("model.safetensors")).unwrap();
    let error = save(&stored, &to, Layout::Baton, Precision::F32).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it exists, expected the name of a new folder")
    );
    assert_eq!(fs::read(to.join("model.safetensors")).unwrap(), before);
    let mut gla = stored;
    gla.config.block = BlockConfig::Recurrence(BlockText::new("gla").settle(8).unwrap());
    let error = save(
        &gla,
        &scratch.0.join("gla"),
        Layout::Authors,
        Precision::F32,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("a model of gla given, expected Mamba or Mamba-2"),
        "{error}"
    );
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
}

#[test]
fn shards_make_one_model_and_a_wrong_index_is_refused() {
    let scratch = Scratch::new("shards");
    let stored = read(&golden("mamba2_hf")).unwrap();
    let folder = scratch.copy("mamba2_hf");
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let error = refusal(&folder);
    assert!(
        error.contains("no weights in this folder, expected model.safetensors"),
        "{error}"
    );
    let (mut map, mut shards) = (serde_json::Map::new(), [vec![], vec![]]);
    let bytes = |tensor: &Tensor| tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
    let all: Vec<Vec<u8>> = stored.weights.values().map(bytes).collect();
    for (i, ((name, tensor), bytes)) in stored.weights.iter().zip(&all).enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", i % 2).into());
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap();
        shards[i % 2].push((name, view));
    }
    for (i, shard) in shards.into_iter().enumerate() {
        let to = folder.join(format!("part-{i}.safetensors"));
        safetensors::serialize_to_file(shard, None, &to).unwrap();
    }
    let index = folder.join("model.safetensors.index.json");
    let write = |map: &serde_json::Map<String, serde_json::Value>| {
        fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    };
    write(&map);
    assert_eq!(read(&folder).unwrap().weights, stored.weights);

    let norm = "backbone.norm_f.weight";
    let place = map[norm].clone();
    let mut wrong = map.clone();
    wrong.remove(norm);
    write(&wrong);
    let error = refusal(&folder);
    assert!(
        error.contains(&format!("tensor `{norm}` is here, which the index")),
        "{error}"
    );
    wrong.insert("more".into(), place.clone());
    wrong.insert(norm.into(), place);
    write(&wrong);
    let error = refusal(&folder);
    assert!(
        error.contains("tensor `more` is missing, which the index says"),
        "{error}"
    );
    wrong.insert("more".into(), "../elsewhere.safetensors".into());
    write(&wrong);
    let error = refusal(&folder);
    assert!(
        error.contains("expected the name of a file beside it"),
        "{error}"
    );
}

/// The golden file with one tensor changed by `change`, which sees its header entry and its bytes.
fn damaged(
    name: &str,
    change: impl Fn(&mut serde_json::Map<String, serde_json::Value>, &mut [u8]),
) -> String {
    let scratch = Scratch::new(name);
    let folder = scratch.copy("mamba2_hf");
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<_, _> = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    change(&mut header, &mut bytes[8 + size..]);
    let text = serde_json::to_vec(&header).unwrap();
    let file = [
        &(text.len() as u64).to_le_bytes(),
        &text[..],
        &bytes[8 + size..],
    ]
    .concat();
    fs::write(&path, file).unwrap();
    refusal(&folder)
}

#[test]
fn damaged_weights_are_refused_by_name() {
    let norm = "backbone.norm_f.weight";
    let error = damaged("renamed", |header, _| {
        let entry = header.remove(norm).unwrap();
        header.insert("backbone.norm_g.weight".into(), entry);
    });
    assert!(
        error.contains(&format!("tensor `{norm}` is missing")),
        "{error}"
    );
    assert!(
        error.contains("tensor `backbone.norm_g.weight` is not part of the model"),
        "{error}"
    );
    let error = damaged("shape", |header, _| {
        header[norm]["shape"] = vec![4, 8].into()
    });
    assert!(
        error.contains(&format!("tensor `{norm}` has shape [4, 8], expected [32]")),
        "{error}"
    );
    let error = damaged("dtype", |header, _| header[norm]["dtype"] = "I32".into());
    let expected = format!("tensor `{norm}` holds I32, expected F64, F32, F16 or BF16");
    assert!(error.contains(&expected), "{error}");
    let error = damaged("nan", |header, data| {
        let start = header[norm]["data_offsets"][0].as_u64().unwrap() as usize;
        data[start + 8..start + 12].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let expected = format!("tensor `{norm}` holds NaN at element 2, expected finite numbers");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn cut_files_are_refused() {
    let scratch = Scratch::new("cut");
    for (folder, file) in [
        ("mamba2_hf", "model.safetensors"),
        ("mamba2_authors", "pytorch_model.bin"),
    ] {
        let folder = scratch.copy(folder);
        let path = folder.join(file);
        let bytes = fs::read(&path).unwrap();
        for keep in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..keep]).unwrap();
            let error = refusal(&folder);
            assert!(error.contains(file), "{keep}: {error}");
        }
        if file.ends_with("safetensors") {
            let last = SafeTensors::deserialize(&bytes).unwrap();
            let (name, _) = last
                .tensors()
                .into_iter()
                .max_by_key(|(_, t)| t.data().as_ptr())
                .unwrap();
            let error = refusal(&folder);
            assert!(
                error.contains(&format!("the file ends within tensor `{name}`")),
                "{error}"
            );
        }
    }
}

#[test]
fn flipped_bytes_of_a_pytorch_file_are_refused_by_name() {
    let scratch = Scratch::new("flipped");
    let folder = scratch.copy("mamba2_authors");
    let path = folder.join("pytorch_model.bin");
    let mut bytes = fs::read(&path).unwrap();
    let weights = read(&folder).unwrap().weights;
    let name = "backbone.layers.1.mixer.D";
    let d: Vec<u8> = weights[name]
        .data
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    // All D are ones, so the storage is found by what is not zero around it: take the last match.
    let at = bytes.windows(d.len()).rposition(|w| w == d).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = refusal(&folder);
    assert!(
        error.contains("tensor 'backbone.layers.") && error.contains(".mixer.D'"),
        "{error}"
    );
}

#[test]
fn a_tied_head_that_differs_is_refused() {
    let scratch = Scratch::new("head");
    let folder = scratch.copy("mamba2_authors");
    let config = folder.join(CONFIG);
    edit(
        &config,
        "\"tie_embeddings\": true",
        "\"tie_embeddings\": false",
    );
    let mut stored = read(&folder).unwrap();
    assert!(!stored.config.tie_word_embeddings);
    stored.weights.get_mut(HEAD).unwrap().data[5] += 1.0;
    let other = scratch.0.join("other");
    save(&stored, &other, Layout::Authors, Precision::F32).unwrap();
    open(&other, &Interpreter).unwrap();
    edit(
        &other.join(CONFIG),
        "\"tie_embeddings\": false",
        "\"tie_embeddings\": true",
    );
    let error = refusal(&other);
    assert!(
        error.contains("tensor `lm_head.weight` differs from `backbone.embeddings"),
        "{error}"
    );
}

#[test]
fn what_a_configuration_says_and_this_program_cannot_is_refused_by_name() {
    let scratch = Scratch::new("config");
    let hf = scratch.copy("mamba2_hf");
    let authors = scratch.copy("mamba2_authors");
    for (folder, from, to, expected) in [
        (
            &hf,
            r#""silu""#,
            r#""gelu""#,
            r#"`hidden_act` is "gelu", expected "silu" or "swish""#,
        ),
        (
            &hf,
            r#""mamba2""#,
            r#""mamba3""#,
            r#"`model_type` is "mamba3", expected one of "mamba", "falcon_mamba", "mamba2""#,
        ),
        (
            &hf,
            r#""num_heads": 8"#,
            r#""num_heads": 6"#,
            "`num_heads` is 6, expected expand 2 *",
        ),
        (
            &hf,
            r#""expand": 2"#,
            r#""expand": 2.5"#,
            "`expand` is 2.5, expected a whole number",
        ),
        (
            &hf,
            r#""n_groups": 2"#,
            r#""n_groups": 3"#,
            "n_groups 3 given, expected a divisor",
        ),
        (
            &hf,
            r#""num_hidden_layers": 3"#,
            r#""num_hidden_layers": 40000000"#,
            "a model of about",
        ),
        (
            &hf,
            r#""num_hidden_layers": 3"#,
            r#""num_hidden_layers": 4000"#,
            "expected one of the 30728 that are beside it",
        ),
        (
            &authors,
            r#""Mamba2""#,
            r#""Mamba3""#,
            r#"`ssm_cfg.layer` is "Mamba3", expected"#,
        ),
        (
            &authors,
            r#""attn_layer_idx": []"#,
            r#""attn_layer_idx": [1]"#,
            "`attn_layer_idx` is [1]",
        ),
        (
            &authors,
            r#""d_intermediate": 0"#,
            r#""d_intermediate": 64"#,
            "`d_intermediate` is 64",
        ),
        (
            &authors,
            r#""ngroups": 2"#,
            r#""rmsnorm": false"#,
            "`ssm_cfg.rmsnorm` is false, expected true",
        ),
        (
            &authors,
            r#""ngroups": 2"#,
            r#""gates": 2"#,
            "`ssm_cfg.gates` is 2, expected an argument",
        ),
        (
            &authors,
            r#""d_model": 32,"#,
            "",
            "`model_type` is nothing, expected",
        ),
    ] {
        let config = folder.join(CONFIG);
        let before = fs::read_to_string(&config).unwrap();
        edit(&config, from, to);
        let error = refusal(folder);
        assert!(error.contains(expected), "{error}");
        fs::write(&config, before).unwrap();
    }
    let bare = scratch.0.join("mamba2_hf");
    let config = fs::read_to_string(bare.join(CONFIG)).unwrap();
    let old = config.replace("{\n      \"__float__\": \"Infinity\"\n    }", "Infinity");
    assert_ne!(old, config);
    fs::write(bare.join(CONFIG), old).unwrap();
    assert_eq!(
        read(&bare).unwrap().config,
        read(&golden("mamba2_hf")).unwrap().config
    );
}

#[test]
fn a_folder_without_a_checkpoint_is_refused() {
    let scratch = Scratch::new("empty");
    let error = refusal(&scratch.0);
    assert!(
        error.contains("neither config.json nor checkpoint.safetensors"),
        "{error}"
    );
    let error = refusal(&scratch.0.join("nowhere"));
    assert!(error.contains("nowhere: no such file or folder"), "{error}");
}
