//! Blocks of the linear-attention family as older programs stored them.

use super::config::BlockText;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How blocks of the linear-attention family were stored when each was a kind of its own. A member says what
/// it has: of a gate those that have one.
#[derive(Deserialize)]
pub struct OlderBlock {
    num_heads: Option<usize>,
    key_dim: Option<usize>,
    value_dim: Option<usize>,
    gate_rank: Option<usize>,
    gate_normalizer: Option<f64>,
}

impl OlderBlock {
    /// The same block of the built-in recurrence `name`.
    pub fn of(self, name: &str) -> BlockText {
        let rank = self.gate_rank.map(|rank| format!("rank={rank}"));
        let scale = self.gate_normalizer.map(|by| format!("scale={}", 1.0 / by));
        let gate = match name {
            "simple_gla" => Some(("g", [None, scale])),
            "gla" | "hgrn2" => Some(("g", [rank, scale])),
            "rwkv6" => Some(("w", [rank, None])),
            _ => None,
        };
        let gate = gate.map(|(port, lines)| {
            let lines: Vec<String> = lines.into_iter().flatten().collect();
            (port.to_string(), lines.join(","))
        });
        let dims = [("K", self.key_dim), ("V", self.value_dim)];
        let dims = dims
            .into_iter()
            .filter_map(|(name, size)| Some((name.to_string(), size?)));
        BlockText {
            num_heads: self.num_heads,
            num_groups: None,
            dims: dims.collect(),
            ports: gate
                .into_iter()
                .filter(|(_, line)| !line.is_empty())
                .collect(),
            ..BlockText::new(name)
        }
    }
}

/// Gives the sizes and the gate that such a block was said by their present places in `block`, which is one of
/// the recurrence `name`.
pub fn in_todays_form(name: &str, block: &mut Map<String, Value>) {
    const OLDER: [&str; 4] = ["key_dim", "value_dim", "gate_rank", "gate_normalizer"];
    if ![
        "linear_attention",
        "retnet",
        "simple_gla",
        "gla",
        "hgrn2",
        "rwkv6",
    ]
    .contains(&name)
        || !OLDER.iter().any(|key| block.contains_key(*key))
    {
        return;
    }
    let whole = Value::Object(block.clone());
    let Ok(older) = serde_json::from_value::<OlderBlock>(whole) else {
        return; // its keys are refused by their names
    };
    OLDER.iter().for_each(|key| drop(block.remove(*key)));
    let BlockText { dims, ports, .. } = older.of(name);
    let mut under = |key: &str, all: Vec<(String, Value)>| {
        let table = block
            .entry(key)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(table) = table.as_object_mut() {
            for (name, value) in all {
                table.entry(name).or_insert(value);
            }
        }
    };
    under(
        "dims",
        dims.into_iter()
            .map(|(name, size)| (name, size.into()))
            .collect(),
    );
    under(
        "ports",
        ports
            .into_iter()
            .map(|(name, line)| (name, line.into()))
            .collect(),
    );
}
