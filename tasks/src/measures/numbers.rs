//! Numbers of a result as JSON has them: one that is not finite is written as null and read as NaN.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};

/// What holds numbers.
pub trait Numbers: Sized {
    /// The same with holes.
    type Read: DeserializeOwned;
    /// With NaN for every hole.
    fn filled(read: Self::Read) -> Self;
}

impl Numbers for f64 {
    type Read = Option<f64>;
    fn filled(read: Option<f64>) -> f64 {
        read.unwrap_or(f64::NAN)
    }
}

impl<T: Numbers> Numbers for Vec<T> {
    type Read = Vec<T::Read>;
    fn filled(read: Self::Read) -> Self {
        read.into_iter().map(T::filled).collect()
    }
}

impl<T: Numbers> Numbers for [T; 2] {
    type Read = [T::Read; 2];
    fn filled(read: Self::Read) -> Self {
        read.map(T::filled)
    }
}

impl<T: Numbers> Numbers for Option<Vec<T>> {
    type Read = Option<Vec<T::Read>>;
    fn filled(read: Self::Read) -> Self {
        read.map(Vec::filled)
    }
}

/// Reads them; for serde's `deserialize_with`.
pub fn numbers<'de, D: Deserializer<'de>, T: Numbers>(from: D) -> Result<T, D::Error> {
    T::Read::deserialize(from).map(T::filled)
}
