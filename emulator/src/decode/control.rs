//! Branches, calls, exits and barriers.

use super::memory;
use super::site::Site;
use crate::error::Result;
use crate::op::{AtomicOp, BarrierKind, NOWHERE, Op};
use crate::text::tree::Operand;
use crate::types::Type;

fn target(site: &Site, operand: &Operand) -> Result<u32> {
    let Operand::Name(name) = operand else {
        return site.fail("a branch goes to a label");
    };
    match site.builder.branch_label(name) {
        Some(label) => Ok(label as u32),
        None => site.fail(format!("label `{name}` is placed nowhere")),
    }
}

pub(crate) fn branch(site: &mut Site) -> Result<()> {
    site.flag("uni");
    site.arity(1..=1)?;
    let target = target(site, site.operand(0)?)?;
    site.emit(Op::Branch {
        target,
        reconverge: NOWHERE,
    });
    Ok(())
}

/// `brx.idx index, list`.
pub(crate) fn branch_index(site: &mut Site) -> Result<()> {
    if !site.flag("idx") {
        return Err(site.unknown());
    }
    site.flag("uni");
    site.arity(2..=2)?;
    let index = site.source(0, Type::U32)?;
    let Operand::Name(list) = site.operand(1)? else {
        return site.fail("`brx.idx` takes the name of a list of targets");
    };
    let Some(names) = site.builder.branch_targets(list) else {
        return site.fail(format!("`{list}` is no list of branch targets"));
    };
    let mut targets = vec![];
    for name in names {
        targets.push(target(site, &Operand::Name(name))?);
    }
    if targets.is_empty() {
        return site.fail(format!("`{list}` is an empty list"));
    }
    site.emit(Op::BranchIndex {
        targets,
        index,
        reconverge: NOWHERE,
    });
    Ok(())
}

pub(crate) fn call(site: &mut Site) -> Result<()> {
    site.flag("uni");
    site.arity(1..=3)?;
    let operands = &site.instruction.operands;
    let (returns, rest): (&[Operand], _) = match operands.first() {
        Some(Operand::List(returns)) => (returns, &operands[1..]),
        _ => (&[], &operands[..]),
    };
    let (name, actuals): (_, &[Operand]) = match rest {
        [Operand::Name(name)] => (name, &[]),
        [Operand::Name(name), Operand::List(actuals)] => (name, actuals),
        _ => return site.fail("a call is `call (results), function, (parameters)`"),
    };
    let kind = site.kind.take().unwrap_or(0);
    let here = (site.instruction.line, site.guard, kind);
    site.builder.call(here, returns, name, actuals)
}

/// `ret`, `exit` and `trap`.
pub(crate) fn leave(site: &mut Site) -> Result<()> {
    let word = site.instruction.mnemonic.split('.').next().unwrap_or("");
    if word == "ret" {
        site.flag("uni");
    }
    site.arity(0..=0)?;
    let op = match (word, site.builder.return_label()) {
        ("trap", _) => Op::Trap,
        ("ret", Some(label)) => Op::Branch {
            target: label as u32,
            reconverge: NOWHERE,
        },
        _ => Op::Exit,
    };
    site.emit(op);
    Ok(())
}

/// Fences order what the emulator executes in order anyway; they do not make other threads wait.
pub(crate) fn nothing(site: &mut Site) -> Result<()> {
    site.modifiers
        .one_of(&["sc", "acq_rel", "acquire", "release"]);
    site.modifiers
        .one_of(&["cta", "cluster", "gpu", "sys", "gl"]);
    site.arity(0..=1)?;
    site.emit(Op::Nothing);
    Ok(())
}

/// `bar` and `barrier`, with `bar.warp.sync`.
pub(crate) fn barrier(site: &mut Site) -> Result<()> {
    if site.flag("warp") {
        if !site.flag("sync") {
            return Err(site.unknown());
        }
        site.arity(1..=1)?;
        let mask = site.source(0, Type::B32)?;
        site.emit(Op::WarpSync { mask });
        return Ok(());
    }
    if site.flag("cluster") {
        return Err(site.unknown());
    }
    site.flag("cta");
    let action = site.modifiers.one_of(&["sync", "arrive", "red"]);
    let red = match action {
        Some("red") if site.flag("popc") => Some(AtomicOp::Add),
        Some("red") => memory::operation(site),
        _ => None,
    };
    site.flag("aligned");
    let kind = match (action, red) {
        (Some("sync"), _) => BarrierKind::Sync,
        (Some("arrive"), _) => BarrierKind::Arrive,
        (Some("red"), Some(AtomicOp::Add)) if site.flag("u32") => BarrierKind::Popc,
        (Some("red"), Some(AtomicOp::And)) if site.flag("pred") => BarrierKind::And,
        (Some("red"), Some(AtomicOp::Or)) if site.flag("pred") => BarrierKind::Or,
        _ => return Err(site.unknown()),
    };
    let reduces = red.is_some();
    let first = usize::from(reduces);
    let last = first * 2 + if kind == BarrierKind::Arrive { 2 } else { 1 };
    site.arity(last..=first * 2 + 2)?;
    let id = site.source(first, Type::U32)?;
    let counted = site.count() == first * 2 + 2;
    let count = match counted {
        true => Some(site.source(first + 1, Type::U32)?),
        false => None,
    };
    let (mut d, mut p, mut negated) = (None, None, false);
    if reduces {
        d = Some(site.dest(0)?);
        let (slot, not) = site.predicate(site.count() - 1)?;
        (p, negated) = (Some(slot), not);
    }
    site.emit(Op::Barrier {
        kind,
        id,
        count,
        d,
        p,
        negated,
    });
    Ok(())
}
