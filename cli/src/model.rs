//! `--preset`, `--block` and the sizes: the options that decide what a model is.

use crate::failure::Failure;
use crate::input::DASH;
use crate::source::Source;
use baton_config::small::{HYBRID, PUBLISHED};
use baton_config::{PRESETS, Preset, Said, block_name};
use baton_ir::builtin;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Which model.
#[derive(clap::Args)]
pub struct Model {
    /// A configuration by name, which everything else is laid over: mamba2-130m, gla-1.3b, demo, ..
    /// (docs/configuration.md)
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// The block of the model: mamba2 when absent, mamba1, gated_delta_net, kda, mlstm or rwkv7, as published; drt,
    /// ramba or window, of layers of several kinds (docs/retrieval.md); or that of any other recurrence, by its
    /// built-in name or by the file of its text (docs/own-block.md)
    #[arg(long, value_name = "NAME|FILE")]
    block: Option<String>,
    /// Width of the residual stream; 128 when absent
    #[arg(long)]
    width: Option<usize>,
    /// Number of blocks; 2 when absent
    #[arg(long)]
    layers: Option<usize>,
    /// Inner width of the feed-forward after each block; as the block's authors have it when absent
    #[arg(long)]
    feed_forward: Option<usize>,
    /// Tokens of the vocabulary; those of the text when absent
    #[arg(long)]
    vocabulary: Option<usize>,
    /// Heads of the block; 4 when absent, or where a head has one number as many as channels
    #[arg(long)]
    heads: Option<usize>,
    /// Channels of a head, in blocks as published that have them; 32 when absent
    #[arg(long)]
    head_size: Option<usize>,
    /// Groups of heads that share what the text says is `per group`; 1 when absent
    #[arg(long)]
    groups: Option<usize>,
    /// The size of a dim of the text; absent ones are the width over the heads, or 16 where a head has one number
    #[arg(long, value_name = "NAME=SIZE", value_parser = dim)]
    dim: Vec<(String, usize)>,
    /// Settings of an input, a param or an output of the text: k:conv=4,act=silu,norm=l2 (docs/own-block.md)
    #[arg(long, value_name = "NAME:SETTINGS", value_parser = port)]
    port: Vec<(String, String)>,
}

impl Model {
    /// The preset, which a file is laid over.
    pub fn preset(&self) -> Result<Option<Said>, Failure> {
        let said = self.preset.as_deref().map(Said::preset);
        Ok(said.transpose()?)
    }

    /// What the preset is and where its values are from, as a comment in TOML.
    pub fn comment(&self) -> String {
        let named = |preset: &&Preset| self.preset.as_deref() == Some(preset.name);
        let found = PRESETS.iter().find(named);
        found.map_or(String::new(), |preset| {
            format!("# {}: {}\n", preset.name, preset.source)
        })
    }

    /// What the options say.
    pub fn said(&self) -> Result<Vec<Said>, Failure> {
        let mut all = Vec::new();
        if let Some(name) = &self.block {
            let file = name == DASH || name.ends_with(".rec") || Path::new(name).is_file();
            let known = match file && builtin::text(name).is_none() {
                true => Ok(name.clone()),
                false => block_name(name),
            };
            let known = known.map_err(|remedy| {
                Failure::new(format!(
                    "--block {name} given, expected a block or the file of a text (.rec): {remedy}"
                ))
            })?;
            let own = PUBLISHED.iter().chain(&HYBRID).any(|own| *own == known);
            let block = match own {
                true => json!({ "type": known }),
                false => {
                    let source = Source::find(&known)?;
                    source.verify()?;
                    json!({ "type": "recurrence", "text": source.text })
                }
            };
            all.push(Said::key("--block", "model.block", block));
        }
        for (option, key, value) in [
            ("--width", "hidden_size", self.width),
            ("--layers", "num_hidden_layers", self.layers),
            ("--feed-forward", "intermediate_size", self.feed_forward),
            ("--vocabulary", "vocab_size", self.vocabulary),
            ("--heads", "block.num_heads", self.heads),
            ("--head-size", "block.head_dim", self.head_size),
            ("--groups", "block.num_groups", self.groups),
        ] {
            let key = format!("model.{key}");
            all.extend(value.map(|value| Said::key(option, &key, value.into())));
        }
        let (dims, ports) = (self.dim.iter(), self.port.iter());
        let dims = dims.map(|(name, size)| (name, Value::from(*size)));
        let ports = ports.map(|(name, line)| (name, Value::from(line.as_str())));
        named("--dim", "dims", dims, &mut all)?;
        named("--port", "ports", ports, &mut all)?;
        Ok(all)
    }
}

/// What an option says by names; one that is given twice is refused.
fn named<'a>(
    option: &str,
    key: &str,
    given: impl Iterator<Item = (&'a String, Value)>,
    all: &mut Vec<Said>,
) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for (name, value) in given {
        if !seen.insert(name) {
            return Err(Failure::new(format!(
                "{option} given for `{name}` twice, expected once"
            )));
        }
        let block = json!({ key: { name: value } });
        all.push(Said::key(option, "model.block", block));
    }
    Ok(())
}

fn dim(text: &str) -> Result<(String, usize), String> {
    let entry = text
        .split_once('=')
        .map(|(name, size)| (name.trim(), size.trim().parse()));
    match entry {
        Some((name, Ok(size))) if size > 0 => Ok((name.into(), size)),
        _ => Err("expected NAME=SIZE with a size from 1 on".into()),
    }
}

fn port(text: &str) -> Result<(String, String), String> {
    let entry = text
        .split_once(':')
        .map(|(name, line)| (name.trim().into(), line.into()));
    entry.ok_or_else(|| "expected NAME:SETTINGS".into())
}
