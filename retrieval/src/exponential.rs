//! Exponentials of a row, as vector code, and sums over rows in a fixed order.
//!
//! A library's exponential is a call for each number, and these run over every score. The argument is taken
//! to base 2 and split into an integer, which becomes the exponent's bits, and a rest within a half,
//! whose power is a polynomial (relative error below 2e-7). Bodies are compiled three times, for the
//! baseline, for AVX2 and for AVX-512; none fuses products with sums, so all give the same bits.

/// Lanes that sums are kept in.
pub const LANES: usize = 16;

#[inline(always)]
fn exp(x: f32) -> f32 {
    // Below, the result is zero; above, no score less its maximum comes.
    let below = x < -87.0;
    let x = if below { -87.0 } else { x };
    let t = x * std::f32::consts::LOG2_E;
    // The integer is in the last bits of the sum; a cast would be a call for each number, as it minds NaN.
    let shifted = t + 12_582_912.0;
    let whole = shifted - 12_582_912.0;
    // The rest in two parts, as the product above was rounded.
    let rest = x - whole * 0.693_145_75;
    let rest = rest - whole * 1.428_606_8e-6;
    let p = 1.0 / 5040.0;
    let p = p * rest + 1.0 / 720.0;
    let p = p * rest + 1.0 / 120.0;
    let p = p * rest + 1.0 / 24.0;
    let p = p * rest + 1.0 / 6.0;
    let p = p * rest + 0.5;
    let p = (p * rest + 1.0) * rest + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if below { 0.0 } else { p * power }
}

macro_rules! thrice {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx512f")]
                fn widest($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the feature was just found.
                    return unsafe { widest($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the feature was just found.
                    return unsafe { wide($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}

#[inline(always)]
fn greatest_of(row: &[f32], least: f32) -> f32 {
    let mut lanes = [least; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for part in whole {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let all = rest.iter().chain(&lanes);
    all.fold(least, |most, x| if *x > most { *x } else { most })
}

#[inline(always)]
fn exponentials_of(row: &mut [f32], from: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = row.as_chunks_mut::<LANES>();
    for part in whole {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *x = exp(*x - from);
            *lane += *x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *x = exp(*x - from);
        *lane += *x;
    }
    fold(lanes)
}

#[inline(always)]
fn dot_of(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((whole, rest), (others, last)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in whole.iter().zip(others) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest.iter().zip(last)) {
        *lane += a * b;
    }
    fold(lanes)
}

thrice! {
    /// The greatest of a row and `least`; NaN is passed over.
    pub fn greatest(row: &[f32], least: f32) -> f32 {
        greatest_of(row, least)
    }
}

thrice! {
    /// Every number of a row to e^(x - from), and their sum.
    pub fn exponentials(row: &mut [f32], from: f32) -> f32 {
        exponentials_of(row, from)
    }
}

thrice! {
    /// The sum of products of two rows.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        dot_of(a, b)
    }
}

thrice! {
    /// Rows of `width` scores to probabilities exp(s) / (n + sum exp(s)); the greatest is taken off first, and
    /// zero, the score of the one in the denominator, is among them. Rows are `apart`, with zeros between.
    pub fn softmax(rows: &mut [f32], width: usize, apart: usize, one: bool) {
        for row in rows.chunks_mut(apart) {
            row[width..].fill(f32::NEG_INFINITY);
            let from = greatest_of(row, if one { 0.0 } else { f32::NEG_INFINITY });
            let mut sum = exponentials_of(row, from);
            if one {
                sum += (-from).exp();
            }
            let factor = 1.0 / sum;
            row.iter_mut().for_each(|x| *x *= factor);
        }
    }
}

thrice! {
    /// From rows of `width` probabilities and their gradients `g` to those of scores, `p = factor p (g - p . g)`, and
    /// the sum of all p . g.
    pub fn slopes(p: &mut [f32], g: &[f32], width: usize, factor: f32) -> f32 {
        let mut sum = 0.0;
        for (p, g) in p.chunks_mut(width).zip(g.chunks(width)) {
            let mean = dot_of(p, g);
            sum += mean;
            slopes_of(p, g, mean, factor);
        }
        sum
    }
}

thrice! {
    /// `p = p (g - mean)`: from a row of probabilities and their gradients to those of scores.
    pub fn slopes_from(p: &mut [f32], g: &[f32], mean: f32) {
        slopes_of(p, g, mean, 1.0);
    }
}

#[inline(always)]
fn slopes_of(p: &mut [f32], g: &[f32], mean: f32, factor: f32) {
    for (p, g) in p.iter_mut().zip(g) {
        *p *= factor * (g - mean);
    }
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_in_their_last_place() {
        for i in -870_000..=0 {
            let x = i as f32 * 1e-4;
            let (got, want) = (exp(x) as f64, (x as f64).exp());
            assert!((got / want - 1.0).abs() < 2.4e-7, "exp({x}) = {got}");
        }
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for width in 0..70u32 {
            let row =
                |by: f32| -> Vec<f32> { (0..width).map(|i| (i as f32 * by).sin() * 9.0).collect() };
            let (a, b) = (row(1.3), row(0.7));
            assert_eq!(greatest(&a, -1.0), greatest_of(&a, -1.0));
            assert_eq!(dot(&a, &b).to_bits(), dot_of(&a, &b).to_bits());
            let (mut one, mut other) = (a.clone(), a.clone());
            let sums = [
                exponentials(&mut one, 9.0),
                exponentials_of(&mut other, 9.0),
            ];
            assert_eq!(sums[0].to_bits(), sums[1].to_bits());
            assert!(one == other);
        }
    }
}
