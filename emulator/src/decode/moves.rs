//! Moves: copies, packing and unpacking, and addresses between state spaces and the generic one.

use super::site::Site;
use crate::error::Result;
use crate::lanes::{Map2, map2};
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use crate::op::Op;
use crate::text::tree::Operand;
use crate::types::{Space, Type};

pub(crate) fn mov(site: &mut Site) -> Result<()> {
    let ty = site.ty()?;
    if matches!(ty, Type::B8 | Type::U8 | Type::S8 | Type::B128 | Type::Tf32) {
        return Err(site.unknown());
    }
    site.arity(2..=2)?;
    match (site.operand(0)?, site.operand(1)?) {
        (Operand::Vector(parts), _) => {
            let bits = 8 * ty.bytes() / parts.len().max(1) as u32;
            if !matches!(parts.len(), 2 | 4) || bits < 8 {
                return site.fail("a register unpacks into 2 or 4 parts");
            }
            let a = site.source(1, ty)?;
            let parts = site.dests(0)?;
            site.emit(Op::Unpack { parts, a, bits });
        }
        (_, Operand::Vector(parts)) => {
            let bits = 8 * ty.bytes() / parts.len().max(1) as u32;
            if !matches!(parts.len(), 2 | 4) || bits < 8 {
                return site.fail("a register is packed from 2 or 4 parts");
            }
            let part = match bits {
                8 => Type::B8,
                16 => Type::B16,
                _ => Type::B32,
            };
            let parts = site.sources(1, part)?;
            let d = site.dest(0)?;
            site.emit(Op::Pack { d, parts, bits });
        }
        (_, Operand::Name(name))
            if matches!(
                name.as_str(),
                "%clock" | "%clock64" | "%clock_hi" | "%globaltimer"
            ) =>
        {
            let bits = 8 * ty.bytes();
            let d = site.dest(0)?;
            site.emit(Op::Clock { d, bits });
        }
        _ => {
            let a = if ty == Type::Pred {
                site.plain_predicate(1)?
            } else {
                site.source(1, ty)?
            };
            let d = site.dest(0)?;
            site.emit(Op::Move { d, a });
        }
    }
    Ok(())
}

fn window(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
        Space::Global | Space::Const | Space::Generic => 0,
    }
}

/// `cvta`: global and constant addresses are generic ones; the others have windows.
pub(crate) fn convert_address(site: &mut Site) -> Result<()> {
    let to = site.flag("to");
    let space = site.modifiers.find(Space::named);
    let ty = site.ty()?;
    let Some(mut space) = space.filter(|_| matches!(ty, Type::U64 | Type::U32)) else {
        return Err(site.unknown());
    };
    site.arity(2..=2)?;
    if let Operand::Name(name) = site.operand(1)?
        && let Some((_, _, Some(Space::Local))) = site.builder.named(name)
    {
        space = Space::Local;
    }
    let a = site.source(1, Type::U64)?;
    let d = site.dest(0)?;
    if window(space) == 0 {
        site.emit(Op::Move { d, a });
        return Ok(());
    }
    let f: Map2 = if to {
        map2!(u64, u64 => |a, b| a.wrapping_sub(b))
    } else {
        map2!(u64, u64 => |a, b| a.wrapping_add(b))
    };
    let b = site.builder.constant(window(space));
    site.emit(Op::Map2 { f, d, a, b });
    Ok(())
}

/// `isspacep`.
pub(crate) fn is_space(site: &mut Site) -> Result<()> {
    let Some(space) = site.modifiers.find(Space::named) else {
        return Err(site.unknown());
    };
    site.arity(2..=2)?;
    let a = site.source(1, Type::U64)?;
    let d = site.dest(0)?;
    let f: Map2 = match window(space) {
        0 => map2!(u64, u64 => |a, _b| a >= PARAM_WINDOW + WINDOW_BYTES),
        _ => map2!(u64, u64 => |a, b| a >= b && a - b < WINDOW_BYTES),
    };
    let b = site.builder.constant(window(space));
    site.emit(Op::Map2 { f, d, a, b });
    Ok(())
}
