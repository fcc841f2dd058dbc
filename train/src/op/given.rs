//! What a recurrence is given and what it returns, as values of a graph.

use super::value::Value;
use std::sync::Arc;

/// What a recurrence is given, in order of declaration.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Every input, `[B, T, H, dims...]` or `[B, T, G, dims...]`.
    pub inputs: Vec<Value>,
    /// Every param, `[H, dims...]`.
    pub params: Vec<Value>,
    /// Every state in, `[B, H, dims...]`; absent is zero.
    pub states: Option<Vec<Value>>,
    /// Offsets of packed sequences along T.
    pub cu_seqlens: Option<Arc<[i64]>>,
}

/// What a recurrence returns, in order of declaration.
#[derive(Clone, Debug)]
pub struct Returned {
    /// Every output.
    pub outputs: Vec<Value>,
    /// Every state out.
    pub states: Vec<Value>,
}
