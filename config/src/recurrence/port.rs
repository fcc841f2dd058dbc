//! What a block makes of each port of its recurrence: the settings of an input, a param and an output.

use super::settings::{Settings, Text, line, put};
use crate::Error;
use baton_data::rng::Rng;
use std::fmt;

/// A pointwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// x sigmoid(x).
    Silu,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// Its logarithm.
    LogSigmoid,
    /// ln(1 + exp(x)).
    Softplus,
    /// The hyperbolic tangent.
    Tanh,
    /// max(x, 0).
    Relu,
    /// The exponential.
    Exp,
}

const ACTS: [(&str, Act); 7] = [
    ("silu", Act::Silu),
    ("sigmoid", Act::Sigmoid),
    ("logsigmoid", Act::LogSigmoid),
    ("softplus", Act::Softplus),
    ("tanh", Act::Tanh),
    ("relu", Act::Relu),
    ("exp", Act::Exp),
];

/// How a vector of each head is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Divided by its root mean square, times weights.
    Rms,
    /// Divided by its length.
    L2,
}

const NORMS: [(&str, Norm); 2] = [("rms", Norm::Rms), ("l2", Norm::L2)];

/// How a weight begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One number.
    Constant(f64),
    /// Gaussian of mean zero and this deviation.
    Normal(f64),
    /// Uniform in a range.
    Uniform([f64; 2]),
    /// Evenly from the first to the last element of each head, from the first head to the last where a
    /// head has one.
    Ramp([f64; 2]),
    /// The log decays of RetNet's heads: head h remembers 2^(N + h) steps, ln(1 - 2^(-N - h)).
    Memory(f64),
}

/// An input: how it comes from the residual stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputPort {
    /// In place of all that follows: it is this number.
    pub constant: Option<f64>,
    /// The projection is the product of two, over so many channels.
    pub rank: Option<usize>,
    /// What is added to the projection, as it begins: from the first to the last as [`Init::Ramp`].
    pub bias: Option<[f64; 2]>,
    /// Taps of a causal convolution over time, for each channel by itself.
    pub conv: Option<usize>,
    /// After these.
    pub act: Option<Act>,
    /// Then multiplied by this; absent is one.
    pub scale: Option<f64>,
    /// Then normalised.
    pub norm: Option<Norm>,
    /// Then multiplied, element by element, by the input of this name.
    pub times: Option<String>,
    /// What its weights are called; its own name when absent.
    pub called: Option<String>,
}

/// A param: a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamPort {
    /// How it begins.
    pub init: Init,
    /// Whether it stays so.
    pub fixed: bool,
}

/// An output: what becomes of it before the projection back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputPort {
    /// Whether it is divided by its root mean square: of each head, of all heads where a head has one
    /// number.
    pub norm: bool,
    /// What a projection of the residual stream goes through that it is then multiplied by.
    pub gate: Option<Act>,
}

impl Default for ParamPort {
    fn default() -> Self {
        ParamPort {
            init: Init::Normal(0.02),
            fixed: false,
        }
    }
}

impl Init {
    /// The elements of [H, ..] with `each` to a head, in row order.
    pub fn elements(self, heads: usize, each: usize, rng: &mut Rng) -> Vec<f64> {
        let along = if each == 1 { heads } else { each };
        let last = (along.max(2) - 1) as f64;
        let element = |i: usize| match self {
            Init::Constant(x) => x,
            Init::Normal(std) => std * rng.normal(),
            Init::Uniform([low, high]) => rng.between(low, high),
            Init::Ramp([from, to]) => (i % along) as f64 * ((to - from) / last) + from,
            Init::Memory(first) => (-(-first - (i / each) as f64).exp2()).ln_1p(),
        };
        (0..heads * each).map(element).collect()
    }
}

impl Settings for InputPort {
    const ROLE: &'static str = "input";
    const KEYS: &'static str = "rank, bias, conv, act, scale, norm, times, constant, called";

    fn set(&mut self, key: &str, value: &Text<'_>) -> Option<Result<(), Error>> {
        match key {
            "constant" => put(&mut self.constant, value.or_none(Text::number)),
            "rank" => put(&mut self.rank, value.or_none(Text::size)),
            "bias" => put(&mut self.bias, value.or_none(Text::ramp)),
            "conv" => put(&mut self.conv, value.or_none(Text::size)),
            "act" => put(&mut self.act, value.or_none(|v| v.one_of(&ACTS))),
            "scale" => put(&mut self.scale, value.or_none(Text::number)),
            "norm" => put(&mut self.norm, value.or_none(|v| v.one_of(&NORMS))),
            "times" => put(&mut self.times, value.or_none(Text::name)),
            "called" => put(&mut self.called, value.or_none(Text::name)),
            _ => None,
        }
    }
}

impl Settings for ParamPort {
    const ROLE: &'static str = "param";
    const KEYS: &'static str = "constant, normal, uniform, ramp, memory, fixed";

    fn set(&mut self, key: &str, value: &Text<'_>) -> Option<Result<(), Error>> {
        match key {
            "constant" => put(&mut self.init, value.number().map(Init::Constant)),
            "normal" => put(&mut self.init, value.positive().map(Init::Normal)),
            "uniform" => put(&mut self.init, value.range().map(Init::Uniform)),
            "ramp" => put(&mut self.init, value.range().map(Init::Ramp)),
            "memory" => put(&mut self.init, value.positive().map(Init::Memory)),
            "fixed" => put(&mut self.fixed, value.flag()),
            _ => None,
        }
    }
}

impl Settings for OutputPort {
    const ROLE: &'static str = "output";
    const KEYS: &'static str = "norm, gate";

    fn set(&mut self, key: &str, value: &Text<'_>) -> Option<Result<(), Error>> {
        match key {
            "norm" => {
                let norm = value.or_none(|v| v.one_of(&NORMS[..1]));
                put(&mut self.norm, norm.map(|norm| norm.is_some()))
            }
            "gate" => put(&mut self.gate, value.or_none(|v| v.one_of(&ACTS))),
            _ => None,
        }
    }
}

fn name<T: PartialEq>(of: &T, all: &'static [(&'static str, T)]) -> &'static str {
    let found = all.iter().find(|(_, it)| it == of);
    found.map_or("", |(name, _)| name)
}

/// `X`, or `X..Y`.
fn ramp([from, to]: [f64; 2]) -> String {
    match from == to {
        true => from.to_string(),
        false => format!("{from}..{to}"),
    }
}

impl fmt::Display for InputPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |number: Option<f64>| number.map(|number| number.to_string());
        let size = |number: Option<usize>| number.map(|number| number.to_string());
        line(
            f,
            &[
                ("constant", text(self.constant)),
                ("rank", size(self.rank)),
                ("bias", self.bias.map(ramp)),
                ("conv", size(self.conv)),
                ("act", self.act.map(|act| name(&act, &ACTS).into())),
                ("scale", text(self.scale)),
                ("norm", self.norm.map(|norm| name(&norm, &NORMS).into())),
                ("times", self.times.clone()),
                ("called", self.called.clone()),
            ],
        )
    }
}

impl fmt::Display for ParamPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |[from, to]: [f64; 2]| format!("{from}..{to}");
        let init = match self.init {
            Init::Constant(x) => ("constant", x.to_string()),
            Init::Normal(std) => ("normal", std.to_string()),
            Init::Uniform(ends) => ("uniform", range(ends)),
            Init::Ramp(ends) => ("ramp", range(ends)),
            Init::Memory(first) => ("memory", first.to_string()),
        };
        let fixed = self.fixed.then(String::new);
        line(f, &[(init.0, Some(init.1)), ("fixed", fixed)])
    }
}

impl fmt::Display for OutputPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gate = self.gate.map(|gate| name(&gate, &ACTS).into());
        line(
            f,
            &[("norm", self.norm.then(|| "rms".into())), ("gate", gate)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_laid_over_what_stands_and_written_whole() {
        let stands = InputPort::default().with("k", "bias=0,act=silu").unwrap();
        let line = " conv=4, norm=l2,bias=none,scale=-0.5,rank=8 ";
        let laid = stands.clone().with("k", line).unwrap();
        let written = "plain,rank=8,conv=4,act=silu,scale=-0.5,norm=l2";
        assert_eq!(laid.to_string(), written);
        assert_eq!(stands.with("k", written).unwrap(), laid);
        let all = "plain,rank=2,bias=-6..-1.5,conv=3,act=logsigmoid,scale=0.0625,norm=rms,times=q,called=gk";
        let read = laid.with("k", all).unwrap();
        assert_eq!(read.to_string(), all);
        for line in [
            "plain,constant=1",
            "plain,normal=0.5,fixed",
            "plain,uniform=-1..2",
            "plain,ramp=0..2.5",
            "plain,memory=5,fixed",
        ] {
            let read = ParamPort::default().with("u", line).unwrap();
            assert_eq!(read.to_string(), line);
        }
        for line in ["plain", "plain,norm=rms", "plain,norm=rms,gate=sigmoid"] {
            let read = OutputPort::default().with("o", line).unwrap();
            assert_eq!(read.to_string(), line);
        }
    }

    #[test]
    fn what_is_no_setting_is_refused_by_name() {
        let input = |line| InputPort::default().with("k", line).unwrap_err();
        let param = |line| ParamPort::default().with("u", line).unwrap_err();
        let output = |line| OutputPort::default().with("o", line).unwrap_err();
        for (error, part) in [
            (input("cov=4"), "`cov` given for the input `k`, expected of"),
            (input("conv"), "nothing given as conv of `k`, expected a"),
            (input("conv=0"), "`0` given as conv of `k`"),
            (input("rank=-1"), "`-1` given as rank of `k`"),
            (
                input("act=gelu"),
                "`gelu` given as act of `k`, expected silu",
            ),
            (
                input("norm=l1"),
                "`l1` given as norm of `k`, expected rms, l2 or none",
            ),
            (
                input("scale=inf"),
                "`inf` given as scale of `k`, expected a number",
            ),
            (
                input("bias=1..x"),
                "`1..x` given as bias of `k`, expected a range",
            ),
            (
                input("times=a b"),
                "`a b` given as times of `k`, expected a name",
            ),
            (input("plain=1"), "`plain` given for the input `k`"),
            (
                param("uniform=1"),
                "`1` given as uniform of `u`, expected a range",
            ),
            (
                param("normal=-1"),
                "`-1` given as normal of `u`, expected a number from",
            ),
            (
                param("fixed=1"),
                "`1` given as fixed of `u`, expected the word",
            ),
            (
                param("act=silu"),
                "`act` given for the param `u`, expected of",
            ),
            (
                output("norm=l2"),
                "`l2` given as norm of `o`, expected rms or none",
            ),
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn weights_begin_as_they_are_said_to() {
        let mut rng = Rng::at(1, baton_data::rng::Purpose::Weights, 0);
        let mut of = |init: Init, heads, each| init.elements(heads, each, &mut rng);
        assert_eq!(
            of(Init::Ramp([-6.0, -1.0]), 2, 3),
            [-6.0, -3.5, -1.0, -6.0, -3.5, -1.0]
        );
        assert_eq!(of(Init::Ramp([3.0, 6.0]), 4, 1), [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(of(Init::Ramp([2.0, 3.0]), 1, 1), [2.0]);
        let memory = of(Init::Memory(5.0), 2, 1);
        assert!((memory[0] - (1.0 - 1.0 / 32.0f64).ln()).abs() < 1e-15);
        assert!((memory[1] - (1.0 - 1.0 / 64.0f64).ln()).abs() < 1e-15);
        let drawn = of(Init::Uniform([-2.0, -1.0]), 10, 100);
        assert!(drawn.iter().all(|x| (-2.0..=-1.0).contains(x)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((mean + 1.5).abs() < 5.0 * 0.2887 / 1000f64.sqrt(), "{mean}");
        let drawn = of(Init::Normal(0.5), 10, 100);
        let square = drawn.iter().map(|x| x * x).sum::<f64>() / 1000.0;
        assert!(
            (square.sqrt() - 0.5).abs() < 5.0 * 0.5 / 2000f64.sqrt(),
            "{square}"
        );
    }
}
