//! Bits: logic, shifts, fields, permutations and truth tables.

use super::integer::{binary, ternary, unary};
use super::site::Site;
use crate::error::Result;
use crate::lanes::{Map1, Map2, Map3, by_type, map1, map2, map3};
use crate::op::Op;
use crate::types::Type;

macro_rules! untyped {
    ($ty:expr, $make:expr) => {
        by_type!($ty, [B16 => u16, B32 => u32, B64 => u64], $make)
    };
}

pub(crate) fn logic(site: &mut Site) -> Result<()> {
    let ty = site.ty()?;
    let known = matches!(ty, Type::Pred | Type::B16 | Type::B32 | Type::B64);
    let f: Map2 = match site.instruction.mnemonic.split('.').next() {
        Some("and") => map2!(u64, u64 => |a, b| a & b),
        Some("or") => map2!(u64, u64 => |a, b| a | b),
        _ => map2!(u64, u64 => |a, b| a ^ b),
    };
    if ty != Type::Pred {
        return binary(site, known.then_some(f), ty, ty);
    }
    site.arity(3..=3)?;
    let (a, b) = (site.plain_predicate(1)?, site.plain_predicate(2)?);
    let d = site.dest(0)?;
    site.emit(Op::Map2 { f, d, a, b });
    Ok(())
}

/// Counting and turning over bits.
pub(crate) fn bits(site: &mut Site) -> Result<()> {
    let word = site.instruction.mnemonic.split('.').next().unwrap_or("");
    let distance = word == "bfind" && site.flag("shiftamt");
    let ty = site.ty()?;
    let f: Option<Map1> = match word {
        "not" if ty == Type::Pred => Some(map1!(bool => |a| !a)),
        "not" => untyped!(ty, map1!(T => |a| !a)),
        "cnot" => untyped!(ty, map1!(T => |a| T::from(a == 0))),
        "popc" => by_type!(ty, [B32 => u32, B64 => u64], map1!(T => |a| a.count_ones())),
        "clz" => by_type!(ty, [B32 => u32, B64 => u64], map1!(T => |a| a.leading_zeros())),
        "brev" => by_type!(ty, [B32 => u32, B64 => u64], map1!(T => |a| a.reverse_bits())),
        _ => highest(ty, distance),
    };
    if ty == Type::Pred && word == "not" {
        site.arity(2..=2)?;
        let a = site.plain_predicate(1)?;
        let d = site.dest(0)?;
        let f = f.ok_or_else(|| site.unknown())?;
        site.emit(Op::Map1 { f, d, a });
        return Ok(());
    }
    unary(site, f, ty)
}

/// The bits of a signed number that differ from its sign.
trait Magnitude {
    fn beside_sign(self) -> Self;
}

impl Magnitude for i32 {
    fn beside_sign(self) -> i32 {
        if self < 0 { !self } else { self }
    }
}

impl Magnitude for i64 {
    fn beside_sign(self) -> i64 {
        if self < 0 { !self } else { self }
    }
}

/// `bfind`: the highest bit that is not the sign, or its distance from the top; all ones where there is none.
fn highest(ty: Type, distance: bool) -> Option<Map1> {
    if distance {
        let f = by_type!(ty, [U32 => u32, U64 => u64], map1!(T => |a| {
            if a == 0 { u32::MAX } else { a.leading_zeros() }
        }));
        return f.or(by_type!(ty, [S32 => i32, S64 => i64], map1!(T => |a| {
            let bits = a.beside_sign();
            if bits == 0 { u32::MAX } else { bits.leading_zeros() }
        })));
    }
    let f = by_type!(ty, [U32 => u32, U64 => u64], map1!(T => |a| {
        (T::BITS - 1).wrapping_sub(a.leading_zeros())
    }));
    f.or(by_type!(ty, [S32 => i32, S64 => i64], map1!(T => |a| {
        (T::BITS - 1).wrapping_sub(a.beside_sign().leading_zeros())
    })))
}

/// Shifts; an amount beyond the width counts as the width.
pub(crate) fn shift(site: &mut Site) -> Result<()> {
    let left = site.instruction.mnemonic.starts_with("shl");
    let ty = site.ty()?;
    let f: Option<Map2> = if left {
        untyped!(ty, map2!(T, u32 => |a, b| a.checked_shl(b).unwrap_or(0)))
    } else {
        let f = by_type!(ty, [B16 => u16, B32 => u32, B64 => u64, U16 => u16, U32 => u32, U64 => u64], map2!(T, u32 => |a, b| a.checked_shr(b).unwrap_or(0)));
        f.or(by_type!(ty, [S16 => i16, S32 => i32, S64 => i64], map2!(T, u32 => |a, b| a >> b.min(T::BITS - 1))))
    };
    binary(site, f, ty, Type::U32)
}

/// `shf`: 32 bits out of 64, with a low and b high.
pub(crate) fn funnel(site: &mut Site) -> Result<()> {
    let left = match site.modifiers.one_of(&["l", "r"]) {
        Some(side) => side == "l",
        None => return Err(site.unknown()),
    };
    let wraps = site.modifiers.one_of(&["wrap", "clamp"]) == Some("wrap");
    let ty = site.ty()?;
    macro_rules! funnel {
        (|$both:ident, $n:ident| $e:expr, $limit:expr) => {
            map3!(u32, u32, u32 => |low, high, amount| {
                let $both = u64::from(high) << 32 | u64::from(low);
                let $n: u32 = $limit(amount);
                $e as u32
            })
        };
    }
    let f: Map3 = match (left, wraps) {
        (true, true) => funnel!(|both, n| (both << n) >> 32, |n: u32| n & 31),
        (true, false) => funnel!(|both, n| (both << n) >> 32, |n: u32| n.min(32)),
        (false, true) => funnel!(|both, n| both >> n, |n: u32| n & 31),
        (false, false) => funnel!(|both, n| both >> n, |n: u32| n.min(32)),
    };
    ternary(site, (ty == Type::B32).then_some(f), [ty, ty, Type::U32])
}

/// `bfe` and `bfi`.
pub(crate) fn field(site: &mut Site) -> Result<()> {
    let insert = site.instruction.mnemonic.starts_with("bfi");
    let ty = site.ty()?;
    if !insert {
        let f: Option<Map3> = match ty {
            Type::U32 => Some(
                map3!(u32, u32, u32 => |a, p, l| extract(u64::from(a), p, l, 32, false) as u32),
            ),
            Type::U64 => Some(map3!(u64, u32, u32 => |a, p, l| extract(a, p, l, 64, false))),
            Type::S32 => Some(
                map3!(i32, u32, u32 => |a, p, l| extract(a as i64 as u64, p, l, 32, true) as u32),
            ),
            Type::S64 => Some(map3!(u64, u32, u32 => |a, p, l| extract(a, p, l, 64, true))),
            _ => None,
        };
        return ternary(site, f, [ty, Type::U32, Type::U32]);
    }
    if !matches!(ty, Type::B32 | Type::B64) {
        return Err(site.unknown());
    }
    site.arity(5..=5)?;
    let (a, b) = (site.source(1, ty)?, site.source(2, ty)?);
    let (position, length) = (site.source(3, Type::U32)?, site.source(4, Type::U32)?);
    let d = site.dest(0)?;
    let (mask, moved) = (site.builder.fresh(), site.builder.fresh());
    let width: Map2 = if ty == Type::B32 {
        map2!(u32, u32 => |p, l| mask_of(p & 255, l & 255) & 0xffff_ffff)
    } else {
        map2!(u32, u32 => |p, l| mask_of(p & 255, l & 255))
    };
    site.emit(Op::Map2 {
        f: width,
        d: mask,
        a: position,
        b: length,
    });
    site.emit(Op::Map2 {
        f: map2!(u64, u32 => |a, p| a.checked_shl(p & 255).unwrap_or(0)),
        d: moved,
        a,
        b: position,
    });
    site.emit(Op::Map3 {
        f: map3!(u64, u64, u64 => |m, a, b| a & m | b & !m),
        d,
        a: mask,
        b: moved,
        c: b,
    });
    Ok(())
}

fn mask_of(position: u32, length: u32) -> u64 {
    let ones = if length >= 64 {
        u64::MAX
    } else {
        (1 << length) - 1
    };
    ones.checked_shl(position).unwrap_or(0)
}

fn extract(a: u64, position: u32, length: u32, width: u32, signed: bool) -> u64 {
    let (position, length) = (position & 255, length & 255);
    let last = (position + length).wrapping_sub(1).min(width - 1);
    let sign = if !signed || length == 0 {
        0
    } else {
        a >> last & 1
    };
    let mut bits = a.checked_shr(position).unwrap_or(0);
    let held = length.min(width.saturating_sub(position));
    let mask = mask_of(0, held);
    bits &= mask;
    if sign == 1 { bits | !mask } else { bits }
}

/// `prmt`: bytes of two registers by a selector, or in one of six fixed ways.
pub(crate) fn permute(site: &mut Site) -> Result<()> {
    let mode = site
        .modifiers
        .one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]);
    let ty = site.ty()?;
    macro_rules! fixed {
        (|$n:ident, $i:ident| $e:expr) => {
            map3!(u32, u32, u32 => |a, b, c| {
                let $n = c & 3;
                let mut selector = 0;
                for $i in 0..4u32 {
                    selector |= (($e) & 15) << (4 * $i);
                }
                bytes(a, b, selector)
            })
        };
    }
    let f: Map3 = match mode {
        None => map3!(u32, u32, u32 => |a, b, c| bytes(a, b, c)),
        Some("f4e") => fixed!(|n, i| n + i),
        Some("b4e") => fixed!(|n, i| (8 + n - i) & 7),
        Some("rc8") => fixed!(|n, _i| n),
        Some("ecl") => fixed!(|n, i| n.max(i)),
        Some("ecr") => fixed!(|n, i| n.min(i)),
        Some(_) => fixed!(|n, i| (n & 1) * 2 + (i & 1)),
    };
    ternary(site, (ty == Type::B32).then_some(f), [ty, ty, Type::U32])
}

fn bytes(a: u32, b: u32, selector: u32) -> u32 {
    let both = u64::from(b) << 32 | u64::from(a);
    let mut result = 0;
    for i in 0..4 {
        let chosen = selector >> (4 * i) & 15;
        let byte = (both >> (8 * (chosen & 7))) as u32 & 255;
        let byte = match chosen & 8 {
            0 => byte,
            _ => (byte >> 7) * 255,
        };
        result |= byte << (8 * i);
    }
    result
}

/// `lop3`: any function of three bits, by its truth table.
pub(crate) fn lookup(site: &mut Site) -> Result<()> {
    if site.ty()? != Type::B32 {
        return Err(site.unknown());
    }
    site.arity(5..=5)?;
    let table = site.number(4)?;
    if table > 255 {
        return site.fail(format!("`lop3` takes a table from 0 to 255, found {table}"));
    }
    let a = site.source(1, Type::B32)?;
    let b = site.source(2, Type::B32)?;
    let c = site.source(3, Type::B32)?;
    let d = site.dest(0)?;
    let mut sum = site.builder.constant(0);
    let minterm: [Map3; 8] = [
        map3!(u32, u32, u32 => |a, b, c| !a & !b & !c),
        map3!(u32, u32, u32 => |a, b, c| !a & !b & c),
        map3!(u32, u32, u32 => |a, b, c| !a & b & !c),
        map3!(u32, u32, u32 => |a, b, c| !a & b & c),
        map3!(u32, u32, u32 => |a, b, c| a & !b & !c),
        map3!(u32, u32, u32 => |a, b, c| a & !b & c),
        map3!(u32, u32, u32 => |a, b, c| a & b & !c),
        map3!(u32, u32, u32 => |a, b, c| a & b & c),
    ];
    for (bit, &f) in minterm.iter().enumerate() {
        if table >> bit & 1 == 1 {
            let (term, next) = (site.builder.fresh(), site.builder.fresh());
            site.emit(Op::Map3 {
                f,
                d: term,
                a,
                b,
                c,
            });
            site.emit(Op::Map2 {
                f: map2!(u64, u64 => |a, b| a | b),
                d: next,
                a: sum,
                b: term,
            });
            sum = next;
        }
    }
    site.emit(Op::Move { d, a: sum });
    Ok(())
}
