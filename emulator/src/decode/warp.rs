//! Instructions by which the lanes of a warp exchange values.

use super::memory;
use super::site::Site;
use crate::error::Result;
use crate::op::{AtomicOp, Op, Shuffle, Slot, Vote};
use crate::text::tree::Operand;
use crate::types::Type;

/// A destination `d`, `d|p`.
fn pair(site: &mut Site) -> Result<(Slot, Option<Slot>)> {
    Ok(match site.operand(0)? {
        Operand::Pair(d, p) => (site.dest_of(d)?, Some(site.dest_of(p)?)),
        operand => (site.dest_of(operand)?, None),
    })
}

pub(crate) fn shuffle(site: &mut Site) -> Result<()> {
    if !site.flag("sync") {
        return Err(site.unknown());
    }
    let mode = match site.modifiers.one_of(&["up", "down", "bfly", "idx"]) {
        Some("up") => Shuffle::Up,
        Some("down") => Shuffle::Down,
        Some("bfly") => Shuffle::Butterfly,
        Some(_) => Shuffle::Index,
        None => return Err(site.unknown()),
    };
    if !site.flag("b32") {
        return Err(site.unknown());
    }
    site.arity(5..=5)?;
    let (d, p) = pair(site)?;
    let a = site.source(1, Type::B32)?;
    let b = site.source(2, Type::U32)?;
    let c = site.source(3, Type::U32)?;
    let mask = site.source(4, Type::B32)?;
    site.emit(Op::Shuffle {
        mode,
        d,
        p,
        a,
        b,
        c,
        mask,
    });
    Ok(())
}

pub(crate) fn vote(site: &mut Site) -> Result<()> {
    if !site.flag("sync") {
        return Err(site.unknown());
    }
    let mode = match site.modifiers.one_of(&["all", "any", "uni", "ballot"]) {
        Some("all") => Vote::All,
        Some("any") => Vote::Any,
        Some("uni") => Vote::Uniform,
        Some(_) => Vote::Ballot,
        None => return Err(site.unknown()),
    };
    if !site.flag(if mode == Vote::Ballot { "b32" } else { "pred" }) {
        return Err(site.unknown());
    }
    site.arity(3..=3)?;
    let (p, negated) = site.predicate(1)?;
    let mask = site.source(2, Type::B32)?;
    let d = site.dest(0)?;
    site.emit(Op::Vote {
        mode,
        d,
        p,
        negated,
        mask,
    });
    Ok(())
}

pub(crate) fn active_mask(site: &mut Site) -> Result<()> {
    if !site.flag("b32") {
        return Err(site.unknown());
    }
    site.arity(1..=1)?;
    let d = site.dest(0)?;
    site.emit(Op::ActiveMask { d });
    Ok(())
}

/// `elect.sync d|p, mask`: the lowest lane of the mask is the leader.
pub(crate) fn elect(site: &mut Site) -> Result<()> {
    if !site.flag("sync") {
        return Err(site.unknown());
    }
    site.arity(2..=2)?;
    let (d, p) = pair(site)?;
    let Some(p) = p else {
        return site.fail("`elect.sync` writes `d|p`");
    };
    let mask = site.source(1, Type::B32)?;
    site.emit(Op::Elect { d, p, mask });
    Ok(())
}

pub(crate) fn reduce(site: &mut Site) -> Result<()> {
    if !site.flag("sync") {
        return Err(site.unknown());
    }
    let op = memory::operation(site);
    let ty = site.ty()?;
    let op = match (op, ty) {
        (Some(op @ (AtomicOp::Add | AtomicOp::Min | AtomicOp::Max)), Type::U32 | Type::S32) => op,
        (Some(op @ (AtomicOp::And | AtomicOp::Or | AtomicOp::Xor)), Type::B32) => op,
        _ => return Err(site.unknown()),
    };
    site.arity(3..=3)?;
    let a = site.source(1, ty)?;
    let mask = site.source(2, Type::B32)?;
    let d = site.dest(0)?;
    site.emit(Op::Reduce {
        op,
        signed: ty == Type::S32,
        d,
        a,
        mask,
    });
    Ok(())
}

pub(crate) fn matching(site: &mut Site) -> Result<()> {
    let all = match site.modifiers.one_of(&["any", "all"]) {
        Some(mode) => mode == "all",
        None => return Err(site.unknown()),
    };
    let sync = site.flag("sync");
    let ty = site.ty()?;
    if !sync || !matches!(ty, Type::B32 | Type::B64) {
        return Err(site.unknown());
    }
    site.arity(3..=3)?;
    let (d, p) = pair(site)?;
    let a = site.source(1, ty)?;
    let mask = site.source(2, Type::B32)?;
    site.emit(Op::Match { all, d, p, a, mask });
    Ok(())
}
