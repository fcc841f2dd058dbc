//! docs/own-crate.md is this crate: the page shows its files whole, and its program does what the page says.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// A file of the repository, by its path from this crate.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The fenced blocks of one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let inside = page.split(fence.as_str()).skip(1);
    let closed = inside.map(|rest| rest.split("\n```").next().expect("a block"));
    closed.map(|block| format!("{block}\n")).collect()
}

#[test]
fn the_page_shows_the_files_of_this_crate() {
    let page = read("../../docs/own-crate.md");
    assert_eq!(blocks(&page, "toml"), [read("Cargo.toml")]);
    assert_eq!(
        blocks(&page, "rust"),
        [read("src/model.rs"), read("src/main.rs")]
    );
}

/// Words drawn at random, the same whenever and wherever they are.
fn text() -> String {
    let words = "the state is a baton that one segment hands to the next and back";
    let words: Vec<&str> = words.split(' ').collect();
    let mut at = 1u64;
    let drawn = (0..12_000).map(|_| {
        at = at
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        words[(at >> 33) as usize % words.len()]
    });
    drawn.collect::<Vec<_>>().join(" ")
}

/// The perplexities below each heading, by the last position.
fn tables(printed: &str) -> Vec<Vec<(usize, f64)>> {
    let parts = printed.split("\nperplexity of ").skip(1);
    let rows = |part: &str| {
        let rows = part.lines().skip(1).filter_map(|line| {
            let (position, perplexity) = line.trim().split_once(' ')?;
            Some((position.parse().ok()?, perplexity.parse().ok()?))
        });
        rows.collect()
    };
    parts.map(rows).collect()
}

#[test]
fn the_program_does_what_the_page_says() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("own-crate");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("text.txt"), text()).expect("a text");
    let mut program = Command::new(env!("CARGO_BIN_EXE_own-crate"));
    let ran = program.arg("text.txt").current_dir(&folder).output();
    let ran = ran.expect("it starts");
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}");
    let printed = String::from_utf8(ran.stdout).expect("UTF-8");
    let tables = tables(&printed);
    assert_eq!(tables.len(), 3, "{printed}");
    for table in &tables {
        let positions: Vec<usize> = table.iter().map(|row| row.0).collect();
        assert_eq!(positions, [8, 16, 32, 64, 128, 256, 512, 1024], "{printed}");
        // 256 before training; as good at 32 times the training length as at twice.
        let [twice, last] = [3, 7].map(|row: usize| table[row].1);
        assert!(twice < 2.5 && last < 1.1 * twice, "{printed}");
    }
}
