//! Parts laid over a beginning, in order.

use super::block;
use super::check::{self, Wrong};
use super::difference::{Difference, differences};
use super::part::Said;
use crate::Error;
use crate::model::ModelConfig;
use crate::small;
use crate::train::TrainConfig;
use serde_json::{Value, json};

/// What parts are laid over.
pub enum Beginning {
    /// The demonstration's configuration.
    Fresh,
    /// That of a run which goes on from another one's weights: their model stays, and the warm-up is a tenth of the
    /// steps where nobody says it.
    After(TrainConfig),
    /// A run's own, whose model stays.
    Same(TrainConfig),
}

/// A configuration, and what of it was said.
#[derive(Debug)]
pub struct Laid {
    /// The whole.
    pub config: TrainConfig,
    said: Value,
}

impl Laid {
    /// Whether some part said this key.
    pub fn says(&self, path: &str) -> bool {
        said(&self.said, path)
    }
}

fn said(all: &Value, path: &str) -> bool {
    let found = path.split('.').try_fold(all, |value, name| value.get(name));
    found.is_some()
}

/// Lays `parts` over `beginning`; refuses with all that is wrong with them.
pub fn lay(beginning: &Beginning, parts: Vec<Said>) -> Result<Laid, Error> {
    let mut wrong = Wrong::default();
    let base = match beginning {
        Beginning::Fresh => small::base_config(1, 1000),
        Beginning::After(config) | Beginning::Same(config) => config.clone(),
    };
    let value = |config: &TrainConfig| serde_json::to_value(config);
    let unreadable = |e: serde_json::Error| Error::Config(e.to_string());
    let mut all = value(&base).map_err(unreadable)?;
    let mut says = json!({});
    for part in parts {
        let Said {
            by,
            mut what,
            folder,
        } = part;
        if let Err(why) = block::in_full(&mut what, &folder) {
            wrong.note(&by, "model.block", why);
            if let Some(model) = what["model"].as_object_mut() {
                model.remove("block");
            }
        }
        let kind = kind(&all);
        check::part(&by, &mut what, &kind, &mut wrong);
        if let Some(block) = what.pointer("/model/block")
            && block.get("type").is_some()
            && !block::are_alike(block, &all["model"]["block"])
        {
            anew(&mut all, block).map_err(unreadable)?;
        }
        if let Some(kind) = what.pointer_mut("/model/block/type")
            && small::HYBRID.contains(&kind.as_str().unwrap_or_default())
        {
            *kind = json!("hybrid");
        }
        merge(&mut says, &what);
        block::complete_layers(&mut what).map_err(unreadable)?;
        merge(&mut all, &what);
    }
    if !said(&says, "schedule.warmup") {
        let steps = all["schedule"]["steps"].as_u64().unwrap_or(0);
        let warmup = match beginning {
            Beginning::Fresh => Some(small::warmup(steps)),
            Beginning::After(_) => Some(steps / 10),
            Beginning::Same(_) => None,
        };
        if let Some(warmup) = warmup {
            all["schedule"]["warmup"] = json!(warmup);
        }
    }
    // A hybrid's layers say their number.
    if let Some(layers) = all.pointer("/model/block/layers").and_then(Value::as_array)
        && !said(&says, "model.num_hidden_layers")
    {
        all["model"]["num_hidden_layers"] = json!(layers.len());
    }
    let model = serde_json::from_value::<ModelConfig>(all["model"].take());
    let model = model.unwrap_or_else(|why| {
        if !wrong.about("model") {
            wrong.note("", "model", why);
        }
        base.model.clone()
    });
    // Four chunks, so that there are some to choose among.
    if matches!(beginning, Beginning::Fresh)
        && !said(&says, "train_length")
        && let Some(hybrid) = model.hybrid().filter(|hybrid| hybrid.reach().is_some())
    {
        all["train_length"] = json!(4 * hybrid.chunk);
    }
    all["model"] = json!(model);
    let config = serde_json::from_value::<TrainConfig>(all);
    let config = config.unwrap_or_else(|why| {
        wrong.note("", "", why);
        base.clone()
    });
    if !matches!(beginning, Beginning::Fresh) && !wrong.about("model") {
        let [stored, now] = [&base.model, &config.model].map(|model| json!({ "model": model }));
        let found = differences(&stored, &now);
        // Of another block, all keys are others.
        let another = found.iter().any(|found| found.path == "model.block.type");
        let told = |path: &str| {
            !another || path == "model.block.type" || !path.starts_with("model.block.")
        };
        for Difference { path, was, is } in found.into_iter().filter(|found| told(&found.path)) {
            let what =
                format!("`{path}` given as {is}, expected {was}: the weights are of that model");
            wrong.note("", "model", what);
        }
    }
    for (part, problem) in config.problems() {
        if !wrong.about(part) {
            wrong.note("", part, problem);
        }
    }
    match &wrong.all[..] {
        [] => Ok(Laid { config, said: says }),
        [one] => Err(Error::Config(one.clone())),
        many => Err(Error::Config(format!(
            "{} things are wrong with the configuration:\n  {}",
            many.len(),
            many.join("\n  ")
        ))),
    }
}

/// The type of the block.
fn kind(all: &Value) -> String {
    let kind = all["model"]["block"]["type"].as_str();
    kind.unwrap_or_default().to_string()
}

/// Begins the model of `all` anew around a block of another kind.
fn anew(all: &mut Value, block: &Value) -> Result<(), serde_json::Error> {
    let mut config = small::base_config(1, 1);
    for (size, key) in [
        (&mut config.model.hidden_size, "hidden_size"),
        (&mut config.model.num_hidden_layers, "num_hidden_layers"),
        (&mut config.model.vocab_size, "vocab_size"),
    ] {
        *size = all["model"][key].as_u64().map_or(*size, |n| n as usize);
    }
    let name = block["type"].as_str().unwrap_or_default();
    all["model"] = serde_json::to_value(small::with(config, name).model)?;
    if !small::PUBLISHED.contains(&name) && !small::HYBRID.contains(&name) {
        all["model"]["block"] = json!({ "type": name });
    }
    Ok(())
}

/// Tables are merged key by key, all else replaced; so is where sequences begin.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match key.as_str() {
                    "initial_state" => drop(into.insert(key.clone(), value.clone())),
                    _ => merge(into.entry(key.clone()).or_insert(Value::Null), value),
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}
