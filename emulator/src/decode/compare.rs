//! Comparison and selection.

use super::site::Site;
use crate::error::Result;
use crate::lanes::{Map1, Map2, by_type, map1, map2};
use crate::number::{Brain, Flushed, Half};
use crate::op::{Op, Slot};
use crate::text::tree::Operand;
use crate::types::Type;

const COMPARISONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu",
    "geu", "num", "nan",
];

/// What a comparison needs of a type; integers are never NaN.
trait Comparable: Copy + PartialOrd {
    fn nan(self) -> bool {
        false
    }
}

impl Comparable for u16 {}
impl Comparable for u32 {}
impl Comparable for u64 {}
impl Comparable for i16 {}
impl Comparable for i32 {}
impl Comparable for i64 {}
impl Comparable for f32 {
    fn nan(self) -> bool {
        self.is_nan()
    }
}
impl Comparable for f64 {
    fn nan(self) -> bool {
        self.is_nan()
    }
}

// rustfmt moves a macro within a macro further right each time.
#[rustfmt::skip]
macro_rules! comparisons {
    ($name:expr, $ta:ty, |$x:ident| $value:expr) => {{
        macro_rules! make {
            (|$a:ident, $b:ident| $e:expr) => {
                map2!($ta, $ta => |a, b| {
                    let $a = { let $x = a; $value };
                    let $b = { let $x = b; $value };
                    $e
                })
            };
        }
        Some(match $name {
            "eq" => make!(|a, b| a == b),
            "ne" => make!(|a, b| a != b && !a.nan() && !b.nan()),
            "lt" | "lo" => make!(|a, b| a < b),
            "le" | "ls" => make!(|a, b| a <= b),
            "gt" | "hi" => make!(|a, b| a > b),
            "ge" | "hs" => make!(|a, b| a >= b),
            "equ" => make!(|a, b| a == b || a.nan() || b.nan()),
            "neu" => make!(|a, b| a != b),
            "ltu" => make!(|a, b| !(a >= b)),
            "leu" => make!(|a, b| !(a > b)),
            "gtu" => make!(|a, b| !(a <= b)),
            "geu" => make!(|a, b| !(a < b)),
            "num" => make!(|a, b| !a.nan() && !b.nan()),
            _ => make!(|a, b| a.nan() || b.nan()),
        })
    }};
}

/// The comparison as a function of two registers; none where the type has no such comparison.
#[allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "the unordered comparisons are negations"
)]
fn comparison(name: &str, ty: Type, flushed: bool) -> Option<Map2> {
    let integer = matches!(name, "eq" | "ne" | "lt" | "le" | "gt" | "ge");
    let unsigned = matches!(name, "lo" | "ls" | "hi" | "hs");
    let float = !unsigned;
    match ty {
        Type::B16 | Type::B32 | Type::B64 if !matches!(name, "eq" | "ne") => None,
        Type::F32 if float && flushed => comparisons!(name, Flushed, |x| x.0),
        Type::F32 if float => comparisons!(name, f32, |x| x),
        Type::F64 if float && !flushed => comparisons!(name, f64, |x| x),
        Type::F16 if float => comparisons!(name, Half, |x| x.0),
        Type::Bf16 if float => comparisons!(name, Brain, |x| x.0),
        Type::S16 | Type::S32 | Type::S64 if !integer || flushed => None,
        _ if flushed || !(integer || unsigned) => None,
        _ => by_type!(ty, [
            B16 => u16, B32 => u32, B64 => u64, U16 => u16, U32 => u32, U64 => u64,
            S16 => i16, S32 => i32, S64 => i64
        ], comparisons!(name, T, |x| x))
        .flatten(),
    }
}

struct Comparison {
    f: Map2,
    /// How the result is joined with a predicate operand.
    combine: Option<Map2>,
    ty: Type,
}

fn parse(site: &mut Site) -> Result<Comparison> {
    let name = site.modifiers.one_of(&COMPARISONS);
    let combine = site.modifiers.one_of(&["and", "or", "xor"]);
    let flushed = site.flag("ftz");
    let ty = site.ty()?;
    let scalar = match ty {
        Type::F16x2 => Type::F16,
        Type::Bf16x2 => Type::Bf16,
        _ => ty,
    };
    let f = name.and_then(|name| comparison(name, scalar, flushed));
    let Some(f) = f else {
        return Err(site.unknown());
    };
    let combine: Option<Map2> = combine.map(|name| match name {
        "and" => map2!(u64, u64 => |a, b| a & b) as Map2,
        "or" => map2!(u64, u64 => |a, b| a | b),
        _ => map2!(u64, u64 => |a, b| a ^ b),
    });
    Ok(Comparison { f, combine, ty })
}

fn invert() -> Map1 {
    map1!(bool => |a| !a)
}

/// `setp p, a, b`, `setp p|q, a, b`, `setp.and p, a, b, c`.
pub(crate) fn to_predicate(site: &mut Site) -> Result<()> {
    let comparison = parse(site)?;
    site.arity(3..=4)?;
    let (ty, wide) = (comparison.ty, site.count() == 4);
    if wide != comparison.combine.is_some() {
        return site.fail("a predicate operand and `.and`, `.or` or `.xor` come together");
    }
    let (mut a, mut b) = (site.source(1, ty)?, site.source(2, ty)?);
    let packed = matches!(ty, Type::F16x2 | Type::Bf16x2);
    let extra = match comparison.combine {
        Some(f) => Some((f, site.plain_predicate(3)?)),
        None => None,
    };
    let operand = site.operand(0)?;
    let (first, second) = match operand {
        Operand::Pair(first, second) => (site.dest_of(first)?, Some(site.dest_of(second)?)),
        one => (site.dest_of(one)?, None),
    };
    let mut results: Vec<(Slot, Slot)> = vec![];
    let primary = site.builder.fresh();
    let f = comparison.f;
    if let (Some(second), true) = (second, packed) {
        let low = |site: &mut Site, from: Slot, f: Map1| {
            let d = site.builder.fresh();
            site.emit(Op::Map1 { f, d, a: from });
            d
        };
        let upper: Map1 = map1!(u32 => |x| x >> 16);
        let (high_a, high_b) = (low(site, a, upper), low(site, b, upper));
        let lower: Map1 = map1!(u32 => |x| x & 0xffff);
        (a, b) = (low(site, a, lower), low(site, b, lower));
        let other = site.builder.fresh();
        site.emit(Op::Map2 {
            f,
            d: other,
            a: high_a,
            b: high_b,
        });
        results.push((second, other));
        site.emit(Op::Map2 {
            f,
            d: primary,
            a,
            b,
        });
    } else if packed {
        return site.fail("a packed comparison writes two predicates, `p|q`");
    } else {
        site.emit(Op::Map2 {
            f,
            d: primary,
            a,
            b,
        });
        if let Some(second) = second {
            let other = site.builder.fresh();
            site.emit(Op::Map1 {
                f: invert(),
                d: other,
                a: primary,
            });
            results.push((second, other));
        }
    }
    results.push((first, primary));
    // The guard may be among the results: it is written last.
    let guard = site.guard.map(|(slot, _)| slot);
    results.sort_by_key(|(d, _)| Some(*d) == guard);
    let mut moves = vec![];
    for (d, value) in results {
        let value = match extra {
            None => value,
            Some((f, c)) => {
                let joined = site.builder.fresh();
                site.emit(Op::Map2 {
                    f,
                    d: joined,
                    a: value,
                    b: c,
                });
                joined
            }
        };
        moves.push((d, value));
    }
    for (d, value) in moves {
        site.emit(Op::Move { d, a: value });
    }
    Ok(())
}

/// `set`: all ones or 1.0 where the comparison holds.
pub(crate) fn to_register(site: &mut Site) -> Result<()> {
    let name = site.modifiers.one_of(&COMPARISONS);
    let combine = site.modifiers.one_of(&["and", "or", "xor"]);
    let flushed = site.flag("ftz");
    let (result, ty) = (site.ty()?, site.ty()?);
    let truth = match result {
        Type::U32 | Type::S32 => 0xffff_ffff,
        Type::F32 => u64::from(1f32.to_bits()),
        _ => return Err(site.unknown()),
    };
    let Some(f) = name.and_then(|name| comparison(name, ty, flushed)) else {
        return Err(site.unknown());
    };
    if combine.is_some() {
        return Err(site.unknown());
    }
    site.arity(3..=3)?;
    let (a, b) = (site.source(1, ty)?, site.source(2, ty)?);
    let d = site.dest(0)?;
    let p = site.builder.fresh();
    site.emit(Op::Map2 { f, d: p, a, b });
    let (a, b) = (site.builder.constant(truth), site.builder.constant(0));
    site.emit(Op::Select { d, a, b, p });
    Ok(())
}

pub(crate) fn select(site: &mut Site) -> Result<()> {
    let ty = site.ty()?;
    if matches!(ty, Type::Pred | Type::B8 | Type::U8 | Type::S8 | Type::B128) {
        return Err(site.unknown());
    }
    site.arity(4..=4)?;
    let (a, b) = (site.source(1, ty)?, site.source(2, ty)?);
    let p = site.plain_predicate(3)?;
    let d = site.dest(0)?;
    site.emit(Op::Select { d, a, b, p });
    Ok(())
}

/// `slct d, a, b, c`: a where c >= 0.
pub(crate) fn select_by_sign(site: &mut Site) -> Result<()> {
    let flushed = site.flag("ftz");
    let (ty, sign) = (site.ty()?, site.ty()?);
    let f: Map1 = match sign {
        Type::S32 if !flushed => map1!(i32 => |c| c >= 0),
        Type::F32 if flushed => map1!(Flushed => |c| c.0 >= 0.0),
        Type::F32 => map1!(f32 => |c| c >= 0.0),
        _ => return Err(site.unknown()),
    };
    site.arity(4..=4)?;
    let (a, b, c) = (
        site.source(1, ty)?,
        site.source(2, ty)?,
        site.source(3, sign)?,
    );
    let d = site.dest(0)?;
    let p = site.builder.fresh();
    site.emit(Op::Map1 { f, d: p, a: c });
    site.emit(Op::Select { d, a, b, p });
    Ok(())
}

/// `testp`.
pub(crate) fn classify(site: &mut Site) -> Result<()> {
    let names = [
        "finite",
        "infinite",
        "number",
        "notanumber",
        "normal",
        "subnormal",
    ];
    let name = site.modifiers.one_of(&names).unwrap_or("");
    let ty = site.ty()?;
    macro_rules! test {
        ($x:ident, $e:expr) => {
            by_type!(ty, [F32 => f32, F64 => f64], map1!(T => |$x| $e))
        };
    }
    let f: Option<Map1> = match name {
        "finite" => test!(x, x.is_finite()),
        "infinite" => test!(x, x.is_infinite()),
        "number" => test!(x, !x.is_nan()),
        "notanumber" => test!(x, x.is_nan()),
        "normal" => test!(x, x.is_normal()),
        "subnormal" => test!(x, x.is_subnormal()),
        _ => None,
    };
    super::integer::unary(site, f, ty)
}
