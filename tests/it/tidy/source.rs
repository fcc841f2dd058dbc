//! Files as guards see them, and Rust without what guards must not stumble over.
//!
//! A guard is a function over a list of [`File`]s, so that a planted breach is data like any other.
//! It says how many files it looked at: one that looks at none holds nothing. Comments, contents of
//! strings and test modules are blanked rather than cut, so that every place stays where it was.

use std::fs;
use std::path::Path;

/// A file of the repository: its path from the root, its text.
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    pub fn new(path: &str, text: &str) -> File {
        let (path, text) = (path.into(), text.into());
        File { path, text }
    }

    /// Whether it holds nothing but tests, benches and examples.
    pub fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        let folder = |part| matches!(part, "tests" | "benches" | "examples");
        parts.any(folder) || self.path.ends_with("tests.rs")
    }

    /// The text without comments.
    pub fn said(&self) -> String {
        blank(&self.text, false)
    }

    /// The text without comments and contents of strings.
    pub fn code(&self) -> String {
        blank(&self.text, true)
    }

    /// [`File::said`] without what is compiled for tests alone; nothing of a file of tests.
    pub fn said_outside_tests(&self) -> String {
        self.outside_tests(self.said())
    }

    /// [`File::code`] without what is compiled for tests alone; nothing of a file of tests.
    pub fn code_outside_tests(&self) -> String {
        self.outside_tests(self.code())
    }

    fn outside_tests(&self, text: String) -> String {
        if self.is_test() {
            return String::new();
        }
        let mut kept: Vec<char> = text.chars().collect();
        let code: Vec<char> = self.code().chars().collect();
        let mark: Vec<char> = "#[cfg(test)]".chars().collect();
        let mut at = 0;
        while at + mark.len() <= code.len() {
            if code[at..].starts_with(&mark) {
                let end = item_end(&code, at + mark.len());
                kept[at..end].fill(' ');
                at = end;
            } else {
                at += 1;
            }
        }
        kept.into_iter().collect()
    }
}

/// Behind the item that begins at `at`: at its `;`, or at the brace that closes its first one.
fn item_end(code: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < code.len() {
        match code[at] {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// `text` with comments as spaces, and the contents of strings and characters too on request.
fn blank(text: &str, strings: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = chars.clone();
    let mut wipe = |from: usize, to: usize| {
        let to = to.min(chars.len());
        for place in &mut out[from.min(to)..to] {
            *place = if *place == '\n' { '\n' } else { ' ' };
        }
        to
    };
    let find = |from: usize, ends: &dyn Fn(usize) -> bool| {
        (from..chars.len())
            .find(|&at| ends(at))
            .unwrap_or(chars.len())
    };
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        at = match (chars[at], next) {
            ('/', '/') => wipe(at, find(at, &|i| chars[i] == '\n')),
            ('/', '*') => {
                let (mut depth, mut end) = (1, at + 2);
                while depth > 0 && end < chars.len() {
                    match (chars[end], chars.get(end + 1)) {
                        ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
                        ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
                        _ => end += 1,
                    }
                }
                wipe(at, end)
            }
            ('"', _) => {
                let mut end = at + 1;
                while end < chars.len() && chars[end] != '"' {
                    end += if chars[end] == '\\' { 2 } else { 1 };
                }
                if strings {
                    wipe(at + 1, end);
                }
                end + 1
            }
            ('r', '"' | '#') if at == 0 || !word(chars[at - 1]) || chars[at - 1] == 'b' => {
                let hashes = find(at + 1, &|i| chars[i] != '#') - at - 1;
                let open = at + 1 + hashes;
                if chars.get(open) != Some(&'"') {
                    at += 1;
                    continue;
                }
                let closes = |i: usize| {
                    chars[i] == '"' && (1..=hashes).all(|step| chars.get(i + step) == Some(&'#'))
                };
                let end = find(open + 1, &closes);
                if strings {
                    wipe(open + 1, end);
                }
                end + 1 + hashes
            }
            ('\'', '\\') => find(at + 3, &|i| chars[i] == '\'') + 1,
            // A character, and no lifetime.
            ('\'', _) if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => at + 1,
        };
    }
    out.into_iter().collect()
}

/// Every file of the repository that guards read, without what is built.
pub fn tree() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = vec![];
    collect(&root, "", &mut found);
    found
}

fn collect(folder: &Path, path: &str, found: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut entries: Vec<_> = (entries.map(|entry| entry.expect("a readable folder").path()))
        .filter_map(|entry| Some((entry.file_name()?.to_str()?.to_owned(), entry)))
        .collect();
    entries.sort();
    for (name, entry) in entries {
        let path = match path {
            "" => name.clone(),
            _ => format!("{path}/{name}"),
        };
        if entry.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&entry, &path, found);
        } else if [".rs", ".toml", ".md"].iter().any(|e| name.ends_with(e)) {
            let text = fs::read_to_string(&entry);
            let text = text.unwrap_or_else(|why| panic!("{path}: {why}"));
            found.push(File { path, text });
        }
    }
}

#[test]
fn code_is_what_is_neither_comment_nor_string_nor_test() {
    let file = |text: &str| File::new("a.rs", text);
    let url = file("let a = \"http://x\"; use b; // c\nlet d = '\"'; e /* f /* g */ h */ i");
    assert_eq!(
        url.code(),
        "let a = \"        \"; use b;     \nlet d = '\"'; e                   i"
    );
    assert!(url.said().contains("http://x\"; use b;"));
    let raw = file("r#\"// \" \"# + 'a' + b::<'static>(\"\\\"//\") + c");
    assert_eq!(
        raw.code(),
        "r#\"     \"# + 'a' + b::<'static>(\"    \") + c"
    );
    let tests = file("a;\n#[cfg(test)]\nmod tests { fn b() { \"}\"; } }\nfn c() {}");
    let kept = tests.said_outside_tests();
    assert!(kept.starts_with("a;") && kept.ends_with("fn c() {}") && !kept.contains("mod"));
    let apart = file("#[cfg(test)]\nmod tests;\nfn c() {}");
    assert!(apart.code_outside_tests().trim() == "fn c() {}");
    assert_eq!(File::new("x/tests.rs", "a").code_outside_tests(), "");
}
