//! A file that is not there, and a path that is none.

use baton_macros::recurrence;

recurrence!(file = "tests/refused/absent.rec");

recurrence!(file = 7);

fn main() {}
