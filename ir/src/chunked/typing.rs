//! The axes of every level-2 op: typing is checking.
//!
//! [`Builder::push`](super::Builder::push) is how a derivation adds an op; the verifier runs the
//! same function over a program that came from elsewhere.

use super::{Axis, Draft, Interval, Op, Partial, ValueId};
use crate::recurrence::Port;

/// The axes of an op that defines value number `before` of `p`.
pub(crate) fn axes(p: &Draft, before: usize, op: &Op) -> Result<Vec<Axis>, String> {
    let axes = |v: ValueId| match p.axes.get(v.index()) {
        Some(axes) if v.index() < before => Ok(axes.clone()),
        _ => Err(format!("value %{} is not defined yet", v.0)),
    };
    let has = |v: &[Axis], axis: Axis| match v.contains(&axis) {
        true => Ok(()),
        false => Err(format!(
            "operand has axes {v:?}, expected {axis:?} among them"
        )),
    };
    let get = |ports: &[Port], i: usize, time: bool| match ports.get(i) {
        Some(port) => {
            let mut axes = port.axes(time);
            axes.sort();
            Ok(axes)
        }
        None => Err(format!("port {i} does not exist")),
    };
    match op {
        Op::Input(i) => get(&p.inputs, i.index(), true),
        Op::Param(i) => get(&p.params, i.index(), false),
        Op::State(i) | Op::DState(i) => get(&p.states, i.index(), false),
        Op::DOutput(i) => get(&p.outputs, i.index(), true),
        Op::Number(_) => Ok(vec![]),
        Op::Size(dim) if dim.index() < p.dims.len() => Ok(vec![]),
        Op::Size(dim) => Err(format!("dim {} does not exist", dim.0)),
        Op::Unary(_, a) => axes(*a),
        Op::Binary(_, a, b) => pointwise(union(axes(*a)?, axes(*b)?)),
        Op::Select(x, y, a, b) => {
            let (compared, chosen) = (union(axes(*x)?, axes(*y)?), union(axes(*a)?, axes(*b)?));
            pointwise(union(compared, chosen))
        }
        Op::Valid(a) => pointwise(union(axes(*a)?, vec![Axis::Time])),
        Op::Broadcast(a, axis) => match axes(*a)? {
            v if v.contains(axis) => Err(format!("operand already has {axis:?}")),
            v => pointwise(union(v, vec![*axis])),
        },
        Op::Causal(a, _) => {
            let v = union(axes(*a)?, vec![Axis::Time, Axis::Source]);
            pointwise(v)
        }
        Op::Relabel(a, from, to) => {
            let mut v = axes(*a)?;
            has(&v, *from)?;
            if v.contains(to) {
                return Err(format!("operand already has {to:?}"));
            }
            v.retain(|axis| axis != from);
            v.push(*to);
            v.sort();
            Ok(v)
        }
        Op::Sum(a, axis) => {
            let mut v = axes(*a)?;
            has(&v, *axis)?;
            v.retain(|x| x != axis);
            Ok(v)
        }
        Op::Contract(a, b, axis) => {
            let (left, right) = (axes(*a)?, axes(*b)?);
            has(&left, *axis)?;
            has(&right, *axis)?;
            if let Some(shared) = left
                .iter()
                .find(|x| **x != *axis && **x != Axis::Head && right.contains(x))
            {
                return Err(format!(
                    "operands share {shared:?} beside the contracted axis"
                ));
            }
            let mut v = union(left, right);
            v.retain(|x| x != axis);
            pointwise(v)
        }
        Op::Decay(interval, _, l) => {
            let v = axes(*l)?;
            has(&v, Axis::Time)?;
            let rest = || {
                v.iter()
                    .copied()
                    .filter(|x| *x != Axis::Time)
                    .collect::<Vec<_>>()
            };
            match interval {
                Interval::Between if rest().iter().all(|x| *x == Axis::Head) => {
                    Ok(union(v.clone(), vec![Axis::Source]))
                }
                Interval::Between => Err("a Between decay takes one log decay a step".into()),
                Interval::Start | Interval::End => Ok(v),
                Interval::Total => Ok(rest()),
            }
        }
        Op::Spread(interval, _, x) => {
            let mut v = axes(*x)?;
            match interval {
                Interval::Between => {
                    has(&v, Axis::Time)?;
                    has(&v, Axis::Source)?;
                    v.retain(|axis| *axis != Axis::Source);
                }
                Interval::Start | Interval::End => has(&v, Axis::Time)?,
                Interval::Total => v = union(v, vec![Axis::Time]),
            }
            Ok(v)
        }
        Op::Trilinear(partial, _, operands, l) => {
            let l = axes(*l)?;
            let channel = *l.last().ok_or("the log decay has no channel")?;
            has(&l, Axis::Time)?;
            if !matches!(channel, Axis::Dim(_) | Axis::Prime(_)) {
                return Err("the log decay has no channel".into());
            }
            let m = [Axis::Time, Axis::Source];
            let q = [Axis::Time, channel];
            let k = [Axis::Source, channel];
            let (expected, result): (Vec<&[Axis]>, &[Axis]) = match partial {
                Partial::Weights => (vec![&q, &k], &m),
                Partial::Query => (vec![&m, &k], &q),
                Partial::Key => (vec![&m, &q], &k),
                Partial::LogDecay => (vec![&m, &q, &k], &q),
            };
            let mut head = l.contains(&Axis::Head);
            if operands.len() != expected.len() {
                return Err(format!("takes {} operands", expected.len()));
            }
            for (operand, expected) in operands.iter().zip(expected) {
                let mut v = axes(*operand)?;
                head |= v.contains(&Axis::Head);
                v.retain(|axis| *axis != Axis::Head);
                if v != expected {
                    return Err(format!("operand has axes {v:?}, expected {expected:?}"));
                }
            }
            let head = if head { vec![Axis::Head] } else { vec![] };
            Ok(union(head, result.to_vec()))
        }
        Op::Solve(_, l, r) => {
            let (mut l, r) = (axes(*l)?, axes(*r)?);
            let head = l.contains(&Axis::Head).then_some(Axis::Head);
            l.retain(|axis| *axis != Axis::Head);
            if l != [Axis::Time, Axis::Source] {
                return Err(format!("a solve is by [t, s], not by {l:?}"));
            }
            has(&r, Axis::Time)?;
            let others = r.iter().filter(|a| !matches!(a, Axis::Head | Axis::Time));
            match others.count() {
                1 => Ok(union(r, head.into_iter().collect())),
                _ => Err(format!("a solve is for [t, x], not for {r:?}")),
            }
        }
        Op::Running(scan) => {
            let entering = axes(scan.entering)?;
            let along = one(&entering)?;
            let mut all = vec![];
            for part in [Some(scan.shift), scan.bound.floor()].into_iter().flatten() {
                let part = axes(part)?;
                has(&part, Axis::Time)?;
                if one(&part)? != along {
                    return Err(format!("{part:?} runs beside {entering:?}"));
                }
                all = union(all, part);
            }
            Ok(union(all, entering))
        }
        Op::Delay(_, x, border) => {
            let (x, border) = (axes(*x)?, axes(*border)?);
            has(&x, Axis::Time)?;
            match one(&x)? == one(&border)? && !border.contains(&Axis::Time) {
                true => Ok(union(x, border)),
                false => Err(format!("{border:?} is no step of {x:?}")),
            }
        }
        Op::Edge(_, x) => {
            let mut x = axes(*x)?;
            has(&x, Axis::Time)?;
            one(&x)?;
            x.retain(|axis| *axis != Axis::Time);
            Ok(x)
        }
    }
}

/// The axis of what moves along the steps; `None` is a number.
fn one(axes: &[Axis]) -> Result<Option<Axis>, String> {
    let rest = axes
        .iter()
        .filter(|a| !matches!(a, Axis::Head | Axis::Time));
    match rest.copied().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [axis @ (Axis::Dim(_) | Axis::Prime(_))] => Ok(Some(axis)),
        _ => Err(format!(
            "what moves along steps is a number or a vector, not {axes:?}"
        )),
    }
}

fn union(mut a: Vec<Axis>, b: Vec<Axis>) -> Vec<Axis> {
    a.extend(b);
    a.sort();
    a.dedup();
    a
}

fn pointwise(axes: Vec<Axis>) -> Result<Vec<Axis>, String> {
    match axes.iter().filter(|axis| **axis != Axis::Head).count() {
        0..=2 => Ok(axes),
        _ => Err(format!("a value with axes {axes:?} would have rank 3")),
    }
}
