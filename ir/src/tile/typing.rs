//! What every tile op gives, and its place: typing is checking.
//!
//! What is known of an op by itself is said once, here: the sizes of its result, which of its axes are steps, where it
//! is zero, and what computing it takes. Rows past the end of a sequence hold copies of its last step, which a program makes zero in one
//! factor of whatever it sums over steps; a back end that would not multiply a copy of a NaN by that zero ends such
//! sums at the last valid step, and needs to know which axes those are.
//!
//! [`Builder::push`](super::Builder::push) is how a schedule adds a node; the verifier runs the same functions over
//! a program that came from elsewhere.

use super::gives::{Flops, Gives, Zeros, entries, pairs, times};
use super::{Draft, Node, Op, Pace, Region, TileId, TileProgram, Triangle, map};
use crate::chunked::{Interval, Partial};

/// The node of an operand; operands come before node number `before`.
fn operand(program: &Draft, before: usize, tile: TileId) -> Result<&Node, String> {
    match program.nodes.get(tile.index()) {
        Some(node) if tile.index() < before => Ok(node),
        _ => Err(format!("%{} is not defined yet", tile.0)),
    }
}

/// What every node of a program gives.
pub fn gives(program: &TileProgram) -> Vec<Gives> {
    let mut known = Vec::with_capacity(program.nodes.len());
    for (i, node) in program.nodes.iter().enumerate() {
        let gives = of(program, i, &node.op, &known);
        known.push(gives.expect("a verified program is well-typed"));
    }
    known
}

/// The result's sizes of an op that is node number `before`.
pub(crate) fn shape(program: &Draft, before: usize, op: &Op) -> Result<Vec<u32>, String> {
    of(program, before, op, &[]).map(|gives| gives.shape)
}

/// What an op gives that is node number `before`; of operands that are not `known` the shape counts alone.
fn of(program: &Draft, before: usize, op: &Op, known: &[Gives]) -> Result<Gives, String> {
    let chunk = program.chunk;
    let shape = |tile| operand(program, before, tile).map(|node| node.shape.clone());
    let steps = |tile: TileId| {
        known
            .get(tile.index())
            .map_or([false; 2], |known| known.steps)
    };
    let gives = |shape, steps, flops| {
        Ok(Gives {
            shape,
            steps,
            zeros: Zeros::Nowhere,
            flops,
        })
    };
    match op {
        Op::Load(port, _) => {
            let port = program
                .ports
                .get(port.index())
                .ok_or(format!("port {} does not exist", port.0))?;
            let shape = ranked(program.port_shape(port), "port", &port.name)?;
            gives(shape, [port.pace == Pace::Step, false], Flops::NONE)
        }
        Op::Carry(carry) => match program.carries.get(carry.index()) {
            Some(carry) => {
                let shape = ranked(program.carry_shape(carry), "carry", &carry.name)?;
                gives(shape, [program.across, false], Flops::NONE)
            }
            None => Err(format!("carry {} does not exist", carry.0)),
        },
        Op::Map {
            shape: space,
            operands,
            body,
            reduce,
        } => map::gives(space, operands, body, *reduce, chunk, shape, known),
        Op::Matmul {
            a,
            ta,
            b,
            tb,
            add,
            triangle,
        } => {
            let (left, right) = (shape(*a)?, shape(*b)?);
            let ([m, inner], [other, n]) = (matrix(&left, *ta)?, matrix(&right, *tb)?);
            if inner != other {
                return Err(format!(
                    "{left:?} and {right:?} do not meet: {inner} columns, {other} rows"
                ));
            }
            let result = vec![m, n];
            if let Some(add) = add {
                let add = shape(*add)?;
                if add != result {
                    return Err(format!("adds {add:?} to a product of {result:?}"));
                }
            }
            let terms = entries(&[m, inner, n]);
            let (needed, claimed) = match triangle {
                Triangle::None => (terms, None),
                Triangle::A => (times(&[pairs(chunk, false), n.into()]), Some(&left)),
                Triangle::Out => (times(&[pairs(chunk, false), inner.into()]), Some(&result)),
            };
            if let Some(claimed) = claimed.filter(|claimed| **claimed != [chunk, chunk]) {
                let expected = [chunk, chunk];
                return Err(format!(
                    "a triangle is claimed of {claimed:?}, expected {expected:?}"
                ));
            }
            let steps = [steps(*a)[usize::from(*ta)], steps(*b)[usize::from(!*tb)]];
            gives(result, steps, Flops::terms(needed, terms))
        }
        Op::Decay(interval, strict, l) => {
            let (l, steps) = (shape(*l)?, [true, false]);
            let (result, steps, functions) = match (interval, l.as_slice()) {
                (Interval::Between, &[c]) if c == chunk => {
                    (vec![c, c], [true; 2], pairs(chunk, *strict))
                }
                (Interval::Start | Interval::End, &[c] | &[c, _]) if c == chunk => {
                    (l.clone(), steps, entries(&l))
                }
                (Interval::Total, &[c, ref rest @ ..]) if c == chunk && rest.len() < 2 => {
                    (rest.to_vec(), [false; 2], entries(rest))
                }
                _ => return Err(format!("a {interval:?} decay of {l:?} with C = {chunk}")),
            };
            // A scan of the log decays; an exponential for each result, of pairs for those with s before t.
            Ok(Gives {
                shape: result,
                steps,
                zeros: match interval {
                    Interval::Between => Zeros::of(*strict),
                    _ => Zeros::Nowhere,
                },
                flops: Flops::pointwise(entries(&l)).functions(functions),
            })
        }
        Op::Spread(interval, _, x) => {
            let x = shape(*x)?;
            let result = match (interval, x.as_slice()) {
                (Interval::Between, &[c, s]) if c == chunk && s == chunk => vec![c],
                (Interval::Start | Interval::End, &[c] | &[c, _]) if c == chunk => x.clone(),
                (Interval::Total, [] | [_]) => along(&x, chunk),
                _ => return Err(format!("a {interval:?} spread of {x:?} with C = {chunk}")),
            };
            let added = entries(&x).max(entries(&result));
            gives(result, [true, false], Flops::pointwise(added))
        }
        Op::Trilinear(partial, strict, operands, l) => {
            let l = shape(*l)?;
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
            let given = operands.iter().map(|tile| shape(*tile));
            let given = given.collect::<Result<Vec<_>, _>>()?;
            if !{ given.iter().map(Vec::as_slice) }.eq(expected.iter().map(|e| &e[..])) {
                return Err(format!(
                    "operands have shapes {given:?}, expected {expected:?}"
                ));
            }
            let needed = times(&[pairs(c, *strict), n.into()]);
            let weights = *partial == Partial::Weights;
            Ok(Gives {
                shape: result.to_vec(),
                steps: [true, weights],
                zeros: match weights {
                    true => Zeros::of(*strict),
                    false => Zeros::Nowhere,
                },
                flops: Flops::terms(needed, entries(&[c, c, n])),
            })
        }
        Op::Solve { l, r, .. } => {
            let (l, r, of_r) = (shape(*l)?, shape(*r)?, steps(*r));
            match (l == [chunk, chunk], r.as_slice()) {
                (true, &[c, n]) if c == chunk => {
                    let needed = times(&[pairs(c, true), n.into()]);
                    let flops = Flops::terms(needed, entries(&[c, c, n]));
                    gives(r, [true, of_r[1]], flops)
                }
                _ => Err(format!(
                    "a solve by {l:?} for {r:?}, expected {:?} and [{chunk}, n]",
                    [chunk, chunk]
                )),
            }
        }
        Op::Running(scan) => {
            let (by, entering) = (shape(scan.shift)?, shape(scan.entering)?);
            let to = scan.bound.floor().map(shape).transpose()?;
            let same = to.as_ref().is_none_or(|to| *to == by);
            match along(&entering, chunk) == by && same && entering.len() < 2 {
                true => {
                    let flops = Flops::pointwise(times(&[2, entries(&by)]));
                    gives(by, [true, false], flops)
                }
                false => Err(format!(
                    "a running value of {entering:?} with {by:?} and {to:?}, expected steps of it, C = {chunk}"
                )),
            }
        }
        Op::Delay { x, border, .. } => {
            let (x, border) = (shape(*x)?, shape(*border)?);
            match along(&border, chunk) == x && border.len() < 2 {
                true => gives(x, [true, false], Flops::NONE),
                false => Err(format!("{border:?} at the border of {x:?}, C = {chunk}")),
            }
        }
        Op::Edge { x, .. } => match shape(*x)?.as_slice() {
            &[c, ref rest @ ..] if c == chunk => gives(rest.to_vec(), [false; 2], Flops::NONE),
            x => Err(format!("a step of {x:?} with C = {chunk}")),
        },
        // Of a group's heads: one addition for each, and none for the first.
        Op::HeadSum(tile) => {
            let shape = shape(*tile)?;
            Ok(Gives {
                steps: steps(*tile),
                zeros: known
                    .get(tile.index())
                    .map_or(Zeros::Nowhere, |known| known.zeros),
                flops: Flops::pointwise(entries(&shape)),
                shape,
            })
        }
    }
}

/// The shape of the steps of a row.
fn along(row: &[u32], chunk: u32) -> Vec<u32> {
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

/// Whether an op that is node number `before` may stand in `region`.
pub(crate) fn place(program: &Draft, before: usize, op: &Op, region: Region) -> Result<(), String> {
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
