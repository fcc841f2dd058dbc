//! Decays are kept in log space: the logarithm of a factor that is provably positive.
//!
//! Products become sums, from the operands up, each expression once. What may be small is never computed to
//! have its logarithm taken: a decay of `exp(-200)` is zero in f32, and its logarithm as good as any. So the
//! smaller of two has the smaller logarithm, and a sum is taken from the logarithms of its terms, unless one
//! of them is a number, which keeps the sum from zero, and the other cannot be too large: `1 + exp(200)` is infinite.

use super::pool::Pool;
use crate::recurrence::{BinaryFn, Pure, PureId, UnaryFn};
use std::collections::BTreeMap;

/// The logarithm of `factor`, simplified; `None` when it is not provably positive.
pub(super) fn log(pool: &mut Pool, factor: PureId) -> Option<PureId> {
    log_by(pool, factor, &mut BTreeMap::new())
}

/// [`log`], with what is known of others, which grows: many of one program take time by the program.
pub(super) fn log_by(
    pool: &mut Pool,
    factor: PureId,
    known: &mut BTreeMap<PureId, Option<PureId>>,
) -> Option<PureId> {
    let mut open = vec![(factor, false)];
    while let Some((id, operands_known)) = open.pop() {
        if known.contains_key(&id) {
            continue;
        }
        if operands_known {
            let found = step(pool, id, known);
            known.insert(id, found);
            continue;
        }
        open.push((id, true));
        match pool.pure(id) {
            Pure::Unary(UnaryFn::Sqrt | UnaryFn::Rsqrt, x) => open.push((x, false)),
            Pure::Unary(UnaryFn::Exp, x) => {
                open.extend(power(pool, x).map(|(_, base)| (base, false)))
            }
            Pure::Binary(function, a, b) if function != BinaryFn::Sub => {
                open.extend([(b, false), (a, false)]);
            }
            Pure::Select([_, _, a, b]) => open.extend([(b, false), (a, false)]),
            _ => {}
        }
    }
    known[&factor]
}

fn step(
    pool: &mut Pool,
    factor: PureId,
    known: &BTreeMap<PureId, Option<PureId>>,
) -> Option<PureId> {
    Some(match pool.pure(factor) {
        Pure::Unary(UnaryFn::Exp, x) => match power(pool, x) {
            Some((exponent, base)) if let Some(log) = known[&base] => pool.mul(exponent, log),
            _ => x,
        },
        Pure::Number(x) if x > 0.0 => pool.number(x.ln()),
        Pure::Unary(UnaryFn::Sigmoid, x) => log_sigmoid(pool, x),
        Pure::Unary(function @ (UnaryFn::Sqrt | UnaryFn::Rsqrt), x) => {
            let inner = known[&x]?;
            let half = pool.number(if function == UnaryFn::Sqrt { 0.5 } else { -0.5 });
            pool.mul(half, inner)
        }
        Pure::Binary(function @ (BinaryFn::Mul | BinaryFn::Div), a, b) => {
            let (a, b) = (known[&a]?, known[&b]?);
            let function = if function == BinaryFn::Mul {
                BinaryFn::Add
            } else {
                BinaryFn::Sub
            };
            pool.binary(function, a, b)
        }
        Pure::Select([x, y, a, b]) => {
            let (a, b) = (known[&a]?, known[&b]?);
            pool.select([x, y, a, b])
        }
        Pure::Binary(function @ (BinaryFn::Min | BinaryFn::Max), a, b)
            if let (Some(a), Some(b)) = (known[&a], known[&b]) =>
        {
            pool.binary(function, a, b)
        }
        Pure::Binary(BinaryFn::Add, a, b)
            if let (Some(log_a), Some(log_b)) = (known[&a], known[&b])
                && (!number(pool, a) && !number(pool, b)
                    || grows(pool, a, log_a)
                    || grows(pool, b, log_b)) =>
        {
            log_sum(pool, log_a, log_b)
        }
        Pure::Binary(BinaryFn::Sub, one, x) if pool.pure(one) == Pure::Number(1.0) => {
            match pool.pure(x) {
                Pure::Unary(UnaryFn::Sigmoid, x) => {
                    let x = pool.unary(UnaryFn::Neg, x);
                    log_sigmoid(pool, x)
                }
                // 1 - tanh(x) = 2 sigmoid(-2 x)
                Pure::Unary(UnaryFn::Tanh, x) => {
                    let (two, log_two) = (pool.number(2.0), pool.number(2f64.ln()));
                    let twice = pool.mul(two, x);
                    let twice = pool.unary(UnaryFn::Neg, twice);
                    let rest = log_sigmoid(pool, twice);
                    pool.plus(log_two, rest)
                }
                _ if pool.upper(x)? <= 1.0 => pool.unary(UnaryFn::Log, factor),
                _ => return None,
            }
        }
        _ if pool.positive(factor) => pool.unary(UnaryFn::Log, factor),
        _ => return None,
    })
}

/// The logarithm of a sum by those of its terms, as `m + log(exp(a - m) + exp(b - m))` with m the larger: the
/// slope by the smaller is then made of its own exponential and is no difference, however small it is.
fn log_sum(pool: &mut Pool, a: PureId, b: PureId) -> PureId {
    let lowest = pool.number(-1e30);
    let larger = pool.binary(BinaryFn::Max, a, b);
    // Where both are minus infinity so is their sum.
    let larger = pool.binary(BinaryFn::Max, larger, lowest);
    let [a, b] = [a, b].map(|log| {
        let below = pool.binary(BinaryFn::Sub, log, larger);
        pool.unary(UnaryFn::Exp, below)
    });
    let sum = pool.plus(a, b);
    let rest = pool.unary(UnaryFn::Log, sum);
    pool.plus(larger, rest)
}

/// The exponent and the base of `exp(c * log(x))`.
fn power(pool: &Pool, exponent: PureId) -> Option<(PureId, PureId)> {
    let Pure::Binary(BinaryFn::Mul, c, log) = pool.pure(exponent) else {
        return None;
    };
    match pool.pure(log) {
        Pure::Unary(UnaryFn::Log, base) => Some((c, base)),
        _ => None,
    }
}

/// Whether a value keeps a sum from zero in every arithmetic.
fn number(pool: &Pool, a: PureId) -> bool {
    match pool.pure(a) {
        Pure::Number(x) => x >= f64::from(f32::MIN_POSITIVE),
        Pure::Size(_) => true,
        _ => false,
    }
}

/// Whether a term without a bound has a logarithm that is better known than the term itself.
fn grows(pool: &Pool, term: PureId, log: PureId) -> bool {
    !number(pool, term)
        && pool.upper(term).is_none()
        && pool.pure(log) != Pure::Unary(UnaryFn::Log, term)
}

fn log_sigmoid(pool: &mut Pool, x: PureId) -> PureId {
    let negated = pool.unary(UnaryFn::Neg, x);
    let softplus = pool.unary(UnaryFn::Softplus, negated);
    pool.unary(UnaryFn::Neg, softplus)
}
