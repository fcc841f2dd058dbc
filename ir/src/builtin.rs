//! The recurrences that ship with Baton: data, in `ir/recurrences`.
//!
//! A new one is a file there and a line here; nothing else knows their names.

macro_rules! builtin {
    ($($name:literal,)*) => {
        /// The names of the built-in recurrences.
        pub const NAMES: &[&str] = &[$($name,)*];

        /// The text of a built-in recurrence.
        pub fn text(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some(include_str!(concat!("../recurrences/", $name, ".rec"))),)*
                _ => None,
            }
        }
    };
}

builtin! {
    "mamba2",
    "linear_attention",
    "linear_attention_norm",
    "retnet",
    "simple_gla",
    "gla",
    "hgrn2",
    "rwkv6",
    "delta_net",
    "gated_delta_net",
    "gated_delta_product",
    "kda",
    "comba",
    "rwkv7",
    "mamba1",
    "rg_lru",
    "min_gru",
    "longhorn",
    "efla",
    "kaczmarz",
    "mlstm",
    "mamba3",
    "mlstm_sigmoid",
}
