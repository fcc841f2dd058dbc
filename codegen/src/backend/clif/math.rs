//! Pointwise functions on four numbers at a time, as instructions.
//!
//! Range reduction and polynomials, and calls for what has none (`called`); every function has a
//! relative error of about 2e-7 or less on its whole range, gives 0, infinity and NaN where the true
//! function does, and rounds the same way on every run. What is chosen between is computed both ways
//! and selected by mask.

use super::micro::vector::{EXP, LN2_HIGH, LN2_LOW, MAGIC};
use super::micro::{LOG, TANH};
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, I32X4};
use cranelift_codegen::ir::{ConstantData, InstBuilder, MemFlagsData, StackSlot, Type, Value};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

/// Emits functions of `F32X4` values.
pub struct Lanes<'a, 'b> {
    /// The function that is being built.
    pub builder: &'a mut FunctionBuilder<'b>,
    /// Whether `fma` is one instruction.
    pub fma: bool,
    /// How C functions are called.
    pub call_conv: CallConv,
    /// Room for four numbers that a call replaces.
    pub memory: StackSlot,
}

impl Lanes<'_, '_> {
    /// The same number four times.
    pub fn number(&mut self, x: f32) -> Value {
        self.constant(F32X4, [x.to_bits(); 4])
    }

    fn integer(&mut self, x: i32) -> Value {
        self.constant(I32X4, [x as u32; 4])
    }

    /// Four lanes of bits.
    pub fn constant(&mut self, kind: Type, lanes: [u32; 4]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        let constant = self
            .builder
            .func
            .dfg
            .constants
            .insert(ConstantData::from(&bytes[..]));
        self.builder.ins().vconst(kind, constant)
    }

    /// The same bits as another type of vector.
    pub fn cast(&mut self, kind: Type, x: Value) -> Value {
        match self.builder.func.dfg.value_type(x) == kind {
            true => x,
            false => self.builder.ins().bitcast(kind, little_endian(), x),
        }
    }

    /// `a` where the integer mask is set, else `b`.
    pub fn select(&mut self, mask: Value, a: Value, b: Value) -> Value {
        let mask = self.cast(F32X4, mask);
        self.builder.ins().bitselect(mask, a, b)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fadd(a, b)
    }

    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fsub(a, b)
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fmul(a, b)
    }

    fn div(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fdiv(a, b)
    }

    /// `a * b + c`
    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            return self.builder.ins().fma(a, b, c);
        }
        let product = self.mul(a, b);
        self.add(product, c)
    }

    /// The polynomial with these coefficients, highest power first. Neighbours are joined pairwise:
    /// the chain of dependent operations is short, so that several vectors fit into the machine's
    /// window.
    fn polynomial(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let rising = coefficients.iter().rev();
        let mut terms: Vec<Value> = rising.map(|&c| self.number(c)).collect();
        let mut power = x;
        while terms.len() > 1 {
            terms = terms
                .chunks(2)
                .map(|pair| match *pair {
                    [low, high] => self.mul_add(high, power, low),
                    _ => pair[0],
                })
                .collect();
            if terms.len() > 1 {
                power = self.mul(power, power);
            }
        }
        terms[0]
    }

    /// `bound` where it is less than `x`, else `x`; a NaN `x` stays.
    fn at_most(&mut self, x: Value, bound: f32) -> Value {
        let bound = self.number(bound);
        let less = self.builder.ins().fcmp(FloatCC::LessThan, bound, x);
        self.select(less, bound, x)
    }

    /// `bound` where it is greater than `x`, else `x`; a NaN `x` stays.
    fn at_least(&mut self, x: Value, bound: f32) -> Value {
        let bound = self.number(bound);
        let less = self.builder.ins().fcmp(FloatCC::LessThan, x, bound);
        self.select(less, bound, x)
    }

    /// A pointwise function of one value.
    pub fn unary(&mut self, function: UnaryFn, x: Value) -> Value {
        match function {
            UnaryFn::Neg => self.builder.ins().fneg(x),
            UnaryFn::Abs => self.builder.ins().fabs(x),
            UnaryFn::Sqrt => self.builder.ins().sqrt(x),
            UnaryFn::Rsqrt => {
                let one = self.number(1.0);
                let root = self.builder.ins().sqrt(x);
                self.div(one, root)
            }
            UnaryFn::Relu => self.at_least(x, 0.0),
            UnaryFn::Exp => self.exp(x),
            UnaryFn::Log => self.log(x),
            UnaryFn::Sigmoid => self.sigmoid(x),
            UnaryFn::Silu => self.silu(x),
            UnaryFn::Softplus => self.softplus(x),
            UnaryFn::Tanh => self.tanh(x),
            UnaryFn::Sin | UnaryFn::Cos | UnaryFn::Ndtr => self.called(function, x),
            // Every step is exact.
            UnaryFn::Wrap => {
                let half = self.number(0.5);
                let half = self.mul(x, half);
                let near = self.builder.ins().nearest(half);
                let near = self.add(near, near);
                self.sub(x, near)
            }
        }
    }

    /// A pointwise function of two values.
    pub fn binary(&mut self, function: BinaryFn, a: Value, b: Value) -> Value {
        match function {
            BinaryFn::Add => self.add(a, b),
            BinaryFn::Sub => self.sub(a, b),
            BinaryFn::Mul => self.mul(a, b),
            BinaryFn::Div => self.div(a, b),
            BinaryFn::Min | BinaryFn::Max => {
                let (x, y) = match function {
                    BinaryFn::Min => (b, a),
                    _ => (a, b),
                };
                // Of equals, which zeros of both signs are, it is the first, as everywhere.
                let second = self.builder.ins().fcmp(FloatCC::LessThan, x, y);
                let either = self.select(second, b, a);
                // With a NaN in `a` the comparison is false; one in `b` is taken here.
                let missing = self.builder.ins().fcmp(FloatCC::Unordered, b, b);
                self.select(missing, b, either)
            }
        }
    }

    /// `a` where the first of a pair is greater than the second, else `b`; NaN where either is.
    pub fn choose(&mut self, [x, y]: [Value; 2], a: Value, b: Value) -> Value {
        let greater = self.builder.ins().fcmp(FloatCC::LessThan, y, x);
        let chosen = self.select(greater, a, b);
        let missing = self.builder.ins().fcmp(FloatCC::Unordered, x, y);
        let nan = self.number(f32::NAN);
        self.select(missing, nan, chosen)
    }

    /// `2^n` for the integers in `n`, -127 < n < 128.
    fn power_of_two(&mut self, n: Value) -> Value {
        let bias = self.integer(127);
        let biased = self.builder.ins().iadd(n, bias);
        let bits = self.builder.ins().ishl_imm_s(biased, 23);
        self.cast(F32X4, bits)
    }

    fn exp(&mut self, x: Value) -> Value {
        let (p, a, b) = self.exp_parts(x);
        let p = self.mul(p, a);
        self.mul(p, b)
    }

    /// `exp(x)` as a number near one and two powers of two: 2^n alone may leave the range where
    /// the result does not.
    fn exp_parts(&mut self, x: Value) -> (Value, Value, Value) {
        let x = self.at_least(x, -126.0);
        let x = self.at_most(x, 90.0);
        let (log2e, magic) = (self.number(std::f32::consts::LOG2_E), self.number(MAGIC));
        let shifted = self.mul_add(x, log2e, magic);
        let n = self.sub(shifted, magic);
        let (high, low) = (self.number(-LN2_HIGH), self.number(-LN2_LOW));
        let r = self.mul_add(n, high, x);
        let r = self.mul_add(n, low, r);
        let p = self.polynomial(r, &EXP);
        let p = self.mul(p, r);
        let p = self.mul_add(p, r, r);
        let one = self.number(1.0);
        let p = self.add(p, one);
        let (shifted, magic) = (
            self.cast(I32X4, shifted),
            self.integer(MAGIC.to_bits() as i32),
        );
        let n = self.builder.ins().isub(shifted, magic);
        let half = self.builder.ins().sshr_imm_s(n, 1);
        let rest = self.builder.ins().isub(n, half);
        (p, self.power_of_two(half), self.power_of_two(rest))
    }

    /// `log(1 + f) + e ln 2` for `sqrt(1/2) <= 1 + f < sqrt(2)`.
    fn log_parts(&mut self, f: Value, e: Value) -> Value {
        let square = self.mul(f, f);
        let p = self.polynomial(f, &LOG);
        let p = self.mul(p, square);
        let p = self.mul(p, f);
        let (low, high, half) = (
            self.number(LN2_LOW),
            self.number(LN2_HIGH),
            self.number(-0.5),
        );
        let p = self.mul_add(e, low, p);
        let p = self.mul_add(square, half, p);
        let p = self.add(f, p);
        self.mul_add(e, high, p)
    }

    fn log(&mut self, x: Value) -> Value {
        // Subnormals are scaled into the normal range.
        let smallest = self.number(f32::MIN_POSITIVE);
        let tiny = self.builder.ins().fcmp(FloatCC::LessThan, x, smallest);
        let scale = self.number(8_388_608.0);
        let scaled = self.mul(x, scale);
        let normal = self.select(tiny, scaled, x);
        let (zero, shift) = (self.number(0.0), self.number(-23.0));
        let shift = self.select(tiny, shift, zero);

        let bits = self.cast(I32X4, normal);
        let root = self.integer(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32);
        let from_root = self.builder.ins().isub(bits, root);
        let e = self.builder.ins().sshr_imm_s(from_root, 23);
        let e = self.builder.ins().fcvt_from_sint(F32X4, e);
        let e = self.add(e, shift);
        let fraction = self.integer(0x007f_ffff);
        let m = self.builder.ins().band(from_root, fraction);
        let m = self.builder.ins().iadd(m, root);
        let m = self.cast(F32X4, m);
        let one = self.number(1.0);
        let f = self.sub(m, one);
        let value = self.log_parts(f, e);

        let (infinity, nan) = (self.number(f32::INFINITY), self.number(f32::NAN));
        let below = self.number(f32::NEG_INFINITY);
        // Infinity and NaN are their own logarithms.
        let finite = self.builder.ins().fcmp(FloatCC::LessThan, x, infinity);
        let value = self.select(finite, value, x);
        let is_zero = self.builder.ins().fcmp(FloatCC::Equal, x, zero);
        let value = self.select(is_zero, below, value);
        let negative = self.builder.ins().fcmp(FloatCC::LessThan, x, zero);
        self.select(negative, nan, value)
    }

    /// `log(1 + y)` for `0 <= y <= 1`; small y keep their digits.
    fn log1p_unit(&mut self, y: Value) -> Value {
        let root = self.number(std::f32::consts::SQRT_2 - 1.0);
        let (one, half, zero) = (self.number(1.0), self.number(0.5), self.number(0.0));
        let large = self.builder.ins().fcmp(FloatCC::LessThan, root, y);
        let halved = self.sub(y, one);
        let halved = self.mul(halved, half);
        let f = self.select(large, halved, y);
        let e = self.select(large, one, zero);
        self.log_parts(f, e)
    }

    /// `exp(-|x|)`
    fn exp_minus_abs(&mut self, x: Value) -> Value {
        let x = self.builder.ins().fabs(x);
        let x = self.builder.ins().fneg(x);
        self.exp(x)
    }

    fn softplus(&mut self, x: Value) -> Value {
        let small = self.exp_minus_abs(x);
        let log = self.log1p_unit(small);
        let positive = self.at_least(x, 0.0);
        self.add(positive, log)
    }

    fn sigmoid(&mut self, x: Value) -> Value {
        let small = self.exp_minus_abs(x);
        let (zero, one) = (self.number(0.0), self.number(1.0));
        let negative = self.builder.ins().fcmp(FloatCC::LessThan, x, zero);
        let over = self.select(negative, small, one);
        let under = self.add(small, one);
        self.div(over, under)
    }

    /// `x / (1 + exp(-x))`; at minus infinity the limit, zero.
    fn silu(&mut self, x: Value) -> Value {
        let size = self.builder.ins().fabs(x);
        let minus = self.builder.ins().fneg(size);
        let (p, a, b) = self.exp_parts(minus);
        let small = self.mul(p, a);
        let small = self.mul(small, b);
        let (zero, one) = (self.number(0.0), self.number(1.0));
        // x exp(x), with x taken in before the power of two makes it subnormal.
        let x_bounded = self.at_least(x, -126.0);
        let product = self.mul(x_bounded, p);
        let product = self.mul(product, a);
        let product = self.mul(product, b);
        let negative = self.builder.ins().fcmp(FloatCC::LessThan, x, zero);
        let over = self.select(negative, product, x);
        let under = self.add(small, one);
        self.div(over, under)
    }

    fn tanh(&mut self, x: Value) -> Value {
        let size = self.builder.ins().fabs(x);
        let square = self.mul(x, x);
        let p = self.polynomial(square, &TANH);
        let p = self.mul(p, square);
        let near = self.mul_add(p, x, x);

        let twice = self.add(size, size);
        let power = self.exp(twice);
        let (one, minus_two) = (self.number(1.0), self.number(-2.0));
        let under = self.add(power, one);
        let part = self.div(minus_two, under);
        let far = self.add(one, part);
        let sign = self.integer(i32::MIN);
        let bits = self.cast(I32X4, x);
        let sign = self.builder.ins().band(bits, sign);
        let far = self.cast(I32X4, far);
        let far = self.builder.ins().bor(far, sign);
        let far = self.cast(F32X4, far);
        let border = self.number(0.625);
        let small = self.builder.ins().fcmp(FloatCC::LessThan, size, border);
        self.select(small, near, far)
    }

    /// The value where `a < b` as integers, else zero.
    pub fn keep_less(&mut self, a: Value, b: Value, x: Value) -> Value {
        let mask = self.builder.ins().icmp(IntCC::SignedLessThan, a, b);
        let zero = self.number(0.0);
        self.select(mask, x, zero)
    }

    /// The sum of four lanes, in a fixed order.
    pub fn sum(&mut self, x: Value) -> Value {
        let [a, b, c, d] = [0u8, 1, 2, 3].map(|lane| self.builder.ins().extractlane(x, lane));
        let left = self.builder.ins().fadd(a, b);
        let right = self.builder.ins().fadd(c, d);
        self.builder.ins().fadd(left, right)
    }
}

fn little_endian() -> MemFlagsData {
    MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little)
}
