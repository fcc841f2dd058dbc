//! Numbers in registers: rounding to storage, and the pointwise functions.
//!
//! There is no library to call on the GPU, so each function is made of `ex2.approx` (2 ulp),
//! correctly rounded division and square root, and series. `log` and `softplus` use the series of
//! the inverse hyperbolic tangent, `log x = 2 atanh((x - 1) / (x + 1))`, which loses nothing near
//! 1, where `lg2.approx` has only an absolute error.

use super::*;
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use std::f32::consts::{LN_2, LOG2_E};

/// Coefficients of `exp(a^2 / 2) ndtr(-a)` in `a - 1` for a below 2, and of `a` times it in `1 / a` for a above.
const TAIL_NEAR: [f32; 10] = [
    -2.771_466_6e-5,
    1.060_116_6e-4,
    -3.056_776e-4,
    9.992_552e-4,
    -3.165_730_7e-3,
    9.260_94e-3,
    -2.508_591_1e-2,
    6.210_647e-2,
    -1.373_639_6e-1,
    2.615_783e-1,
];
const TAIL_FAR: [f32; 8] = [
    -1.536_140_9,
    4.023_492,
    -4.306_122,
    2.138_127_3,
    -1.197_326_6e-1,
    -3.901_657_8e-1,
    -3.358_877_1e-4,
    3.989_473_3e-1,
];

impl Text {
    /// `exp(x)`.
    pub fn exp(&mut self, x: Val) -> Val {
        let log2e = self.float(LOG2_E);
        let x = self.fmul(x, log2e);
        self.call("llvm.nvvm.ex2.approx", &[x], "(f32) -> f32")
    }

    /// Two numbers in 16 bits each, the first in the lower half.
    pub fn pack16(&mut self, low: Val, high: Val, storage: Storage) -> Val {
        let (name, ty) = match storage {
            Storage::F16 => ("llvm.nvvm.ff2f16x2.rn", "vector<2xf16>"),
            _ => ("llvm.nvvm.ff2bf16x2.rn", "vector<2xbf16>"),
        };
        let pair = self.call(name, &[high, low], &format!("(f32, f32) -> {ty}"));
        self.bitcast(pair, ty, "i32")
    }
}

impl Machine<'_> {
    /// `exp(x)`.
    pub(super) fn exp(&mut self, x: Val) -> Val {
        self.text.exp(x)
    }

    fn div(&mut self, a: Val, b: Val) -> Val {
        self.text.binary("fdiv", a, b, "f32")
    }

    fn neg(&mut self, x: Val) -> Val {
        self.text.def(format_args!("llvm.fneg {x} : f32"))
    }

    fn abs(&mut self, x: Val) -> Val {
        self.text
            .def(format_args!("llvm.intr.fabs({x}) : (f32) -> f32"))
    }

    fn sqrt(&mut self, x: Val) -> Val {
        self.text
            .def(format_args!("llvm.intr.sqrt({x}) : (f32) -> f32"))
    }

    fn extreme(&mut self, name: &str, a: Val, b: Val) -> Val {
        self.text.def(format_args!(
            "llvm.intr.{name}({a}, {b}) : (f32, f32) -> f32"
        ))
    }

    /// `2 atanh(z)` for |z| <= 1/3: `2 z (1 + z^2 / 3 + z^4 / 5 + ..)`, seven terms.
    fn twice_atanh(&mut self, z: Val) -> Val {
        let square = self.text.fmul(z, z);
        let mut sum = self.text.float(2.0 / 13.0);
        for odd in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            let term = self.text.float(2.0 / odd);
            sum = self.text.fma(sum, square, term);
        }
        self.text.fmul(z, sum)
    }

    /// `e / (1 + e)` or `1 / (1 + e)` with `e = exp(-|x|)`, which is at most one.
    fn sigmoid(&mut self, x: Val) -> Val {
        let size = self.abs(x);
        let minus = self.neg(size);
        let e = self.exp(minus);
        let [zero, one] = [0.0, 1.0].map(|v| self.text.float(v));
        let negative = self.text.fcmp("olt", x, zero);
        let above = self.text.select(negative, e, one, "f32");
        let below = self.text.fadd(one, e);
        self.div(above, below)
    }

    /// `max(x, 0) + log(1 + exp(-|x|))`.
    fn softplus(&mut self, x: Val) -> Val {
        let size = self.abs(x);
        let minus = self.neg(size);
        let e = self.exp(minus);
        let two = self.text.float(2.0);
        let below = self.text.fadd(e, two);
        let z = self.div(e, below);
        let tail = self.twice_atanh(z);
        let zero = self.text.float(0.0);
        let head = self.extreme("maxnum", x, zero);
        self.text.fadd(head, tail)
    }

    /// `k ln 2 + log m` with `x = 2^k m`, m between `sqrt(1/2)` and `sqrt 2`; numbers below f32's normal ones times 2^23.
    fn log(&mut self, x: Val) -> Val {
        let [normal, scale] = [f32::MIN_POSITIVE, 8_388_608.0].map(|v| self.text.float(v));
        let little = self.text.fcmp("olt", x, normal);
        let scaled = self.text.fmul(x, scale);
        let scaled = self.text.select(little, scaled, x, "f32");
        let bits = self.text.bitcast(scaled, "f32", "i32");
        let shifted = self.text.int_op("sub", bits, 0x3f35_04f3);
        let k = self.text.int_op("ashr", shifted, 23);
        let exponent = self.text.int_op("shl", k, 23);
        let m = self.text.binary("sub", bits, exponent, "i32");
        let m = self.text.bitcast(m, "i32", "f32");
        let [one, minus] = [1.0, -1.0].map(|v| self.text.float(v));
        let (above, below) = (self.text.fadd(m, minus), self.text.fadd(m, one));
        let z = self.div(above, below);
        let tail = self.twice_atanh(z);
        let k = self.text.def(format_args!("llvm.sitofp {k} : i32 to f32"));
        let [zero, by] = [0.0, -23.0].map(|v| self.text.float(v));
        let by = self.text.select(little, by, zero, "f32");
        let k = self.text.fadd(k, by);
        let ln2 = self.text.float(LN_2);
        let regular = self.text.fma(k, ln2, tail);
        let [infinity, nan, low] =
            [f32::INFINITY, f32::NAN, f32::NEG_INFINITY].map(|v| self.text.float(v));
        let endless = self.text.fcmp("oeq", x, infinity);
        let value = self.text.select(endless, infinity, regular, "f32");
        let nothing = self.text.fcmp("oeq", x, zero);
        let value = self.text.select(nothing, low, value, "f32");
        let wrong = self.text.fcmp("ult", x, zero);
        self.text.select(wrong, nan, value, "f32")
    }

    /// `sign(x) (1 - e) / (1 + e)` with `e = exp(-2 |x|)`; below 1/4 by its series.
    fn tanh(&mut self, x: Val) -> Val {
        let size = self.abs(x);
        let minus = self.text.float(-2.0);
        let twice = self.text.fmul(size, minus);
        let e = self.exp(twice);
        let one = self.text.float(1.0);
        let above = self.text.binary("fsub", one, e, "f32");
        let below = self.text.fadd(one, e);
        let far = self.div(above, below);
        let square = self.text.fmul(size, size);
        let mut sum = self.text.float(-1382.0 / 155_925.0);
        for term in [62.0 / 2835.0, -17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0] {
            let term = self.text.float(term);
            sum = self.text.fma(sum, square, term);
        }
        let near = self.text.fmul(size, sum);
        let quarter = self.text.float(0.25);
        let small = self.text.fcmp("olt", size, quarter);
        let value = self.text.select(small, near, far, "f32");
        self.text.def(format_args!(
            "llvm.intr.copysign({value}, {x}) : (f32, f32) -> f32"
        ))
    }

    /// `exp(-x^2 / 2)` times what that leaves of the tail, below zero; one less it above. Near zero what is left is a
    /// polynomial in `|x| - 1`, far from it one in `1 / |x|`, divided by `|x|`.
    fn ndtr(&mut self, x: Val) -> Val {
        let size = self.abs(x);
        let [zero, one, minus, border] = [0.0, 1.0, -1.0, 2.0].map(|v| self.text.float(v));
        let from_one = self.text.fadd(size, minus);
        let near = self.polynomial(&TAIL_NEAR, from_one);
        let inverse = self.div(one, size);
        let far = self.polynomial(&TAIL_FAR, inverse);
        let far = self.text.fmul(far, inverse);
        let small = self.text.fcmp("olt", size, border);
        let left = self.text.select(small, near, far, "f32");
        let half = self.text.float(-0.5);
        let power = self.text.fmul(half, size);
        let power = self.text.fmul(power, size);
        let bell = self.exp(power);
        let tail = self.text.fmul(bell, left);
        let rest = self.text.binary("fsub", one, tail, "f32");
        let below = self.text.fcmp("olt", x, zero);
        self.text.select(below, tail, rest, "f32")
    }

    /// The polynomial with these coefficients, highest power first.
    pub(super) fn polynomial(&mut self, coefficients: &[f32], x: Val) -> Val {
        let mut sum = self.text.float(coefficients[0]);
        for &coefficient in &coefficients[1..] {
            let term = self.text.float(coefficient);
            sum = self.text.fma(sum, x, term);
        }
        sum
    }

    pub(super) fn unary(&mut self, function: UnaryFn, x: Val) -> Val {
        match function {
            UnaryFn::Neg => self.neg(x),
            UnaryFn::Exp => self.exp(x),
            UnaryFn::Log => self.log(x),
            UnaryFn::Sqrt => self.sqrt(x),
            UnaryFn::Rsqrt => {
                let root = self.sqrt(x);
                let one = self.text.float(1.0);
                self.div(one, root)
            }
            UnaryFn::Abs => self.abs(x),
            UnaryFn::Sigmoid => self.sigmoid(x),
            UnaryFn::Softplus => self.softplus(x),
            UnaryFn::Silu => {
                let gate = self.sigmoid(x);
                // The limit at minus infinity is zero.
                let lowest = self.text.float(f32::MIN);
                let x = self.extreme("maximum", x, lowest);
                self.text.fmul(x, gate)
            }
            UnaryFn::Tanh => self.tanh(x),
            UnaryFn::Sin => self.sine(x, 0),
            UnaryFn::Cos => self.sine(x, 1),
            UnaryFn::Wrap => self.wrap(x),
            UnaryFn::Ndtr => self.ndtr(x),
            UnaryFn::Relu => {
                let zero = self.text.float(0.0);
                self.extreme("maximum", x, zero)
            }
        }
    }

    pub(super) fn binary(&mut self, function: BinaryFn, a: Val, b: Val) -> Val {
        match function {
            BinaryFn::Add => self.text.fadd(a, b),
            BinaryFn::Sub => self.text.binary("fsub", a, b, "f32"),
            BinaryFn::Mul => self.text.fmul(a, b),
            BinaryFn::Div => self.div(a, b),
            BinaryFn::Min => self.extreme("minimum", a, b),
            BinaryFn::Max => self.extreme("maximum", a, b),
        }
    }

    /// Two numbers in 16 bits each, the first in the lower half.
    pub(super) fn pack16(&mut self, low: Val, high: Val, storage: Storage) -> Val {
        self.text.pack16(low, high, storage)
    }

    /// The two numbers of a word, the lower half first.
    pub(super) fn unpack16(&mut self, word: Val, storage: Storage) -> [Val; 2] {
        match storage {
            Storage::F16 => {
                let pair = self.text.bitcast(word, "i32", "vector<2xf16>");
                let both = self.text.unpack(pair, 2, "f16");
                [0, 1].map(|i| {
                    let half = both[i];
                    self.text
                        .def(format_args!("llvm.fpext {half} : f16 to f32"))
                })
            }
            _ => {
                let low = self.text.int_op("shl", word, 16);
                let high = self.text.int_op("and", word, -65536);
                [low, high].map(|bits| self.text.bitcast(bits, "i32", "f32"))
            }
        }
    }

    /// A pair as the words of each term: their sum is the pair, to the last bit with three.
    pub(super) fn terms(&mut self, count: u32, mut low: Val, mut high: Val) -> Vec<Val> {
        let storage = self.options.operand();
        let mut words = Vec::new();
        for term in 0..count {
            if term > 0 {
                let [a, b] = self.unpack16(words[term as usize - 1], storage);
                low = self.text.binary("fsub", low, a, "f32");
                high = self.text.binary("fsub", high, b, "f32");
            }
            words.push(self.pack16(low, high, storage));
        }
        words
    }
}
