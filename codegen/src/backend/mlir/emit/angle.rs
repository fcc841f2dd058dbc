//! Sine, cosine, and angles without whole turns.
//!
//! An angle is taken to the nearest quarter turn by a product with as many digits of `2 / pi` as it has itself
//! (Payne and Hanek), in integers: 96 bits of the fraction, chosen by its exponent, times its 24. So the functions
//! are right for every finite f32, and no lane takes another way than its neighbours.

use super::*;
use std::f32::consts::{FRAC_PI_2, FRAC_PI_4};

/// The first 224 bits of `2 / pi` behind the point.
const TWO_OVER_PI: [u32; 7] = [
    0xa2f9_836e,
    0x4e44_1529,
    0xfc27_57d1,
    0xf534_ddc0,
    0xdb62_9599,
    0x3c43_9041,
    0xfe51_63ab,
];

/// Coefficients of `(sin(r) - r) / r^3` in `r^2`, and of `(cos(r) - 1 + r^2 / 2) / r^4`, within an eighth of a turn,
/// highest power first.
const SINE: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
const COSINE: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];

impl Machine<'_> {
    /// `x - 2 round(x / 2)`
    pub(super) fn wrap(&mut self, x: Val) -> Val {
        let [half, minus] = [0.5, -2.0].map(|v| self.text.float(v));
        let turns = self.text.fmul(x, half);
        let turns = self
            .text
            .def(format_args!("llvm.intr.roundeven({turns}) : (f32) -> f32"));
        self.text.fma(turns, minus, x)
    }

    /// The sine of `x` and so many quarter turns.
    pub(super) fn sine(&mut self, x: Val, quarters: i32) -> Val {
        let bits = self.text.bitcast(x, "f32", "i32");
        let size = self.text.int_op("and", bits, i32::MAX);
        let (nearest, rest) = self.quarters(size);
        let square = self.text.fmul(rest, rest);

        let series = self.polynomial(&SINE, square);
        let cube = self.text.fmul(square, rest);
        let sine = self.text.fma(series, cube, rest);
        let series = self.polynomial(&COSINE, square);
        let [one, half] = [1.0, -0.5].map(|v| self.text.float(v));
        let even = self.text.fma(square, half, one);
        let fourth = self.text.fmul(square, square);
        let cosine = self.text.fma(series, fourth, even);

        let turned = self.text.int_op("add", nearest, quarters);
        let odd = self.text.int_op("and", turned, 1);
        let zero = self.text.int(0);
        let odd = self.text.icmp("ne", odd, zero);
        let value = self.text.select(odd, cosine, sine, "f32");
        let mut flips = self.text.int_op("and", turned, 2);
        flips = self.text.int_op("shl", flips, 30);
        if quarters == 0 {
            let sign = self.text.int_op("and", bits, i32::MIN);
            flips = self.text.binary("xor", flips, sign, "i32");
        }
        let value = self.text.bitcast(value, "f32", "i32");
        let value = self.text.binary("xor", value, flips, "i32");
        let value = self.text.bitcast(value, "i32", "f32");
        let infinity = self.text.int(f32::INFINITY.to_bits() as i32);
        let finite = self.text.icmp("slt", size, infinity);
        let nan = self.text.float(f32::NAN);
        self.text.select(finite, value, nan, "f32")
    }

    /// Quarter turns, modulo four, and what is left in radians, of a number that is not negative, by its bits.
    fn quarters(&mut self, size: Val) -> (Val, Val) {
        let exponent = self.text.int_op("lshr", size, 23);
        let digits = self.text.int_op("and", size, 0x007f_ffff);
        let digits = self.text.int_op("or", digits, 0x0080_0000);
        let digits = self.unsigned(digits);
        // The bit of the fraction, behind 32 zeros, that is half a turn of a digit of the number.
        let first = self.text.int_op("sub", exponent, 120);
        let zero = self.text.int(0);
        let first = self.text.def(format_args!(
            "llvm.intr.smax({first}, {zero}) : (i32, i32) -> i32"
        ));
        let word = self.text.int_op("lshr", first, 5);
        let shift = self.text.int_op("and", first, 31);
        let shift = self.unsigned(shift);
        let table: Vec<u32> = [0].into_iter().chain(TWO_OVER_PI).collect();
        let mut picked = vec![];
        for at in 0..4 {
            let mut found = self.text.int(table[at] as i32);
            for later in 1..=4 {
                let number = self.text.int(later as i32);
                let here = self.text.icmp("eq", word, number);
                let other = self.text.int(table[at + later] as i32);
                found = self.text.select(here, other, found, "i32");
            }
            picked.push(self.unsigned(found));
        }
        let word_bits = self.text.long(32);
        let mut window = vec![];
        for pair in picked.windows(2) {
            let both = self.text.binary("shl", pair[0], word_bits, "i64");
            let both = self.text.binary("or", both, pair[1], "i64");
            let both = self.text.binary("shl", both, shift, "i64");
            window.push(self.text.binary("lshr", both, word_bits, "i64"));
        }
        let mut carried: Option<Val> = None;
        let mut parts = vec![];
        for &part in window.iter().rev() {
            let mut product = self.text.binary("mul", digits, part, "i64");
            if let Some(below) = carried {
                product = self.text.binary("add", product, below, "i64");
            }
            carried = Some(self.text.binary("lshr", product, word_bits, "i64"));
            parts.push(product);
        }
        let high = self.text.binary("shl", parts[2], word_bits, "i64");
        let mask = self.text.long(0xffff_ffff);
        let low = self.text.binary("and", parts[1], mask, "i64");
        let fixed = self.text.binary("or", high, low, "i64");

        let [half, places] = [1 << 61, 62].map(|v| self.text.long(v));
        let nearest = self.text.binary("add", fixed, half, "i64");
        let nearest = self.text.binary("lshr", nearest, places, "i64");
        let whole = self.text.binary("shl", nearest, places, "i64");
        let rest = self.text.binary("sub", fixed, whole, "i64");
        let rest = self
            .text
            .def(format_args!("llvm.sitofp {rest} : i64 to f32"));
        let unit = self.text.float(FRAC_PI_2 / (1u64 << 62) as f32);
        let rest = self.text.fmul(rest, unit);
        let nearest = self
            .text
            .def(format_args!("llvm.trunc {nearest} : i64 to i32"));

        let eighth = self.text.int(FRAC_PI_4.to_bits() as i32);
        let small = self.text.icmp("slt", size, eighth);
        let itself = self.text.bitcast(size, "i32", "f32");
        let nearest = self.text.select(small, zero, nearest, "i32");
        (nearest, self.text.select(small, itself, rest, "f32"))
    }

    fn unsigned(&mut self, value: Val) -> Val {
        self.text
            .def(format_args!("llvm.zext {value} : i32 to i64"))
    }
}
