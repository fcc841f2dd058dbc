//! Configurations in one line, as people write them on a command line.
//!
//! ```text
//! state_passing
//! state_passing:p_zero=0.5,conv=carried
//! fitted_noise:layers=0-3,5,warmup=100
//! 0.5*state_passing + 0.5*zero
//! ```
//!
//! A term is a line as [`baton_data::line`] reads it: a policy's own options and three that wrap it (`layers`,
//! `warmup`, `after`) stand after the colon. `+` mixes. What this cannot say, JSON can: a text that begins with `{` is
//! read as that.

use super::{Convolution, ForLayers, InitialStateConfig, Share, fit, momentum};
use crate::Error;
use baton_data::line;
use std::fmt::Display;
use std::str::FromStr;

impl FromStr for InitialStateConfig {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.starts_with('{') {
            return serde_json::from_str(text)
                .map_err(|e| Error::Config(format!("an initial state in JSON given: {e}")));
        }
        let terms: Vec<&str> = text.split('+').map(str::trim).collect();
        if let [only] = terms[..]
            && !only.contains('*')
        {
            return policy(only);
        }
        let share = |term: &str| {
            let (weight, name) = term.split_once('*').unwrap_or(("1", term));
            Ok(Share {
                weight: number(term, "weight", weight)?,
                policy: policy(name.trim())?,
            })
        };
        let of = terms.into_iter().map(share).collect::<Result<_, Error>>()?;
        Ok(InitialStateConfig::Mixed { of })
    }
}

/// The options of one policy, taken out one after another.
struct Options<'a> {
    of: &'a str,
    left: Vec<(&'a str, String)>,
}

impl Options<'_> {
    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.left.iter().position(|(name, _)| *name == key)?;
        Some(self.left.remove(at).1)
    }

    fn number<T: FromStr>(&mut self, key: &str, absent: T) -> Result<T, Error> {
        match self.take(key) {
            Some(value) => number(self.of, key, &value),
            None => Ok(absent),
        }
    }

    fn conv(&mut self) -> Result<Convolution, Error> {
        match self.take("conv").as_deref() {
            None | Some("zero") => Ok(Convolution::Zero),
            Some("carried") => Ok(Convolution::Carried),
            Some(other) => Err(wrong(self.of, "conv", other, "zero or carried")),
        }
    }

    /// Layers as `0-3,5`.
    fn layers(&mut self) -> Result<Option<Vec<usize>>, Error> {
        let Some(text) = self.take("layers") else {
            return Ok(None);
        };
        let mut layers = Vec::new();
        for part in text.split(',') {
            let ends = match part.split_once('-') {
                Some((first, last)) => (first.trim().parse::<usize>(), last.trim().parse()),
                None => (part.trim().parse(), part.trim().parse()),
            };
            match ends {
                (Ok(first), Ok(last)) if first <= last && last < 1 << 16 => {
                    layers.extend(first..=last);
                }
                _ => return Err(wrong(self.of, "layers", part, "numbers or ranges as 0-3,5")),
            }
        }
        Ok(Some(layers))
    }
}

fn policy(text: &str) -> Result<InitialStateConfig, Error> {
    use InitialStateConfig as Config;
    let (name, left) = line::read(text).map_err(|item| {
        Error::Config(format!("`{item}` given in `{text}`, expected NAME=VALUE"))
    })?;
    let mut options = Options { of: text, left };
    let (layers, warmup, after) = (
        options.layers()?,
        options.number("warmup", 0)?,
        options.number("after", 0)?,
    );
    let (mut policy, known) = match name.replace('-', "_").as_str() {
        "zero" => (Config::Zero, ""),
        "noise" => {
            let Some(std) = options.take("std") else {
                return Err(Error::Config(format!(
                    "`{text}` given, expected its standard deviation: noise:std=0.1 (none is \
                     published; it should be that of the model's own states)"
                )));
            };
            let std = number(text, "std", &std)?;
            let p_zero = options.number("p_zero", 0.1)?;
            (Config::Noise { std, p_zero }, "std, p_zero, ")
        }
        "fitted_noise" => {
            let policy = Config::FittedNoise {
                momentum: options.number("momentum", momentum())?,
                fit: options.number("fit", fit())?,
                p_zero: options.number("p_zero", 0.1)?,
            };
            (policy, "momentum, fit, p_zero, ")
        }
        "state_passing" => {
            let (p_zero, conv) = (options.number("p_zero", 0.1)?, options.conv()?);
            (Config::StatePassing { p_zero, conv }, "p_zero, conv, ")
        }
        "truncated_bptt" | "tbptt" => {
            let (p_zero, conv) = (options.number("p_zero", 0.0)?, options.conv()?);
            (Config::TruncatedBptt { p_zero, conv }, "p_zero, conv, ")
        }
        _ => {
            return Err(Error::Config(format!(
                "the initial state `{name}` given, expected zero, noise, fitted_noise, \
                 state_passing or truncated_bptt"
            )));
        }
    };
    if let Some((key, _)) = options.left.first() {
        return Err(Error::Config(format!(
            "`{key}` given in `{text}`, expected of {known}layers, warmup, after, each once"
        )));
    }
    if let Some(layers) = layers {
        let of = vec![ForLayers { layers, policy }];
        policy = Config::Layers { of };
    }
    if warmup > 0 {
        policy = Config::WarmUp {
            steps: warmup,
            policy: Box::new(policy),
        };
    }
    if after > 0 {
        policy = Config::After {
            step: after,
            policy: Box::new(policy),
        };
    }
    Ok(policy)
}

fn number<T: FromStr>(of: &str, key: &str, value: &str) -> Result<T, Error> {
    let value = value.trim();
    value.parse().map_err(|_| wrong(of, key, value, "a number"))
}

fn wrong(of: &str, key: &str, given: &str, expected: impl Display) -> Error {
    Error::Config(format!(
        "`{given}` given as {key} in `{of}`, expected {expected}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, to_value};

    #[test]
    fn a_line_says_what_json_says() {
        let zero = json!({"type": "zero"});
        let passing = json!({"type": "state_passing", "p_zero": 0.1, "conv": "zero"});
        for (line, tree) in [
            ("zero", zero.clone()),
            ("state-passing", passing.clone()),
            (
                "noise:std=0.2,p_zero=0",
                json!({"type": "noise", "std": 0.2, "p_zero": 0.0}),
            ),
            (
                "fitted_noise",
                json!({"type": "fitted_noise", "momentum": 0.99, "fit": 4, "p_zero": 0.1}),
            ),
            (
                "tbptt:conv=carried",
                json!({"type": "truncated_bptt", "p_zero": 0.0, "conv": "carried"}),
            ),
            (
                "0.5*state_passing + zero",
                json!({"type": "mixed", "of": [
                    {"weight": 0.5, "policy": passing}, {"weight": 1.0, "policy": zero},
                ]}),
            ),
            (
                "state_passing:layers=0-2,5,warmup=10,after=3",
                json!({"type": "after", "step": 3, "policy":
                    {"type": "warm_up", "steps": 10, "policy":
                        {"type": "layers", "of": [{"layers": [0, 1, 2, 5], "policy": passing}]}}}),
            ),
        ] {
            let config: InitialStateConfig = line.parse().unwrap();
            assert_eq!(to_value(&config).unwrap(), tree, "{line}");
            let again: InitialStateConfig = tree.to_string().parse().unwrap();
            assert_eq!(again, config, "{line}");
            config.check(6).unwrap();
        }
        let short: InitialStateConfig = r#"{"type": "state_passing"}"#.parse().unwrap();
        assert_eq!(short, InitialStateConfig::state_passing());
    }

    #[test]
    fn what_is_no_policy_is_refused_by_name() {
        for (line, part) in [
            ("", "the initial state `` given"),
            (
                "passing",
                "the initial state `passing` given, expected zero",
            ),
            ("noise", "expected its standard deviation"),
            ("state_passing:pzero=1", "`pzero` given"),
            (
                "zero:p_zero=1",
                "`p_zero` given in `zero:p_zero=1`, expected of layers",
            ),
            ("state_passing:p_zero=a", "`a` given as p_zero"),
            ("state_passing:conv=yes", "`yes` given as conv"),
            ("state_passing:layers=3-1", "`3-1` given as layers"),
            ("state_passing:carried", "`carried` given in"),
            ("x*zero", "`x` given as weight"),
            (r#"{"type": "passing"}"#, "unknown variant"),
            (r#"{"type": "state_passing", "pzero": 1}"#, "unknown field"),
        ] {
            let error = line.parse::<InitialStateConfig>().unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
        for (line, part) in [
            ("state_passing:p_zero=1.5", "p_zero 1.5 given"),
            ("noise:std=-1", "std -1 given"),
            ("fitted_noise:momentum=1", "momentum 1 given"),
            (
                "state_passing:layers=0-2",
                "layer 2 given, expected one of the model's 2",
            ),
            ("state_passing:layers=1,1", "layer 1 given twice"),
            ("-1*zero + 2*zero", "weights [-1.0, 2.0]"),
        ] {
            let config: InitialStateConfig = line.parse().unwrap();
            let error = config.check(2).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
        // Layers are compared with as many as are said, which no memory need hold.
        let config: InitialStateConfig = "state_passing:layers=0,7".parse().unwrap();
        config.check(usize::MAX).unwrap();
    }
}
