//! Shapes that do not meet, at the value that is wrong.

use baton_macros::recurrence;

recurrence! {
    recurrence shapes {
        dims   { K, V }
        inputs { q: [K], k: [K], v: [V], unused: [] }
        state  { S: [K, V] }
        S = S * k + outer(k + v, v);
        output o: [K] = dot(q, S);
    }
}

fn main() {}
