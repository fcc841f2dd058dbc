//! The block against published values: a tiny checkpoint of transformers' Mamba2ForCausalLM, its
//! logits, states and gradients (tests/golden/README.md).

use super::*;
use crate::op::{Value, cross_entropy};
use baton_config::{BlockConfig, Mamba2Config, ModelConfig};
use baton_runtime::Tensor;
use baton_runtime::device::interpreter::Interpreter;
use burn::module::Module;
use safetensors::SafeTensors;
use std::collections::BTreeMap;

const CHECKPOINT: &[u8] = include_bytes!("../../tests/golden/mamba2_hf/model.safetensors");
const GOLDEN: &[u8] = include_bytes!("../../tests/golden/mamba2_hf_golden.safetensors");

fn tensor(file: &SafeTensors<'_>, name: &str) -> Tensor {
    let view = file.tensor(name).unwrap();
    let bytes = view.data();
    let data = match view.dtype() {
        safetensors::Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()) as f32)
            .collect(),
        _ => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
    };
    Tensor {
        shape: view.shape().to_vec(),
        data,
    }
}

/// [B, H, P, N] as [B, H, N, P], or back.
fn swapped(t: &Tensor) -> Tensor {
    let [b, h, p, n] = <[usize; 4]>::try_from(t.shape.clone()).unwrap();
    let at = |i: usize| t.data[i / (n * p) * (n * p) + i % p * n + i % (n * p) / p];
    Tensor {
        shape: vec![b, h, n, p],
        data: (0..b * h * n * p).map(at).collect(),
    }
}

fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.shape, want.shape);
    let norm = |f: &dyn Fn(usize) -> f64| {
        (0..want.data.len())
            .map(|i| f(i).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    norm(&|i| got.data[i] as f64 - want.data[i] as f64) / norm(&|i| want.data[i] as f64)
}

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 96,
        hidden_size: 32,
        num_hidden_layers: 3,
        layer_norm_epsilon: 1e-5,
        tie_word_embeddings: true,
        intermediate_size: None,
        output_logit_soft_cap: None,
        block: BlockConfig::Mamba2(Mamba2Config {
            head_dim: 8,
            state_size: 16,
            n_groups: 2,
            ..Mamba2Config::default()
        }),
    }
}

fn published() -> (LanguageModel, SafeTensors<'static>, Vec<u32>, [usize; 2]) {
    let file = SafeTensors::deserialize(CHECKPOINT).unwrap();
    let weights: BTreeMap<String, Tensor> = file
        .names()
        .into_iter()
        .map(|name| (name.to_string(), tensor(&file, name)))
        .collect();
    let model = load(
        LanguageModel::new(&config(), &Interpreter, 1).unwrap(),
        weights,
    )
    .unwrap();
    let golden = SafeTensors::deserialize(GOLDEN).unwrap();
    let ids = golden.tensor("input_ids").unwrap();
    let shape = <[usize; 2]>::try_from(ids.shape().to_vec()).unwrap();
    let width = ids.data().len() / (shape[0] * shape[1]);
    let ids = ids
        .data()
        .chunks_exact(width)
        .map(|b| u32::from_le_bytes(b[..4].try_into().unwrap()));
    let ids = ids.collect();
    (model, golden, ids, shape)
}

#[test]
fn logits_and_states_are_the_published_ones() {
    let (model, golden, ids, shape) = published();
    let (logits, states) = model.valid().forward(&ids, shape, None).unwrap();
    let logits = Value::new(logits).unwrap().to_host();
    assert!(relative(&logits, &tensor(&golden, "logits_f64")) < 2e-6);
    for (layer, state) in states.iter().enumerate() {
        let want = swapped(&tensor(&golden, &format!("whole.ssm.{layer}")));
        assert!(
            relative(&state.to_host().recurrence[0], &want) < 2e-6,
            "layer {layer}"
        );
        // Theirs is [B, C, 4] with the current input last; ours [B, 3, C].
        let conv = tensor(&golden, &format!("whole.conv.{layer}"));
        let (b, c) = (conv.shape[0], conv.shape[1]);
        let at = |i: usize| conv.data[(i / (3 * c) * c + i % c) * 4 + 1 + i % (3 * c) / c];
        let want = Tensor {
            shape: vec![b, 3, c],
            data: (0..b * 3 * c).map(at).collect(),
        };
        assert!(relative(&state.conv.as_ref().unwrap().to_host(), &want) < 2e-6);
    }
}

#[test]
fn a_run_from_a_given_state_is_the_published_one() {
    let (model, golden, ids, shape) = published();
    let first = (0..3).map(|layer| {
        let state = swapped(&tensor(&golden, &format!("rand_h0.{layer}")));
        LayerState::from_host(HostState {
            recurrence: vec![state],
            conv: None,
            memory: None,
        })
    });
    let (logits, states) = model
        .valid()
        .forward(&ids, shape, Some(first.collect()))
        .unwrap();
    let logits = Value::new(logits).unwrap().to_host();
    assert!(relative(&logits, &tensor(&golden, "rand_h0.logits")) < 2e-6);
    for (layer, state) in states.iter().enumerate() {
        let want = swapped(&tensor(&golden, &format!("rand_h0.final.ssm.{layer}")));
        assert!(relative(&state.to_host().recurrence[0], &want) < 2e-6);
    }
}

#[test]
fn segments_with_their_states_are_the_whole() {
    let (model, _, ids, [batch, time]) = published();
    let model = model.valid();
    let (whole, last) = model.forward(&ids, [batch, time], None).unwrap();
    let cut = 7;
    let part = |range: std::ops::Range<usize>| -> Vec<u32> {
        (0..batch)
            .flat_map(|b| ids[b * time..][range.clone()].to_vec())
            .collect()
    };
    let (_, between) = model.forward(&part(0..cut), [batch, cut], None).unwrap();
    let (second, end) = model
        .forward(&part(cut..time), [batch, time - cut], Some(between))
        .unwrap();
    let tail = whole.slice([0..batch, cut..time]);
    let host = |t| Value::new(t).unwrap().to_host();
    assert!(relative(&host(second), &host(tail)) < 1e-6);
    assert!(
        relative(
            &end[2].to_host().recurrence[0],
            &last[2].to_host().recurrence[0]
        ) < 1e-6
    );
}

#[test]
fn gradients_are_the_published_ones() {
    let (model, golden, ids, [batch, time]) = published();
    let (logits, _) = model.forward(&ids, [batch, time], None).unwrap();
    let logits = logits.slice([0..batch, 0..time - 1]);
    let targets = (0..batch)
        .flat_map(|b| ids[b * time + 1..(b + 1) * time].to_vec())
        .collect();
    let loss = cross_entropy(logits, targets).unwrap();
    let value = Value::new(loss.clone()).unwrap().to_host().data[0];
    assert!((value - tensor(&golden, "loss").data[0]).abs() < 2e-6 * value);
    let gradients = gradients(&model, &mut loss.backward());
    assert_eq!(gradients.len(), 29);
    for gradient in gradients {
        let name = gradient.name;
        let error = relative(&gradient.value, &tensor(&golden, &format!("grad.{name}")));
        assert!(error < 2e-5, "{name}: {error}");
    }
}

#[test]
fn wrong_weights_are_refused_by_name() {
    let model = LanguageModel::new(&config(), &Interpreter, 1).unwrap();
    let mut weights: BTreeMap<String, Tensor> = parameters(&model)
        .into_iter()
        .map(|p| (p.name, p.value))
        .collect();
    weights.remove("backbone.norm_f.weight");
    weights.insert("backbone.layers.1.mixer.D".into(), Tensor::full(&[9], 0.0));
    weights.insert("lm_head.weight".into(), Tensor::full(&[1], 0.0));
    let error = load(model, weights).unwrap_err().to_string();
    for part in [
        "tensor `backbone.norm_f.weight` is missing",
        "tensor `backbone.layers.1.mixer.D` has shape [9], expected [8]",
        "tensor `lm_head.weight` is not part of the model",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_recurrences_said_here_are_the_built_in() {
    use baton_runtime::typed::Definition;
    for said in [
        super::mamba1::mamba1::Definition::recurrence(),
        super::mamba2::mamba2::Definition::recurrence(),
        super::delta::gated_delta_net::Definition::recurrence(),
        super::delta::kda::Definition::recurrence(),
        super::mlstm::mlstm::Definition::recurrence(),
        super::rwkv7::rwkv7::Definition::recurrence(),
    ] {
        let built_in = baton_ir::builtin::text(&said.name).unwrap();
        let built_in = baton_ir::text::parse(built_in).unwrap();
        assert_eq!(said, &built_in);
    }
}

/// A limit that leaves one time step gives what weights that say this step give.
#[test]
fn the_limit_of_the_time_step_holds() {
    let (model, _, ids, shape) = published();
    let step = 0.05f64;
    let mut weights: BTreeMap<String, Tensor> = parameters(&model)
        .into_iter()
        .map(|p| (p.name, p.value))
        .collect();
    let run = |limit, weights: &BTreeMap<String, Tensor>| {
        let mut config = config();
        if let BlockConfig::Mamba2(block) = &mut config.block {
            block.time_step_limit = limit;
        }
        let fresh = LanguageModel::new(&config, &Interpreter, 1).unwrap();
        let model = load(fresh, weights.clone()).unwrap();
        let (logits, _) = model.valid().forward(&ids, shape, None).unwrap();
        Value::new(logits).unwrap().to_host()
    };
    let free = run([None, None], &weights);
    assert!(relative(&run([Some(1e-9), Some(1e9)], &weights), &free) < 1e-5);
    let limited = run([Some(step), Some(step * (1.0 + 1e-6))], &weights);
    assert!(relative(&limited, &free) > 1e-2);
    for layer in 0..3 {
        let mixer = format!("backbone.layers.{layer}.mixer");
        let projection = weights.get_mut(&format!("{mixer}.in_proj.weight")).unwrap();
        let (rows, heads) = (projection.shape[0], 8);
        projection.data[(rows - heads) * 32..].fill(0.0);
        let bias = weights.get_mut(&format!("{mixer}.dt_bias")).unwrap();
        bias.data.fill(step.exp_m1().ln() as f32);
    }
    assert!(relative(&limited, &run([None, None], &weights)) < 1e-5);
}
