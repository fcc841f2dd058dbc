//! `cp.async`: copies from global to shared memory that run beside the thread.

use super::site::Site;
use crate::error::Result;
use crate::op::Op;
use crate::text::tree::Operand;
use crate::types::{Space, Type};

pub(crate) fn copy(site: &mut Site) -> Result<()> {
    if !site.flag("async") {
        return Err(site.unknown());
    }
    if site.flag("commit_group") {
        site.arity(0..=0)?;
        site.emit(Op::Commit);
        return Ok(());
    }
    if site.flag("wait_all") {
        site.arity(0..=0)?;
        site.emit(Op::Wait { groups: None });
        return Ok(());
    }
    if site.flag("wait_group") {
        site.arity(1..=1)?;
        let groups = site.number(0)?.min(u64::from(u32::MAX)) as u32;
        site.emit(Op::Wait {
            groups: Some(groups),
        });
        return Ok(());
    }
    let level = site.modifiers.one_of(&["ca", "cg"]);
    let shared = site.modifiers.one_of(&["shared", "shared::cta"]).is_some();
    let global = site.flag("global");
    let policy = site.flag("L2::cache_hint");
    site.modifiers.one_of(&["L2::64B", "L2::128B", "L2::256B"]);
    let Some(level) = level.filter(|_| shared && global) else {
        return Err(site.unknown());
    };
    site.arity(3..=4 + usize::from(policy))?;
    let bytes = site.number(2)? as u32;
    let allowed: &[u32] = if level == "cg" { &[16] } else { &[4, 8, 16] };
    if !allowed.contains(&bytes) {
        let name = &site.instruction.mnemonic;
        return site.fail(format!("`{name}` copies {allowed:?} bytes, found {bytes}"));
    }
    let to = site.address(0, Space::Shared)?;
    let from = site.address(1, Space::Global)?;
    let (mut size, mut ignore) = (None, None);
    if site.count() > 3 + usize::from(policy) {
        let by_predicate = match site.operand(3)? {
            Operand::Not(_) => true,
            _ => site.declared(3)? == Some(Type::Pred),
        };
        if by_predicate {
            ignore = Some(site.plain_predicate(3)?);
        } else {
            size = Some(site.source(3, Type::U32)?);
        }
    }
    site.emit(Op::CopyAsync {
        to,
        from,
        bytes,
        size,
        ignore,
    });
    Ok(())
}
