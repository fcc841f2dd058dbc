//! Documents name what exists: the paths in their text, and where their links lead.

use super::source::{File, tree};
use super::{each, held};
use std::collections::BTreeMap;
use std::path::Path;

/// The text of a page outside of fenced blocks.
fn prose(text: &str) -> String {
    let fences = text.split("```").step_by(2);
    fences.collect::<Vec<_>>().join("\n")
}

/// Where the links of a page lead, those to other machines left out.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let words: String = prose.split('`').step_by(2).collect();
    let inline = words.split("](").skip(1);
    let inline = inline.filter_map(|rest| Some(rest.split_once(')')?.0.to_string()));
    let apart = words
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    let all = inline.chain(apart.map(|(_, target)| target.trim().to_string()));
    all.filter(|target| !target.contains("://")).collect()
}

/// The anchors that forges and the book give to the headings of a page.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let page = prose(text);
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor = kept.collect::<String>().replace(' ', "-");
        let before = seen.entry(anchor.clone()).or_default();
        *before += 1;
        match *before {
            1 => anchor,
            n => format!("{anchor}-{}", n - 1),
        }
    });
    anchors.collect()
}

/// The path from the root of what `path` calls `target`; none where it leads out of the repository.
fn place(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Links lead to files and folders of the repository, and anchors to headings.
#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let lost = |file: &File, link: &String| -> bool {
        let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
        let text = match target {
            "" => Some(file.text.clone()),
            target => place(&file.path, target).and_then(|path| {
                let path = root.join(path);
                match path.is_dir() {
                    true => Some(String::new()),
                    false => std::fs::read(path)
                        .ok()
                        .map(|bytes| String::from_utf8_lossy(&bytes).into()),
                }
            }),
        };
        !text.is_some_and(|text| anchor.is_empty() || anchors(&text).contains(&anchor.to_string()))
    };
    let guard = |files: &[File]| {
        let page = |file: &File| file.path.ends_with(".md");
        each(files, page, |file| {
            let all = links(&file.text).into_iter();
            let lost = all.filter(|link| lost(file, link));
            lost.map(|link| format!("links to {link}")).collect()
        })
    };
    held(
        guard,
        &[
            &[("docs/a.md", "See [it](nowhere.md).")],
            &[(
                "docs/a.md",
                "See [`it`](../docs/language.md#no-such-heading).",
            )],
            &[(
                "README.md",
                "# One\n[over\nlines](#two) ![x](docs/demo.svg)",
            )],
            &[("docs/a.md", "[it][1]\n\n[1]: ../../outside.md")],
        ],
    );
    let page =
        "# A `b` (c)\n## Over it, all\n```\n# no\n[no](x.md)\n```\n## Over it, all\n`[no](y.md)`";
    assert_eq!(anchors(page), ["a-b-c", "over-it-all", "over-it-all-1"]);
    assert!(links(page).is_empty());
    let right = "# One\n[a](docs/language.md) [b](#one) [c](https://example.org/x.md) [d](docs)";
    assert!(guard(&[File::new("README.md", right)]).breaches.is_empty());
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
