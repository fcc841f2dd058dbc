//! `cvt`: which conversions the manual has, and fast functions for the common ones.

use super::site::Site;
use crate::error::Result;
use crate::lanes::{Map1, Map2, map1, map2};
use crate::number::{BF16, Brain, Conversion, Pair, Rounding};
use crate::op::{Op, Slot};
use crate::types::Type;

const FLOAT_MODES: [(&str, Rounding); 5] = [
    ("rn", Rounding::Nearest),
    ("rz", Rounding::Zero),
    ("rm", Rounding::Down),
    ("rp", Rounding::Up),
    ("rna", Rounding::NearestAway),
];
const INTEGER_MODES: [(&str, Rounding); 4] = [
    ("rni", Rounding::Nearest),
    ("rzi", Rounding::Zero),
    ("rmi", Rounding::Down),
    ("rpi", Rounding::Up),
];

fn mode(site: &mut Site, modes: &[(&str, Rounding)]) -> Option<Rounding> {
    site.modifiers.find(|part| {
        modes
            .iter()
            .find(|(name, _)| *name == part)
            .map(|(_, m)| *m)
    })
}

pub(crate) fn convert(site: &mut Site) -> Result<()> {
    let whole = mode(site, &INTEGER_MODES);
    let rounding = mode(site, &FLOAT_MODES);
    let flushed = site.flag("ftz");
    let saturated = site.flag("sat");
    let rectified = site.flag("relu");
    let finite = site.flag("satfinite");
    let (to, from) = (site.ty()?, site.ty()?);
    let packed = matches!(to, Type::F16x2 | Type::Bf16x2);
    let element = match to {
        Type::F16x2 => Type::F16,
        Type::Bf16x2 => Type::Bf16,
        _ => to,
    };
    let numeric = |ty: Type| {
        !matches!(
            ty,
            Type::Pred | Type::B8 | Type::B16 | Type::B32 | Type::B64 | Type::B128
        ) && !matches!(ty, Type::F16x2 | Type::Bf16x2)
    };
    let narrow = matches!(element, Type::F16 | Type::Bf16 | Type::Tf32);
    let sensible = numeric(element)
        && numeric(from)
        && from != Type::Tf32
        && (!packed && to != Type::Tf32 || from == Type::F32)
        && (rounding != Some(Rounding::NearestAway) || to == Type::Tf32)
        && (narrow && from == Type::F32 || !(rectified || finite))
        && (!flushed || to == Type::F32 || from == Type::F32)
        && !(whole.is_some() && rounding.is_some());
    if !sensible {
        return Err(site.unknown());
    }
    site.arity(if packed { 3..=3 } else { 2..=2 })?;
    let needs_float_mode = element.float()
        && (!from.float() || element.bytes() < from.bytes() || narrow && from != element)
        && whole.is_none();
    let needs_integer_mode = from.float() && !element.float();
    if needs_float_mode && rounding.is_none() || needs_integer_mode && whole.is_none() {
        return site.fail(format!(
            "`{}` needs a rounding modifier",
            site.instruction.mnemonic
        ));
    }
    if to == Type::F64
        && !from.float()
        && from.bytes() == 8
        && rounding.is_some_and(|mode| mode != Rounding::Nearest)
    {
        return Err(site.unknown());
    }
    let register = match site.declared(0)? {
        Some(ty) => ty.bytes(),
        None => element.bytes(),
    };
    let conversion = Conversion {
        to: element,
        from,
        register,
        rounding: whole.or(rounding).unwrap_or(Rounding::Nearest),
        whole: whole.is_some() && from.float() && element.float(),
        flushed,
        saturated,
        rectified,
        finite,
    };
    if packed {
        return pair(site, conversion);
    }
    let a = site.source(1, from)?;
    let d = site.dest(0)?;
    one(site, conversion, d, a);
    Ok(())
}

fn one(site: &mut Site, conversion: Conversion, d: Slot, a: Slot) {
    match fast(&conversion) {
        Some(f) => site.emit(Op::Map1 { f, d, a }),
        None => site.emit(Op::Convert { conversion, d, a }),
    }
}

/// `cvt.rn.bf16x2.f32 d, a, b`: a in the upper half.
fn pair(site: &mut Site, conversion: Conversion) -> Result<()> {
    let (high, low) = (site.source(1, Type::F32)?, site.source(2, Type::F32)?);
    let d = site.dest(0)?;
    if plain(&conversion) && conversion.to == Type::Bf16 {
        let f: Map2 = map2!(f32, f32 => |a, b| Pair(brain(b), brain(a)));
        site.emit(Op::Map2 {
            f,
            d,
            a: high,
            b: low,
        });
        return Ok(());
    }
    let parts = vec![site.builder.fresh(), site.builder.fresh()];
    one(site, conversion, parts[0], low);
    one(site, conversion, parts[1], high);
    site.emit(Op::Pack { d, parts, bits: 16 });
    Ok(())
}

fn plain(conversion: &Conversion) -> bool {
    conversion.rounding == Rounding::Nearest
        && !(conversion.whole
            || conversion.flushed
            || conversion.saturated
            || conversion.rectified
            || conversion.finite)
}

/// To nearest, ties to even, by integer arithmetic on the bits.
fn brain(x: f32) -> Brain {
    if x.is_nan() {
        return Brain(x);
    }
    let bits = x.to_bits();
    let rounded = bits + 0x7fff + (bits >> 16 & 1);
    debug_assert!(
        x.is_infinite() || {
            let exact = BF16.round(f64::from(x), Rounding::Nearest) as f32;
            exact == f32::from_bits(rounded & 0xffff_0000)
        }
    );
    Brain(f32::from_bits(rounded & 0xffff_0000))
}

fn fast(conversion: &Conversion) -> Option<Map1> {
    if !plain(conversion) {
        return None;
    }
    let wide = conversion.register;
    Some(match (conversion.to, conversion.from) {
        (Type::Bf16, Type::F32) => map1!(f32 => |a| brain(a)),
        (Type::F32, Type::Bf16) => map1!(Brain => |a| a.0),
        (Type::F64, Type::F32) => map1!(f32 => |a| f64::from(a)),
        (Type::F32, Type::F64) => map1!(f64 => |a| a as f32),
        (Type::F32, Type::S32) => map1!(i32 => |a| a as f32),
        (Type::F32, Type::U32) => map1!(u32 => |a| a as f32),
        (Type::S64, Type::S32) => map1!(i32 => |a| i64::from(a)),
        (Type::U64, Type::S32) => map1!(i32 => |a| i64::from(a)),
        (Type::U64 | Type::S64, Type::U32) => map1!(u32 => |a| a),
        (Type::U32 | Type::S32, Type::U64 | Type::S64 | Type::U32 | Type::S32) if wide == 4 => {
            map1!(u32 => |a| a)
        }
        (Type::U16 | Type::S16, Type::U32 | Type::S32 | Type::U64 | Type::S64) if wide == 2 => {
            map1!(u16 => |a| a)
        }
        (Type::U32 | Type::S32 | Type::U64 | Type::S64, Type::U16) => map1!(u16 => |a| a),
        _ => return None,
    })
}
