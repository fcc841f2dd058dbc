//! What a program can see of the absences that ARCHITECTURE.md promises.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below a folder whose name ends so, without what is built.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    for entry in entries.map(|entry| entry.expect("a readable folder").path()) {
        let name = entry
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if entry.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&entry, ending));
        } else if name.ends_with(ending) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Sources without their comments.
fn code(path: &Path) -> String {
    let lines = text(path);
    let lines = lines
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn libraries_are_named_in_one_folder() {
    for (library, home) in [
        ("cranelift", "codegen/src/backend/clif"),
        ("melior", "codegen/src/backend/mlir"),
        ("cudarc", "runtime/src/device/cuda"),
    ] {
        for file in files(&root(), ".rs") {
            let inside = file.starts_with(root().join(home)) || file.ends_with("tests/it/tidy.rs");
            let named = code(&file).contains(library);
            assert!(inside || !named, "{} names {library}", file.display());
        }
    }
}

#[test]
fn no_back_end_names_a_recurrence() {
    for file in files(&root().join("codegen/src/backend"), ".rs") {
        if file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs") {
            continue;
        }
        let code = code(&file);
        for name in baton_ir::builtin::NAMES {
            assert!(!code.contains(name), "{} names {name}", file.display());
        }
    }
}

/// Whether code names the module of a back end.
fn names_a_back_end(code: &str) -> bool {
    let packed: String = code.split_whitespace().collect();
    let paths = [
        "baton_codegen::backend",
        "baton_codegen::{backend",
        "mlir::",
        "clif::",
    ];
    paths.iter().any(|path| packed.contains(path))
}

#[test]
fn runtime_names_no_back_end() {
    for planted in [
        "use baton_codegen::backend::mlir;",
        "use baton_codegen::{\n    backend,\n};",
        "fn run(kernel: &mlir::Kernel) {}",
    ] {
        assert!(names_a_back_end(planted), "not noticed: {planted}");
    }
    for file in files(&root().join("runtime/src"), ".rs") {
        assert!(
            !names_a_back_end(&code(&file)),
            "{} names a back end",
            file.display()
        );
    }
}

#[test]
fn ir_names_no_machine() {
    for file in files(&root().join("ir/src"), ".rs") {
        let code = code(&file);
        for word in [
            "std::fs",
            "std::env",
            "std::time",
            "std::arch",
            "std::net",
            "target_arch",
        ] {
            assert!(!code.contains(word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn arrows_go_one_way() {
    let allowed: &[(&str, &[&str])] = &[
        ("ir", &[]),
        ("macros", &["baton-ir"]),
        ("codegen", &["baton-ir"]),
        (
            "runtime",
            &[
                "baton-ir",
                "baton-codegen",
                "baton-emulator",
                "baton-kernels",
            ],
        ),
        ("kernels-generated", &[]),
        ("emulator", &[]),
        ("train", &["baton-ir", "baton-macros", "baton-runtime"]),
        (
            "cli",
            &[
                "baton-ir",
                "baton-codegen",
                "baton-kernels",
                "baton-runtime",
                "baton-train",
            ],
        ),
    ];
    for (folder, allowed) in allowed {
        let manifest = text(&root().join(folder).join("Cargo.toml"));
        let section = manifest
            .split("\n[dependencies]")
            .nth(1)
            .unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        for line in section.lines().filter(|line| line.starts_with("baton")) {
            let name = line.split(['.', ' ', '=']).next().expect("a first word");
            assert!(allowed.contains(&name), "{folder} depends on {name}");
        }
    }
}

/// Only for the lack of a GPU; those are counted when tests are run.
#[test]
fn no_test_is_ignored() {
    let allowed = concat!("#[", "ignore = \"waits for an NVIDIA GPU\"]");
    for file in files(&root(), ".rs") {
        let mark = concat!("#[", "ignore");
        assert!(
            !text(&file).replace(allowed, "").contains(mark),
            "{} ignores a test",
            file.display()
        );
    }
}

/// Paths in backquotes that look like ours exist.
#[test]
fn documents_name_paths_that_exist() {
    let mut pages = files(&root().join("docs"), ".md");
    pages.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|p| root().join(p)));
    let rooms = [
        "ir/",
        "macros/",
        "codegen/",
        "runtime/",
        "emulator/",
        "kernels-generated/",
        "train/",
        "cli/",
        "tests/",
        "benches/",
        "docs/",
    ];
    for page in pages {
        for quoted in text(&page).split('`').skip(1).step_by(2) {
            let ours = rooms.iter().any(|room| quoted.starts_with(room));
            let path = ours
                && quoted
                    .chars()
                    .all(|c| c.is_alphanumeric() || "/_-.".contains(c));
            assert!(
                !path || root().join(quoted).exists(),
                "{} names {quoted}",
                page.display()
            );
        }
    }
}
