//! The shape and the place of every tile op: typing is checking.
//!
//! [`Builder::push`](super::Builder::push) is how a schedule adds a node; the verifier runs the same functions over
//! a program that came from elsewhere.

use super::{Along, Draft, Node, Op, Reduce, Region, Scalar, TileId, Triangle};
use crate::chunked::{Interval, Partial};

/// The node of an operand; operands come before node number `before`.
fn operand(program: &Draft, before: usize, tile: TileId) -> Result<&Node, String> {
    match program.nodes.get(tile.index()) {
        Some(node) if tile.index() < before => Ok(node),
        _ => Err(format!("%{} is not defined yet", tile.0)),
    }
}

/// The result's sizes of an op that is node number `before`.
pub fn shape(program: &Draft, before: usize, op: &Op) -> Result<Vec<u32>, String> {
    let chunk = program.chunk;
    let shape = |tile: &TileId| operand(program, before, *tile).map(|node| node.shape.clone());
    match op {
        Op::Load(port, _) => {
            let port = program
                .ports
                .get(port.index())
                .ok_or(format!("port {} does not exist", port.0))?;
            ranked(program.port_shape(port), "port", &port.name)
        }
        Op::Carry(carry) => match program.carries.get(carry.index()) {
            Some(carry) => ranked(program.carry_shape(carry), "carry", &carry.name),
            None => Err(format!("carry {} does not exist", carry.0)),
        },
        Op::Map {
            shape: space,
            operands,
            body,
            reduce,
        } => {
            if !matches!(space.len(), 1 | 2) {
                return Err(format!("a map has rank 1 or 2, not {}", space.len()));
            }
            for (tile, along) in operands {
                let given = shape(tile)?;
                let expected = match along {
                    Along::None => Some(vec![]),
                    Along::First => Some(vec![space[0]]),
                    Along::Second => space.get(1).map(|&size| vec![size]),
                    Along::Both => (space.len() == 2).then(|| space.clone()),
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
            body_is_sound(body, operands.len(), space, chunk)?;
            match (reduce, space.as_slice()) {
                (Reduce::None, _) => Ok(space.clone()),
                (Reduce::All, _) => Ok(vec![]),
                (Reduce::First, &[_, second]) => Ok(vec![second]),
                (Reduce::Second, &[first, _]) => Ok(vec![first]),
                (Reduce::First | Reduce::Second, _) => {
                    Err("a map of rank 1 is summed over all or nothing".into())
                }
            }
        }
        Op::Matmul {
            a,
            ta,
            b,
            tb,
            add,
            triangle,
        } => {
            let (left, right) = (shape(a)?, shape(b)?);
            let ([m, inner], [other, n]) = (matrix(&left, *ta)?, matrix(&right, *tb)?);
            if inner != other {
                return Err(format!(
                    "{left:?} and {right:?} do not meet: {inner} columns, {other} rows"
                ));
            }
            let result = vec![m, n];
            if let Some(add) = add {
                let add = shape(add)?;
                if add != result {
                    return Err(format!("adds {add:?} to a product of {result:?}"));
                }
            }
            let claimed = match triangle {
                Triangle::None => return Ok(result),
                Triangle::A => &left,
                Triangle::Out => &result,
            };
            match *claimed == [chunk, chunk] {
                true => Ok(result),
                false => Err(format!(
                    "a triangle is claimed of {claimed:?}, expected {:?}",
                    [chunk, chunk]
                )),
            }
        }
        Op::Decay(interval, _, l) => {
            let l = shape(l)?;
            match (interval, l.as_slice()) {
                (Interval::Between, &[c]) if c == chunk => Ok(vec![c, c]),
                (Interval::Start | Interval::End, &[c]) if c == chunk => Ok(l),
                (Interval::Start | Interval::End, &[c, _]) if c == chunk => Ok(l),
                (Interval::Total, &[c]) if c == chunk => Ok(vec![]),
                (Interval::Total, &[c, n]) if c == chunk => Ok(vec![n]),
                _ => Err(format!("a {interval:?} decay of {l:?} with C = {chunk}")),
            }
        }
        Op::Spread(interval, _, x) => {
            let x = shape(x)?;
            match (interval, x.as_slice()) {
                (Interval::Between, &[c, s]) if c == chunk && s == chunk => Ok(vec![c]),
                (Interval::Start | Interval::End, &[c]) if c == chunk => Ok(x),
                (Interval::Start | Interval::End, &[c, _]) if c == chunk => Ok(x),
                (Interval::Total, &[]) => Ok(vec![chunk]),
                (Interval::Total, &[n]) => Ok(vec![chunk, n]),
                _ => Err(format!("a {interval:?} spread of {x:?} with C = {chunk}")),
            }
        }
        Op::Trilinear(partial, _, operands, l) => {
            let l = shape(l)?;
            let &[c, n] = l.as_slice() else {
                return Err(format!(
                    "a log decay for each channel has rank 2, not {l:?}"
                ));
            };
            if c != chunk {
                return Err(format!("a log decay of {l:?} with C = {chunk}"));
            }
            let (m, row) = ([c, c], [c, n]);
            let (expected, result): (&[[u32; 2]], _) = match partial {
                Partial::Weights => (&[row, row], m),
                Partial::Query | Partial::Key => (&[m, row], row),
                Partial::LogDecay => (&[m, row, row], row),
            };
            let given = operands.iter().map(shape).collect::<Result<Vec<_>, _>>()?;
            match given
                .iter()
                .map(Vec::as_slice)
                .eq(expected.iter().map(|e| &e[..]))
            {
                true => Ok(result.to_vec()),
                false => Err(format!(
                    "operands have shapes {given:?}, expected {expected:?}"
                )),
            }
        }
        Op::Solve { l, r, .. } => {
            let (l, r) = (shape(l)?, shape(r)?);
            match (l == [chunk, chunk], r.as_slice()) {
                (true, &[c, _]) if c == chunk => Ok(r),
                _ => Err(format!(
                    "a solve by {l:?} for {r:?}, expected {:?} and [{chunk}, n]",
                    [chunk, chunk]
                )),
            }
        }
        Op::Running(scan) => {
            let (by, entering) = (shape(&scan.shift)?, shape(&scan.entering)?);
            let to = scan.bound.floor().map(|floor| shape(&floor)).transpose()?;
            let same = to.as_ref().is_none_or(|to| *to == by);
            match steps(&entering, chunk) == by && same && entering.len() < 2 {
                true => Ok(by),
                false => Err(format!(
                    "a running value of {entering:?} with {by:?} and {to:?}, expected steps of it, C = {chunk}"
                )),
            }
        }
        Op::Delay { x, border, .. } => {
            let (x, border) = (shape(x)?, shape(border)?);
            match steps(&border, chunk) == x && border.len() < 2 {
                true => Ok(x),
                false => Err(format!("{border:?} at the border of {x:?}, C = {chunk}")),
            }
        }
        Op::Edge { x, .. } => match shape(x)?.as_slice() {
            &[c, ref rest @ ..] if c == chunk => Ok(rest.to_vec()),
            x => Err(format!("a step of {x:?} with C = {chunk}")),
        },
        Op::HeadSum(tile) => shape(tile),
    }
}

/// The shape of the steps of a row.
fn steps(row: &[u32], chunk: u32) -> Vec<u32> {
    [chunk].iter().chain(row).copied().collect()
}

/// The sizes of a tile from outside.
fn ranked(shape: Vec<u32>, kind: &str, name: &str) -> Result<Vec<u32>, String> {
    match shape.len() {
        0..=2 => Ok(shape),
        _ => Err(format!("{kind} `{name}` gives {shape:?}, of rank 3")),
    }
}

/// Rows and columns of an operand of a product.
fn matrix(shape: &[u32], transposed: bool) -> Result<[u32; 2], String> {
    match *shape {
        [rows, columns] if transposed => Ok([columns, rows]),
        [rows, columns] => Ok([rows, columns]),
        _ => Err(format!(
            "a product takes matrices, not {shape:?}: a vector is multiplied by a map and summed"
        )),
    }
}

fn body_is_sound(
    body: &[Scalar],
    operands: usize,
    space: &[u32],
    chunk: u32,
) -> Result<(), String> {
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

/// Whether an op that is node number `before` may stand in `region`.
pub fn place(program: &Draft, before: usize, op: &Op, region: Region) -> Result<(), String> {
    match op {
        Op::Load(port, _) => {
            let port = program.ports.get(port.index());
            return match port.filter(|port| port.per_head && region != Region::Heads) {
                Some(port) => Err(format!("port `{}` has a tile for each head", port.name)),
                None => Ok(()),
            };
        }
        Op::Carry(_) if region != Region::Heads => {
            return Err("a carry has a tile for each head".into());
        }
        Op::HeadSum(tile) => {
            let of = operand(program, before, *tile)?.region;
            return match (of, region) {
                (Region::Heads, Region::After) => Ok(()),
                _ => Err(format!(
                    "a sum over heads takes {:?} to {:?}, expected {:?} to {:?}",
                    of,
                    region,
                    Region::Heads,
                    Region::After
                )),
            };
        }
        _ => {}
    }
    for tile in op.operands() {
        let of = operand(program, before, tile)?.region;
        if of != region && of != Region::Before {
            return Err(format!("%{} of region {of:?} is out of reach", tile.0));
        }
    }
    Ok(())
}
