//! Every published class but Mamba-2 (models/tests.rs) against its own values: logits, states, the
//! run from a Gaussian state, gradients of weights and of that state, saved again, and damaged.

use baton_config::{BlockConfig, TrainConfig, small};
use baton_data::Text;
use baton_runtime::Tensor;
use baton_runtime::device::cpu::Cpu;
use baton_runtime::device::interpreter::Interpreter;
use baton_train::eval::logits::{Named, initial, logits, published};
use baton_train::models::{HostState, HostStates, LayerState, gradients};
use baton_train::op::{Value, cross_entropy};
use baton_train::pretrained::{Pretrained, model, open};
use baton_train::trainer::{RunOptions, Trainer};
use baton_weights::pretrained::{Layout, Precision, read, save};
use burn::Tensor as BurnTensor;
use burn::tensor::{Device as Place, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The bound that logits in f32 are held to; they reach about ten.
const LOGITS: f64 = 2e-5;
/// That of Gated DeltaNet, whose own program is 2.3e-5 away in f32: what roundings around the recurrence
/// and in its chunks leave is 1.8e-5 and 2.0e-5.
const LOGITS_DELTA: f64 = 3e-5;
/// That of states and gradients, over their largest.
const RELATIVE: f64 = 2e-5;

/// A class, the recurrence's states in its values, and the inputs that convolutions remember.
type Class = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CLASSES: [Class; 6] = [
    ("mamba1_hf", &["ssm"], &["conv"]),
    ("falcon_mamba_hf", &["ssm"], &["conv"]),
    (
        "gated_deltanet_fla",
        &["S"],
        &["conv_q", "conv_k", "conv_v"],
    ),
    ("gla_fla", &["S"], &[]),
    ("xlstm_hf", &["C", "n", "m"], &[]),
    ("rwkv7_fla", &["S"], &["shift", "ffn_shift"]),
];

fn bound(class: &str) -> f64 {
    match class {
        "gated_deltanet_fla" => LOGITS_DELTA,
        _ => LOGITS,
    }
}

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(name)
}

fn device() -> Cpu {
    Cpu::new(Some(2)).unwrap()
}

/// The values of a class.
struct Values {
    bytes: Vec<u8>,
}

impl Values {
    fn of(class: &str) -> Self {
        let path = golden(&format!("{class}_golden.safetensors"));
        let bytes = fs::read(path).unwrap();
        Values { bytes }
    }

    fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.names().into_iter().map(str::to_string).collect()
    }

    fn tensor(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let numbers = view.data().chunks_exact(4);
        Tensor {
            shape: view.shape().to_vec(),
            data: numbers
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        }
    }

    fn ids(&self) -> (Vec<u32>, [usize; 2]) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor("input_ids").unwrap();
        let ids = view.data().chunks_exact(8).map(|b| b[0] as u32).collect();
        (ids, view.shape().to_vec().try_into().unwrap())
    }

    /// The Gaussian states that a run begins from, under the names that files have.
    fn first(&self, states: &[&str], layers: usize) -> Named {
        let one = |state: &str, layer: usize| match states.len() {
            1 => format!("rand_h0.{layer}"),
            _ => format!("rand_h0.{state}.{layer}"),
        };
        let all = states.iter().flat_map(|state| {
            (0..layers).map(move |layer| (format!("{state}.{layer}"), one(state, layer)))
        });
        all.map(|(name, stored)| (name, self.tensor(&stored)))
            .collect()
    }

    /// The name of what arrives at a Gaussian state.
    fn gradient(&self, states: &[&str], state: &str, layer: usize) -> Tensor {
        self.tensor(&match states.len() {
            1 => format!("rand_h0.grad.{layer}"),
            _ => format!("rand_h0.grad.{state}.{layer}"),
        })
    }
}

fn largest(t: &Tensor) -> f64 {
    t.data.iter().fold(0.0, |most, x| x.abs().max(most)) as f64
}

/// The largest difference.
fn apart(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.shape, want.shape);
    let pairs = got.data.iter().zip(&want.data);
    let far = pairs.map(|(x, y)| (*x as f64 - *y as f64).abs());
    far.fold(
        0.0,
        |most, far| if far.is_nan() { far } else { far.max(most) },
    )
}

fn host(states: &[LayerState]) -> HostStates {
    states.iter().map(LayerState::to_host).collect()
}

fn number(loss: &BurnTensor<1>) -> f64 {
    Value::new(loss.clone()).unwrap().to_host().data[0] as f64
}

/// The mean cross-entropy of the next token.
fn loss(logits: BurnTensor<3>, ids: &[u32], [batch, time]: [usize; 2]) -> BurnTensor<1> {
    let rows = ids.chunks(time);
    let targets = rows.flat_map(|row| row[1..].to_vec()).collect();
    cross_entropy(logits.slice([0..batch, 0..time - 1]), targets).unwrap()
}

#[test]
fn logits_and_states_are_the_published_ones() {
    for (class, states, inputs) in CLASSES {
        let values = Values::of(class);
        let (ids, [batch, time]) = values.ids();
        let Pretrained { model, config, .. } = open(&golden(class), &device()).unwrap();
        let all = logits(&model, &config, &ids, [batch, time], None, true);
        let all = all.unwrap();
        let layers = config.num_hidden_layers;
        assert_eq!(all.len(), 1 + layers * (states.len() + inputs.len()));
        let error = apart(&all["logits"], &values.tensor("logits_f64"));
        assert!(error < bound(class), "{class}: {error:e}");
        for name in states.iter().chain(inputs) {
            for layer in 0..layers {
                let name = format!("{name}.{layer}");
                let want = values.tensor(&format!("whole.{name}"));
                let error = apart(&all[&name], &want) / largest(&want);
                assert!(error < RELATIVE, "{class}: {name}: {error:e}");
            }
        }
    }
}

/// A state as a leaf of a graph.
enum Leaf {
    Two(BurnTensor<2>),
    Three(BurnTensor<3>),
    Four(BurnTensor<4>),
}

fn leaf<const D: usize>(state: &Tensor) -> BurnTensor<D> {
    let data = TensorData::new(state.data.clone(), state.shape.clone());
    BurnTensor::from_data(data, &Place::flex().autodiff()).require_grad()
}

impl Leaf {
    fn new(state: &Tensor) -> Self {
        match state.shape.len() {
            2 => Leaf::Two(leaf(state)),
            3 => Leaf::Three(leaf(state)),
            _ => Leaf::Four(leaf(state)),
        }
    }

    fn value(&self) -> Value {
        let value = match self {
            Leaf::Two(t) => Value::new(t.clone()),
            Leaf::Three(t) => Value::new(t.clone()),
            Leaf::Four(t) => Value::new(t.clone()),
        };
        value.unwrap()
    }

    fn gradient(&self, all: &mut burn::tensor::Gradients) -> Tensor {
        let value = match self {
            Leaf::Two(t) => Value::new(t.grad_remove(all).unwrap()),
            Leaf::Three(t) => Value::new(t.grad_remove(all).unwrap()),
            Leaf::Four(t) => Value::new(t.grad_remove(all).unwrap()),
        };
        value.unwrap().to_host()
    }
}

#[test]
fn a_run_from_a_gaussian_state_and_its_gradient_are_the_published_ones() {
    for (class, states, _) in CLASSES {
        let values = Values::of(class);
        let (ids, shape) = values.ids();
        let stored = read(&golden(class)).unwrap();
        let (config, model) = (stored.config.clone(), model(stored, &device()).unwrap());
        let layers = config.num_hidden_layers;
        let first = initial(&config, shape[0], values.first(states, layers)).unwrap();
        let leaves: Vec<Vec<Leaf>> = first
            .iter()
            .map(|layer| layer.recurrence.iter().map(Leaf::new).collect())
            .collect();
        let given = leaves.iter().map(|layer| LayerState {
            recurrence: layer.iter().map(Leaf::value).collect(),
            conv: None,
            memory: None,
        });
        let (logits, last) = model.forward(&ids, shape, Some(given.collect())).unwrap();
        let got = Value::new(logits.clone()).unwrap().to_host();
        let error = apart(&got, &values.tensor("rand_h0.logits_f64"));
        assert!(error < bound(class), "{class}: {error:e}");
        let finals = published(&config, &host(&last), None);
        for name in states {
            for layer in 0..layers {
                let want = values.tensor(&format!("rand_h0.final.{name}.{layer}"));
                let error = apart(&finals[&format!("{name}.{layer}")], &want) / largest(&want);
                assert!(error < RELATIVE, "{class}: {name}.{layer}: {error:e}");
            }
        }
        let loss = loss(logits, &ids, shape);
        let want = values.tensor("rand_h0.loss").data[0] as f64;
        assert!((number(&loss) / want - 1.0).abs() < 1e-6, "{class}");
        let mut all = loss.backward();
        let arrived = leaves.iter().map(|layer| HostState {
            recurrence: layer.iter().map(|leaf| leaf.gradient(&mut all)).collect(),
            conv: None,
            memory: None,
        });
        let arrived = published(&config, &arrived.collect(), None);
        for layer in 0..layers {
            // mLSTM's n and m scale an output whose norm follows: what f32 leaves of their gradient is
            // measured by that of the layer's states together.
            let wanted = |name: &&&str| values.gradient(states, name, layer);
            let scale = states.iter().map(|name| largest(&wanted(&name)));
            let scale = scale.fold(0.0, f64::max);
            for name in states {
                let want = wanted(&name);
                let error = apart(&arrived[&format!("{name}.{layer}")], &want) / scale;
                assert!(
                    error < RELATIVE,
                    "{class}: d {name}.{layer}: {error:e}, {scale:e}"
                );
            }
        }
    }
}

#[test]
fn gradients_are_the_published_ones() {
    for (class, ..) in CLASSES {
        let values = Values::of(class);
        let (ids, shape) = values.ids();
        let stored = read(&golden(class)).unwrap();
        let model = model(stored.clone(), &device()).unwrap();
        let (logits, _) = model.forward(&ids, shape, None).unwrap();
        let loss = loss(logits, &ids, shape);
        let want = values.tensor("loss").data[0] as f64;
        assert!((number(&loss) / want - 1.0).abs() < 1e-6, "{class}");
        let found = gradients(&model, &mut loss.backward());
        let found: BTreeMap<_, _> = found.into_iter().map(|p| (p.name, p.value)).collect();
        let found = stored.named(&found);
        let wanted = values.names();
        let wanted: Vec<&str> = wanted
            .iter()
            .filter_map(|name| name.strip_prefix("grad."))
            .collect();
        assert!(wanted.len() > 10, "{class}");
        let size = |name: &str| largest(&values.tensor(&format!("grad.{name}")));
        for &name in &wanted {
            // A bias's gradient is the sum of the terms of which its matrix's are, and may cancel: to 1.3e-3 beside 0.56
            // at xLSTM's input gate. So it is held to the larger of both.
            let matrix = name
                .strip_suffix("bias")
                .map(|layer| format!("{layer}weight"));
            let matrix = matrix.filter(|matrix| wanted.contains(&&**matrix));
            let size = matrix.map_or(0.0, |matrix| size(&matrix)).max(size(name));
            let error = apart(&found[name], &values.tensor(&format!("grad.{name}"))) / size;
            assert!(error < RELATIVE, "{class}: {name}: {error:e}");
        }
    }
}

/// A folder of a test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = format!("baton-published-{name}-{}", std::process::id());
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
            "`intermediate_size` is 50, expected 48",
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

const BLOCKS: [&str; 5] = ["mamba1", "gated_delta_net", "kda", "mlstm", "rwkv7"];

/// A run of a block as `baton train` makes it, but small.
fn training(block: &str, steps: u64) -> TrainConfig {
    let mut run = small::with(small::base_config(1, steps), block);
    (run.train_length, run.batch_size) = (16, 4);
    (run.schedule.peak, run.schedule.warmup) = (1e-2, 2);
    run.model.hidden_size = 32;
    run.model.intermediate_size = run.model.intermediate_size.map(|_| 48);
    match &mut run.model.block {
        BlockConfig::Mamba1(block) => block.state_size = 4,
        BlockConfig::GatedDeltaNet(block) | BlockConfig::Kda(block) => {
            (block.num_heads, block.head_dim, block.value_dim) = (2, 8, 16);
        }
        BlockConfig::Mlstm(block) => (block.num_heads, block.key_dim) = (2, 8),
        BlockConfig::Rwkv7(block) => block.head_dim = 8,
        other => panic!("{other:?}"),
    }
    run
}

fn text() -> Text {
    let text = b"a state that is carried is a state that is known. ".repeat(20);
    Text::cut("known", text, 0.1)
}

#[test]
fn every_block_learns_and_all_its_weights_move() {
    for block in BLOCKS {
        let text = text();
        let mut run = Trainer::new(training(block, 20), &device(), &text).unwrap();
        let before = run.weights();
        let first = run.step().unwrap().loss;
        let last = run.run(&RunOptions::default(), &mut |_| {});
        let last = last.unwrap().unwrap();
        assert!(
            first > 5.0 && last < first - 1.0,
            "{block}: {first} to {last}"
        );
        for (weight, value) in run.weights() {
            assert_ne!(before[&weight], value, "{block}: {weight}");
        }
    }
}

/// Every policy takes every state of a block: a run that was stopped and goes on with what the
/// checkpoint holds has the bits of one that was not.
#[test]
fn every_policy_takes_every_state() {
    let device = device();
    let policies = [
        "noise:std=0.1",
        "fitted_noise",
        "state_passing:p_zero=0.5,conv=carried",
        "truncated_bptt:conv=carried",
        "0.5*state_passing + 0.3*fitted_noise + 0.2*zero",
    ];
    let scratch = Scratch::new("policies");
    let (path, text) = (scratch.0.join("checkpoint.safetensors"), text());
    for block in BLOCKS {
        for policy in policies {
            let mut config = training(block, 4);
            config.initial_state = policy.parse().unwrap();
            let mut whole = Trainer::new(config.clone(), &device, &text).unwrap();
            let losses: Vec<f32> = (0..4).map(|_| whole.step().unwrap().loss).collect();
            assert!(
                losses.iter().all(|loss| loss.is_finite()),
                "{block}: {policy}"
            );
            let mut half = Trainer::new(config.clone(), &device, &text).unwrap();
            half.step().unwrap();
            half.step().unwrap();
            let checkpoint = half.checkpoint().unwrap();
            checkpoint.write(&path).unwrap();
            let carried: Vec<&String> = checkpoint.carried.iter().map(|(name, _)| name).collect();
            let states = config.model.state_sizes()[0].len();
            if policy.starts_with("state_passing") {
                for state in 0..states {
                    let name = format!("1.{state}");
                    assert!(carried.contains(&&name), "{block}: {carried:?}");
                }
                let conv = carried.iter().any(|name| *name == "1.conv");
                assert_eq!(conv, block != "mlstm", "{block}: {carried:?}");
            }
            let mut rest = Trainer::resume(config, &device, &text, &path).unwrap();
            let again: Vec<f32> = (0..2).map(|_| rest.step().unwrap().loss).collect();
            assert_eq!(losses[2..], again, "{block}: {policy}");
        }
    }
}
