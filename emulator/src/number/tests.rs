//! Rounding against the host's own, and against exact integers.

use super::*;
use crate::run::order::Dice;

fn random(dice: &mut Dice) -> f64 {
    let exponent = dice.below(300) as i32 - 150;
    let mantissa = dice.below(1 << 53) as f64 - (1u64 << 52) as f64;
    mantissa * (f64::from(exponent) - 52.0).exp2()
}

#[test]
fn to_f32_as_the_host_does() {
    let mut dice = Dice::new(1);
    for _ in 0..20000 {
        let x = random(&mut dice);
        assert_eq!(F32.round(x, Rounding::Nearest) as f32, x as f32, "{x:e}");
        let (down, up) = (F32.round(x, Rounding::Down), F32.round(x, Rounding::Up));
        assert!(down <= x && x <= up, "{x:e}");
        let zero = F32.round(x, Rounding::Zero);
        assert_eq!(zero, if x < 0.0 { up } else { down }, "{x:e}");
    }
}

#[test]
fn every_half_is_its_own_rounding() {
    for bits in 0..=u16::MAX {
        let value = f16_value(bits);
        if !value.is_nan() {
            assert_eq!(f16_bits(value), bits);
            let rounded = F16.round(f64::from(value), Rounding::Nearest);
            assert_eq!(f16_bits(rounded as f32), bits);
        }
    }
}

/// Sums of two f32 in every mode, against i128 with a common exponent.
#[test]
fn sums_to_odd_round_as_the_exact_sum() {
    let mut dice = Dice::new(2);
    for _ in 0..20000 {
        let shift = dice.below(90) as i32;
        let (a, b) = (
            dice.below(1 << 24) as i128,
            dice.below(1 << 24) as i128 - (1 << 23),
        );
        let exact = (a << shift) + b;
        let odd = odd_sum(a as f64 * f64::from(shift).exp2(), b as f64);
        for rounding in [
            Rounding::Nearest,
            Rounding::Zero,
            Rounding::Down,
            Rounding::Up,
        ] {
            let found = F32.round(odd, rounding) as i128;
            assert_eq!(
                found,
                whole(exact, rounding),
                "{a} << {shift} + {b} {rounding:?}"
            );
        }
    }
}

/// An integer to 24 bits.
fn whole(x: i128, rounding: Rounding) -> i128 {
    let bits = 128 - x.unsigned_abs().leading_zeros() as i32;
    let unit = 1i128 << (bits - 24).max(0);
    let (down, rest) = (x.div_euclid(unit) * unit, x.rem_euclid(unit));
    let up = if rest == 0 { down } else { down + unit };
    match rounding {
        Rounding::Down => down,
        Rounding::Up => up,
        Rounding::Zero => {
            if x < 0 {
                up
            } else {
                down
            }
        }
        _ if 2 * rest == unit => {
            if down / unit % 2 == 0 {
                down
            } else {
                up
            }
        }
        _ => {
            if 2 * rest < unit {
                down
            } else {
                up
            }
        }
    }
}
