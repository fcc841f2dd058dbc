//! What is read: a file, or the standard input where a dash stands for it.

use crate::failure::Failure;
use crate::given;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What stands for the standard input.
pub const DASH: &str = "-";

/// What a path is called in messages.
pub fn name(path: &Path) -> String {
    match path == Path::new(DASH) {
        true => "the standard input".into(),
        false => path.display().to_string(),
    }
}

/// Everything in a file or on the standard input, which can be read once.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    static READ: AtomicBool = AtomicBool::new(false);
    let wrong = |why: String| Failure::new(format!("cannot read `{}`: {why}", name(path)));
    if path != Path::new(DASH) {
        return given::bytes(path).map_err(wrong);
    }
    if READ.swap(true, Ordering::Relaxed) {
        return Err(Failure::new(
            "the standard input given twice, expected a file for one of them",
        ));
    }
    let mut all = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut all);
    read.map(|_| all).map_err(|why| wrong(why.to_string()))
}

/// The same as text.
pub fn text(path: &Path) -> Result<String, Failure> {
    let found = given::utf8(bytes(path)?);
    found.map_err(|why| Failure::new(format!("cannot read `{}`: {why}", name(path))))
}
