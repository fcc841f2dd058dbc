//! What a tile program must satisfy before a back end may take it.
//!
//! Shapes and places are those of [`typing`]; an ill-typed node keeps the
//! shape that it claims, and checking goes on.
//!
//! | code | rule |
//! |---|---|
//! | T001 | names are words; ports, and carries, each have their own |
//! | T002 | a node is well-typed and its operands stand before it |
//! | T003 | a node has the shape that its op gives |
//! | T004 | regions do not decrease, and a node reaches its operands: those of the heads only from within a head or by a sum |
//! | T005 | an effect names what exists |
//! | T006 | an effect fits its port or carry: shape, pace, heads, role |
//! | T007 | every carry is replaced exactly once, every port written at most once |
//! | T008 | a chunk has a step, no size is zero, ranks are 0 to 2 |
//! | T009 | a load reads what comes from outside |

use super::Verified;
use super::chunked::{at, is_word};
use crate::diag::Diagnostic;
use crate::span::Span;
use crate::tile::{CarryId, Draft, Effect, Op, Pace, PortId, Region, Role, TileProgram, typing};

/// Where a tile program stood in its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Declarations of the ports.
    pub ports: Vec<Span>,
    /// Declarations of the carries.
    pub carries: Vec<Span>,
    /// Whole nodes.
    pub nodes: Vec<Span>,
    /// Whole effects.
    pub effects: Vec<Span>,
}

/// Checks every rule; gives the program, or all breaches in order.
pub fn verify(draft: Draft, spans: &Spans) -> Result<TileProgram, Vec<Diagnostic>> {
    let mut check = Check {
        program: &draft,
        spans,
        diagnostics: vec![],
    };
    check.declarations();
    check.nodes();
    check.effects();
    match check.diagnostics.is_empty() {
        true => Ok(Verified::new(draft)),
        false => Err(check.diagnostics),
    }
}

/// What a pass made. Only the pass itself can be at fault where it does not verify.
pub(crate) fn verified(draft: Draft) -> TileProgram {
    let name = draft.name.clone();
    verify(draft, &Spans::default())
        .unwrap_or_else(|why| panic!("`{name}` is ill-formed at level 3: {why:#?}"))
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

    fn declarations(&mut self) {
        let p = self.program;
        if !is_word(&p.name) {
            let message = format!("`{}` is not a name", p.name);
            self.report("T001", Span::default(), message);
        }
        if p.chunk == 0 {
            let message = "a chunk needs at least one step".into();
            self.report("T008", Span::default(), message);
        }
        let ports = p.ports.iter().map(|port| (&port.name, &port.dims));
        let carries = p.carries.iter().map(|carry| (&carry.name, &carry.dims));
        self.declared("port", ports.collect(), &self.spans.ports);
        self.declared("carry", carries.collect(), &self.spans.carries);
    }

    fn declared(&mut self, kind: &str, all: Vec<(&String, &Vec<u32>)>, spans: &[Span]) {
        for (i, &(name, dims)) in all.iter().enumerate() {
            let span = at(spans, i);
            if !is_word(name) {
                self.report("T001", span, format!("`{name}` is not a name"));
            } else if all[..i].iter().any(|&(before, _)| before == name) {
                self.report("T001", span, format!("there are two of {kind} `{name}`"));
            }
            if dims.len() > 2 || dims.contains(&0) {
                let message = format!("{kind} `{name}` has dims {dims:?}");
                self.report("T008", span, message);
            }
        }
    }

    fn nodes(&mut self) {
        let p = self.program;
        let mut region = Region::Before;
        for (i, node) in p.nodes.iter().enumerate() {
            let span = at(&self.spans.nodes, i);
            match typing::shape(p, i, &node.op) {
                Err(why) => self.report("T002", span, format!("%{i}: {why}")),
                Ok(shape) => {
                    if shape != node.shape {
                        let message = format!("%{i} has another shape than its op");
                        let diagnostic = Diagnostic::new("T003", span, message)
                            .found(format!("{:?}", node.shape))
                            .expected(format!("{shape:?}"));
                        self.diagnostics.push(diagnostic);
                    }
                    if let Err(why) = typing::place(p, i, &node.op, node.region) {
                        self.report("T004", span, format!("%{i}: {why}"));
                    }
                }
            }
            if node.region < region {
                let message = format!("%{i} of region {:?} stands after {region:?}", node.region);
                self.report("T004", span, message);
            }
            region = region.max(node.region);
            if node.shape.len() > 2 || node.shape.contains(&0) {
                self.report("T008", span, format!("%{i} has shape {:?}", node.shape));
            }
            if let Op::Load(port, _) = node.op
                && let Some(port) = p.ports.get(port.index())
                && matches!(
                    port.role,
                    Role::Output(_) | Role::DInput(_) | Role::DParam(_)
                )
            {
                let message = format!("%{i} reads port `{}`, which is a result", port.name);
                self.report("T009", span, message);
            }
        }
    }

    fn effects(&mut self) {
        let p = self.program;
        for (i, effect) in p.effects.iter().enumerate() {
            let span = at(&self.spans.effects, i);
            let tile = effect.tile();
            let Some(node) = p.nodes.get(tile.index()) else {
                self.report("T005", span, format!("there is no %{}", tile.0));
                continue;
            };
            let fits = match *effect {
                Effect::Store(port, _) | Effect::Accumulate(port, _) => {
                    let Some(decl) = p.ports.get(port.index()) else {
                        self.report("T005", span, format!("there is no port {}", port.0));
                        continue;
                    };
                    let shape = p.port_shape(decl);
                    let adds = matches!(effect, Effect::Accumulate(..));
                    let once = match p.across {
                        true => !decl.per_head,
                        false => decl.pace == Pace::Task,
                    };
                    if adds != once {
                        let of = match p.across {
                            true if once => "without steps".into(),
                            true => "of steps".into(),
                            false => format!("of pace {:?}", decl.pace),
                        };
                        let verb = if adds { "added to" } else { "stored" };
                        let message = format!("a port {of} is not {verb}");
                        self.report("T006", span, message);
                    }
                    if matches!(
                        decl.role,
                        Role::Input(_) | Role::Param(_) | Role::DOutput(_)
                    ) {
                        let message = format!("port `{}` is given, not written", decl.name);
                        self.report("T006", span, message);
                    }
                    (format!("port `{}`", decl.name), shape, decl.per_head)
                }
                Effect::Carry(carry, _) => match p.carries.get(carry.index()) {
                    Some(decl) => (format!("carry `{}`", decl.name), p.carry_shape(decl), true),
                    None => {
                        self.report("T005", span, format!("there is no carry {}", carry.0));
                        continue;
                    }
                },
            };
            let (what, shape, per_head) = fits;
            if shape != node.shape {
                let diagnostic =
                    Diagnostic::new("T006", span, format!("%{} does not fit {what}", tile.0))
                        .found(format!("{:?}", node.shape))
                        .expected(format!("{shape:?}"));
                self.diagnostics.push(diagnostic);
            }
            if per_head != (node.region == Region::Heads) {
                let (of, region) = (tile.0, node.region);
                let has = if per_head { "has" } else { "has not" };
                let message = format!("{what} {has} a tile for each head, %{of} is of {region:?}");
                self.report("T006", span, message);
            }
        }
        self.counts();
    }

    fn counts(&mut self) {
        let p = self.program;
        for (i, carry) in p.carries.iter().enumerate() {
            let id = CarryId(i as u32);
            let replaced = |effect: &&Effect| matches!(effect, Effect::Carry(c, _) if *c == id);
            let count = p.effects.iter().filter(replaced).count();
            if count != 1 {
                let span = at(&self.spans.carries, i);
                let message = format!("carry `{}` is replaced {count} times, not once", carry.name);
                self.report("T007", span, message);
            }
        }
        for (i, port) in p.ports.iter().enumerate() {
            let id = PortId(i as u32);
            let written = |effect: &&Effect| matches!(effect, Effect::Store(p, _) | Effect::Accumulate(p, _) if *p == id);
            let count = p.effects.iter().filter(written).count();
            if count > 1 {
                let span = at(&self.spans.ports, i);
                let message = format!("port `{}` is written {count} times", port.name);
                self.report("T007", span, message);
            }
        }
    }
}
