//! Loads, stores and atomics.

use super::site::Site;
use crate::error::Result;
use crate::op::{Access, AtomicOp, Op};
use crate::types::{Space, Type};

const SCOPES: [&str; 4] = ["cta", "cluster", "gpu", "sys"];

/// Hints to the caches change nothing that a program can see. Returns whether a policy operand follows.
fn hints(site: &mut Site) -> bool {
    site.modifiers
        .one_of(&["ca", "cg", "cs", "lu", "cv", "wb", "wt"]);
    site.modifiers
        .find(|part| part.starts_with("L1::").then_some(()));
    let prefetch = ["L2::64B", "L2::128B", "L2::256B"];
    site.modifiers.one_of(&prefetch);
    let evictions = ["L2::evict_first", "L2::evict_last", "L2::evict_normal"];
    site.modifiers.one_of(&evictions);
    site.flag("L2::cache_hint")
}

/// Ordering and scope; whether the access is more than weak.
fn ordering(site: &mut Site) -> bool {
    let order = site.modifiers.one_of(&[
        "weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio",
    ]);
    site.modifiers.one_of(&SCOPES);
    order.is_some_and(|order| order != "weak")
}

fn access(site: &mut Site) -> Result<(Space, bool, u32, Type, bool)> {
    let strong = ordering(site);
    let space = site.modifiers.find(Space::named).unwrap_or(Space::Generic);
    site.flag("nc");
    let policy = hints(site);
    let lanes = match site.modifiers.one_of(&["v2", "v4"]) {
        Some("v2") => 2,
        Some(_) => 4,
        None => 1,
    };
    let ty = site.ty()?;
    let odd = matches!(
        ty,
        Type::Pred | Type::B128 | Type::F16x2 | Type::Bf16x2 | Type::Tf32
    );
    if odd || lanes * ty.bytes() > 16 {
        return Err(site.unknown());
    }
    Ok((space, strong, lanes, ty, policy))
}

pub(crate) fn load(site: &mut Site) -> Result<()> {
    let (space, strong, lanes, ty, policy) = access(site)?;
    let wanted = 2 + usize::from(policy);
    site.arity(wanted..=wanted)?;
    let slots = site.dests(0)?;
    if slots.len() != lanes as usize {
        let message = format!("{lanes} registers are loaded, {} are named", slots.len());
        return site.fail(message);
    }
    let register = match site.vector(0)?.first() {
        Some(crate::text::tree::Operand::Name(name)) => site.builder.named(name),
        _ => None,
    };
    let register = register.and_then(|(_, ty, _)| ty).map_or(8, Type::bytes);
    if register < ty.bytes() {
        return site.fail("the register is narrower than what is loaded");
    }
    let address = site.address(1, space)?;
    site.emit(Op::Load(Access {
        address,
        slots,
        bytes: ty.bytes(),
        sign_to: ty.signed().then_some(8 * register),
        strong,
    }));
    Ok(())
}

pub(crate) fn store(site: &mut Site) -> Result<()> {
    let (space, strong, lanes, ty, policy) = access(site)?;
    let wanted = 2 + usize::from(policy);
    site.arity(wanted..=wanted)?;
    let address = site.address(0, space)?;
    let slots = site.sources(1, ty)?;
    if slots.len() != lanes as usize {
        let message = format!("{lanes} values are stored, {} are named", slots.len());
        return site.fail(message);
    }
    site.emit(Op::Store(Access {
        address,
        slots,
        bytes: ty.bytes(),
        sign_to: None,
        strong,
    }));
    Ok(())
}

const OPERATIONS: [(&str, AtomicOp); 10] = [
    ("add", AtomicOp::Add),
    ("min", AtomicOp::Min),
    ("max", AtomicOp::Max),
    ("and", AtomicOp::And),
    ("or", AtomicOp::Or),
    ("xor", AtomicOp::Xor),
    ("exch", AtomicOp::Exchange),
    ("cas", AtomicOp::CompareSwap),
    ("inc", AtomicOp::Increment),
    ("dec", AtomicOp::Decrement),
];

/// The operation that a modifier names.
pub(super) fn operation(site: &mut Site) -> Option<AtomicOp> {
    site.modifiers.find(|part| {
        OPERATIONS
            .iter()
            .find(|(name, _)| *name == part)
            .map(|(_, op)| *op)
    })
}

pub(crate) fn atomic(site: &mut Site) -> Result<()> {
    let returns = site.instruction.mnemonic.starts_with("atom");
    ordering(site);
    let space = site.modifiers.find(Space::named).unwrap_or(Space::Generic);
    let op = operation(site);
    site.flag("noftz");
    let policy = hints(site);
    let ty = site.ty()?;
    let Some(op) = op.filter(|&op| has(op, ty)) else {
        return Err(site.unknown());
    };
    let swap = usize::from(op == AtomicOp::CompareSwap);
    let first = usize::from(returns);
    let wanted = first + 2 + swap + usize::from(policy);
    site.arity(wanted..=wanted)?;
    let address = site.address(first, space)?;
    let b = site.source(first + 1, ty)?;
    let c = match swap {
        1 => Some(site.source(first + 2, ty)?),
        _ => None,
    };
    let d = match returns {
        true => Some(site.dest(0)?),
        false => None,
    };
    site.emit(Op::Atomic {
        address,
        op,
        ty,
        d,
        b,
        c,
    });
    Ok(())
}

fn has(op: AtomicOp, ty: Type) -> bool {
    use Type::{B32, B64, Bf16, Bf16x2, F16, F16x2, F32, F64, S32, S64, U32, U64};
    match op {
        AtomicOp::Add => {
            matches!(
                ty,
                U32 | S32 | U64 | F16 | F16x2 | Bf16 | Bf16x2 | F32 | F64
            )
        }
        AtomicOp::Min | AtomicOp::Max => matches!(ty, U32 | S32 | U64 | S64),
        AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => matches!(ty, B32 | B64),
        AtomicOp::Exchange | AtomicOp::CompareSwap => matches!(ty, B32 | B64),
        AtomicOp::Increment | AtomicOp::Decrement => ty == U32,
    }
}

/// Prefetches and their kin do nothing that a program can see.
pub(crate) fn hint(site: &mut Site) -> Result<()> {
    site.modifiers.find(Space::named);
    site.modifiers
        .one_of(&["L1", "L2", "L2::evict_last", "L2::evict_normal"]);
    site.arity(1..=2)?;
    site.emit(Op::Nothing);
    Ok(())
}
