//! A text that ends too early: the last token takes the blame.

use baton_macros::recurrence;

recurrence! {
    recurrence unfinished {
        inputs { x: [] }
        state  { s: [] }
        s = s + x
    }
}

recurrence! {}

fn main() {}
