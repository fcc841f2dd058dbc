//! Slopes of the pointwise functions against finite differences of the functions, from the lists.
//!
//! A difference is believed as far as two step widths agree, so that the same bound serves every
//! function over the whole range of f32. A planted wrong slope must be found, in every function.

use baton_ir::pointwise::{binary, slope, slopes, unary};
use baton_ir::recurrence::{BinaryFn, UnaryFn};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Unary(UnaryFn),
    /// By its first operand, with the other fixed.
    First(BinaryFn, f64),
    /// By its second.
    Second(BinaryFn, f64),
}

impl Function {
    fn all() -> Vec<Function> {
        let unary = UnaryFn::ALL.iter().map(|&f| Function::Unary(f));
        let others = [1.0, -2.5, 0.7, 1e-20, 3e20];
        let binary = BinaryFn::ALL.iter().flat_map(|&f| {
            others
                .into_iter()
                .flat_map(move |c| [Function::First(f, c), Function::Second(f, c)])
        });
        unary.chain(binary).collect()
    }

    fn value(self, x: f64) -> f64 {
        match self {
            Function::Unary(f) => unary(f, x),
            Function::First(f, c) => binary(f, x, c),
            Function::Second(f, c) => binary(f, c, x),
        }
    }

    fn slope(self, x: f64) -> f64 {
        match self {
            Function::Unary(f) => slope(f, x, unary(f, x)),
            Function::First(f, c) => slopes(f, x, c)[0],
            Function::Second(f, c) => slopes(f, c, x)[1],
        }
    }

    /// A central difference, and how far it can be trusted. Where the differences to both sides
    /// disagree there is a kink between, and no derivative to be seen.
    fn difference(self, x: f64) -> Option<(f64, f64)> {
        let at = |h: f64| {
            let (right, left) = (x + h, x - h);
            let (above, here, below) = (self.value(right), self.value(x), self.value(left));
            let rounding = 4.0 * f64::EPSILON * (above.abs() + below.abs()) / h;
            let (up, down) = ((above - here) / (right - x), (here - below) / (x - left));
            let smooth = (up - down).abs() <= 0.01 * up.abs().max(down.abs()) + 2.0 * rounding;
            smooth.then_some(((above - below) / (right - left), rounding))
        };
        let widths = [x.abs() * 1e-5, x.abs() * 1e-3, 1e-9, 1e-5, 1e-3];
        // Over more than a part of its period a function that repeats says nothing of its slope.
        let widest = match self {
            Function::Unary(UnaryFn::Sin | UnaryFn::Cos | UnaryFn::Wrap) => 0.1,
            _ => f64::INFINITY,
        };
        let widths = widths.into_iter().filter(|h| 0.0 < *h && *h <= widest);
        let found = widths.filter_map(|h| {
            let ((wide, rounding), (narrow, more)) = (at(h)?, at(h / 2.0)?);
            Some((narrow, (wide - narrow).abs() + rounding + more))
        });
        found
            .filter(|(value, error)| value.is_finite() && error.is_finite())
            .min_by(|(a, e), (b, f)| (e / (a.abs() + e)).total_cmp(&(f / (b.abs() + f))))
    }
}

/// Both signs of every size in f32, with the numbers at which functions leave its range.
fn points() -> Vec<f64> {
    let sizes = (-90..78).map(|half| 10f64.powf(f64::from(half) / 2.0));
    let borders = [
        1.0, 0.625, 16.6, 87.3, 88.72, 88.8, 103.9, 104.1, 709.7, 745.2, 3.4e38,
    ];
    sizes
        .chain(borders)
        .flat_map(|x| [x, -x])
        .map(|x| f64::from(x as f32))
        .collect()
}

/// The functions whose slope disagrees with the differences, and the share of points that could
/// tell.
fn wrong(slope: impl Fn(Function, f64) -> f64) -> (Vec<Function>, f64) {
    let (mut wrong, mut told, mut all) = (vec![], 0.0, 0.0);
    for function in Function::all() {
        let mut agrees = true;
        for x in points() {
            all += 1.0;
            let Some((expected, error)) = function.difference(x) else {
                continue;
            };
            if error > 1e-4 * expected.abs() && error > 1e-9 {
                continue;
            }
            told += 1.0;
            // NaN is a disagreement.
            agrees &= (slope(function, x) - expected).abs() <= 4.0 * error + 1e-9 * expected.abs();
        }
        if !agrees {
            wrong.push(function);
        }
    }
    (wrong, told / all)
}

#[test]
fn every_slope_is_the_limit_of_differences() {
    let (wrong, told) = wrong(Function::slope);
    assert_eq!(wrong, []);
    assert!(told > 0.6, "only a share of {told} of the points can tell");
}

#[test]
fn a_wrong_slope_is_found() {
    for planted in Function::all() {
        for factor in [1.002, 0.998, -1.0] {
            let (wrong, _) = wrong(|function, x| match function == planted {
                true => factor * function.slope(x) + 1e-30 * f64::from(factor < 0.0),
                false => function.slope(x),
            });
            assert_eq!(wrong, [planted], "a slope times {factor} goes unnoticed");
        }
    }
}

#[test]
fn at_infinity_slopes_have_their_limits() {
    for function in Function::all() {
        for x in [f64::INFINITY, f64::NEG_INFINITY] {
            let value = function.value(x);
            assert!(
                value.is_nan() || !function.slope(x).is_nan(),
                "{function:?} at {x}"
            );
        }
        let slope = function.slope(f64::NAN);
        let constant = function.slope(1.0) == function.slope(2.0)
            && function.slope(1.0) == function.slope(-1.5e30);
        assert!(function.value(f64::NAN).is_nan(), "{function:?} of NaN");
        assert!(
            slope.is_nan() || constant,
            "{function:?} of NaN has slope {slope}"
        );
    }
}
