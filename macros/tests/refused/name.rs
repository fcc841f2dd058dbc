//! The four names that no Rust field can have.

use baton_macros::recurrence;

recurrence! {
    recurrence name {
        inputs { self: [] }
        state  { s: [] }
        s = s + self;
        output o: [] = s;
    }
}

fn main() {}
