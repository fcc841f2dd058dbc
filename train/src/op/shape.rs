//! Splitting a projection's columns into named parts, and looking rows up in a table.
//!
//! Forward, [`split`] moves no memory: parts are strided views, which kernels and the fused
//! operations take as they are. Backward, all parts' gradients are laid side by side in one pass.

use super::composed;
use super::flex::{Rows, flex};
use super::node::record;
use super::value::{Value, on_host};
use crate::Error;
use burn::Tensor;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::Shape;
use rayon::prelude::*;

/// Splits the last dim of x [B, T, F] into parts of shape `parts[i]`: part i is
/// [B, T, parts`[i]`...], and the sizes add up to F.
pub fn split(x: Tensor<3>, parts: &[&[usize]]) -> Result<Vec<Value>, Error> {
    let [batch, time, width] = x.dims();
    let widths: Vec<usize> = parts.iter().map(|part| part.iter().product()).collect();
    if widths.iter().sum::<usize>() != width {
        return Err(Error::Tensor(format!(
            "{width} columns split into {parts:?}: expected parts that add up to {width}"
        )));
    }
    if !on_host(&x.device()) {
        return composed::split(x, parts);
    }
    let x = Value::new(x)?;
    let from = contiguous_columns(x.flex());
    let strides = from.layout().strides().to_vec();
    let mut at = from.layout().start_offset();
    let outputs = parts
        .iter()
        .zip(&widths)
        .map(|(part, width)| {
            let mut shape = vec![batch, time];
            shape.extend_from_slice(part);
            let inner = baton_runtime::tensor::contiguous(part);
            let steps = strides[..2].iter().copied();
            let steps = steps.chain(inner.iter().map(|&s| s as isize)).collect();
            let layout = Layout::new(Shape::from(shape), steps, at);
            at += width;
            FlexTensor::from_arc(from.data_arc(), layout, from.dtype())
        })
        .collect();
    let inner: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    Ok(record(&[x], outputs, move |arrived, _| {
        let mut d_x = vec![0.0; batch * time * width];
        let arrived: Vec<Option<Rows>> = arrived
            .iter()
            .zip(&inner)
            .map(|(g, &inner)| g.as_ref().map(|g| Rows::new(g, inner)))
            .collect();
        d_x.par_chunks_mut(width.max(1))
            .with_min_len(64)
            .enumerate()
            .for_each(|(i, d_row)| {
                let mut at = 0;
                for (part, width) in arrived.iter().zip(&widths) {
                    if let Some(part) = part {
                        d_row[at..at + width].copy_from_slice(part.row(i));
                    }
                    at += width;
                }
            });
        vec![Some(flex(d_x, &[batch, time, width]))]
    }))
}

fn contiguous_columns(tensor: &FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    match strides.last() == Some(&1) && strides.iter().all(|&s| s >= 0) {
        true => tensor.clone(),
        false => tensor.to_contiguous(),
    }
}

/// Rows `ids` of `table` [V, D] as [B, T, D]; `ids` has B T entries in row order.
pub fn embed(table: Tensor<2>, ids: &[u32], [batch, time]: [usize; 2]) -> Result<Tensor<3>, Error> {
    let [vocab, width] = table.dims();
    if ids.len() != batch * time {
        return Err(Error::Tensor(format!(
            "{} tokens: expected [B={batch}, T={time}]",
            ids.len()
        )));
    }
    if let Some(token) = ids.iter().find(|&&t| t as usize >= vocab) {
        return Err(Error::Tensor(format!(
            "token {token} is outside the vocabulary of {vocab}"
        )));
    }
    if !on_host(&table.device()) {
        return Ok(composed::embed(table, ids, [batch, time]));
    }
    let table = Value::new(table)?;
    let rows = Rows::new(table.flex(), 1);
    let mut out = Vec::with_capacity(ids.len() * width);
    ids.iter()
        .for_each(|&id| out.extend_from_slice(rows.row(id as usize)));
    let ids = ids.to_vec();
    let out = vec![flex(out, &[batch, time, width])];
    let mut out = record(&[table], out, move |arrived, _| {
        let mut d_table = vec![0.0; vocab * width];
        if let Some(arrived) = arrived[0].as_ref().map(|g| Rows::new(g, 1)) {
            for (i, &id) in ids.iter().enumerate() {
                let at = id as usize * width;
                let sums = d_table[at..at + width].iter_mut();
                sums.zip(arrived.row(i)).for_each(|(sum, g)| *sum += g);
            }
        }
        vec![Some(flex(d_table, &[vocab, width]))]
    });
    out.remove(0).tensor()
}
