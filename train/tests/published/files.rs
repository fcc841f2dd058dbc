//! What a folder holds: all of it goes back, and what is damaged or not computed here is refused by its name.

use super::{CLASSES, Scratch, Values, apart, device, golden};
use baton_config::BlockConfig;
use baton_runtime::device::interpreter::Interpreter;
use baton_train::op::Value;
use baton_train::pretrained::open;
use baton_weights::pretrained::{Layout, Precision, read, save};
use safetensors::SafeTensors;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn said(path: &Path) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A safetensors file: what its header says, and its data.
fn tensors(path: &Path) -> (serde_json::Map<String, serde_json::Value>, Vec<u8>) {
    let mut bytes = fs::read(path).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let data = bytes.split_off(8 + size);
    (serde_json::from_slice(&bytes[8..]).unwrap(), data)
}

fn write(path: &Path, header: &serde_json::Map<String, serde_json::Value>, data: &[u8]) {
    let text = serde_json::to_vec(header).unwrap();
    let size = (text.len() as u64).to_le_bytes();
    fs::write(path, [&size[..], &text, data].concat()).unwrap();
}

#[test]
fn what_goes_back_into_its_layout_has_every_file_key_and_tensor() {
    let scratch = Scratch::new("back");
    for (class, ..) in CLASSES {
        let from = scratch.copy(class);
        fs::write(from.join("generation_config.json"), class).unwrap();
        let stored = read(&from).unwrap();
        let (own, through) = (scratch.0.join("own"), scratch.0.join("through"));
        save(&stored, &own, Layout::Baton, Precision::F32).unwrap();
        let plain = read(&own).unwrap();
        assert_eq!(plain.config, stored.config, "{class}");
        assert_eq!(plain.weights, stored.weights, "{class}");
        save(&plain, &through, Layout::HuggingFace, Precision::F32).unwrap();
        assert_eq!(read(&through).unwrap().weights, stored.weights, "{class}");

        let to = scratch.0.join("same");
        save(&stored, &to, Layout::HuggingFace, Precision::F32).unwrap();
        assert_eq!(
            said(&to.join("config.json")),
            said(&from.join("config.json"))
        );
        let of = |folder: &Path| {
            let bytes = fs::read(folder.join("model.safetensors")).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let all = file.tensors().into_iter();
            let all = all.map(|(name, t)| (name, (t.shape().to_vec(), t.data().to_vec())));
            all.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(of(&to), of(&from), "{class}");
        assert_eq!(of(&through), of(&from), "{class}");
        assert_eq!(
            fs::read(to.join("generation_config.json")).unwrap(),
            class.as_bytes()
        );
        for folder in [own, through, to] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}

/// The authors' file holds the weights of transformers' one, and does so again once it was saved.
#[test]
fn the_authors_layout_holds_the_same_mamba() {
    let scratch = Scratch::new("authors");
    let theirs = read(&golden("mamba1_authors")).unwrap();
    let ours = read(&golden("mamba1_hf")).unwrap();
    assert_eq!(theirs.layout, Layout::Authors);
    assert_eq!(theirs.weights, ours.weights);
    for (i, stored) in [theirs, ours].into_iter().enumerate() {
        for layout in [Layout::Authors, Layout::HuggingFace] {
            let to = scratch.0.join(format!("{i}-{layout:?}"));
            save(&stored, &to, layout, Precision::F32).unwrap();
            let back = read(&to).unwrap();
            assert_eq!(back.weights, stored.weights);
            let (BlockConfig::Mamba1(mut a), BlockConfig::Mamba1(mut b)) =
                (back.config.block, stored.config.block.clone())
            else {
                panic!("{i}");
            };
            // How weights begin; the authors' layout does not say.
            (a.rescale_prenorm_residual, b.rescale_prenorm_residual) = (false, false);
            assert_eq!(a, b);
            let says = said(&to.join("config.json"));
            if layout == Layout::Authors {
                assert_eq!(says["ssm_cfg"].get("layer"), None);
            }
        }
    }
    let falcon = read(&golden("falcon_mamba_hf")).unwrap();
    let error = save(
        &falcon,
        &scratch.0.join("falcon"),
        Layout::Authors,
        Precision::F32,
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("a model of falcon_mamba given"), "{error}");
}

/// Every tensor in turn is left out, turned, or spoiled.
#[test]
fn a_damaged_tensor_is_refused_by_its_own_name() {
    let scratch = Scratch::new("damaged");
    for (class, ..) in CLASSES {
        let folder = scratch.copy(class);
        let path = folder.join("model.safetensors");
        let (header, data) = tensors(&path);
        let refusal = || {
            let opened = open(&folder, &Interpreter);
            opened.map(|_| ()).unwrap_err().to_string()
        };
        for (i, name) in header
            .keys()
            .filter(|key| *key != "__metadata__")
            .enumerate()
        {
            let mut changed = header.clone();
            let entry = changed.remove(name).unwrap();
            if i % 3 == 0 {
                changed.insert(format!("{name}.more"), entry);
                write(&path, &changed, &data);
                let error = refusal();
                let missing = format!("tensor `{name}` is missing");
                assert!(error.contains(&missing), "{class}: {error}");
                continue;
            }
            let mut spoiled = data.clone();
            let mut entry = entry;
            let mut expected = format!("tensor `{name}` holds NaN at element 0");
            match i % 3 {
                1 => {
                    let shape: Vec<u64> = serde_json::from_value(entry["shape"].clone()).unwrap();
                    let wrong = [&[1, 1], &shape[..]].concat();
                    expected = format!("tensor `{name}` has shape {wrong:?}, expected {shape:?}");
                    entry["shape"] = wrong.into();
                }
                _ => {
                    let at = entry["data_offsets"][0].as_u64().unwrap() as usize;
                    spoiled[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
                }
            }
            changed.insert(name.clone(), entry);
            write(&path, &changed, &spoiled);
            let error = refusal();
            assert!(error.contains(&expected), "{class}: {error}");
        }
        let mut surplus = header.clone();
        surplus.insert("more".into(), header[header.keys().nth(1).unwrap()].clone());
        let last = surplus["more"]["data_offsets"][1].as_u64().unwrap() as usize;
        let from = surplus["more"]["data_offsets"][0].as_u64().unwrap() as usize;
        let end = data.len();
        surplus["more"]["data_offsets"] = vec![end, end + last - from].into();
        write(&path, &surplus, &[&data[..], &data[from..last]].concat());
        let error = refusal();
        assert!(
            error.contains("tensor `more` is not part of the model"),
            "{class}: {error}"
        );
    }
}

/// The published FalconMamba says an `expand` that its inner width does not have.
#[test]
fn an_inner_width_that_is_said_counts_and_what_it_overrules_is_kept() {
    let scratch = Scratch::new("inner");
    let from = scratch.copy("falcon_mamba_hf");
    let whole = read(&from).unwrap();
    let path = from.join("config.json");
    let mut config = said(&path);
    config.insert("expand".into(), json!(16));
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let stored = read(&from).unwrap();
    assert_eq!(stored.config, whole.config);
    let to = scratch.0.join("same");
    save(&stored, &to, Layout::HuggingFace, Precision::F32).unwrap();
    assert_eq!(said(&to.join("config.json")), config);
}

#[test]
fn what_a_configuration_says_and_no_block_computes_is_refused_by_key() {
    let scratch = Scratch::new("keys");
    for (class, key, value, expected) in [
        (
            "mamba1_hf",
            "hidden_act",
            json!("gelu"),
            "`hidden_act` is \"gelu\"",
        ),
        (
            "mamba1_hf",
            "intermediate_size",
            json!(50),
            "`intermediate_size` is 50, expected a multiple of hidden_size 24",
        ),
        (
            "falcon_mamba_hf",
            "time_step_rank",
            json!("some"),
            "`time_step_rank` is \"some\"",
        ),
        (
            "gated_deltanet_fla",
            "attn",
            json!({"layers": [1]}),
            "`attn` is {",
        ),
        (
            "gated_deltanet_fla",
            "use_gate",
            json!(false),
            "`use_gate` is false",
        ),
        (
            "gated_deltanet_fla",
            "use_short_conv",
            json!(false),
            "`use_short_conv` is false",
        ),
        (
            "gated_deltanet_fla",
            "expand_v",
            json!(1.3),
            "`expand_v` is 1.3",
        ),
        (
            "gated_deltanet_fla",
            "num_v_heads",
            json!(3),
            "num_v_heads 3 given, expected a multiple",
        ),
        (
            "gla_fla",
            "feature_map",
            json!("relu"),
            "`feature_map` is \"relu\", expected nothing",
        ),
        (
            "gla_fla",
            "num_kv_heads",
            json!(1),
            "`num_kv_heads` is 1, expected 2",
        ),
        ("gla_fla", "use_gv", json!(true), "`use_gv` is true"),
        (
            "xlstm_hf",
            "use_bias",
            json!(true),
            "`use_bias` is true, expected false",
        ),
        (
            "xlstm_hf",
            "weight_mode",
            json!("fused"),
            "`weight_mode` is \"fused\"",
        ),
        (
            "xlstm_hf",
            "embedding_dim",
            json!(64),
            "`embedding_dim` is 64, expected 32",
        ),
        ("xlstm_hf", "eps", json!(1e-5), "`eps` is 0.00001"),
        (
            "rwkv7_fla",
            "hidden_act",
            json!("relu"),
            "`hidden_act` is \"relu\"",
        ),
        (
            "rwkv7_fla",
            "value_dim",
            json!([32, 64]),
            "`value_dim` is [32,64]",
        ),
        (
            "rwkv7_fla",
            "norm_first",
            json!(false),
            "`norm_first` is false",
        ),
        (
            "rwkv7_fla",
            "head_dim",
            json!(5),
            "`num_heads` is 4, expected 6",
        ),
    ] {
        let folder = scratch.copy(class);
        let path = folder.join("config.json");
        let mut config = said(&path);
        config.insert(key.into(), value);
        fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        let error = read(&folder).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{class}: {error}");
    }
}

/// `xLSTMConfig(num_blocks=2)` is saved with the default of `num_hidden_layers` beside it, and has two layers.
#[test]
fn an_xlstm_has_as_many_layers_as_blocks() {
    let scratch = Scratch::new("blocks");
    let folder = scratch.copy("xlstm_hf");
    let path = folder.join("config.json");
    let mut config = said(&path);
    config.insert("num_hidden_layers".into(), 32.into());
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let stored = read(&folder).unwrap();
    assert_eq!(stored.config, read(&golden("xlstm_hf")).unwrap().config);
    open(&folder, &Interpreter).unwrap();
    let to = scratch.0.join("again");
    save(&stored, &to, Layout::HuggingFace, Precision::F32).unwrap();
    assert_eq!(said(&to.join("config.json")), config);
}

/// `fuse_norm` decides a name of GLA, and of RWKV-7 how keys get their length.
#[test]
fn the_unfused_norm_has_another_name_and_another_length() {
    let scratch = Scratch::new("fused");
    let folder = scratch.copy("gla_fla");
    let unfused = |folder: &Path| {
        let path = folder.join("config.json");
        let mut config = said(&path);
        config.insert("fuse_norm".into(), false.into());
        fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    };
    unfused(&folder);
    let error = open(&folder, &Interpreter).map(|_| ()).unwrap_err();
    let missing = "tensor `model.layers.0.attn.g_norm.weight` is missing";
    assert!(error.to_string().contains(missing), "{error}");
    let path = folder.join("model.safetensors");
    let (header, data) = tensors(&path);
    let names = header.into_iter();
    let header = names.map(|(name, entry)| (name.replace("g_norm_swish_gate", "g_norm"), entry));
    write(&path, &header.collect(), &data);
    let stored = read(&folder).unwrap();
    assert_eq!(stored.weights, read(&golden("gla_fla")).unwrap().weights);
    let to = scratch.0.join("again");
    save(&stored, &to, Layout::HuggingFace, Precision::F32).unwrap();
    assert_eq!(read(&to).unwrap().weights, stored.weights);

    let folder = scratch.copy("rwkv7_fla");
    unfused(&folder);
    let (ids, shape) = Values::of("rwkv7_fla").ids();
    let run = |folder: &Path| {
        let model = open(folder, &device()).unwrap().model;
        let (logits, _) = model.forward(&ids, shape, None).unwrap();
        Value::new(logits).unwrap().to_host()
    };
    let (fused, unfused) = (run(&golden("rwkv7_fla")), run(&folder));
    let far = apart(&unfused, &fused);
    assert!(far > 0.0 && far < 1e-2, "{far}");
}
