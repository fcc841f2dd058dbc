//! Numbers as options take them: their ranges, and in plain words what is wrong with one that was given.

use baton_data::plain;
use clap::builder::{RangedU64ValueParser, TypedValueParser};
use std::error::Error;

/// The longest time that an option takes, in its own unit.
const LONGEST: f64 = 1e9;

/// A number of things, from one.
pub fn count() -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u32>::new()
        .range(1..=u64::from(u32::MAX))
        .map(|count| count as usize)
}

/// Tokens that are read at once, from one: more than there are is all of them.
pub fn segment() -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new()
        .range(1..)
        .map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX))
}

/// Minutes or seconds.
pub fn time(text: &str) -> Result<f64, String> {
    let parsed = text.parse::<f64>();
    match parsed.map_err(|_| "expected a number without a unit, as 0.5".to_string())? {
        time if time > 0.0 && time <= LONGEST => Ok(time),
        _ => Err(format!("expected more than 0, at most {LONGEST}")),
    }
}

/// What a library's parser says of a number, and the same for whoever gave it.
pub fn plainly(error: &clap::Error) -> Option<(String, String)> {
    let said = error.source()?.to_string();
    let plain = plain::number(&said).map(String::from);
    let plain = plain.or_else(|| range(&said))?;
    Some((said, plain))
}

/// `0 is not in 1..=1024`, without the bounds of a type.
fn range(said: &str) -> Option<String> {
    let (given, bounds) = said.split_once(" is not in ")?;
    let (low, high) = bounds.split_once("..")?;
    let high = high.trim_start_matches('=');
    let most = [u16::MAX.into(), u32::MAX.into(), u64::MAX, i64::MAX as u64];
    let number = |text: &str| text.parse::<i128>().ok();
    let unbounded = most.iter().any(|most| high == most.to_string());
    Some(match unbounded {
        true if number(given) > number(low) => plain::SMALLER.into(),
        true => format!("expected at least {low}"),
        false => format!("expected {low} to {high}"),
    })
}
