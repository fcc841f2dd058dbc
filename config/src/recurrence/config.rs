//! What a block of a recurrence is, in full: the recurrence itself, its sizes, and what becomes of
//! each port. Stored with every checkpoint, so that nothing else is needed to make the block again.
//!
//! A person says less ([`BlockText`]); what is left out follows from the text and from the width of the
//! residual stream, once, when the configuration is read. So a [`RecurrenceConfig`] is always whole, and
//! fits its recurrence: there is no way to make one but [`BlockText::settle`].

use super::defaults;
use super::port::{InputPort, OutputPort, ParamPort};
use super::settings::Settings;
use crate::Error;
use baton_data::files;
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::{builtin, text, verify};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Channels of a state whose heads are the channels of the residual stream, where none are given.
const STATE: usize = 16;
/// Heads where none are given.
const HEADS: usize = 4;
/// The most inputs, params and states that a block's recurrence may have.
pub const MOST_TENSORS: usize = 24;
/// The most numbers that a port may have at one step.
const MOST: f64 = 1e9;

/// A block as a person asks for it: a recurrence, and where the block differs from its defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockText {
    /// The text of the recurrence, or the name of a built-in one.
    pub text: String,
    /// Number of heads.
    #[serde(default)]
    pub num_heads: Option<usize>,
    /// Number of groups that share what the text says is `per group`.
    #[serde(default)]
    pub num_groups: Option<usize>,
    /// Sizes by the text's names.
    #[serde(default)]
    pub dims: BTreeMap<String, usize>,
    /// Settings by the text's names.
    #[serde(default)]
    pub ports: BTreeMap<String, String>,
}

/// A block of a recurrence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "BlockText")]
pub struct RecurrenceConfig {
    recurrence: Arc<Recurrence>,
    heads: usize,
    groups: usize,
    /// In the order of the text, as all that follow.
    dims: Vec<usize>,
    inputs: Vec<InputPort>,
    params: Vec<ParamPort>,
    outputs: Vec<OutputPort>,
}

impl BlockText {
    /// A block of `text`, or of the built-in recurrence of this name, as its defaults are.
    pub fn new(text: &str) -> Self {
        BlockText {
            text: text.into(),
            ..BlockText::default()
        }
    }

    /// Replaces a path, from `folder` on, by the text that lies there.
    pub fn found(mut self, folder: &Path) -> Result<Self, Error> {
        if !is_text(&self.text) && builtin::text(&self.text).is_none() {
            let path = folder.join(&self.text);
            self.text = files::text(&path).map_err(|e| {
                let why = e.reason();
                Error::file(
                    &path,
                    format!(
                        "{why}, expected the text of a recurrence or one of the built-in {}",
                        builtin::NAMES.join(", ")
                    ),
                )
            })?;
        }
        Ok(self)
    }

    /// The whole configuration, in a residual stream of `hidden`.
    pub fn settle(&self, hidden: usize) -> Result<RecurrenceConfig, Error> {
        let (recurrence, facts) = understood(&self.text)?;
        let mut wrong = self.not_names_of(&recurrence);
        // Where a head has one number, heads are channels.
        let narrow = recurrence.outputs.iter().all(|o| o.shape.is_empty());
        let heads = self.num_heads.unwrap_or(match narrow {
            true => hidden,
            false if hidden.is_multiple_of(HEADS) => HEADS,
            false => 1,
        });
        let size = |name: &String| match self.dims.get(name) {
            Some(&size) => size,
            None if narrow => STATE,
            None => (hidden / heads.max(1)).max(1),
        };
        let given = |port: &Port| self.ports.get(&port.name).map_or("", String::as_str);
        let preset = defaults::preset(&recurrence);
        let input = |(i, port): (usize, &Port)| {
            let own = defaults::input(&recurrence, &facts, i);
            own.with(&port.name, preset(&port.name))?
                .with(&port.name, given(port))
        };
        let param = |port: &Port| {
            let own = ParamPort::default().with(&port.name, preset(&port.name))?;
            own.with(&port.name, given(port))
        };
        let output = |port: &Port| defaults::output().with(&port.name, given(port));
        let [inputs, params, outputs] =
            [&recurrence.inputs, &recurrence.params, &recurrence.outputs].map(|ports| ports.iter());
        let inputs = right(inputs.enumerate().map(input), &mut wrong);
        let params = right(params.map(param), &mut wrong);
        let outputs = right(outputs.map(output), &mut wrong);
        match &wrong[..] {
            [] => {}
            [_] => return Err(wrong.remove(0)),
            many => {
                let many: Vec<String> = many.iter().map(ToString::to_string).collect();
                return Err(Error::Config(many.join("; ")));
            }
        }
        let config = RecurrenceConfig {
            heads,
            groups: self.num_groups.unwrap_or(1),
            dims: recurrence.dims.iter().map(size).collect(),
            inputs,
            params,
            outputs,
            recurrence: Arc::new(recurrence),
        };
        config.check()?;
        Ok(config)
    }

    /// What is wrong with the names that it gives: those that the text does not have, or that have no settings.
    fn not_names_of(&self, recurrence: &Recurrence) -> Vec<Error> {
        let Recurrence {
            name,
            dims,
            inputs,
            params,
            outputs,
            states,
            ..
        } = recurrence;
        let ports = inputs.iter().chain(params).chain(outputs);
        let ports: Vec<&str> = ports.map(|port| port.name.as_str()).collect();
        let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
        let given = self.dims.keys().map(|given| ("dim", given, &dims));
        let given = given.chain(self.ports.keys().map(|given| ("port", given, &ports)));
        let wrong = given.filter(|(_, given, names)| !names.contains(&given.as_str()));
        wrong
            .map(|(kind, given, names)| match states.iter().any(|state| state.name == *given) {
                true if kind == "port" => Error::Config(format!(
                    "settings of `{given}` given, which is a state of `{name}`: it begins where --initial-state \
                     says and has none"
                )),
                _ => Error::Config(format!(
                    "the {kind} `{given}` given, expected one of the recurrence `{name}`, which has {}",
                    names.join(", ")
                )),
            })
            .collect()
    }
}

/// What was read right; the rest is noted.
fn right<T>(read: impl Iterator<Item = Result<T, Error>>, wrong: &mut Vec<Error>) -> Vec<T> {
    read.filter_map(|read| read.map_err(|why| wrong.push(why)).ok())
        .collect()
}

/// Whether this is a text and no name or path: it has a body.
fn is_text(text: &str) -> bool {
    text.contains('{')
}

/// The recurrence of a text or of a built-in name, its places those of its own print, and its facts.
fn understood(given: &str) -> Result<(Recurrence, baton_ir::recurrence::Facts), Error> {
    let source = match is_text(given) {
        true => given,
        false => builtin::text(given).ok_or_else(|| {
            Error::Config(format!(
                "`{given}` given as the text of a block, expected that of a recurrence or one of the \
                 built-in {}",
                builtin::NAMES.join(", ")
            ))
        })?,
    };
    let wrong = |diagnostics| Error::Text {
        name: "the block".into(),
        text: source.into(),
        diagnostics,
    };
    let parsed = text::parse(source).map_err(wrong)?;
    verify::verify(&parsed).map_err(wrong)?;
    let recurrence = text::parse(&text::print(&parsed)).map_err(wrong)?;
    let facts = verify::verify(&recurrence).map_err(wrong)?;
    Ok((recurrence, facts))
}

/// The canonical text of a recurrence that is given by its text or its built-in name.
pub(crate) fn canonical(given: &str) -> Option<String> {
    let (recurrence, _) = understood(given).ok()?;
    Some(text::print(&recurrence))
}

impl RecurrenceConfig {
    /// The recurrence.
    pub fn recurrence(&self) -> &Recurrence {
        &self.recurrence
    }

    /// Heads of every state.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Sizes by the text's names, in its order.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// What becomes of each input, in the text's order.
    pub fn inputs(&self) -> &[InputPort] {
        &self.inputs
    }

    /// What each param is, in the text's order.
    pub fn params(&self) -> &[ParamPort] {
        &self.params
    }

    /// What becomes of each output, in the text's order.
    pub fn outputs(&self) -> &[OutputPort] {
        &self.outputs
    }

    /// Its canonical text.
    pub fn text(&self) -> String {
        text::print(&self.recurrence)
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        let Recurrence {
            name,
            inputs,
            params,
            states,
            ..
        } = &*self.recurrence;
        let Self {
            heads,
            groups,
            dims,
            ..
        } = self;
        if *groups == 0 || *heads == 0 || heads % groups != 0 || dims.contains(&0) {
            return wrong(format!(
                "num_heads {heads}, num_groups {groups} and dims {dims:?} given, expected at least 1 each and \
                 groups that divide the heads"
            ));
        }
        let outputs = &self.recurrence.outputs;
        for port in inputs.iter().chain(params).chain(states).chain(outputs) {
            let sizes = self.head_sizes(port);
            if sizes.iter().map(|&size| size as f64).product::<f64>() > MOST {
                return wrong(format!(
                    "`{}` of {sizes:?} numbers given, expected at most {MOST:e} in all",
                    port.name
                ));
            }
        }
        let tensors = inputs.len() + params.len() + states.len();
        if tensors > MOST_TENSORS {
            return wrong(format!(
                "the recurrence `{name}` of {tensors} inputs, params and states given, expected at most \
                 {MOST_TENSORS} for a block"
            ));
        }
        for (port, own) in inputs.iter().zip(&self.inputs) {
            let name = &port.name;
            if own.norm.is_some() && port.shape.is_empty() {
                return wrong(format!(
                    "norm given for the input `{name}`, expected it for vectors: it is one number of each \
                     head"
                ));
            }
            let alone = InputPort {
                constant: own.constant,
                ..InputPort::default()
            };
            if own.constant.is_some() && *own != alone {
                return wrong(format!(
                    "a constant and other settings given for the input `{name}`, expected one or the other \
                     (`plain,constant=..`)"
                ));
            }
            let Some(times) = &own.times else { continue };
            let other = inputs.iter().position(|port| port.name == *times);
            let fits = |&other: &usize| {
                let (shape, shared) = (&inputs[other].shape, inputs[other].per_group);
                self.inputs[other].times.is_none()
                    && (shape, shared) == (&port.shape, port.per_group)
            };
            if other.filter(fits).is_none() {
                return wrong(format!(
                    "times={times} given for the input `{name}`, expected another input of its shape that \
                     is not multiplied itself"
                ));
            }
        }
        let mut seen = BTreeSet::new();
        match self
            .names()
            .into_iter()
            .find(|name| !seen.insert(name.clone()))
        {
            Some(twice) => wrong(format!(
                "two weights called `{twice}` in the block, expected other names: rename the param or say \
                 called=NAME for the input"
            )),
            None => Ok(()),
        }
    }

    /// The names of what has a name from a port.
    fn names(&self) -> Vec<String> {
        let inputs = self.recurrence.inputs.iter().zip(&self.inputs);
        let biases = inputs.filter(|(_, own)| own.bias.is_some());
        let biases = biases.map(|(port, own)| format!("{}bias", own.prefix(port)));
        let params = self.recurrence.params.iter().map(|port| port.name.clone());
        biases.chain(params).collect()
    }

    /// The sizes of a shape.
    fn sizes(&self, port: &Port) -> Vec<usize> {
        port.shape
            .iter()
            .map(|dim| self.dims[dim.index()])
            .collect()
    }

    /// The sizes of an input, heads or groups first.
    pub fn input_sizes(&self, port: &Port) -> Vec<usize> {
        let shared = if port.per_group {
            self.groups
        } else {
            self.heads
        };
        [&[shared], &self.sizes(port)[..]].concat()
    }

    /// The sizes of a param, a state or an output, heads first.
    pub fn head_sizes(&self, port: &Port) -> Vec<usize> {
        [&[self.heads], &self.sizes(port)[..]].concat()
    }

    /// What an output's norm is over: each head, or all heads where a head has one number.
    pub fn norm_width(&self, port: &Port) -> usize {
        match port.shape.is_empty() {
            true => self.heads,
            false => self.sizes(port).iter().product(),
        }
    }

    /// Sizes of every state without the batch.
    pub fn state_sizes(&self) -> Vec<Vec<usize>> {
        let states = self.recurrence.states.iter();
        states.map(|state| self.head_sizes(state)).collect()
    }

    /// Channels and taps of the convolution; of several widths the longest.
    pub fn conv_size(&self) -> Option<[usize; 2]> {
        let inputs = self.recurrence.inputs.iter().zip(&self.inputs);
        let convolved = inputs
            .filter_map(|(port, own)| Some([self.input_sizes(port).iter().product(), own.conv?]));
        convolved.reduce(|[channels, width], [more, other]| [channels + more, width.max(other)])
    }

    /// About as many weights as a block has in a residual stream of `hidden`.
    pub(crate) fn about_weights(&self, hidden: f64) -> f64 {
        let product = |sizes: Vec<usize>| sizes.iter().map(|&size| size as f64).product::<f64>();
        let Recurrence {
            inputs,
            params,
            outputs,
            ..
        } = &*self.recurrence;
        let inputs = inputs.iter().zip(&self.inputs).map(|(port, own)| {
            let channels = product(self.input_sizes(port));
            match (own.constant, own.rank) {
                (Some(_), _) => 0.0,
                (_, Some(rank)) => rank as f64 * (hidden + channels),
                _ => hidden * channels,
            }
        });
        let params = params.iter().map(|port| product(self.head_sizes(port)));
        let outputs = outputs.iter().zip(&self.outputs).map(|(port, own)| {
            let ways = if own.gate.is_some() { 2.0 } else { 1.0 };
            ways * hidden * product(self.head_sizes(port))
        });
        inputs.chain(params).chain(outputs).sum()
    }
}

impl InputPort {
    /// What the names of its weights begin with.
    pub fn prefix(&self, port: &Port) -> String {
        format!("{}_", self.called.as_ref().unwrap_or(&port.name))
    }
}

impl From<RecurrenceConfig> for BlockText {
    fn from(config: RecurrenceConfig) -> Self {
        let Recurrence {
            dims,
            inputs,
            params,
            outputs,
            ..
        } = &*config.recurrence;
        let name = |port: &Port| port.name.clone();
        let inputs = inputs
            .iter()
            .map(name)
            .zip(config.inputs.iter().map(ToString::to_string));
        let params = params
            .iter()
            .map(name)
            .zip(config.params.iter().map(ToString::to_string));
        let outputs = outputs
            .iter()
            .map(name)
            .zip(config.outputs.iter().map(ToString::to_string));
        BlockText {
            text: config.text(),
            num_heads: Some(config.heads),
            num_groups: Some(config.groups),
            dims: dims
                .iter()
                .cloned()
                .zip(config.dims.iter().copied())
                .collect(),
            ports: inputs.chain(params).chain(outputs).collect(),
        }
    }
}

/// Everything that was settled, for a person.
impl fmt::Display for RecurrenceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockText { dims, ports, .. } = self.clone().into();
        write!(f, "block `{}`: {} heads", self.recurrence.name, self.heads)?;
        if self.recurrence.inputs.iter().any(|port| port.per_group) {
            write!(f, ", {} groups", self.groups)?;
        }
        dims.iter()
            .try_for_each(|(name, size)| write!(f, ", {name}={size}"))?;
        ports
            .iter()
            .try_for_each(|(name, line)| write!(f, "\n  {name}: {line}"))
    }
}
