//! What is read: a file, or the standard input where a dash stands for it.

use crate::failure::Failure;
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
    let read = if path != Path::new(DASH) {
        std::fs::read(path)
    } else if READ.swap(true, Ordering::Relaxed) {
        return Err(Failure::new(
            "the standard input given twice, expected a file for one of them",
        ));
    } else {
        let mut all = Vec::new();
        std::io::stdin().lock().read_to_end(&mut all).map(|_| all)
    };
    read.map_err(|why| Failure::new(format!("cannot read `{}`: {why}", name(path))))
}

/// The same as text.
pub fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(bytes(path)?).map_err(|why| {
        let at = why.utf8_error().valid_up_to();
        Failure::new(format!(
            "cannot read `{}`: no UTF-8 from byte {at} on, expected a text",
            name(path)
        ))
    })
}
