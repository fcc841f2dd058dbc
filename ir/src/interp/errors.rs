//! How far a result is from the truth: norms over whole tensors.

use super::problem::Problem;
use super::recurrence::gradient;
use crate::recurrence::{Expr, InputId};

/// Norm of the difference over the norm of the truth; the plain norm where the truth is zero.
///
/// # Panics
/// When lengths differ.
pub fn relative_error<T: Copy + Into<f64>>(found: &[T], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len(), "lengths differ");
    let (mut difference, mut norm) = (0.0, 0.0);
    for (found, truth) in found.iter().zip(truth) {
        let found: f64 = (*found).into();
        difference += (found - truth) * (found - truth);
        norm += truth * truth;
    }
    let difference = difference.sqrt();
    match norm == 0.0 {
        true => difference,
        false => difference / norm.sqrt(),
    }
}

/// How large the terms of each param's gradient are: their magnitudes added over sequences and steps,
/// entry by entry, and the norm of that over heads and dims. They are the gradients of the params as inputs that
/// stand still, of which those of the params are the sums.
pub fn param_terms(
    problem: &Problem<'_>,
    d_outputs: &[Option<&[f64]>],
    d_states: &[Option<&[f64]>],
) -> Result<Vec<f64>, String> {
    let mut recurrence = problem.recurrence.clone();
    let before = recurrence.inputs.len();
    for expr in &mut recurrence.exprs {
        if let Expr::Param(param) = *expr {
            *expr = Expr::Input(InputId(before as u32 + param.0));
        }
    }
    recurrence.inputs.append(&mut recurrence.params);
    recurrence.spans.inputs.append(&mut recurrence.spans.params);
    let steps = problem.batch * problem.time;
    let still = problem.params.iter().map(|values| values.repeat(steps));
    let still: Vec<Vec<f64>> = still.collect();
    let inputs = problem.inputs.iter().copied();
    let moved = Problem {
        recurrence: &recurrence,
        inputs: inputs.chain(still.iter().map(Vec::as_slice)).collect(),
        params: vec![],
        ..problem.clone()
    };
    let gradient = gradient(&moved, d_outputs, d_states)?;
    let terms = gradient.inputs[before..].iter().zip(&problem.params);
    let added = terms.map(|(terms, param)| {
        let mut added = vec![0.0; param.len()];
        for row in terms.chunks(param.len().max(1)) {
            let pairs = added.iter_mut().zip(row);
            pairs.for_each(|(sum, x)| *sum += x.abs());
        }
        added.iter().map(|x| x * x).sum::<f64>().sqrt()
    });
    Ok(added.collect())
}
