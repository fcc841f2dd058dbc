//! Arrows between crates, read from their manifests: absence 4, and the walls around it.

use super::source::File;
use super::{each, held};

/// Who may depend on whom; what is not named here depends on nothing of ours. `tests`, `benches`, `cli` and
/// `python` are nobody's.
const ARROWS: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("emulator", &[]),
    ("predict", &[]),
    ("kernels-generated", &[]),
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
    (
        "tune",
        &[
            "baton-ir",
            "baton-codegen",
            "baton-kernels",
            "baton-runtime",
        ],
    ),
    ("retrieval", &[]),
    ("data", &[]),
    ("config", &["baton-data", "baton-ir"]),
    ("tasks", &["baton-data"]),
    (
        "weights",
        &["baton-config", "baton-data", "baton-runtime", "baton-tasks"],
    ),
    (
        "train",
        &[
            "baton-config",
            "baton-data",
            "baton-ir",
            "baton-macros",
            "baton-retrieval",
            "baton-runtime",
            "baton-tasks",
            "baton-weights",
        ],
    ),
    ("report", &["baton-data", "baton-tasks"]),
    (
        "baton",
        &[
            "baton-ir",
            "baton-macros",
            "baton-codegen",
            "baton-runtime",
            "baton-config",
            "baton-data",
            "baton-train",
            "baton-tune",
            "baton-weights",
        ],
    ),
    ("examples/own-crate", &["baton"]),
    (
        "cli",
        &[
            "baton-ir",
            "baton-codegen",
            "baton-config",
            "baton-data",
            "baton-kernels",
            "baton-predict",
            "baton-report",
            "baton-runtime",
            "baton-tasks",
            "baton-train",
            "baton-tune",
            "baton-weights",
        ],
    ),
    (
        "tests",
        &[
            "baton-ir",
            "baton-codegen",
            "baton-emulator",
            "baton-kernels",
            "baton-predict",
            "baton-runtime",
        ],
    ),
    ("benches", &["baton-ir", "baton-runtime"]),
    ("benches/peers/rust", &[]),
    ("python", &["baton-ir", "baton-codegen", "baton-runtime"]),
];

/// What tests of a crate may have beside.
const FOR_TESTS: &[(&str, &str)] = &[
    ("macros", "baton-runtime"),
    ("train", "baton-runtime"),
    ("tests", "baton-macros"),
    ("tests", "baton-data"),
    ("benches", "baton-codegen"),
    ("benches", "baton-data"),
    ("benches", "baton-train"),
];

/// Crates that have no dependency but these: what is on the way of every other crate stays small.
const BARE: [(&str, &[&str]); 3] = [("ir", &["libm"]), ("emulator", &[]), ("predict", &[])];

struct Dependency {
    name: String,
    for_tests: bool,
}

/// The dependencies of a manifest, of every kind, target and spelling.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found = vec![];
    let mut section = String::new();
    for line in manifest.lines().map(str::trim) {
        let for_tests = section.contains("dev-dependencies");
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').into();
            if let Some((_, name)) = section.split_once("dependencies.") {
                let for_tests = section.contains("dev-dependencies");
                let name = name.into();
                found.push(Dependency { name, for_tests });
            }
        } else if section.ends_with("dependencies") && line.contains('=') && !line.starts_with('#')
        {
            let renamed = line.split("package = \"").nth(1);
            let name = match renamed {
                Some(rest) => rest.split('"').next(),
                None => line.split(['.', ' ', '=']).next(),
            };
            let name = name.unwrap_or_default().into();
            found.push(Dependency { name, for_tests });
        }
    }
    found
}

/// Whether a package is one of the repository.
fn ours(name: &str) -> bool {
    name == "baton" || name.starts_with("baton-")
}

#[test]
fn arrows_go_one_way() {
    let guard = |files: &[File]| {
        let manifest = |file: &File| file.path.ends_with("/Cargo.toml");
        each(files, manifest, |file| {
            let folder = file.path.trim_end_matches("/Cargo.toml");
            let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
                return vec!["is of a crate without arrows".into()];
            };
            let all = dependencies(&file.text).into_iter();
            let wrong = all.filter(|dependency| {
                let name = dependency.name.as_str();
                let known = allowed.contains(&name)
                    || (dependency.for_tests && FOR_TESTS.contains(&(folder, name)));
                let few = BARE.iter().find(|(bare, _)| *bare == folder);
                let bare =
                    !dependency.for_tests && few.is_some_and(|(_, few)| !few.contains(&name));
                (ours(name) && !known) || bare
            });
            wrong.map(|d| format!("depends on {}", d.name)).collect()
        })
    };
    held(
        guard,
        &[
            &[(
                "runtime/Cargo.toml",
                "[dependencies]\nbaton-train.workspace = true",
            )],
            &[(
                "train/Cargo.toml",
                "[dev-dependencies]\nbaton-tests = { path = \"../tests\" }",
            )],
            &[(
                "train/Cargo.toml",
                "[dependencies.baton-benches]\npath = \"../benches\"",
            )],
            &[(
                "codegen/Cargo.toml",
                "[target.'cfg(unix)'.dependencies]\nx = { package = \"baton\" }",
            )],
            &[(
                "python/Cargo.toml",
                "[workspace]\n[dependencies]\nbaton-train = { path = \"../train\" }",
            )],
            &[(
                "report/Cargo.toml",
                "[dependencies]\nbaton-train.workspace = true",
            )],
            &[(
                "config/Cargo.toml",
                "[dependencies]\nbaton-runtime.workspace = true",
            )],
            &[(
                "tasks/Cargo.toml",
                "[dev-dependencies]\nbaton-runtime = { path = \"../runtime\" }",
            )],
            &[("ir/Cargo.toml", "[dependencies]\nhalf = \"2\"")],
            &[("new/Cargo.toml", "[package]\nname = \"baton-new\"")],
        ],
    );
}
