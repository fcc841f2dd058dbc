//! A recurrence that has no chunked form.

use baton_macros::recurrence;

recurrence! {
    recurrence nonlinear {
        dims   { K, V }
        inputs { q: [K], k: [K], v: [V] }
        state  { S: [K, V] }
        S = tanh(S + outer(k, v));
        output o: [V] = dot(q, S);
    }
}

fn main() {}
