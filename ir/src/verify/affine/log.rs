//! Decays are kept in log space: the logarithm of a factor that is provably positive.

use crate::recurrence::{BinaryFn, Facts, Pure, PureId, UnaryFn};

/// The logarithm of `factor`, simplified; `None` when it is not provably positive.
pub(super) fn log(facts: &mut Facts, factor: PureId) -> Option<PureId> {
    Some(match facts.pure(factor) {
        Pure::Unary(UnaryFn::Exp, x) => x,
        Pure::Number(x) if x > 0.0 => facts.number(x.ln()),
        Pure::Unary(UnaryFn::Sigmoid, x) => log_sigmoid(facts, x),
        Pure::Unary(function @ (UnaryFn::Sqrt | UnaryFn::Rsqrt), x) => {
            let inner = log(facts, x)?;
            let half = facts.number(if function == UnaryFn::Sqrt { 0.5 } else { -0.5 });
            facts.binary(BinaryFn::Mul, half, inner)
        }
        Pure::Binary(function @ (BinaryFn::Mul | BinaryFn::Div), a, b) => {
            let (a, b) = (log(facts, a)?, log(facts, b)?);
            let function = if function == BinaryFn::Mul {
                BinaryFn::Add
            } else {
                BinaryFn::Sub
            };
            facts.binary(function, a, b)
        }
        Pure::Binary(BinaryFn::Sub, one, x) if facts.pure(one) == Pure::Number(1.0) => {
            match facts.pure(x) {
                Pure::Unary(UnaryFn::Sigmoid, x) => {
                    let x = facts.unary(UnaryFn::Neg, x);
                    log_sigmoid(facts, x)
                }
                _ if upper(facts, x)? <= 1.0 => facts.unary(UnaryFn::Log, factor),
                _ => return None,
            }
        }
        _ if positive(facts, factor) => facts.unary(UnaryFn::Log, factor),
        _ => return None,
    })
}

fn log_sigmoid(facts: &mut Facts, x: PureId) -> PureId {
    let negated = facts.unary(UnaryFn::Neg, x);
    let softplus = facts.unary(UnaryFn::Softplus, negated);
    facts.unary(UnaryFn::Neg, softplus)
}

fn positive(facts: &Facts, x: PureId) -> bool {
    match facts.pure(x) {
        Pure::Number(x) => x > 0.0,
        Pure::Size(_) => true,
        Pure::Unary(UnaryFn::Exp | UnaryFn::Sigmoid | UnaryFn::Softplus, _) => true,
        Pure::Unary(UnaryFn::Sqrt | UnaryFn::Rsqrt, a) => positive(facts, a),
        Pure::Binary(BinaryFn::Mul | BinaryFn::Div | BinaryFn::Min, a, b) => {
            positive(facts, a) && positive(facts, b)
        }
        Pure::Binary(BinaryFn::Max, a, b) => positive(facts, a) || positive(facts, b),
        Pure::Binary(BinaryFn::Add, a, b) => {
            (positive(facts, a) && !negative(facts, b))
                || (positive(facts, b) && !negative(facts, a))
        }
        Pure::Binary(BinaryFn::Sub, a, b) => match facts.pure(a) {
            Pure::Number(a) => upper(facts, b).is_some_and(|b| b <= a),
            _ => false,
        },
        _ => false,
    }
}

/// Whether the value may be negative.
fn negative(facts: &Facts, x: PureId) -> bool {
    match facts.pure(x) {
        Pure::Number(x) => x < 0.0,
        Pure::Unary(UnaryFn::Abs | UnaryFn::Relu, _) => false,
        _ => !positive(facts, x),
    }
}

/// A bound that the value stays strictly below (or equals, for a number or a size of exponent 0).
fn upper(facts: &Facts, x: PureId) -> Option<f64> {
    match facts.pure(x) {
        Pure::Number(x) => Some(x.next_up()),
        Pure::Unary(UnaryFn::Sigmoid | UnaryFn::Tanh, _) => Some(1.0),
        Pure::Unary(UnaryFn::Exp, x) => match facts.pure(x) {
            Pure::Unary(UnaryFn::Neg, x) if positive(facts, x) => Some(1.0),
            _ => None,
        },
        Pure::Unary(UnaryFn::Neg, x) if positive(facts, x) => Some(0.0),
        Pure::Binary(BinaryFn::Mul, a, b) if positive(facts, a) && positive(facts, b) => {
            Some(upper(facts, a)? * upper(facts, b)?)
        }
        Pure::Binary(BinaryFn::Min, a, b) => match (upper(facts, a), upper(facts, b)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        },
        _ => None,
    }
}
