//! Every key of a configuration: what its value may be, and what it is where a file does not say it.
//!
//! The names are those of `TrainConfig` and what it is made of. This table is what a person's configuration is
//! held against before anything is made of it, so that all mistakes are found at once; how keys must fit each other is
//! for the types to say. A block has the keys of its kind and no others.

use crate::small;
use crate::train::TrainConfig;
use serde_json::{Value, json};

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name, without those of the tables that it is in.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is, in JSON, where a stored configuration leaves it out; empty where none does.
    absent: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// More keys.
    Table(&'static [Key]),
    /// The block of a model, whose keys depend on its type.
    Block,
    /// Where sequences begin.
    InitialState,
    /// A whole number from 1 on.
    Size,
    /// A whole number from 0 on.
    Count,
    /// A number above 0.
    Positive,
    /// A number from 0 on.
    FromZero,
    /// A number from 0 to 1.
    Share,
    /// A number from 0 to below 1.
    BelowOne,
    /// Yes or no.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Two numbers above 0, the second not below the first.
    Range,
    /// Two bounds, either of which may be none.
    Bounds,
    /// A text.
    Text,
    /// Sizes by name.
    Sizes,
    /// Texts by name.
    Lines,
    /// The layers of a hybrid, each a table.
    Layers,
    /// The same, or none.
    Optional(&'static Kind),
}

impl Key {
    /// Whether something is taken for it where a stored configuration says nothing.
    pub fn may_be_left_out(&self) -> bool {
        !self.absent.is_empty()
    }
}

const fn key(name: &'static str, kind: Kind) -> Key {
    let absent = "";
    Key { name, kind, absent }
}

const fn left_out(name: &'static str, kind: Kind, absent: &'static str) -> Key {
    Key { name, kind, absent }
}

const fn optional(name: &'static str, kind: &'static Kind) -> Key {
    left_out(name, Kind::Optional(kind), r#""none""#)
}

/// A whole configuration.
pub const ALL: &[Key] = &[
    key("model", Kind::Table(MODEL)),
    key("train_length", Kind::Size),
    key("batch_size", Kind::Size),
    key("parts", Kind::Size),
    left_out("segments", Kind::Size, "1"),
    key("recompute", Kind::Flag),
    key("schedule", Kind::Table(SCHEDULE)),
    key("optimizer", Kind::Table(OPTIMIZER)),
    key("initial_state", Kind::InitialState),
    key("seed", Kind::Count),
];

const MODEL: &[Key] = &[
    key("vocab_size", Kind::Size),
    key("hidden_size", Kind::Size),
    key("num_hidden_layers", Kind::Count),
    key("layer_norm_epsilon", Kind::BelowOne),
    left_out("tie_word_embeddings", Kind::Flag, "true"),
    optional("intermediate_size", &Kind::Size),
    optional("output_logit_soft_cap", &Kind::Positive),
    key("block", Kind::Block),
];

const SCHEDULE: &[Key] = &[
    left_out(
        "shape",
        Kind::Word(&["cosine", "constant", "linear", "wsd"]),
        r#""cosine""#,
    ),
    key("peak", Kind::FromZero),
    key("warmup", Kind::Count),
    key("steps", Kind::Count),
    key("floor", Kind::Share),
    optional("decay", &Kind::Count),
];

const OPTIMIZER: &[Key] = &[
    key("beta1", Kind::BelowOne),
    key("beta2", Kind::BelowOne),
    key("epsilon", Kind::Positive),
    key("weight_decay", Kind::FromZero),
    key("clip", Kind::Positive),
];

const MAMBA1: &[Key] = &[
    key("expand", Kind::Size),
    key("state_size", Kind::Size),
    key("conv_kernel", Kind::Size),
    optional("time_step_rank", &Kind::Size),
    key("time_step_range", Kind::Range),
    key("time_step_floor", Kind::FromZero),
    key("rescale_prenorm_residual", Kind::Flag),
    left_out("use_bias", Kind::Flag, "false"),
    left_out("use_conv_bias", Kind::Flag, "true"),
    optional("mixer_rms_eps", &Kind::FromZero),
];

const MAMBA2: &[Key] = &[
    key("expand", Kind::Size),
    key("head_dim", Kind::Size),
    key("state_size", Kind::Size),
    key("n_groups", Kind::Size),
    key("conv_kernel", Kind::Size),
    key("a_init_range", Kind::Range),
    key("time_step_range", Kind::Range),
    key("time_step_floor", Kind::FromZero),
    key("rescale_prenorm_residual", Kind::Flag),
    left_out("use_bias", Kind::Flag, "false"),
    left_out("use_conv_bias", Kind::Flag, "true"),
    left_out("time_step_limit", Kind::Bounds, r#"["none", "none"]"#),
];

const DELTA: &[Key] = &[
    key("num_heads", Kind::Size),
    optional("num_v_heads", &Kind::Size),
    key("head_dim", Kind::Size),
    key("value_dim", Kind::Size),
    key("conv_kernel", Kind::Size),
    left_out("allow_neg_eigval", Kind::Flag, "false"),
    left_out("sigmoid_gate", Kind::Flag, "false"),
    key("initializer_range", Kind::FromZero),
];

const MLSTM: &[Key] = &[
    key("num_heads", Kind::Size),
    key("key_dim", Kind::Size),
    key("value_dim", Kind::Size),
    key("gate_soft_cap", Kind::Positive),
];

const RWKV7: &[Key] = &[
    key("head_dim", Kind::Size),
    key("decay_rank", Kind::Size),
    key("rate_rank", Kind::Size),
    key("value_rank", Kind::Size),
    key("gate_rank", Kind::Size),
    key("fuse_norm", Kind::Flag),
    key("norm_bias", Kind::Flag),
];

const RECURRENCE: &[Key] = &[
    key("text", Kind::Text),
    key("num_heads", Kind::Size),
    key("num_groups", Kind::Size),
    key("dims", Kind::Sizes),
    key("ports", Kind::Lines),
];

const HYBRID: &[Key] = &[
    key("chunk", Kind::Size),
    key("landmark", Kind::Word(&["position", "encoder"])),
    key("layers", Kind::Layers),
];

/// The layers of a hybrid, and the keys of each beside its type.
pub const LAYERS: [(&str, &[Key]); 6] = [
    ("recurrent", &[key("block", Kind::Block), MLP]),
    ("attention", &[HEADS, KV_HEADS, WINDOW, POSITIONS, MLP]),
    (
        "chunking",
        &[
            key("encoder", Kind::Count),
            HEADS,
            key("mlp", Kind::Size),
            KV_HEADS,
            key("head_dim", Kind::Size),
            optional("retrieval", &Kind::Size),
        ],
    ),
    (
        "retrieval",
        &[
            key("per", Kind::Word(&["chunk", "token"])),
            key("top", Kind::Size),
            HEADS,
            key("weights", Kind::Word(&["softmax", "stick_breaking"])),
            key("noise", Kind::Flag),
        ],
    ),
    (
        "grouped",
        &[
            HEADS,
            KV_HEADS,
            WINDOW,
            POSITIONS,
            QUERIES,
            key("one", Kind::Flag),
            key("bypass", Kind::Flag),
            key("mlp", Kind::Size),
        ],
    ),
    (
        "sparse",
        &[
            QUERIES,
            left_out("one", Kind::Flag, "false"),
            left_out("bypass", Kind::Flag, "false"),
            MLP,
        ],
    ),
];

const HEADS: Key = key("heads", Kind::Size);
const KV_HEADS: Key = key("kv_heads", Kind::Size);
const QUERIES: Key = key("queries", Kind::Size);
const WINDOW: Key = key("window", Kind::Size);
const POSITIONS: Key = key("positions", Kind::Word(&["alibi", "rotary", "none"]));
const MLP: Key = optional("mlp", &Kind::Size);

/// The keys of a layer of this kind, where there is one.
pub fn of_layer(kind: &str) -> Option<&'static [Key]> {
    let found = LAYERS.iter().find(|(name, _)| *name == kind);
    found.map(|(_, keys)| *keys)
}

/// The keys of a block beside its type.
pub fn of_block(kind: &str) -> &'static [Key] {
    match kind {
        "mamba1" => MAMBA1,
        "mamba2" => MAMBA2,
        "gated_delta_net" | "kda" => DELTA,
        "mlstm" => MLSTM,
        "rwkv7" => RWKV7,
        "hybrid" => HYBRID,
        name if small::HYBRID.contains(&name) => HYBRID,
        _ => RECURRENCE,
    }
}

/// A configuration with every key, also those that a stored one leaves out.
pub fn whole(config: &TrainConfig) -> Value {
    let mut value = json!(config);
    complete(&mut value);
    value
}

/// Puts what a stored configuration leaves out into it.
fn complete(config: &mut Value) {
    fn fill(keys: &[Key], into: &mut Value) {
        let Some(table) = into.as_object_mut() else {
            return;
        };
        for key in keys {
            if key.may_be_left_out() && !table.contains_key(key.name) {
                let absent = serde_json::from_str(key.absent);
                table.insert(key.name.into(), absent.expect("the table holds JSON"));
            }
            match (key.kind, table.get_mut(key.name)) {
                (Kind::Table(keys), Some(value)) => fill(keys, value),
                (Kind::Block, Some(value)) => {
                    let kind = value["type"].as_str().unwrap_or_default().to_string();
                    fill(of_block(&kind), value);
                }
                (Kind::Layers, Some(Value::Array(layers))) => {
                    for layer in layers {
                        let kind = layer["type"].as_str().unwrap_or_default();
                        fill(of_layer(kind).unwrap_or_default(), layer);
                    }
                }
                (Kind::Bounds, Some(Value::Array(bounds))) => {
                    for bound in bounds.iter_mut().filter(|bound| bound.is_null()) {
                        *bound = json!("none");
                    }
                }
                _ => {}
            }
        }
    }
    fill(ALL, config);
}
