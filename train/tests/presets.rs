//! Presets have the sizes that are published.

use baton_config::{Beginning, ModelConfig, PRESETS, Said, TrainConfig, lay};
use baton_runtime::device::interpreter::Interpreter;
use baton_train::models::LanguageModel;
use burn::module::Module;
use serde_json::{Value, json};

fn laid(parts: Vec<Said>) -> TrainConfig {
    lay(&Beginning::Fresh, parts).unwrap().config
}

fn weights(model: &ModelConfig) -> f64 {
    let device = Interpreter;
    LanguageModel::new(model, &device, 1).unwrap().num_params() as f64
}

/// The weights of a model, without making one of its size: their number is a line in the number of layers and in
/// that of tokens, and, as every width grows with the residual stream's, a square in that.
fn extrapolated(preset: &str) -> f64 {
    let model = laid(vec![Said::preset(preset).unwrap()]).model;
    let small = |width: usize, layers: usize| {
        let mut all = json!(model);
        all["hidden_size"] = json!(width);
        all["num_hidden_layers"] = json!(layers);
        all["vocab_size"] = json!(1);
        let scaled = |value: &mut Value| {
            if let Some(size) = value.as_u64() {
                *value = json!(size * width as u64 / model.hidden_size as u64);
            }
        };
        scaled(&mut all["intermediate_size"]);
        if let Some(dims) = all["block"]["dims"].as_object_mut() {
            dims.values_mut().for_each(scaled);
        }
        weights(&serde_json::from_value(all).unwrap())
    };
    let layer = |width| small(width, 2) - small(width, 1);
    let of = |count: &dyn Fn(usize) -> f64| {
        let [a, b, c] = [64, 128, 192].map(count);
        let square = (c - 2.0 * b + a) / 2.0;
        let at = model.hidden_size as f64 / 64.0 - 1.0;
        a + at * (b - a) + at * (at - 1.0) * square
    };
    let heads = if model.tie_word_embeddings { 1.0 } else { 2.0 };
    let around = |width| small(width, 1) - layer(width) - heads * width as f64;
    let embeddings = heads * (model.vocab_size * model.hidden_size) as f64;
    of(&layer) * model.num_hidden_layers as f64 + of(&around) + embeddings
}

/// Those of the files that the authors published, to the weight, where we know them; else what the name says, which
/// counts the vocabulary once.
#[test]
fn presets_have_the_published_number_of_weights() {
    for (name, published) in [
        ("mamba-130m", 129_135_360.0),
        ("mamba-370m", 371_516_416.0),
        ("mamba2-130m", 128_989_632.0),
    ] {
        assert_eq!(extrapolated(name), published, "{name}");
    }
    for preset in PRESETS {
        let Some((_, size)) = preset.name.rsplit_once('-') else {
            continue;
        };
        let (digits, unit) = size.split_at(size.len() - 1);
        let unit = match unit {
            "m" => 1e6,
            "b" => 1e9,
            _ => continue,
        };
        let model = laid(vec![Said::preset(preset.name).unwrap()]).model;
        let twice = if model.tie_word_embeddings {
            0
        } else {
            model.vocab_size * model.hidden_size
        };
        let said = digits.parse::<f64>().unwrap() * unit;
        let found = extrapolated(preset.name) - twice as f64;
        assert!(
            (found / said - 1.0).abs() < 0.04,
            "{}: {found}",
            preset.name
        );
    }
}

/// The way there is right where the whole model can be made.
#[test]
fn weights_are_extrapolated_to_the_weight() {
    let name = "reproduction-mamba2-64-1.4m";
    let model = laid(vec![Said::preset(name).unwrap()]).model;
    assert_eq!(extrapolated(name), weights(&model));
}
