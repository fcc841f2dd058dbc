//! The arguments of a call: arrays by name to tensors in the order of declaration.
//!
//! What Baton checks (shapes, offsets, sizes) it checks itself; here are names, dtypes, ranks and memory,
//! which a call of Rust cannot get wrong or an abort would answer.

use crate::array::{Array, Number, Precision, dtype_error, offsets};
use crate::definition::{Definition, PARAM, STATE, steps};
use baton_ir::recurrence::{Port, Recurrence};
use baton_runtime::{Call, Error, View};
use pyo3::exceptions::{PyMemoryError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};
use std::hint::black_box;

/// Everything that a run reads.
pub struct Arguments {
    pub precision: Precision,
    inputs: Vec<Array>,
    params: Vec<Array>,
    states: Vec<Option<Array>>,
    cu_seqlens: Option<Vec<i64>>,
}

impl Arguments {
    pub fn take(
        py: Python<'_>,
        definition: &Definition,
        tensors: Option<&Bound<'_, PyDict>>,
        initial_state: Option<&Bound<'_, PyAny>>,
        cu_seqlens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let Recurrence {
            name,
            inputs,
            params,
            states,
            ..
        } = &definition.recurrence;
        let mut taking = Taking {
            definition,
            precision: None,
        };
        let empty = PyDict::new(py);
        let tensors = tensors.unwrap_or(&empty);
        let ports = || inputs.iter().chain(params);
        known(tensors, ports(), &format!("`{name}`"))?;
        let mut all = vec![];
        for (i, port) in ports().enumerate() {
            let given = tensors
                .get_item(&port.name)?
                .filter(|given| !given.is_none());
            let outer = match i < inputs.len() {
                true => steps(port),
                false => PARAM,
            };
            let given = given.ok_or_else(|| {
                let layout = definition.layout(outer, port).join(", ");
                let takes = names(ports());
                let text = format!(
                    "tensor `{}` [{layout}] is missing: `{name}` takes {takes}",
                    port.name
                );
                PyTypeError::new_err(text)
            })?;
            all.push(taking.array(py, &port.name, outer, port, &given)?);
        }
        let params = all.split_off(inputs.len());
        let states = taking.named("initial_state", "", states, |_| STATE, initial_state)?;
        Ok(Arguments {
            precision: taking.precision.unwrap_or(Precision::F32),
            inputs: all,
            params,
            states,
            cu_seqlens: cu_seqlens.map(offsets).transpose()?,
        })
    }

    /// The gradients that arrive, of outputs and of final states.
    pub fn arriving(
        &self,
        definition: &Definition,
        d_outputs: Option<&Bound<'_, PyAny>>,
        d_final_state: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<[Vec<Option<Array>>; 2]> {
        let Recurrence {
            outputs, states, ..
        } = &definition.recurrence;
        let mut taking = Taking {
            definition,
            precision: Some(self.precision),
        };
        Ok([
            taking.named("d_outputs", "d_", outputs, steps, d_outputs)?,
            taking.named("d_final_state", "d_", states, |_| STATE, d_final_state)?,
        ])
    }

    /// In the runtime's form.
    pub fn call<T: Number>(&self) -> Call<'_, T> {
        Call {
            inputs: self.inputs.iter().map(Array::view).collect(),
            params: self.params.iter().map(Array::view).collect(),
            states: views(&self.states),
            cu_seqlens: self.cu_seqlens.as_deref(),
        }
    }

    fn given(&self) -> impl Iterator<Item = &Array> {
        let states = self.states.iter().flatten();
        self.inputs.iter().chain(&self.params).chain(states)
    }

    fn numbers(&self) -> usize {
        let product = |array: &Array| {
            let sizes = array.shape.iter();
            sizes.fold(1usize, |n, &size| n.saturating_mul(size))
        };
        let all = self.given().map(product);
        all.fold(0usize, usize::saturating_add)
    }

    /// What a run comes to, roughly: the numbers read, times the widest dimension of a head.
    pub fn work(&self) -> usize {
        let dims = self.given().flat_map(|array| array.shape.iter().skip(3));
        let widest = dims.copied().max().unwrap_or(1);
        self.numbers().saturating_mul(widest)
    }

    /// Refuses what memory cannot hold: results as large as what is given, by shape and not by strides, which
    /// an array that is broadcast has at no cost. (A run that cannot allocate ends the process.)
    pub fn room(&self) -> PyResult<()> {
        let numbers = self.numbers();
        let bytes = numbers.saturating_mul(16);
        let mut tried = Vec::<u8>::new();
        let room = tried.try_reserve_exact(bytes);
        // Else an optimiser may take the allocation away, and with it its failure.
        black_box(&tried);
        room.map_err(|_| {
            PyMemoryError::new_err(format!(
                "{numbers} numbers given, whose results memory cannot hold"
            ))
        })
    }
}

/// Views of arrays, absent ones absent.
pub fn views<T: Number>(arrays: &[Option<Array>]) -> Vec<Option<View<'_, T>>> {
    let arrays = arrays.iter().map(Option::as_ref);
    arrays.map(|array| array.map(Array::view)).collect()
}

fn names<'a>(ports: impl Iterator<Item = &'a Port>) -> String {
    let names: Vec<&str> = ports.map(|port| port.name.as_str()).collect();
    names.join(", ")
}

/// Refuses names that no port has.
fn known<'a>(
    given: &Bound<'_, PyDict>,
    ports: impl Iterator<Item = &'a Port> + Clone,
    of: &str,
) -> PyResult<()> {
    for name in given.keys() {
        let name = name.str()?;
        let name = name.to_string_lossy();
        if !ports.clone().any(|port| port.name == name) {
            let text = format!("{of} has no tensor `{name}`, only {}", names(ports));
            return Err(PyTypeError::new_err(text));
        }
    }
    Ok(())
}

/// Takes arrays of one precision, which the first decides.
struct Taking<'a> {
    definition: &'a Definition,
    precision: Option<Precision>,
}

impl Taking<'_> {
    fn array(
        &mut self,
        py: Python<'_>,
        name: &str,
        outer: &[&str],
        port: &Port,
        given: &Bound<'_, PyAny>,
    ) -> PyResult<Array> {
        let array = Array::take(name, given)?;
        let precision = *self.precision.get_or_insert(array.precision);
        let wrong = if array.precision != precision {
            let expected = format!("{} as the tensors before it", precision.name());
            Some(dtype_error(name, array.precision.name(), &expected))
        } else if array.shape.len() != outer.len() + port.shape.len() {
            Some(Error::Shape {
                tensor: name.into(),
                given: array.shape.clone(),
                expected: format!("[{}]", self.definition.layout(outer, port).join(", ")),
            })
        } else {
            None
        };
        match wrong {
            Some(why) => Err(self.definition.source.raised(py, why)),
            None => Ok(array),
        }
    }

    /// The arrays of a dict by the names of ports, absent ones as `None`; `prefix` is put before names in messages.
    fn named(
        &mut self,
        argument: &str,
        prefix: &str,
        ports: &[Port],
        outer: impl Fn(&Port) -> &'static [&'static str],
        given: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Option<Array>>> {
        let Some(given) = given else {
            return Ok(ports.iter().map(|_| None).collect());
        };
        let py = given.py();
        let mapping = given.cast::<PyMapping>().map_err(|_| {
            let kind = given.get_type().name();
            let kind = kind.map_or_else(|_| "?".into(), |kind| kind.to_string());
            let expected = names(ports.iter());
            PyTypeError::new_err(format!(
                "`{argument}` is of type `{kind}`, expected a dict of arrays by the names {expected}"
            ))
        })?;
        let given = PyDict::new(py);
        given.update(mapping)?;
        known(&given, ports.iter(), &format!("`{argument}`"))?;
        let one = |port: &Port| match given.get_item(&port.name)? {
            Some(array) if !array.is_none() => {
                let name = format!("{prefix}{}", port.name);
                self.array(py, &name, outer(port), port, &array).map(Some)
            }
            _ => Ok(None),
        };
        ports.iter().map(one).collect()
    }
}
