//! `--block` and what goes with it: the block of a model, published or of a text.

use crate::failure::Failure;
use crate::source::Source;
use baton_train::models::{BlockConfig, BlockText};
use baton_train::small::{self, PUBLISHED};
use baton_train::trainer::TrainConfig;
use std::collections::BTreeMap;

/// Which block.
#[derive(clap::Args)]
pub struct Block {
    /// The block of the model: mamba1, mamba2, gated_delta_net, kda, mlstm or rwkv7, as published, or that of any other
    /// recurrence, by its built-in name or by the file of its text (docs/own-block.md)
    #[arg(long, value_name = "NAME|FILE", default_value = PUBLISHED[0])]
    block: String,
    /// Heads of the block; 4 when absent, or where a head has one number as many as channels
    #[arg(long)]
    heads: Option<usize>,
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

impl Block {
    /// Puts it into the configuration of a training.
    pub fn put(&self, config: &mut TrainConfig) -> Result<(), Failure> {
        let name = self.block.as_str();
        if PUBLISHED.contains(&name) {
            let given = [
                ("--heads", self.heads.is_some()),
                ("--groups", self.groups.is_some()),
                ("--dim", !self.dim.is_empty()),
                ("--port", !self.port.is_empty()),
            ];
            if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Failure::new(format!(
                    "{option} given with the block {name}, which is as published; expected a text: \
                     `baton print {name} > my.rec` and --block my.rec"
                )));
            }
            *config = small::with(config.clone(), name);
            return Ok(());
        }
        let source = Source::find(&self.block)?;
        source.verify()?;
        let block = BlockText {
            text: source.text,
            num_heads: self.heads,
            num_groups: self.groups,
            dims: once("--dim", &self.dim)?,
            ports: once("--port", &self.port)?,
        };
        config.model.block = BlockConfig::Recurrence(block.settle(config.model.hidden_size)?);
        Ok(())
    }
}

/// By name; one that is given twice is refused.
fn once<T: Clone>(option: &str, given: &[(String, T)]) -> Result<BTreeMap<String, T>, Failure> {
    let mut all = BTreeMap::new();
    for (name, value) in given {
        if all.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::new(format!(
                "{option} given for `{name}` twice, expected once"
            )));
        }
    }
    Ok(all)
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
