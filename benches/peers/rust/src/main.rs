//! Whole models in other Rust libraries: a prompt is read and greedy tokens are made, each timed.
//!
//!     baton-peers candle|mamba-rs FOLDER PROMPT TOKENS
//!
//! FOLDER is a model in the layout of transformers, PROMPT a file whose bytes are the token ids. Printed is a line of
//! JSON with the seconds of reading and of making, and the tokens made, by which the caller knows that it was the same
//! model. candle reads Mamba-2 by chunks of 64 and Mamba-1 token by token, as its models do; mamba-rs has Mamba-1.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{mamba, mamba2};
use mamba_rs::module::lm::MambaLM;
use mamba_rs::module::sample::SampleParams;
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

const CHUNK: usize = 64;

type Done<T> = Result<T, Box<dyn Error>>;

/// Seconds of reading and of making, and what was made.
struct Run(f64, f64, Vec<u32>);

fn main() -> Done<()> {
    let given: Vec<String> = std::env::args().collect();
    let [_, peer, folder, prompt, tokens] = given.as_slice() else {
        return Err("expected candle|mamba-rs FOLDER PROMPT TOKENS".into());
    };
    let (folder, tokens) = (Path::new(folder), tokens.parse()?);
    let prompt: Vec<u32> = std::fs::read(prompt)?.into_iter().map(u32::from).collect();
    let (version, run) = match peer.as_str() {
        "candle" => ("candle 0.11.1", candle(folder, &prompt, tokens)?),
        "mamba-rs" => ("mamba-rs 0.4.2", mamba_rs(folder, &prompt, tokens)?),
        other => return Err(format!("peer `{other}` given, expected candle or mamba-rs").into()),
    };
    let Run(read, made, tokens) = run;
    println!(
        "{}",
        json!({ "version": version, "read": read, "made": made, "tokens": tokens })
    );
    Ok(())
}

fn candle(folder: &Path, prompt: &[u32], tokens: usize) -> Done<Run> {
    let device = Device::Cpu;
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    let weights = [folder.join("model.safetensors")];
    // SAFETY: nobody writes the file while it is mapped.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&weights, DType::F32, &device)? };
    // Its Mamba-1 calls the embedding otherwise than transformers does.
    let named = |name: &str| name.replace("embedding.weight", "embeddings.weight");
    let weights = weights.rename_f(named).pp("backbone");
    let ids = |ids: &[u32]| Tensor::new(ids, &device);
    if config["model_type"] == "mamba2" {
        let config = serde_json::from_value(config)?;
        let model = mamba2::Model::new(&config, weights)?;
        let mut state = mamba2::State::new(1, &config, DType::F32, &device)?;
        let begun = Instant::now();
        let all = model.forward_prefill(&ids(prompt)?.unsqueeze(0)?, &mut state, CHUNK)?;
        let first = largest(&all.narrow(1, prompt.len() - 1, 1)?)?;
        let read = begun.elapsed().as_secs_f64();
        made(read, first, tokens, |token| {
            largest(&model.forward(&ids(&[token])?, &mut state)?)
        })
    } else {
        let sizes = |name: &str| {
            config[name]
                .as_u64()
                .ok_or(format!("no `{name}` in config.json"))
        };
        let config: mamba::Config = serde_json::from_value(json!({
            "d_model": sizes("hidden_size")?,
            "n_layer": sizes("num_hidden_layers")?,
            "vocab_size": sizes("vocab_size")?,
            "pad_vocab_size_multiple": 1,
        }))?;
        let model = mamba::Model::new(&config, weights)?;
        let mut state = mamba::State::new(1, &config, DType::F32, &device)?;
        let mut step = |token| largest(&model.forward(&ids(&[token])?, &mut state)?);
        let begun = Instant::now();
        let mut first = 0;
        for &token in prompt {
            first = step(token)?;
        }
        let read = begun.elapsed().as_secs_f64();
        made(read, first, tokens, step)
    }
}

/// Greedy tokens after the first.
fn made(read: f64, first: u32, tokens: usize, mut step: impl FnMut(u32) -> Done<u32>) -> Done<Run> {
    let (mut all, begun) = (vec![first], Instant::now());
    while all.len() < tokens {
        all.push(step(all[all.len() - 1])?);
    }
    Ok(Run(read, begun.elapsed().as_secs_f64(), all))
}

fn largest(logits: &Tensor) -> Done<u32> {
    Ok(logits.flatten_all()?.argmax(0)?.to_scalar()?)
}

fn mamba_rs(folder: &Path, prompt: &[u32], tokens: usize) -> Done<Run> {
    let mut model = MambaLM::from_hf(folder)?;
    let greedy = SampleParams {
        max_tokens: tokens,
        temperature: 0.0,
        ..SampleParams::default()
    };
    let (mut all, mut first, begun) = (Vec::new(), None, Instant::now());
    model.generate_streaming(prompt, &greedy, |token, _| {
        first.get_or_insert_with(Instant::now);
        all.push(token);
    });
    let first = first.ok_or("no token was made")?;
    let read = (first - begun).as_secs_f64();
    Ok(Run(read, first.elapsed().as_secs_f64(), all))
}
