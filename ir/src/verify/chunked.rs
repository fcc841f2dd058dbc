//! What a level-2 program must satisfy, whoever wrote it.
//!
//! Axes are those of [`typing`], which types an op as it is built, so there is no second
//! typing; an ill-typed op keeps the axes that it claims, and checking goes on.
//!
//! | code | rule |
//! |---|---|
//! | C001 | names of dims and of ports are words, each given once |
//! | C002 | an op is well-typed, its operands stand before it, no value has rank 3 |
//! | C003 | a value has the axes that its op gives |
//! | C004 | a result names something that exists |
//! | C005 | a result's axes are among those of its target; along the others it is repeated |
//! | C006 | gradients are read and given only in reverse, outputs and states only forward |
//! | C007 | nothing is given twice |
//! | C008 | numbers are finite |

use super::Verified;
use crate::chunked::{Axis, Chunked, Direction, Draft, Interval, Op, Partial, Target, typing};
use crate::diag::Diagnostic;
use crate::recurrence::{DimId, Port};
use crate::span::Span;

/// Where a level-2 program stood in its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Names of the dims.
    pub dims: Vec<Span>,
    /// Inputs, params, states and outputs, in this order.
    pub ports: Vec<Span>,
    /// Whole ops.
    pub ops: Vec<Span>,
    /// Whole results.
    pub results: Vec<Span>,
}

/// Checks every rule; gives the program, or all breaches in order.
pub fn verify(draft: Draft, spans: &Spans) -> Result<Chunked, Vec<Diagnostic>> {
    let mut check = Check {
        program: &draft,
        spans,
        diagnostics: vec![],
    };
    check.names();
    check.ops();
    check.results();
    match check.diagnostics.is_empty() {
        true => Ok(Verified::new(draft)),
        false => Err(check.diagnostics),
    }
}

/// What a pass made. Only the pass itself can be at fault where it does not verify.
pub(crate) fn verified(draft: Draft) -> Chunked {
    let name = draft.name.clone();
    verify(draft, &Spans::default())
        .unwrap_or_else(|why| panic!("`{name}` is ill-formed at level 2: {why:#?}"))
}

/// Whether `name` can stand in a text.
pub(super) fn is_word(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The span at `i`; the empty one for a program that was never text.
pub(super) fn at(spans: &[Span], i: usize) -> Span {
    spans.get(i).copied().unwrap_or_default()
}

struct Check<'a> {
    program: &'a Draft,
    spans: &'a Spans,
    diagnostics: Vec<Diagnostic>,
}

impl Check<'_> {
    fn report(&mut self, code: &'static str, span: Span, message: String) {
        self.diagnostics.push(Diagnostic::new(code, span, message));
    }

    fn names(&mut self) {
        let p = self.program;
        let dims = p.dims.iter().enumerate();
        let ports: Vec<&Port> = [&p.inputs, &p.params, &p.states, &p.outputs]
            .into_iter()
            .flatten()
            .collect();
        let all: Vec<(&str, Span)> = dims
            .map(|(i, name)| (name.as_str(), at(&self.spans.dims, i)))
            .chain(
                ports
                    .iter()
                    .enumerate()
                    .map(|(i, port)| (port.name.as_str(), at(&self.spans.ports, i))),
            )
            .collect();
        for (i, &(name, span)) in all.iter().enumerate() {
            if !is_word(name) {
                self.report("C001", span, format!("`{name}` is not a name"));
            } else if all[..i].iter().any(|&(before, _)| before == name) {
                self.report("C001", span, format!("`{name}` names two things"));
            }
        }
        if !is_word(&p.name) {
            let message = format!("`{}` is not a name", p.name);
            self.report("C001", Span::default(), message);
        }
        for (i, port) in ports.iter().enumerate() {
            let span = at(&self.spans.ports, i);
            let sound = port.shape.iter().all(|dim| dim.index() < p.dims.len());
            if !sound || port.shape.len() > 2 {
                let message = format!("the shape of `{}` is not 0 to 2 of the dims", port.name);
                self.report("C002", span, message);
            }
        }
    }

    fn ops(&mut self) {
        let p = self.program;
        if p.axes.len() != p.ops.len() {
            let (axes, ops) = (p.axes.len(), p.ops.len());
            let message = format!("{axes} values have axes, expected {ops}");
            self.report("C003", Span::default(), message);
        }
        for (i, op) in p.ops.iter().enumerate() {
            let span = at(&self.spans.ops, i);
            let claimed = p.axes.get(i).cloned().unwrap_or_default();
            match self.sound(op).and_then(|()| typing::axes(p, i, op)) {
                Err(why) => self.report("C002", span, format!("%{i}: {why}")),
                Ok(axes) if axes != claimed => {
                    let diagnostic =
                        Diagnostic::new("C003", span, format!("%{i} has other axes than its op"))
                            .found(format!("{claimed:?}"))
                            .expected(format!("{axes:?}"));
                    self.diagnostics.push(diagnostic);
                }
                Ok(_) => {}
            }
            if let Op::Number(number) = op
                && !number.is_finite()
            {
                self.report("C008", span, format!("%{i}: {number} is not finite"));
            }
            let reverse = match op {
                Op::DOutput(_) | Op::DState(_) | Op::Spread(..) => true,
                Op::Trilinear(partial, ..) => {
                    matches!(partial, Partial::Key | Partial::LogDecay)
                }
                Op::Solve(transposed, ..) => *transposed,
                Op::Delay(reverse, ..) => *reverse,
                _ => false,
            };
            if reverse && p.direction == Direction::Forward {
                let message = format!("%{i} belongs to a gradient but the program runs forward");
                self.report("C006", span, message);
            }
        }
    }

    /// What typing takes for granted: dims exist, and a rename keeps the size.
    fn sound(&self, op: &Op) -> Result<(), String> {
        let dims = self.program.dims.len();
        let exists = |axis: &Axis| match axis {
            Axis::Dim(DimId(dim)) | Axis::Prime(DimId(dim)) if *dim as usize >= dims => {
                Err(format!("dim {dim} does not exist"))
            }
            _ => Ok(()),
        };
        match op {
            Op::Relabel(_, from, to) => {
                exists(from).and(exists(to))?;
                let same = match (from, to) {
                    (
                        Axis::Time | Axis::Middle | Axis::Source,
                        Axis::Time | Axis::Middle | Axis::Source,
                    ) => true,
                    (Axis::Dim(a) | Axis::Prime(a), Axis::Dim(b) | Axis::Prime(b)) => a == b,
                    _ => false,
                };
                match same {
                    true => Ok(()),
                    false => Err(format!("{from:?} has another size than {to:?}")),
                }
            }
            Op::Broadcast(_, axis) | Op::Sum(_, axis) | Op::Contract(_, _, axis) => exists(axis),
            Op::Decay(Interval::End | Interval::Total, true, _)
            | Op::Spread(Interval::End | Interval::Total, true, _) => {
                Err("an interval without a reader is never strict".into())
            }
            _ => Ok(()),
        }
    }

    fn results(&mut self) {
        let p = self.program;
        for (i, &(target, value)) in p.results.iter().enumerate() {
            let span = at(&self.spans.results, i);
            let Some(expected) = p.target_axes(target) else {
                self.report("C004", span, format!("there is no {target:?}"));
                continue;
            };
            let Some(axes) = p.axes.get(value.index()) else {
                self.report("C004", span, format!("there is no value %{}", value.0));
                continue;
            };
            if let Some(axis) = axes.iter().find(|axis| !expected.contains(axis)) {
                let message = format!("%{} has {axis:?} but {target:?} has not", value.0);
                let diagnostic = Diagnostic::new("C005", span, message)
                    .found(format!("{axes:?}"))
                    .expected(format!("some of {expected:?}"));
                self.diagnostics.push(diagnostic);
            }
            let forward = matches!(
                target,
                Target::Output(_)
                    | Target::State(_)
                    | Target::LogScalar(_)
                    | Target::LogRow(_)
                    | Target::LogCol(_)
            );
            if forward != (p.direction == Direction::Forward) {
                let direction = p.direction;
                let message = format!("a program that runs {direction:?} gives no {target:?}");
                self.report("C006", span, message);
            }
            if p.results[..i].iter().any(|&(before, _)| before == target) {
                self.report("C007", span, format!("{target:?} is given twice"));
            }
        }
    }
}
