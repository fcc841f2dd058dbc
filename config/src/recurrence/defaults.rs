//! What a block does with a port when nothing is said of it.
//!
//! By shape: a vector is a projection, a number of each head a projection with a bias. What the text
//! takes raw as the logarithm of a decay must not be positive, and the verifier's facts say which
//! inputs these are: they are the log-sigmoid of a projection, over 16 so that decays begin near 1; of low
//! rank where they are vectors. The built-in recurrences have more in a table: what their papers' layers
//! do, as far as it can be said of one port.

use super::port::{Act, InputPort, OutputPort};
use baton_ir::recurrence::{Facts, InputId, Pure, Recurrence};
use baton_ir::{builtin, text};

/// Rank of the projection of the log decays of a vector.
const RANK: usize = 16;
/// What log-sigmoids of decays are multiplied by.
const SLOW: f64 = 1.0 / 16.0;

/// Settings of the ports of built-in recurrences, laid over those by shape.
///
/// `called=gk`: the decays of the first four members were called so before a block could be of any text.
const PRESETS: &[(&str, &[(&str, &str)])] = &[
    ("retnet", &[("log_decay", "memory=5,fixed")]),
    ("simple_gla", &[("g", "called=gk")]),
    ("gla", &[("g", "called=gk")]),
    ("hgrn2", &[("g", "called=gk")]),
    (
        "rwkv6",
        &[
            ("w", "bias=-6..-1,act=exp,scale=-1,called=gk"),
            ("u", "constant=0.5"),
        ],
    ),
    ("delta_net", DELTA),
    ("gated_delta_net", DELTA),
    ("kda", DELTA),
    (
        "comba",
        &[
            ("q", KEY),
            ("k", KEY),
            ("p", "act=sigmoid,times=k"),
            ("v", VALUE),
            ("beta", RATE),
        ],
    ),
    (
        "gated_delta_product",
        &[
            ("q", KEY),
            ("k0", KEY),
            ("k1", KEY),
            ("v0", VALUE),
            ("v1", VALUE),
            ("beta0", RATE),
            ("beta1", RATE),
        ],
    ),
    (
        "efla",
        &[("q", KEY), ("k", VALUE), ("v", VALUE), ("beta", RATE)],
    ),
    (
        "kaczmarz",
        &[("q", KEY), ("k", VALUE), ("v", VALUE), ("beta", RATE)],
    ),
    // The log decay is -exp(-1/2) sigmoid(..), a is a key of length one, b is a times -(a rate in 0..1).
    (
        "rwkv7",
        &[
            ("w", "bias=-6..1,act=sigmoid,scale=-0.6065306597126334"),
            ("a", "norm=l2"),
            ("b", "act=sigmoid,scale=-1,times=a"),
        ],
    ),
    (
        "longhorn",
        &[("x", "plain,conv=4,act=silu"), ("d", "constant=1")],
    ),
    (
        "mamba1",
        &[
            ("u", "plain,conv=4,act=silu"),
            ("dt", "plain"),
            ("a_log", "ramp=0..2.772588722239781"),
            ("d", "constant=1"),
            ("dt_bias", STEP),
        ],
    ),
    (
        "mamba2",
        &[
            ("x", VALUE),
            ("b", VALUE),
            ("c", VALUE),
            ("dt", "plain"),
            ("a_log", "uniform=0..2.772588722239781"),
            ("d", "constant=1"),
            ("dt_bias", STEP),
        ],
    ),
    (
        "mamba3",
        &[
            ("qx_bias", "constant=1"),
            ("qy_bias", "constant=1"),
            ("kx_bias", "constant=1"),
            ("ky_bias", "constant=1"),
            ("d", "constant=1"),
            ("dt", "bias=-6.9..-2.25,act=softplus"),
            ("adt", "act=logsigmoid,scale=0.0625"),
        ],
    ),
    ("mlstm", &[("f", "bias=3..6")]),
    (
        "rg_lru",
        &[
            ("x", "plain,conv=4"),
            ("reset", "plain,constant=0"),
            ("a_param", "uniform=-8.3..-3.6"),
        ],
    ),
];

/// A key of the delta rule.
const KEY: &str = "conv=4,act=silu,norm=l2";
/// What the layers of the field convolve.
const VALUE: &str = "conv=4,act=silu";
/// A rate in 0..1.
const RATE: &str = "act=sigmoid";
/// Such that time steps begin between 0.001 and 0.1.
const STEP: &str = "uniform=-6.9..-2.25";
const DELTA: &[(&str, &str)] = &[("q", KEY), ("k", KEY), ("v", VALUE), ("beta", RATE)];

/// The preset line of each port of `recurrence`, if it is a built-in one.
pub(super) fn preset(recurrence: &Recurrence) -> impl Fn(&str) -> &'static str + use<> {
    let built_in = builtin::text(&recurrence.name).and_then(|text| text::parse(text).ok());
    let is_it = built_in.as_ref() == Some(recurrence);
    let lines = PRESETS
        .iter()
        .find(|(name, _)| is_it && *name == recurrence.name);
    let lines = lines.map_or(&[][..], |(_, lines)| *lines);
    move |port| {
        lines
            .iter()
            .find(|(name, _)| *name == port)
            .map_or("", |(_, line)| *line)
    }
}

/// Of input `i`, by its shape and by what the text does with it.
pub(super) fn input(recurrence: &Recurrence, facts: &Facts, i: usize) -> InputPort {
    let number = recurrence.inputs[i].shape.is_empty();
    let id = Pure::Input(InputId(i as u32));
    let decays = facts
        .transitions
        .iter()
        .flat_map(|t| [t.scalar, t.row, t.col]);
    let mut port = InputPort {
        bias: number.then_some([0.0; 2]),
        ..InputPort::default()
    };
    if decays.flatten().any(|decay| facts.pure(decay) == id) {
        port.rank = (!number).then_some(RANK);
        port.bias = Some([0.0; 2]);
        port.act = Some(Act::LogSigmoid);
        port.scale = Some(SLOW);
    }
    port
}

/// Of an output.
pub(super) fn output() -> OutputPort {
    OutputPort {
        norm: true,
        gate: Some(Act::Silu),
    }
}
