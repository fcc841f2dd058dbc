//! Floating point: arithmetic, roots, and the approximations with their documented errors.

use super::integer::{self, binary, ternary, unary};
use super::site::Site;
use crate::error::Result;
use crate::lanes::{Map1, Map2, Map3, map1, map2, map3};
use crate::number::{Arithmetic, Brain, Directed, Flushed, Half, Pair, Root, flush};
use crate::op::{Bound, Op, Result as Approximate};
use crate::types::Type;

/// Rounding and flushing of one instruction, with its type.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    ty: Type,
    rounding: Option<&'static str>,
    flushed: bool,
    saturated: bool,
}

const MODES: [&str; 4] = ["rn", "rz", "rm", "rp"];

fn kind(site: &mut Site, ty: Type) -> Kind {
    let rounding = site.modifiers.one_of(&MODES);
    let rounding = rounding.and_then(|mode| MODES.into_iter().find(|m| *m == mode));
    Kind {
        ty,
        rounding: rounding.filter(|mode| *mode != "rn"),
        flushed: site.flag("ftz"),
        saturated: site.flag("sat"),
    }
}

/// Chooses by kind; `T` is the Rust type within the expression.
macro_rules! by_kind {
    ($kind:expr, $make:expr) => {{
        macro_rules! with {
            ($rust:ty) => {{
                #[allow(dead_code)]
                type T = $rust;
                Some($make)
            }};
        }
        match ($kind.ty, $kind.rounding, $kind.flushed) {
            (Type::F32, None, false) => with!(f32),
            (Type::F32, None, true) => with!(Flushed),
            (Type::F32, Some("rz"), false) => with!(Directed<0, false>),
            (Type::F32, Some("rm"), false) => with!(Directed<1, false>),
            (Type::F32, Some("rp"), false) => with!(Directed<2, false>),
            (Type::F32, Some("rz"), true) => with!(Directed<0, true>),
            (Type::F32, Some("rm"), true) => with!(Directed<1, true>),
            (Type::F32, Some("rp"), true) => with!(Directed<2, true>),
            (Type::F64, None, false) => with!(f64),
            (Type::F16, None, false) => with!(Half),
            (Type::F16x2, None, false) => with!(Pair<Half>),
            (Type::Bf16, None, false) => with!(Brain),
            (Type::Bf16x2, None, false) => with!(Pair<Brain>),
            _ => None,
        }
    }};
}

/// `.sat`: to [0, 1], NaN to 0.
fn saturate(site: &mut Site, kind: Kind) -> Result<()> {
    if !kind.saturated {
        return Ok(());
    }
    if kind.ty != Type::F32 {
        return Err(site.unknown());
    }
    let d = site.dest(0)?;
    site.emit(Op::Map1 {
        f: map1!(f32 => |a| if a.is_nan() { 0.0 } else { a.clamp(0.0, 1.0) }),
        d,
        a: d,
    });
    Ok(())
}

/// `add`, `sub`, `mul`, `min`, `max` of every type.
pub(crate) fn two_operands(site: &mut Site) -> Result<()> {
    let word = site.instruction.mnemonic.split('.').next().unwrap_or("");
    let ty = site.ty()?;
    if !ty.float() {
        return integer::two_operands(site, word, ty);
    }
    let kind = kind(site, ty);
    let wants_nan = matches!(word, "min" | "max") && site.flag("NaN");
    let f: Option<Map2> = match (word, wants_nan) {
        ("add", _) => by_kind!(kind, map2!(T, T => |a, b| a.plus(b))),
        ("sub", _) => by_kind!(kind, map2!(T, T => |a, b| a.minus(b))),
        ("mul", _) => by_kind!(kind, map2!(T, T => |a, b| a.times(b))),
        ("min", false) => by_kind!(kind, map2!(T, T => |a, b| a.smaller(b, false))),
        ("min", true) => by_kind!(kind, map2!(T, T => |a, b| a.smaller(b, true))),
        (_, false) => by_kind!(kind, map2!(T, T => |a, b| a.larger(b, false))),
        (_, true) => by_kind!(kind, map2!(T, T => |a, b| a.larger(b, true))),
    };
    binary(site, f, ty, ty)?;
    saturate(site, kind)
}

pub(crate) fn fused(site: &mut Site) -> Result<()> {
    let ty = site.ty()?;
    let kind = kind(site, ty);
    let rectified = site.flag("relu");
    let f: Option<Map3> = if rectified {
        by_kind!(kind, map3!(T, T, T => |a, b, c| a.fused(b, c).rectified()))
            .filter(|_| !matches!(ty, Type::F32 | Type::F64))
    } else {
        by_kind!(kind, map3!(T, T, T => |a, b, c| a.fused(b, c)))
    };
    ternary(site, f, [ty, ty, ty])?;
    saturate(site, kind)
}

/// `neg` and `abs`.
pub(crate) fn one_operand(site: &mut Site) -> Result<()> {
    let word = site.instruction.mnemonic.split('.').next().unwrap_or("");
    let ty = site.ty()?;
    if !ty.float() {
        return integer::one_operand(site, word, ty);
    }
    let kind = kind(site, ty);
    let f: Option<Map1> = match word {
        "neg" => by_kind!(kind, map1!(T => |a| a.negated())),
        _ => by_kind!(kind, map1!(T => |a| a.magnitude())),
    };
    unary(site, f, ty)
}

pub(crate) fn copy_sign(site: &mut Site) -> Result<()> {
    let ty = site.ty()?;
    let f: Option<Map2> = match ty {
        Type::F32 => Some(map2!(u32, u32 => |a, b| a & 1 << 31 | b & !(1 << 31))),
        Type::F64 => Some(map2!(u64, u64 => |a, b| a & 1 << 63 | b & !(1 << 63))),
        _ => None,
    };
    binary(site, f, ty, ty)
}

/// The manual's bound of two units in the last place of an f32.
const TWO_ULP: Bound = Bound::Relative(2.0 / (1 << 23) as f64);
const ONE_ULP: Bound = Bound::Relative(1.0 / (1 << 23) as f64);

pub(crate) fn divide(site: &mut Site) -> Result<()> {
    let approximate = site.modifiers.one_of(&["approx", "full"]);
    let ty = site.ty()?;
    if !ty.float() {
        return integer::divide(site, ty);
    }
    let kind = kind(site, ty);
    let f = division(kind);
    if approximate.is_some() && (ty != Type::F32 || kind.rounding.is_some()) {
        return Err(site.unknown());
    }
    binary(site, f, ty, ty)?;
    if approximate.is_some() {
        perturb(site, TWO_ULP, result_of(kind))?;
    }
    Ok(())
}

macro_rules! by_root {
    ($kind:expr, $make:expr) => {{
        macro_rules! with {
            ($rust:ty) => {{
                type T = $rust;
                Some($make)
            }};
        }
        match ($kind.ty, $kind.rounding, $kind.flushed) {
            (Type::F32, None, false) => with!(f32),
            (Type::F32, None, true) => with!(Flushed),
            (Type::F32, Some("rz"), false) => with!(Directed<0, false>),
            (Type::F32, Some("rm"), false) => with!(Directed<1, false>),
            (Type::F32, Some("rp"), false) => with!(Directed<2, false>),
            (Type::F32, Some("rz"), true) => with!(Directed<0, true>),
            (Type::F32, Some("rm"), true) => with!(Directed<1, true>),
            (Type::F32, Some("rp"), true) => with!(Directed<2, true>),
            (Type::F64, None, false) => with!(f64),
            _ => None,
        }
    }};
}

fn division(kind: Kind) -> Option<Map2> {
    by_root!(kind, map2!(T, T => |a, b| a.over(b)))
}

fn result_of(kind: Kind) -> Approximate {
    match kind.ty {
        Type::F32 if kind.flushed => Approximate::FlushedF32,
        Type::F16 => Approximate::F16,
        Type::F16x2 => Approximate::F16x2,
        Type::Bf16 => Approximate::Bf16,
        Type::Bf16x2 => Approximate::Bf16x2,
        Type::F64 => Approximate::F64,
        _ => Approximate::F32,
    }
}

fn perturb(site: &mut Site, bound: Bound, result: Approximate) -> Result<()> {
    let d = site.dest(0)?;
    site.emit(Op::Perturb {
        d,
        a: d,
        bound,
        result,
    });
    Ok(())
}

macro_rules! pointwise {
    ($kind:expr, |$x:ident| $e:expr) => {{
        match ($kind.ty, $kind.flushed) {
            (Type::F32, false) => Some(map1!(f32 => |a| { let $x = f64::from(a); ($e) as f32 })),
            (Type::F32, true) => Some(map1!(f32 => |a| { let $x = f64::from(flush(a)); flush(($e) as f32) })),
            _ => None,
        }
    }};
}

/// `rcp`, `sqrt`, `rsqrt` and the transcendental functions.
pub(crate) fn function(site: &mut Site) -> Result<()> {
    let word = site.instruction.mnemonic.split('.').next().unwrap_or("");
    let approximate = site.flag("approx");
    let ty = site.ty()?;
    let kind = kind(site, ty);
    if kind.saturated || (approximate && kind.rounding.is_some()) {
        return Err(site.unknown());
    }
    let relative = |bits: f64| Bound::Relative((-bits).exp2());
    let (f, bound): (Option<Map1>, Bound) = match (word, approximate, ty) {
        ("rcp", false, _) => (by_root!(kind, map1!(T => |a| a.inverse())), ONE_ULP),
        ("sqrt", false, _) => (by_root!(kind, map1!(T => |a| a.root())), ONE_ULP),
        ("rcp", true, Type::F64) => (rough_double(kind, true), relative(20.0)),
        ("rsqrt", true, Type::F64) => (rough_double(kind, false), relative(20.0)),
        ("rcp", true, _) => (pointwise!(kind, |x| 1.0 / x), ONE_ULP),
        ("sqrt", true, _) => (pointwise!(kind, |x| x.sqrt()), relative(23.0)),
        ("rsqrt", true, _) => (pointwise!(kind, |x| 1.0 / x.sqrt()), relative(22.9)),
        ("ex2", true, Type::F32) => (pointwise!(kind, |x| x.exp2()), TWO_ULP),
        ("lg2", true, _) => (
            pointwise!(kind, |x| x.log2()),
            Bound::Either((-22f64).exp2()),
        ),
        ("sin", true, _) => (
            pointwise!(kind, |x| x.sin()),
            Bound::Absolute((-20.5f64).exp2()),
        ),
        ("cos", true, _) => (
            pointwise!(kind, |x| x.cos()),
            Bound::Absolute((-20.5f64).exp2()),
        ),
        ("tanh", true, Type::F32) => (pointwise!(kind, |x| x.tanh()), relative(11.0)),
        ("ex2", true, _) => (narrow(ty, kind, true), narrow_bound(ty, true)),
        ("tanh", true, _) => (narrow(ty, kind, false), narrow_bound(ty, false)),
        _ => (None, ONE_ULP),
    };
    if word == "tanh" && kind.flushed {
        return Err(site.unknown());
    }
    unary(site, f, ty)?;
    if approximate {
        perturb(site, bound, result_of(kind))?;
    }
    Ok(())
}

/// `rcp.approx.ftz.f64` and `rsqrt.approx{.ftz}.f64` keep the upper 32 bits only.
fn rough_double(kind: Kind, reciprocal: bool) -> Option<Map1> {
    match (kind.rounding, reciprocal) {
        (None, true) => Some(map1!(f64 => |a| f64::from_bits((1.0 / a).to_bits() & !0xffff_ffff))),
        (None, false) => {
            Some(map1!(f64 => |a| f64::from_bits((1.0 / a.sqrt()).to_bits() & !0xffff_ffff)))
        }
        _ => None,
    }
}

/// `ex2` and `tanh` in 16 bits.
fn narrow(ty: Type, kind: Kind, power: bool) -> Option<Map1> {
    fn half(x: f64) -> Half {
        let rounded = crate::number::F16.round(x, crate::number::Rounding::Nearest);
        Half(rounded as f32)
    }
    fn brain(x: f64) -> Brain {
        let rounded = crate::number::BF16.round(x, crate::number::Rounding::Nearest);
        Brain(rounded as f32)
    }
    if kind.rounding.is_some() {
        return None;
    }
    Some(match (ty, power) {
        (Type::F16, true) => map1!(Half => |a| half(f64::from(a.0).exp2())),
        (Type::F16, false) => map1!(Half => |a| half(f64::from(a.0).tanh())),
        (Type::F16x2, true) => {
            map1!(Pair<Half> => |a| Pair(half(f64::from(a.0.0).exp2()), half(f64::from(a.1.0).exp2())))
        }
        (Type::F16x2, false) => {
            map1!(Pair<Half> => |a| Pair(half(f64::from(a.0.0).tanh()), half(f64::from(a.1.0).tanh())))
        }
        (Type::Bf16, true) => map1!(Brain => |a| brain(f64::from(a.0).exp2())),
        (Type::Bf16, false) => map1!(Brain => |a| brain(f64::from(a.0).tanh())),
        (Type::Bf16x2, true) => {
            map1!(Pair<Brain> => |a| Pair(brain(f64::from(a.0.0).exp2()), brain(f64::from(a.1.0).exp2())))
        }
        (Type::Bf16x2, false) => {
            map1!(Pair<Brain> => |a| Pair(brain(f64::from(a.0.0).tanh()), brain(f64::from(a.1.0).tanh())))
        }
        _ => return None,
    })
}

fn narrow_bound(ty: Type, power: bool) -> Bound {
    match (matches!(ty, Type::F16 | Type::F16x2), power) {
        (true, true) => Bound::Relative((-9.9f64).exp2()),
        (false, true) => Bound::Relative((-7f64).exp2()),
        (true, false) => Bound::Absolute((-10.987f64).exp2()),
        (false, false) => Bound::Absolute((-8f64).exp2()),
    }
}
