//! Absences that stand in the sources: 1, 2, 3, 5, 6, 7, 9, 10, 11 and 12 of ARCHITECTURE.md.

use super::source::File;
use super::{Found, each, held, named};
use std::collections::BTreeMap;

fn rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

fn below(file: &File, folders: &[&str]) -> bool {
    rust(file) && folders.iter().any(|folder| file.path.starts_with(folder))
}

/// Absence 1: `ir` names no machine.
#[test]
fn ir_names_no_machine() {
    let words = [
        "std::fs",
        "std::env",
        "std::time",
        "std::arch",
        "core::arch",
        "std::net",
        "std::os",
        "std::process",
        "std::thread",
        "target_arch",
        "target_os",
        "target_feature",
    ];
    let guard = |files: &[File]| {
        let ours = |file: &File| below(file, &["ir/src/"]);
        each(files, ours, |file| named(&file.code(), &words))
    };
    held(
        guard,
        &[
            &[("ir/src/a.rs", "fn f() { std::fs::read(\"//\"); }")],
            &[("ir/src/b.rs", "#[cfg(target_arch = \"x86_64\")]\nfn f() {}")],
        ],
    );
}

/// Absence 2: No back end names a recurrence, in code, strings or tests.
#[test]
fn no_back_end_names_a_recurrence() {
    let guard = |files: &[File]| {
        let ours = |file: &File| below(file, &["codegen/src/backend/"]);
        each(files, ours, |file| {
            named(&file.said(), baton_ir::builtin::NAMES)
        })
    };
    held(
        guard,
        &[
            &[(
                "codegen/src/backend/clif/map.rs",
                "let fast = name == \"http://\" || name == \"gla\";",
            )],
            &[(
                "codegen/src/backend/mlir/emit/mod.rs",
                "fn mamba2_step() {}",
            )],
            &[(
                "codegen/src/backend/mlir/order.rs",
                "#[cfg(test)]\nmod tests { const A: &str = \"rwkv6\"; }",
            )],
        ],
    );
}

/// Absence 3: Each library of a machine is named in one folder. Tensors are in the hands of who uses the library, too:
/// its face passes their crate on, and an example takes it from there.
#[test]
fn libraries_are_named_in_one_folder() {
    let homes = [
        ("cranelift", "codegen/src/backend/clif/"),
        ("melior", "codegen/src/backend/mlir/"),
        ("mlir_sys", "codegen/src/backend/mlir/"),
        ("cudarc", "runtime/src/device/cuda/"),
        ("mpi::", "train/src/ranks/"),
        ("burn", "train/"),
        ("plotters", "report/src/plot/"),
    ];
    let guard = |files: &[File]| {
        each(files, rust, |file| {
            let code = file.code();
            // NCCL's functions are of the library that the driver's are of.
            let others = [
                ("burn", "baton/src/lib.rs"),
                ("burn", "examples/"),
                ("cudarc", "train/src/ranks/nccl/cuda.rs"),
            ];
            let is_in = |&(_, home): &(&str, &str)| file.path.starts_with(home);
            let away = |&&(library, home): &&(&str, &str)| {
                let mut others = others.iter().filter(|(other, _)| *other == library);
                !(is_in(&(library, home)) || others.any(is_in))
            };
            let away = homes.iter().filter(away);
            away.filter(|(library, _)| code.contains(library))
                .map(|(library, _)| format!("names {library}"))
                .collect()
        })
    };
    held(
        guard,
        &[
            &[(
                "runtime/src/device/mod.rs",
                "let a = \"//\"; use cudarc::driver;",
            )],
            &[("codegen/src/grad.rs", "use cranelift_codegen::ir;")],
            &[("tests/it/gpu.rs", "use melior::Context;")],
            &[("train/src/trainer/run.rs", "use mpi::topology;")],
            &[("train/src/ranks/nccl/mod.rs", "use cudarc::nccl::Comm;")],
            &[("tasks/src/predict.rs", "use burn::Tensor;")],
            &[("baton/src/model.rs", "use burn::Tensor;")],
            &[("examples/own-crate/src/main.rs", "use plotters::style;")],
            &[(
                "report/src/page.rs",
                "fn f(c: plotters::style::RGBColor) {}",
            )],
        ],
    );
}

/// A back end is known to the compiler and to who asks for one; a runtime sees artifacts.
#[test]
fn runtime_names_no_back_end() {
    let paths = [
        "baton_codegen::backend",
        "baton_codegen::{backend",
        "mlir::",
        "clif::",
    ];
    let guard = |files: &[File]| {
        let ours = |file: &File| below(file, &["runtime/src/"]);
        each(files, ours, |file| {
            let packed: String = file.code().split_whitespace().collect();
            let found = paths.iter().filter(|path| packed.contains(**path));
            found.map(|path| format!("names {path}")).collect()
        })
    };
    held(
        guard,
        &[
            &[("runtime/src/a.rs", "use baton_codegen::backend::mlir;")],
            &[("runtime/src/a.rs", "use baton_codegen::{\n    backend,\n};")],
            &[("runtime/src/a.rs", "fn run(kernel: &mlir::Kernel) {}")],
        ],
    );
}

/// Calls outside of their homes: (what is called, where it may be).
fn calls(files: &[File], folders: &[&str], homes: &[(&str, &[&str])]) -> Found {
    let ours = |file: &File| below(file, folders) && !file.is_test();
    each(files, ours, |file| {
        let code = file.code_outside_tests();
        let away = homes.iter().filter(|(call, homes)| {
            code.contains(call) && !homes.iter().any(|home| file.path.starts_with(home))
        });
        away.map(|(call, _)| format!("calls {call}..)")).collect()
    })
}

/// Absence 5: No second typing: builders type what they add, the verifier what came from elsewhere. That
/// nobody else makes a program at all is held by the compiler (`Verified`, private field).
#[test]
fn ops_are_typed_by_builders_and_verifiers() {
    let typing: &[&str] = &[
        "ir/src/chunked/build.rs",
        "ir/src/tile/build.rs",
        "ir/src/verify/chunked.rs",
        "ir/src/verify/tile.rs",
    ];
    let verifiers = &typing[2..];
    let homes = [
        ("typing::axes(", typing),
        ("typing::shape(", typing),
        ("typing::place(", typing),
        ("Verified::new(", verifiers),
    ];
    held(
        |files| calls(files, &["ir/src/", "codegen/src/"], &homes),
        &[
            &[("ir/src/interp/a.rs", "let axes = typing::axes(p, 0, op);")],
            &[("ir/src/text/a.rs", "Verified::new(draft)")],
        ],
    );
}

/// Absence 6: No error for ill-formed IR after `verify`: only the verifiers of levels 2 and 3 have its codes.
#[test]
fn ill_formed_programs_are_reported_by_verifiers() {
    let homes = ["ir/src/verify/chunked.rs", "ir/src/verify/tile.rs"];
    let is_code = |text: &str| {
        let digits = text.strip_prefix(['C', 'T']).unwrap_or_default();
        digits.len() == 3 && digits.chars().all(|c| c.is_ascii_digit())
    };
    let guard = |files: &[File]| {
        let ours = |file: &File| rust(file) && !file.is_test();
        each(files, ours, |file| {
            let said = file.said_outside_tests();
            let codes = said.split('"').filter(|text| is_code(text));
            let away = !homes.contains(&file.path.as_str());
            let codes = codes.filter(|_| away);
            codes.map(|code| format!("reports {code}")).collect()
        })
    };
    held(
        guard,
        &[&[(
            "codegen/src/backend/clif/mod.rs",
            "return Err(Diagnostic::new(\"T003\", span, why));",
        )]],
    );
}

/// Absence 7: No output depends on hash order, time or address. What is compiled is compiled without any of
/// them; that it comes out the same twice is tested in `repeat`. A hash of fixed keys that equal values are
/// looked up by (`DefaultHasher`) has no order that could come out.
#[test]
fn compilation_knows_no_hash_order_time_or_address() {
    let words = [
        "HashMap",
        "HashSet",
        "RandomState",
        "SystemTime",
        "Instant",
        "ThreadId",
    ];
    let guard = |files: &[File]| {
        let folders = [
            "ir/src/",
            "macros/src/",
            "codegen/src/",
            "kernels-generated/",
        ];
        let ours = |file: &File| below(file, &folders) && !file.is_test();
        each(files, ours, |file| {
            let mut found = named(&file.code_outside_tests(), &words);
            let prints = file.said_outside_tests().contains(":p}");
            found.extend(prints.then(|| "prints an address".into()));
            found
        })
    };
    held(
        guard,
        &[
            &[(
                "codegen/src/backend/mlir/place.rs",
                "use std::collections::{BTreeMap, HashSet};",
            )],
            &[("ir/src/a.rs", "let a = \"//\"; let now = Instant::now();")],
            &[("codegen/src/a.rs", "format!(\"{a:p}\")")],
        ],
    );
}

/// Lines that say something: not imports, braces and endings.
fn lines(file: &File) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let code = file.said_outside_tests();
    let all = code.lines().map(str::trim);
    for line in all.filter(|line| line.len() >= 12 && !line.starts_with("use ")) {
        *found.entry(line.to_string()).or_default() += 1;
    }
    found
}

/// Two files of which the shorter stands to a half in the other are one with a variation.
fn copies(files: &[File]) -> Found {
    let folders = ["codegen/src/", "runtime/src/", "emulator/src/", "ir/src/"];
    let looked: Vec<(&File, BTreeMap<String, usize>)> = (files.iter())
        .filter(|file| below(file, &folders) && !file.is_test())
        .map(|file| (file, lines(file)))
        .collect();
    let mut breaches = vec![];
    for (i, (first, a)) in looked.iter().enumerate() {
        for (second, b) in &looked[..i] {
            let shared = a
                .iter()
                .map(|(line, n)| b.get(line).map_or(0, |m| *m.min(n)));
            let (shared, a, b) = (
                shared.sum::<usize>(),
                a.values().sum::<usize>(),
                b.values().sum::<usize>(),
            );
            if shared * 2 > a.min(b) && shared >= 12 {
                breaches.push(format!("{} is a copy of {}", first.path, second.path));
            }
        }
    }
    Found {
        looked: looked.len(),
        breaches,
    }
}

/// Absence 9: No kernel variant by copied file.
#[test]
fn no_file_is_a_copy_of_another() {
    let line = |i: usize| format!("    let value_{i} = first_{i}.product(second_{i});\n");
    let text = |changed: usize| -> String {
        let lines = (0..30).map(|i| if i < changed { line(i + 100) } else { line(i) });
        lines.collect()
    };
    let (one, other) = (text(0), text(10));
    held(
        copies,
        &[&[
            ("codegen/src/backend/clif/micro/product.rs", &one),
            ("codegen/src/backend/clif/micro/product_bf16.rs", &other),
        ]],
    );
}

/// Absence 10: No gradient by hand: reverse mode alone makes gradients of level 2, and one file of `train`
/// takes them to Burn's graph.
#[test]
fn gradients_are_made_by_reverse_mode() {
    let homes: &[(&str, &[&str])] = &[
        ("result(Target::D", &["codegen/src/grad.rs"]),
        ("Backward<B", &["train/src/op/node.rs"]),
    ];
    held(
        |files| calls(files, &["codegen/src/", "train/src/"], homes),
        &[
            &[(
                "codegen/src/derive.rs",
                "self.build.result(Target::DInput(i), by_hand);",
            )],
            &[(
                "train/src/op/gla.rs",
                "impl<B: Home> Backward<B, 4> for Gla {}",
            )],
        ],
    );
}

/// Absence 11: A test is left out only for the lack of a GPU, and says so; those are counted. And what opens
/// a GPU stands among those: it would pass, or fail, by the machine.
#[test]
fn tests_are_left_out_for_a_gpu_only() {
    let mark = concat!("#[", "ignore");
    let allowed = concat!("#[", "ignore = \"waits for an NVIDIA GPU\"]");
    let guard = |files: &[File]| {
        each(files, rust, |file| {
            let (said, code) = (file.said(), file.code());
            // Places are those of the text: what stands in a string is no attribute.
            let chars: Vec<char> = said.chars().collect();
            let marks = code
                .match_indices(mark)
                .map(|(at, _)| code[..at].chars().count());
            let other = marks.filter(|&at| {
                let rest: String = chars[at..].iter().take(allowed.len()).collect();
                rest != allowed
            });
            let mut found: Vec<String> = other.map(|_| "leaves out a test".into()).collect();
            let opens = file.is_test() && code.contains("Cuda::new(0");
            found.extend((opens && !said.contains(allowed)).then(|| "opens a GPU".into()));
            found
        })
    };
    held(
        guard,
        &[
            &[("a/src/b.rs", concat!("#[", "ignore]\nfn f() {}"))],
            &[("a/src/b.rs", concat!("#[", "ignore = \"slow\"]\nfn f() {}"))],
            &[(
                "tests/it/c.rs",
                "#[test]\nfn f() { let gpu = Cuda::new(0, schedule).unwrap(); }",
            )],
        ],
    );
}

/// Absence 12: No comment narrates the next line: none between statements begins as an order or as a step.
#[test]
fn no_comment_narrates() {
    let openings = [
        "now",
        "then",
        "first,",
        "next",
        "next,",
        "finally",
        "finally,",
        "loop",
        "iterate",
        "increment",
        "return",
        "returns",
        "call",
        "create",
        "initialize",
        "initialise",
        "define",
        "import",
        "declare",
        "assign",
        "compute",
        "print",
        "todo",
        "fixme",
    ];
    let guard = |files: &[File]| {
        each(files, rust, |file| {
            // A line is a comment where nothing is left of it without comments.
            let said = file.said();
            let lines = file.text.lines().zip(said.lines());
            let alone = lines.filter(|(_, said)| said.trim().is_empty());
            let words = alone.filter_map(|(line, _)| line.trim().strip_prefix("// "));
            let first = words.filter_map(|text| text.split_whitespace().next());
            let narrates = |word: &&str| openings.contains(&word.to_lowercase().as_str());
            let found = first.filter(narrates);
            found.map(|word| format!("narrates: {word} ..")).collect()
        })
    };
    held(
        guard,
        &[&[(
            "a/src/b.rs",
            "fn f() {\n    // Increment the counter.\n    n += 1;\n}",
        )]],
    );
}
