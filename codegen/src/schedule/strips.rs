//! Strips: columns of a state that a block has without the others.
//!
//! Where nothing within a chunk mixes the indices of a dim, what belongs to some of them can be computed alone. So a
//! state too wide for a block is cut along that dim into strips of one width, each run as a state of its own
//! size: it has its slice of whatever has the dim, and computes by itself what has not. Every adjoint is linear in
//! what arrives, so the gradient of what strips share is the sum of what each finds ([`Held::Parts`]).
//! Whether a dim can be cut is read off the forward chunk program: no recurrence says it.
//!
//! [`Held::Parts`]: baton_ir::tile::Held::Parts

use baton_ir::chunked::{Axis, Chunked, Op, Partial};
use baton_ir::recurrence::{DimId, Port};

/// A dim that is cut into strips of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Strips {
    /// The dim.
    pub dim: DimId,
    /// How many there are.
    pub count: usize,
}

impl Strips {
    /// Whether a tensor has a slice for each strip; else all strips share it.
    pub fn cut(self, port: &Port) -> bool {
        port.shape.contains(&self.dim)
    }
}

/// Why the indices of a dim cannot be run apart from each other, in words; `None` where they can.
pub fn bound(forward: &Chunked, dim: DimId) -> Option<String> {
    let name = &forward.dims[dim.index()];
    ports(forward, dim).or_else(|| {
        let mixes = forward.ops.iter().find_map(|op| mixes(forward, op, dim))?;
        Some(format!("`{name}` {mixes}"))
    })
}

/// What of the tensors stands against it: a slice is one piece of memory at a step, and what is written is
/// written by one strip.
fn ports(forward: &Chunked, dim: DimId) -> Option<String> {
    let name = &forward.dims[dim.index()];
    let has = |port: &Port| port.shape.contains(&dim);
    let leads = |port: &Port| has(port) && !port.shape[1..].contains(&dim) && port.shape[0] == dim;
    if !forward.states.iter().any(has) {
        return Some(format!("no state has `{name}`"));
    }
    let twice = |port: &&Port| port.shape.iter().filter(|own| **own == dim).count() > 1;
    if let Some(port) = forward.states.iter().find(twice) {
        return Some(format!("state `{}` has `{name}` twice", port.name));
    }
    if let Some(port) = { forward.outputs.iter() }.find(|port| !leads(port)) {
        return Some(match has(port) {
            true => format!("output `{}` has `{name}` after another dim", port.name),
            false => format!("output `{}` has no `{name}`", port.name),
        });
    }
    if let Some(port) = { forward.inputs.iter() }.find(|port| has(port) && !leads(port)) {
        let port = &port.name;
        return Some(format!("input `{port}` has `{name}` after another dim"));
    }
    let param = forward.params.iter().find(|port| has(port))?;
    Some(format!("param `{}` has `{name}`", param.name))
}

/// What an op does across the indices of a dim.
fn mixes(forward: &Chunked, op: &Op, dim: DimId) -> Option<&'static str> {
    let is = |axis: &Axis| matches!(*axis, Axis::Dim(own) | Axis::Prime(own) if own == dim);
    match op {
        Op::Sum(_, axis) | Op::Contract(_, _, axis) if is(axis) => Some("is summed over"),
        Op::Trilinear(Partial::Weights, _, _, l) if forward.axes(*l).iter().any(is) => {
            Some("is summed over under a decay of its own")
        }
        Op::Relabel(_, from, to) if is(from) || is(to) => Some("stands for another dim"),
        Op::Size(own) if *own == dim => Some("is a number that is computed with"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_ir::{builtin, text, verify::verify};

    fn why(source: &str, dim: usize) -> Option<String> {
        let recurrence = text::parse(source).expect("it parses");
        let facts = verify(&recurrence).expect("it verifies");
        let forward = crate::derive(&recurrence, &facts).expect("it has a chunked form");
        bound(&forward, DimId(dim as u32))
    }

    #[test]
    fn columns_of_a_matrix_are_apart_and_what_is_contracted_is_not() {
        for name in [
            "mamba2",
            "retnet",
            "gla",
            "rwkv6",
            "delta_net",
            "kda",
            "comba",
        ] {
            let source = builtin::text(name).expect("a built-in name");
            assert_eq!(why(source, 1), None, "{name}");
            assert!(why(source, 0).is_some(), "{name}");
        }
    }

    #[test]
    fn a_reason_is_given() {
        let of = |body: &str, dim| {
            let head = "dims { K, V } inputs { q: [K], k: [K], v: [V], g: [] } state { S: [K, V] }";
            let update = "S = exp(g) * S + outer(k, v);";
            why(&format!("recurrence r {{ {head} {update} {body} }}"), dim)
        };
        assert_eq!(of("output o: [V] = dot(q, S);", 1), None);
        let summed = of("output o: [V] = dot(q, S) / (1 + sum(v * v));", 1);
        assert_eq!(summed.as_deref(), Some("`V` is summed over"));
        let other = of("output o: [V] = dot(q, S); output p: [K] = q;", 1);
        assert_eq!(other.as_deref(), Some("output `p` has no `V`"));
    }
}
