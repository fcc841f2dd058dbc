//! What leaves the process: results on the standard output, errors on the standard error.
//!
//! With `--json` the standard output holds exactly one line of JSON, also when a verb fails, so
//! that a program need not read the standard error. A result that cannot be written is a failure,
//! whether the disk is full or the reader went away.

use crate::failure::Failure;
use crate::numbers;
use baton_data::tokenizer::Tokenizer;
use baton_ir::diag::Diagnostic;
use baton_ir::text::{place, render};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

const RED: &str = "\x1b[1;31m";
const BLUE: &str = "\x1b[34m";
const PLAIN: &str = "\x1b[0m";

/// Where results go, and in which form.
#[derive(Clone, Copy)]
pub struct Output {
    /// One line of JSON instead of text.
    pub json: bool,
}

impl Output {
    /// Writes a result in the form that was asked for.
    pub fn result(
        self,
        value: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.json {
            true => stdout(format!("{}\n", value()).as_bytes()),
            false => stdout(text().as_bytes()),
        }
    }

    /// Says something while the work goes on.
    pub fn note(self, line: &str) {
        stderr(&format!("{line}\n"));
    }

    /// Says what a vocabulary's file asks for and does not get.
    pub fn notes(self, tokenizer: &Tokenizer) {
        if let Some(note) = tokenizer.note() {
            self.note(&note);
        }
    }

    /// The same of a model of so many tokens, and that there is no such file where it should have one.
    pub fn notes_of(self, tokenizer: &Tokenizer, vocabulary: usize) {
        self.notes(tokenizer);
        if let Some(note) = tokenizer.stands_in(vocabulary) {
            self.note(&note);
        }
    }

    /// Writes a failure.
    pub fn failure(self, failure: &Failure) {
        match failure {
            Failure::Text {
                name,
                text: source,
                diagnostics,
            } => match self.json {
                true => {
                    let list: Vec<Value> = diagnostics.iter().map(|d| entry(source, d)).collect();
                    let _ = stdout(format!("{}\n", json!({ "diagnostics": list })).as_bytes());
                }
                false => {
                    let text = render(name, source, diagnostics);
                    let colour =
                        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                    stderr(&if colour { coloured(&text) } else { text });
                }
            },
            Failure::Stopped(_) => {}
            Failure::Message(message) => {
                if self.json {
                    let _ = stdout(format!("{}\n", json!({ "error": message })).as_bytes());
                }
                stderr(&format!("error: {message}\n"));
            }
        }
    }
}

/// A diagnostic as data; lines and columns from 1, columns and lengths in characters.
fn entry(source: &str, diagnostic: &Diagnostic) -> Value {
    let at = place(source, diagnostic.span);
    json!({
        "code": diagnostic.code,
        "message": diagnostic.message,
        "line": at.line,
        "column": at.column,
        "length": at.length,
        "found": diagnostic.found,
        "expected": diagnostic.expected,
        "help": diagnostic.remedy,
    })
}

/// The rendered diagnostics with their titles, gutters and marks in colour.
fn coloured(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let gutter = line
            .find(" | ")
            .filter(|&at| line[..at].chars().all(|c| c == ' ' || c.is_ascii_digit()));
        match gutter {
            _ if line.starts_with("error[") => {
                let end = line.find(':').unwrap_or(line.len());
                out.push_str(&format!("{RED}{}{PLAIN}{}", &line[..end], &line[end..]));
            }
            Some(at) if line[at + 3..].trim_matches('^').trim().is_empty() => {
                out.push_str(&format!(
                    "{BLUE}{}{RED}{}{PLAIN}",
                    &line[..at + 3],
                    &line[at + 3..]
                ));
            }
            Some(at) => {
                out.push_str(&format!(
                    "{BLUE}{}{PLAIN}{}",
                    &line[..at + 3],
                    &line[at + 3..]
                ));
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Writes a piece of a result now.
pub fn stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut stream = io::stdout().lock();
    let written = stream.write_all(bytes).and_then(|()| stream.flush());
    written.map_err(|why| Failure::new(format!("cannot write the standard output: {why}")))
}

/// Whether a person reads the standard output.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints help, the version or what is wrong with the arguments, the last in JSON too where that was asked for, and says
/// how the program ends.
pub fn told(told: &clap::Error, json: bool) -> ExitCode {
    let text = told.render().to_string();
    let plain = numbers::plainly(told).map(|(said, plain)| text.replacen(&said, &plain, 1));
    if json && told.use_stderr() {
        let said = plain.as_ref().unwrap_or(&text).trim();
        let error = said.strip_prefix("error: ").unwrap_or(said);
        let _ = stdout(format!("{}\n", json!({ "error": error })).as_bytes());
    }
    let printed = match plain {
        None => told.print().and_then(|()| io::stdout().flush()),
        Some(plain) => {
            stderr(&plain);
            Ok(())
        }
    };
    match printed {
        Err(why) if !told.use_stderr() => {
            stderr(&format!("error: cannot write the standard output: {why}\n"));
            ExitCode::from(2)
        }
        _ => ExitCode::from(told.exit_code() as u8),
    }
}

fn stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_adds_nothing_but_codes() {
        let text = "error[R012]: no such name\n --> x.rec:3:9\n  |\n3 |     S = T;\n  |         ^\n  = help: declare it\n";
        let shown = coloured(text);
        let stripped = [RED, BLUE, PLAIN]
            .iter()
            .fold(shown.clone(), |text, code| text.replace(code, ""));
        assert_eq!(stripped, text);
        assert!(shown.contains(&format!("{RED}        ^{PLAIN}")));
        assert!(shown.contains(&format!("{RED}error[R012]{PLAIN}")));
    }
}
