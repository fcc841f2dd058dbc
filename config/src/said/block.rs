//! The short forms of a block: a word in place of a table, a recurrence's name as the type, a path as the text.

use crate::Error;
use crate::recurrence::{BlockText, canonical, in_todays_form};
use crate::small::{self, HYBRID, PUBLISHED};
use baton_ir::builtin;
use baton_ir::text::nearest;
use serde_json::{Value, json};
use std::path::Path;

/// What a block is called, with `-` for `_` too; else which may have been meant.
pub fn block_name(said: &str) -> Result<String, String> {
    let own = PUBLISHED.iter().chain(&HYBRID);
    let other = builtin::NAMES
        .iter()
        .filter(|name| !PUBLISHED.contains(name));
    let names: Vec<&str> = own.chain(other).copied().collect();
    let name = said.replace('-', "_");
    match nearest(&name, names.iter().copied()) {
        _ if names.contains(&&name[..]) => Ok(name),
        Some(near) => Err(format!("did you mean \"{near}\"?")),
        None => Err(format!("there are {}", names.join(", "))),
    }
}

/// Brings the block of what was said to its stored form; paths of texts are from `folder` on.
pub fn in_full(what: &mut Value, folder: &Path) -> Result<(), Error> {
    let block = what.pointer_mut("/model/block");
    block.map_or(Ok(()), |block| brought(block, folder))
}

/// Brings `block` to the form that a configuration stores; paths are from `folder` on.
fn brought(block: &mut Value, folder: &Path) -> Result<(), Error> {
    if let Some(name) = block.as_str() {
        *block = json!({ "type": name });
    }
    let Some(table) = block.as_object_mut() else {
        return Ok(()); // refused with the rest
    };
    let kind = match table.get("type") {
        None if table.contains_key("text") => "recurrence".to_string(),
        None => return Ok(()),
        Some(kind) => kind.as_str().unwrap_or_default().to_string(),
    };
    let path = kind.ends_with(".rec");
    let kind = match ["hybrid", "recurrence"].contains(&&kind[..]) || path {
        true => kind,
        false => block_name(&kind).map_err(|remedy| {
            Error::Config(format!(
                "`model.block.type` given as \"{kind}\", expected a block or the file of a text (.rec): {remedy}"
            ))
        })?,
    };
    table.insert("type".into(), json!(kind));
    if PUBLISHED.contains(&kind.as_str()) {
        return Ok(());
    }
    if kind == "hybrid" || HYBRID.contains(&kind.as_str()) {
        let layers = table.get_mut("layers").and_then(Value::as_array_mut);
        let layers = layers.into_iter().flatten();
        let mut blocks = layers.filter_map(|layer| layer.get_mut("block"));
        return blocks.try_for_each(|block| brought(block, folder));
    }
    if kind != "recurrence" {
        in_todays_form(&kind, table);
        table.insert("text".into(), json!(kind));
    }
    table.insert("type".into(), json!("recurrence"));
    if let Some(text) = table.get("text").and_then(Value::as_str) {
        let found = BlockText::new(text).found(folder)?;
        table.insert("text".into(), json!(found.text));
    }
    Ok(())
}

/// Puts what the published blocks in a hybrid's layers leave out into them; the block of a whole model begins with it.
pub(super) fn complete_layers(what: &mut Value) -> Result<(), serde_json::Error> {
    let layers = what.pointer_mut("/model/block/layers");
    let layers = layers.and_then(Value::as_array_mut);
    for layer in layers.into_iter().flatten() {
        let Some(block) = layer.get_mut("block").and_then(Value::as_object_mut) else {
            continue;
        };
        let kind = block.get("type").and_then(Value::as_str);
        let Some(kind) = kind.filter(|kind| PUBLISHED.contains(kind)) else {
            continue;
        };
        let whole = small::with(small::base_config(1, 1), kind).model.block;
        if let Value::Object(whole) = serde_json::to_value(whole)? {
            for (key, value) in whole {
                block.entry(key).or_insert(value);
            }
        }
    }
    Ok(())
}

/// Whether two blocks in full are of one kind, so that settings of one are settings of the other.
pub(super) fn are_alike(a: &Value, b: &Value) -> bool {
    let text = |block: &Value| {
        let text = block["text"].as_str()?.to_string();
        Some(canonical(&text).unwrap_or(text))
    };
    a["type"] == b["type"] && text(a) == text(b)
}
