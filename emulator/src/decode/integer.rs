//! Integer arithmetic, and the emission of pointwise ops that the other decoders share.

use super::site::Site;
use crate::error::Result;
use crate::lanes::{Map1, Map2, Map3, by_type, map1, map2, map3};
use crate::op::Op;
use crate::types::Type;

macro_rules! integers {
    ($ty:expr, $make:expr) => {
        by_type!($ty, [U16 => u16, U32 => u32, U64 => u64, S16 => i16, S32 => i32, S64 => i64], $make)
    };
}

/// `add`, `sub`, `mul`, `min` and `max` of integers.
pub(crate) fn two_operands(site: &mut Site, word: &str, ty: Type) -> Result<()> {
    if word == "mul" {
        return multiply(site, ty);
    }
    let saturated = ty == Type::S32 && matches!(word, "add" | "sub") && site.flag("sat");
    let f: Option<Map2> = match word {
        "add" if saturated => Some(map2!(i32, i32 => |a, b| a.saturating_add(b))),
        "sub" if saturated => Some(map2!(i32, i32 => |a, b| a.saturating_sub(b))),
        "add" => integers!(ty, map2!(T, T => |a, b| a.wrapping_add(b))),
        "sub" => integers!(ty, map2!(T, T => |a, b| a.wrapping_sub(b))),
        "min" => integers!(ty, map2!(T, T => |a, b| a.min(b))),
        _ => integers!(ty, map2!(T, T => |a, b| a.max(b))),
    };
    binary(site, f, ty, ty)
}

/// Emits d = f(a, b), or refuses where there is no f.
pub(crate) fn binary(site: &mut Site, f: Option<Map2>, a: Type, b: Type) -> Result<()> {
    let f = f.ok_or_else(|| site.unknown())?;
    site.arity(3..=3)?;
    let (a, b) = (site.source(1, a)?, site.source(2, b)?);
    let d = site.dest(0)?;
    site.emit(Op::Map2 { f, d, a, b });
    Ok(())
}

/// Emits d = f(a), or refuses.
pub(crate) fn unary(site: &mut Site, f: Option<Map1>, ty: Type) -> Result<()> {
    let f = f.ok_or_else(|| site.unknown())?;
    site.arity(2..=2)?;
    let a = site.source(1, ty)?;
    let d = site.dest(0)?;
    site.emit(Op::Map1 { f, d, a });
    Ok(())
}

/// Emits d = f(a, b, c), or refuses.
pub(crate) fn ternary(site: &mut Site, f: Option<Map3>, types: [Type; 3]) -> Result<()> {
    let f = f.ok_or_else(|| site.unknown())?;
    site.arity(4..=4)?;
    let a = site.source(1, types[0])?;
    let b = site.source(2, types[1])?;
    let c = site.source(3, types[2])?;
    let d = site.dest(0)?;
    site.emit(Op::Map3 { f, d, a, b, c });
    Ok(())
}

/// The upper half of a product.
trait Product: Sized {
    fn high(self, other: Self) -> Self;
}

macro_rules! product {
    ($($ty:ty as $wide:ty),*) => {$(
        impl Product for $ty {
            fn high(self, other: Self) -> Self {
                ((self as $wide * other as $wide) >> <$ty>::BITS) as $ty
            }
        }
    )*};
}

product!(
    u16 as u32,
    i16 as i32,
    u32 as u64,
    i32 as i64,
    u64 as u128,
    i64 as i128
);

fn multiply(site: &mut Site, ty: Type) -> Result<()> {
    let f: Option<Map2> = match site.modifiers.one_of(&["lo", "hi", "wide"]) {
        Some("lo") => integers!(ty, map2!(T, T => |a, b| a.wrapping_mul(b))),
        Some("hi") => integers!(ty, map2!(T, T => |a, b| a.high(b))),
        Some(_) => match ty {
            Type::U16 => Some(map2!(u16, u16 => |a, b| u32::from(a) * u32::from(b))),
            Type::S16 => Some(map2!(i16, i16 => |a, b| i32::from(a) * i32::from(b))),
            Type::U32 => Some(map2!(u32, u32 => |a, b| u64::from(a) * u64::from(b))),
            Type::S32 => Some(map2!(i32, i32 => |a, b| i64::from(a) * i64::from(b))),
            _ => None,
        },
        None => None,
    };
    binary(site, f, ty, ty)
}

/// `mad`; on floats it is `fma`.
pub(crate) fn multiply_add(site: &mut Site) -> Result<()> {
    let part = site.modifiers.one_of(&["lo", "hi", "wide"]);
    let ty = site.ty()?;
    let f: Option<Map3> = match part {
        Some("lo") => integers!(
            ty,
            map3!(T, T, T => |a, b, c| a.wrapping_mul(b).wrapping_add(c))
        ),
        Some("hi") => integers!(ty, map3!(T, T, T => |a, b, c| a.high(b).wrapping_add(c))),
        Some(_) => match ty {
            Type::U16 => Some(
                map3!(u16, u16, u32 => |a, b, c| (u32::from(a) * u32::from(b)).wrapping_add(c)),
            ),
            Type::S16 => Some(
                map3!(i16, i16, i32 => |a, b, c| (i32::from(a) * i32::from(b)).wrapping_add(c)),
            ),
            Type::U32 => Some(
                map3!(u32, u32, u64 => |a, b, c| (u64::from(a) * u64::from(b)).wrapping_add(c)),
            ),
            Type::S32 => Some(
                map3!(i32, i32, i64 => |a, b, c| (i64::from(a) * i64::from(b)).wrapping_add(c)),
            ),
            _ => None,
        },
        None => None,
    };
    let third = if part == Some("wide") { Type::U64 } else { ty };
    ternary(site, f, [ty, ty, third])
}

/// Integer division; by zero it gives all ones, where the manual leaves the value open.
pub(crate) fn divide(site: &mut Site, ty: Type) -> Result<()> {
    let f = by_type!(ty, [U16 => u16, U32 => u32, U64 => u64], map2!(T, T => |a, b| a.checked_div(b).unwrap_or(T::MAX)));
    let f = f.or(by_type!(ty, [S16 => i16, S32 => i32, S64 => i64], map2!(T, T => |a, b| if b == 0 { -1 } else { a.wrapping_div(b) })));
    binary(site, f, ty, ty)
}

/// `rem`; by zero it gives the dividend.
pub(crate) fn remainder(site: &mut Site) -> Result<()> {
    let ty = site.ty()?;
    let f = integers!(
        ty,
        map2!(T, T => |a, b| if b == 0 { a } else { a.wrapping_rem(b) })
    );
    binary(site, f, ty, ty)
}

pub(crate) fn one_operand(site: &mut Site, word: &str, ty: Type) -> Result<()> {
    let f: Option<Map1> = match word {
        "neg" => {
            by_type!(ty, [S16 => i16, S32 => i32, S64 => i64], map1!(T => |a| a.wrapping_neg()))
        }
        _ => by_type!(ty, [S16 => i16, S32 => i32, S64 => i64], map1!(T => |a| a.wrapping_abs())),
    };
    unary(site, f, ty)
}
