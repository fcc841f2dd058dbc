//! The map, an op with a language of its own: what it must be, and what it gives.

use super::gives::{Flops, Gives, Steps, computed, entries, times};
use super::{Along, Reduce, Scalar, TileId, zeros};

/// What a map gives of tiles that have a `shape`, and of which so much is `known`.
pub(super) fn gives(
    space: &[u32],
    operands: &[(TileId, Along)],
    body: &[Scalar],
    reduce: Reduce,
    chunk: u32,
    shape: impl Fn(TileId) -> Result<Vec<u32>, String>,
    known: &[Gives],
) -> Result<Gives, String> {
    if !matches!(space.len(), 1 | 2) {
        return Err(format!("a map has rank 1 or 2, not {}", space.len()));
    }
    for &(tile, along) in operands {
        let given = shape(tile)?;
        let expected = match along {
            Along::None => Some(vec![]),
            Along::First => Some(vec![space[0]]),
            Along::Second => space.get(1).map(|&size| vec![size]),
            Along::Both => (space.len() == 2).then(|| space.to_vec()),
        };
        if expected.as_ref() != Some(&given) {
            return Err(match expected {
                Some(expected) => format!(
                    "%{} has shape {given:?}, expected {expected:?} ({along:?} of {space:?})",
                    tile.0
                ),
                None => format!("a map over {space:?} has no second axis"),
            });
        }
    }
    is_sound(body, operands.len(), space, chunk)?;
    let [first, second] = space_steps(operands, body, known);
    let (shape, steps) = match (reduce, space) {
        (Reduce::None, _) => (space.to_vec(), [first, second]),
        (Reduce::All, _) => (vec![], [false; 2]),
        (Reduce::First, &[_, columns]) => (vec![columns], [second, false]),
        (Reduce::Second, &[rows, _]) => (vec![rows], [first, false]),
        (Reduce::First | Reduce::Second, _) => {
            return Err("a map of rank 1 is summed over all or nothing".into());
        }
    };
    let (space, [all, functions]) = (entries(space), computed(body));
    // Of every sum the first term is no addition.
    let summed = space - entries(&shape).min(space);
    let pointwise = times(&[space, all - functions]).saturating_add(summed);
    let flops = Flops::pointwise(pointwise).functions(times(&[space, functions]));
    let zeros = match reduce {
        Reduce::None => zeros::of_body(body, operands, known).pop(),
        _ => None,
    };
    Ok(Gives {
        shape,
        steps,
        zeros: zeros.unwrap_or_default(),
        flops,
    })
}

/// Which axes of a map's space are steps, where those of the tiles are `known`.
pub fn space_steps(operands: &[(TileId, Along)], body: &[Scalar], known: &[Gives]) -> Steps {
    let mut steps = [false; 2];
    for &(tile, along) in operands {
        let [first, second] = known
            .get(tile.index())
            .map_or([false; 2], |known| known.steps);
        match along {
            Along::None => (),
            Along::First => steps[0] |= first,
            Along::Second => steps[1] |= first,
            Along::Both => {
                steps[0] |= first;
                steps[1] |= second;
            }
        }
    }
    for scalar in body {
        match scalar {
            Scalar::Valid(_) => steps[0] = true,
            Scalar::Causal(..) => steps = [true; 2],
            _ => (),
        }
    }
    steps
}

fn is_sound(body: &[Scalar], operands: usize, space: &[u32], chunk: u32) -> Result<(), String> {
    if body.is_empty() {
        return Err("a map without an expression".into());
    }
    for (at, scalar) in body.iter().enumerate() {
        let earlier = |of: u32| match (of as usize) < at {
            true => Ok(()),
            false => Err(format!(
                "scalar {at} reads scalar {of}, which is not before it"
            )),
        };
        match *scalar {
            Scalar::Operand(number) if number as usize >= operands => {
                return Err(format!("operand {number} of {operands} does not exist"));
            }
            Scalar::Number(number) if !number.is_finite() => {
                return Err(format!("{number} is not finite"));
            }
            Scalar::Operand(_) | Scalar::Number(_) => {}
            Scalar::Unary(_, a) => earlier(a)?,
            Scalar::Binary(_, a, b) => earlier(a).and(earlier(b))?,
            Scalar::Select(x, y, a, b) => [x, y, a, b].into_iter().try_for_each(earlier)?,
            Scalar::Valid(a) => {
                earlier(a)?;
                if space[0] != chunk {
                    return Err(format!(
                        "`valid` over {space:?}, expected {chunk} steps first"
                    ));
                }
            }
            Scalar::Causal(a, _) => {
                earlier(a)?;
                if *space != [chunk, chunk] {
                    return Err(format!(
                        "`causal` over {space:?}, expected {:?}",
                        [chunk, chunk]
                    ));
                }
            }
        }
    }
    Ok(())
}
