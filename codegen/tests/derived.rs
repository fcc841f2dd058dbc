//! What is derived from the built-in recurrences, forward and in reverse, as text.
//!
//! The shipped kernels are made from these programs: one that changes makes kernels stale, so a
//! change has to be meant. `DERIVED=write cargo test -p baton-codegen --test derived` writes the
//! files anew.

use baton_codegen::{derive_any, grad};
use baton_ir::text::chunked::print;
use baton_ir::{builtin, text, verify};

#[test]
fn the_built_ins_derive_as_they_did() {
    let write = std::env::var("DERIVED").is_ok_and(|value| value == "write");
    for name in builtin::NAMES {
        let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
        let facts = verify::verify(&recurrence).unwrap();
        let (forward, _) = derive_any(&recurrence, &facts).unwrap();
        let found = format!("{}\n{}", print(&forward), print(&grad(&forward)));
        let path = format!("tests/derived/{name}.txt");
        if write {
            std::fs::write(&path, found).unwrap();
            continue;
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(found == kept, "{name} derives differently:\n{found}");
    }
}
