//! Matrix fragments and the products of tensor cores.

use super::site::Site;
use crate::error::Result;
use crate::op::{Element, Op, Slot};
use crate::text::tree::Operand;
use crate::types::{Space, Type};

/// `ldmatrix` and `stmatrix` of 8 x 8 matrices of 16-bit elements.
pub(crate) fn move_matrices(site: &mut Site) -> Result<()> {
    let store = site.instruction.mnemonic.starts_with("st");
    let sync = site.flag("sync") & site.flag("aligned") & site.flag("m8n8");
    let count = match site.modifiers.one_of(&["x1", "x2", "x4"]) {
        Some("x1") => 1,
        Some("x2") => 2,
        Some(_) => 4,
        None => return Err(site.unknown()),
    };
    let transposed = site.flag("trans");
    let space = site.modifiers.find(Space::named).unwrap_or(Space::Generic);
    if !sync || !site.flag("b16") || !matches!(space, Space::Shared | Space::Generic) {
        return Err(site.unknown());
    }
    site.arity(2..=2)?;
    let (registers, memory) = if store { (1, 0) } else { (0, 1) };
    let slots = match store {
        true => site.sources(registers, Type::B32)?,
        false => site.dests(registers)?,
    };
    if slots.len() != count {
        let found = slots.len();
        return site.fail(format!(
            "{count} matrices take {count} registers, found {found}"
        ));
    }
    let address = site.address(memory, space)?;
    site.emit(match store {
        true => Op::StoreMatrix {
            slots,
            transposed,
            address,
        },
        false => Op::LoadMatrix {
            slots,
            transposed,
            address,
        },
    });
    Ok(())
}

pub(crate) fn transpose(site: &mut Site) -> Result<()> {
    let known = site.flag("sync")
        & site.flag("aligned")
        & site.flag("m8n8")
        & site.flag("trans")
        & site.flag("b16");
    if !known {
        return Err(site.unknown());
    }
    site.arity(2..=2)?;
    let a = site.source(1, Type::B32)?;
    let d = site.dest(0)?;
    site.emit(Op::TransposeMatrix { d, a });
    Ok(())
}

/// `mma.sync` with f32 accumulators, A by rows and B by columns.
pub(crate) fn product(site: &mut Site) -> Result<()> {
    let form = site.flag("sync") & site.flag("aligned");
    let shape = site.modifiers.one_of(&["m16n8k4", "m16n8k8", "m16n8k16"]);
    let layout = site.flag("row") & site.flag("col");
    let types: Vec<Option<Type>> = (0..4).map(|_| site.modifiers.ty()).collect();
    let element = match types[1] {
        Some(Type::F16) => Element::F16,
        Some(Type::Bf16) => Element::Bf16,
        Some(Type::Tf32) => Element::Tf32,
        _ => return Err(site.unknown()),
    };
    let accumulates = types[0] == Some(Type::F32) && types[3] == Some(Type::F32);
    if !form || !layout || !accumulates || types[1] != types[2] {
        return Err(site.unknown());
    }
    let (depth, a_count, b_count) = match (shape, element) {
        (Some("m16n8k4"), Element::Tf32) => (4, 2, 1),
        (Some("m16n8k8"), Element::Tf32) => (8, 4, 2),
        (Some("m16n8k8"), _) => (8, 2, 1),
        (Some("m16n8k16"), Element::F16 | Element::Bf16) => (16, 4, 2),
        _ => return Err(site.unknown()),
    };
    site.arity(4..=4)?;
    let d = four(site, 0)?;
    let a = operands(site, 1, a_count, Type::B32)?;
    let b = operands(site, 2, b_count, Type::B32)?;
    let c = operands(site, 3, 4, Type::F32)?;
    let c = [c[0], c[1], c[2], c[3]];
    site.emit(Op::Product {
        element,
        depth,
        d,
        a,
        b,
        c,
    });
    Ok(())
}

fn four(site: &mut Site, index: usize) -> Result<[Slot; 4]> {
    match site.dests(index)?[..] {
        [a, b, c, d] => Ok([a, b, c, d]),
        _ => site.fail(format!("operand {} is a vector of 4 registers", index + 1)),
    }
}

fn operands(site: &mut Site, index: usize, count: usize, ty: Type) -> Result<Vec<Slot>> {
    let well_formed = matches!(site.operand(index)?, Operand::Vector(_)) || count == 1;
    let slots = site.sources(index, ty)?;
    if slots.len() != count || !well_formed {
        let message = format!("operand {} is a vector of {count} registers", index + 1);
        return site.fail(message);
    }
    Ok(slots)
}
