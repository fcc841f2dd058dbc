//! What a GPU does with sizes: which dims can be cut into strips, and at given sizes what runs and what is slower.

use super::messages;
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::shape::Shape;
use baton_codegen::Compiler;
use baton_codegen::target::remarks;
use baton_ir::recurrence::{DimId, Recurrence};

/// Sizes of dims that were not given.
const SIZE: usize = 64;

/// The lines of a recurrence; none where it has no chunked form, of which is said elsewhere that no GPU runs it.
pub fn lines(
    recurrence: &Recurrence,
    shape: Option<&Shape>,
    dtype: Dtype,
) -> Result<Vec<String>, Failure> {
    let names: Vec<&str> = recurrence.dims.iter().map(String::as_str).collect();
    let given = |name: &&str| shape.and_then(|shape| shape.get(name)).unwrap_or(SIZE);
    if let Some(shape) = shape {
        let run = ["B", "T", "H", "G"];
        shape.only(&[&run, &names[..]].concat())?;
    }
    let sizes: Vec<usize> = names.iter().map(given).collect();
    let Ok(compiler) = Compiler::new(recurrence, &sizes) else {
        return Ok(vec![]);
    };
    match shape {
        None => Ok(strips(&compiler)),
        Some(_) => at(compiler, dtype),
    }
}

/// Why no GPU runs a recurrence, at the sizes that were given, if none does.
pub fn none(
    recurrence: &Recurrence,
    shape: Option<&Shape>,
    dtype: Dtype,
) -> Result<Option<String>, Failure> {
    let names = recurrence.dims.iter();
    let size = |name: &String| shape.and_then(|shape| shape.get(name)).unwrap_or(SIZE);
    let sizes: Vec<usize> = names.map(size).collect();
    let target = dtype.schedule("sm_80")?;
    Ok(match Compiler::new(recurrence, &sizes) {
        Err(why) => Some(format!(
            "no chunked form, and no GPU runs it step by step: {}",
            messages(&why)
        )),
        Ok(compiler) => compiler.fit(&target, None).err().map(|why| why.to_string()),
    })
}

/// Of each dim of a state, whether a state too wide for a block is cut along it.
fn strips(compiler: &Compiler) -> Vec<String> {
    let line = |dim: DimId| {
        let name = &compiler.recurrence().dims[dim.index()];
        match compiler.bound(dim) {
            None => format!("a state too wide for a block is cut into strips of {name}"),
            Some(why) => format!(
                "no strips of {name}, along which a state is to fit a block whole: {why} (docs/gpu.md, \"Sizes\")"
            ),
        }
    };
    compiler.state_dims().map(line).collect()
}

/// What runs at the compiler's sizes, and what is slower for them.
fn at(compiler: Compiler, dtype: Dtype) -> Result<Vec<String>, Failure> {
    let target = dtype.schedule("sm_80")?;
    let asked = compiler.sizes_text();
    let (fitted, chunk) = match compiler.fit(&target, None) {
        Ok(found) => found,
        Err(why) => return Ok(vec![format!("{asked} in {}: none, {why}", dtype.name())]),
    };
    let of = match fitted.strips() {
        None => "whole".to_string(),
        Some(strips) => format!("in {} strips of {}", strips.count, fitted.sizes_text()),
    };
    let mut lines = vec![format!(
        "{asked} in {}: {of}, chunks of {chunk}",
        dtype.name()
    )];
    let recurrence = fitted.recurrence();
    let size = |at: usize| fitted.sizes()[at];
    let dims = recurrence.dims.iter().enumerate();
    let dims = dims.map(|(at, name)| (name.as_str(), size(at)));
    let tensors = recurrence.inputs.iter().chain(&recurrence.outputs);
    let rows = tensors.filter_map(|port| {
        let last = port.shape.last()?;
        Some((
            port.name.as_str(),
            size(last.index()) as u32 * target.storage.bytes(),
        ))
    });
    lines.extend(remarks(dims, rows));
    Ok(lines)
}
