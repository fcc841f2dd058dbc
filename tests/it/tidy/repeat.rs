//! What is compiled twice is the same text: in one process, on two threads and in two processes, so
//! with other hash keys, other addresses, another time.

use baton_codegen::target::{Gpu, Storage};
use baton_codegen::{Compiler, Phase};
use baton_ir::{builtin, text};
use baton_tests::EXTRAS;
use std::fmt::Write;
use std::process::Command;
use std::{env, fs, thread};

/// Where the second process writes.
const TO: &str = "BATON_TEXTS_TO";

/// Every phase of every recurrence at levels 2 and 3 and as MLIR's text.
fn texts() -> String {
    let mut out = String::new();
    let builtins = builtin::NAMES.iter().filter_map(|name| builtin::text(name));
    for source in builtins.chain(EXTRAS.iter().copied()) {
        let recurrence = text::parse(source).expect("it parses");
        let sizes = vec![16; recurrence.dims.len()];
        let compiler = Compiler::of_any(&recurrence, &sizes).expect("it verifies");
        for phase in Phase::ALL {
            out += &text::tile::print(&compiler.program(phase, 16));
            for storage in [Storage::F32, Storage::Bf16] {
                let target = Gpu::sm_80(storage);
                let lowered = compiler.compile(&target, phase, 16);
                let _ = match lowered {
                    Ok(lowered) => writeln!(out, "{}", lowered.code.text),
                    Err(why) => writeln!(out, "{why}"),
                };
            }
        }
    }
    out
}

#[test]
fn what_is_compiled_twice_is_the_same() {
    let first = texts();
    if let Some(to) = env::var_os(TO) {
        return fs::write(to, first).expect("a writable file");
    }
    assert!(first.contains("gpu.module"), "no kernel was lowered");
    let thread = thread::spawn(texts).join().expect("it compiles");
    assert!(first == thread, "another thread gives another text");

    let to = env::temp_dir().join(format!("baton-texts-{}", std::process::id()));
    let test = concat!(module_path!(), "::what_is_compiled_twice_is_the_same");
    let (_, test) = test.split_once("::").expect("a crate and a path");
    let mut process = Command::new(env::current_exe().expect("this program"));
    let ran = process.args([test, "--exact"]).env(TO, &to).output();
    assert!(ran.expect("it starts").status.success());
    let second = fs::read_to_string(&to).expect("the second process ran the test");
    fs::remove_file(&to).expect("a file to remove");
    assert!(first == second, "another process gives another text");
}
