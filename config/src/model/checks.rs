//! What configurations leave out when nothing is said, and what no size may be.

use crate::Error;

// What a configuration does not say is as it was before it could be said, and is not written, so
// that a run of an older program is resumed.

/// What is left out where it is so.
pub fn yes() -> bool {
    true
}

/// Whether it is left out.
pub fn is_yes(flag: &bool) -> bool {
    *flag
}

/// Whether it is left out.
pub fn is_no(flag: &bool) -> bool {
    !flag
}

/// Refuses a range that nothing can be drawn from.
pub fn ordered(name: &str, [low, high]: [f64; 2]) -> Result<(), Error> {
    match 0.0 < low && low <= high && high.is_finite() {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "{name} {low} to {high} given, expected 0 < low <= high"
        ))),
    }
}

/// Refuses a size of zero by its name.
pub fn not_zero(sizes: &[(&str, usize)]) -> Result<(), Error> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        None => Ok(()),
        Some((name, _)) => Err(Error::Config(format!(
            "{name} 0 given, expected at least 1"
        ))),
    }
}

/// Refuses what nothing can be kept within.
pub fn positive(name: &str, cap: f64) -> Result<(), Error> {
    match cap > 0.0 && cap.is_finite() {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "{name} {cap} given, expected a positive number"
        ))),
    }
}
