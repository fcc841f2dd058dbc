//! Options of the verbs that train, which a file takes for keys: what each is.

use baton_ir::text::nearest;

/// Options of the verbs that train which are no keys: they decide nothing of what a run computes but its data, or say a
/// key by another one.
const OPTIONS: [&str; 29] = [
    "folder",
    "text",
    "field",
    "data",
    "task",
    "from",
    "other_data",
    "rate_share",
    "reset_documents",
    "checkpoint_every",
    "checkpoint_minutes",
    "threads",
    "device",
    "link",
    "dtype",
    "choices",
    "eval_every",
    "eval_times",
    "eval_sequences",
    "patience",
    "csv",
    "tensorboard",
    "quiet",
    "change",
    "config",
    "set",
    "print_config",
    "print_cost",
    "json",
];

/// Options whose keys have other names.
const CALLED: [(&str, &str); 12] = [
    ("width", "model.hidden_size"),
    ("layers", "model.num_hidden_layers"),
    ("feed_forward", "model.intermediate_size"),
    ("vocabulary", "model.vocab_size"),
    ("heads", "model.block.num_heads"),
    ("head_size", "model.block.head_dim"),
    ("groups", "model.block.num_groups"),
    ("dim", "model.block.dims"),
    ("port", "model.block.ports"),
    ("length", "train_length"),
    ("batch", "batch_size"),
    ("rate", "schedule.peak"),
];

/// Whether an option of this name is no key.
pub(super) fn is_one(name: &str) -> bool {
    OPTIONS.contains(&name.replace('-', "_").as_str())
}

/// The key of another name that the option of this name is.
pub(super) fn called(name: &str) -> Option<&'static str> {
    let name = name.replace('-', "_");
    let found = CALLED.into_iter().find(|(option, _)| *option == name);
    found.map(|(_, key)| key)
}

/// The option of another name than its key's that is nearest to `name`, and that key.
pub(super) fn near(name: &str) -> Option<(&'static str, &'static str)> {
    let near = nearest(name, CALLED.map(|(option, _)| option))?;
    CALLED.into_iter().find(|(option, _)| *option == near)
}
