//! States of rows and of the sequences that are packed into them, one from the other.

use super::composed;
use super::flex::{Rows, flex};
use super::node::record;
use super::packing::Packing;
use super::value::Value;
use crate::Error;

impl Packing {
    /// States of rows, [B, ..], to those that the sequences begin from, [S, ..].
    pub fn enter(&self, states: &Value) -> Result<Value, Error> {
        select(states, &self.enters, self.leaves.len())
    }

    /// States that the sequences end with, [S, ..], to those of the rows, [B, ..].
    pub fn leave(&self, states: &Value) -> Result<Value, Error> {
        select(states, &self.leaves, self.enters.len())
    }
}

/// Chosen rows of the first dim, which has size `count`; `None` is zero.
fn select(from: &Value, rows: &[Option<usize>], count: usize) -> Result<Value, Error> {
    let shape = from.shape();
    if shape.first() != Some(&count) {
        return Err(Error::Tensor(format!(
            "a state of shape {shape:?} given, expected {count} sequences"
        )));
    }
    if !from.on_host() {
        return composed::select(from, rows);
    }
    let each: usize = shape[1..].iter().product();
    let data = Rows::new(from.flex(), shape.len() - 1);
    let mut out = vec![0.0; rows.len() * each];
    for (out, row) in out.chunks_mut(each.max(1)).zip(rows) {
        if let Some(row) = row {
            out.copy_from_slice(data.row(*row));
        }
    }
    let new = [&[rows.len()], &shape[1..]].concat();
    let rows = rows.to_vec();
    let mut out = record(
        std::slice::from_ref(from),
        vec![flex(out, &new)],
        move |arrived, _| {
            let mut d_from = vec![0.0; count * each];
            if let Some(arrived) = arrived[0].as_ref().map(|g| Rows::new(g, shape.len() - 1)) {
                for (i, row) in rows.iter().enumerate() {
                    if let Some(row) = row {
                        let sums = d_from[row * each..(row + 1) * each].iter_mut();
                        sums.zip(arrived.row(i)).for_each(|(sum, g)| *sum += g);
                    }
                }
            }
            vec![Some(flex(d_from, &shape))]
        },
    );
    Ok(out.remove(0))
}
