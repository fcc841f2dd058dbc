//! Every error of a text at once, each at its token.

use baton_macros::recurrence;

recurrence! {
    recurrence several {
        dims   { K, V }
        inputs { q: [K], k: [K], v: [W], g: [] per group, exp: [] }
        params { a: [] per group }
        state  { S: [K, V] }
        let decay = exq(g);
        S = decay * S + outer(kk, v);
        q = 2;
        output o: [V] = dot(q, S, 1) + 1.5f32;
    }
}

fn main() {}
