//! A recurrence with its sizes and numbers: what every interpreter is given.

use crate::recurrence::{Port, Recurrence};

/// Whole sequences. Layouts: an input `[B, T, H, dims..]` (`[B, T, G, dims..]` per group), a param
/// `[H, dims..]`, a state `[S, H, dims..]` where S, the sequences, is B unless they are packed.
#[derive(Clone, Debug)]
pub struct Problem<'a> {
    /// What is run.
    pub recurrence: &'a Recurrence,
    /// Sizes of the dims.
    pub sizes: Vec<usize>,
    /// B
    pub batch: usize,
    /// T
    pub time: usize,
    /// H
    pub heads: usize,
    /// G; divides H.
    pub groups: usize,
    /// Where packed sequences begin and end, from 0 to T; B is one then.
    pub cu_seqlens: Option<Vec<usize>>,
    /// For each input.
    pub inputs: Vec<&'a [f64]>,
    /// For each param.
    pub params: Vec<&'a [f64]>,
    /// For each state, as it enters; zero when absent.
    pub states: Vec<Option<&'a [f64]>>,
}

/// One sequence: steps `start..start + len` of a batch row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Batch row.
    pub row: usize,
    /// First step.
    pub start: usize,
    /// Number of steps.
    pub len: usize,
}

impl Problem<'_> {
    /// The sequences in order; S of them.
    pub fn sequences(&self) -> Vec<Sequence> {
        match &self.cu_seqlens {
            Some(ends) => ends
                .windows(2)
                .map(|pair| Sequence {
                    row: 0,
                    start: pair[0],
                    len: pair[1] - pair[0],
                })
                .collect(),
            None => (0..self.batch)
                .map(|row| Sequence {
                    row,
                    start: 0,
                    len: self.time,
                })
                .collect(),
        }
    }

    /// Entries of one head of a port at one step.
    pub fn entries(&self, port: &Port) -> usize {
        port.shape
            .iter()
            .map(|dim| self.sizes[dim.index()])
            .product()
    }

    /// Entries of a port over all heads (groups, when it is per group) at one step.
    pub fn row(&self, port: &Port) -> usize {
        let heads = if port.per_group {
            self.groups
        } else {
            self.heads
        };
        heads * self.entries(port)
    }

    /// Whether every size agrees with every other.
    pub fn check(&self) -> Result<(), String> {
        let recurrence = self.recurrence;
        count("sizes", self.sizes.len(), recurrence.dims.len())?;
        count("inputs", self.inputs.len(), recurrence.inputs.len())?;
        count("params", self.params.len(), recurrence.params.len())?;
        count("states", self.states.len(), recurrence.states.len())?;
        if self.groups == 0 || !self.heads.is_multiple_of(self.groups) {
            let (heads, groups) = (self.heads, self.groups);
            return Err(format!("{heads} heads do not fall into {groups} groups"));
        }
        if let Some(ends) = &self.cu_seqlens {
            let bounded = ends.first() == Some(&0) && ends.last() == Some(&self.time);
            if self.batch != 1 || !bounded || !ends.is_sorted() {
                return Err(format!(
                    "cu_seqlens {ends:?} with batch {} and time {}: expected batch 1 and an \
                     increasing list from 0 to the time",
                    self.batch, self.time
                ));
            }
        }
        let steps = self.batch * self.time;
        for (port, data) in recurrence.inputs.iter().zip(&self.inputs) {
            length("input", port, data.len(), steps * self.row(port))?;
        }
        for (port, data) in recurrence.params.iter().zip(&self.params) {
            length("param", port, data.len(), self.row(port))?;
        }
        self.check_states("state", &self.states)
    }

    /// Whether arrays for each state, where present, have a state's length.
    pub fn check_states(&self, kind: &str, states: &[Option<&[f64]>]) -> Result<(), String> {
        let sequences = self.sequences().len();
        count(
            &format!("arrays of kind {kind}"),
            states.len(),
            self.recurrence.states.len(),
        )?;
        for (port, data) in self.recurrence.states.iter().zip(states) {
            if let Some(data) = data {
                length(kind, port, data.len(), sequences * self.row(port))?;
            }
        }
        Ok(())
    }

    /// Whether arrays for each output, where present, have an output's length.
    pub fn check_outputs(&self, kind: &str, outputs: &[Option<&[f64]>]) -> Result<(), String> {
        let steps = self.batch * self.time;
        count(
            &format!("arrays of kind {kind}"),
            outputs.len(),
            self.recurrence.outputs.len(),
        )?;
        for (port, data) in self.recurrence.outputs.iter().zip(outputs) {
            if let Some(data) = data {
                length(kind, port, data.len(), steps * self.row(port))?;
            }
        }
        Ok(())
    }
}

fn count(what: &str, given: usize, expected: usize) -> Result<(), String> {
    match given == expected {
        true => Ok(()),
        false => Err(format!("{given} {what} given, expected {expected}")),
    }
}

fn length(kind: &str, port: &Port, given: usize, expected: usize) -> Result<(), String> {
    let name = &port.name;
    match given == expected {
        true => Ok(()),
        false => Err(format!(
            "{kind} `{name}` has {given} entries, expected {expected}"
        )),
    }
}
