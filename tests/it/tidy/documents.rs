//! Documents name what exists.

use super::source::{File, tree};
use super::{each, held};
use std::path::Path;

/// The text of a page outside of fenced blocks.
fn prose(text: &str) -> String {
    let fences = text.split("```").step_by(2);
    fences.collect::<Vec<_>>().join("\n")
}

/// Paths in backquotes that look like ours exist.
#[test]
fn documents_name_paths_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rooms: Vec<String> = (tree().iter())
        .filter_map(|file| {
            file.path
                .strip_suffix("/Cargo.toml")
                .map(|p| format!("{p}/"))
        })
        .chain(["docs/".into()])
        .collect();
    let guard = |files: &[File]| {
        let page = |file: &File| {
            file.path.ends_with(".md")
                && (file.path.starts_with("docs/") || !file.path.contains('/'))
        };
        each(files, page, |file| {
            let prose = prose(&file.text);
            let quoted = prose.split('`').skip(1).step_by(2);
            let lost = quoted.filter(|quoted| {
                let ours = rooms.iter().any(|room| quoted.starts_with(room.as_str()));
                let plain = |c: char| c.is_alphanumeric() || "/_-.".contains(c);
                ours && quoted.chars().all(plain) && !root.join(quoted).exists()
            });
            lost.map(|path| format!("names {path}")).collect()
        })
    };
    held(
        guard,
        &[
            &[("docs/a.md", "See `ir/src/nowhere.rs`.")],
            &[("README.md", "```sh\na `b`\n```\n`tests/it/gone.rs`")],
        ],
    );
}
