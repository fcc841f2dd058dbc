//! Decays are kept in log space: the logarithm of a factor that is provably positive.
//!
//! Products become sums, from the operands up, each expression once.

use super::pool::Pool;
use crate::recurrence::{BinaryFn, Pure, PureId, UnaryFn};
use std::collections::BTreeMap;

/// The logarithm of `factor`, simplified; `None` when it is not provably positive.
pub(super) fn log(pool: &mut Pool, factor: PureId) -> Option<PureId> {
    let mut known: BTreeMap<PureId, Option<PureId>> = BTreeMap::new();
    let mut open = vec![(factor, false)];
    while let Some((id, operands_known)) = open.pop() {
        if known.contains_key(&id) {
            continue;
        }
        if operands_known {
            let found = step(pool, id, &known);
            known.insert(id, found);
            continue;
        }
        open.push((id, true));
        match pool.pure(id) {
            Pure::Unary(UnaryFn::Sqrt | UnaryFn::Rsqrt, x) => open.push((x, false)),
            Pure::Binary(BinaryFn::Mul | BinaryFn::Div, a, b) => {
                open.extend([(b, false), (a, false)]);
            }
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
        Pure::Unary(UnaryFn::Exp, x) => x,
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
        Pure::Binary(BinaryFn::Sub, one, x) if pool.pure(one) == Pure::Number(1.0) => {
            match pool.pure(x) {
                Pure::Unary(UnaryFn::Sigmoid, x) => {
                    let x = pool.unary(UnaryFn::Neg, x);
                    log_sigmoid(pool, x)
                }
                _ if pool.upper(x)? <= 1.0 => pool.unary(UnaryFn::Log, factor),
                _ => return None,
            }
        }
        _ if pool.positive(factor) => pool.unary(UnaryFn::Log, factor),
        _ => return None,
    })
}

fn log_sigmoid(pool: &mut Pool, x: PureId) -> PureId {
    let negated = pool.unary(UnaryFn::Neg, x);
    let softplus = pool.unary(UnaryFn::Softplus, negated);
    pool.unary(UnaryFn::Neg, softplus)
}
