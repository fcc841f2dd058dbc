//! Spans as a person counts them: lines and columns from 1; and the one rendering of diagnostics.

use crate::diag::Diagnostic;
use crate::span::Span;
use std::fmt::Write;

/// Where a span starts and how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters.
    pub length: usize,
}

/// The place of `span` in `source`; a span outside the text ends at the text's end.
pub fn place(source: &str, span: Span) -> Place {
    let inside = |at: u32| {
        let mut at = (at as usize).min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (inside(span.start), inside(span.end.max(span.start)));
    let line_start = source[..start].rfind('\n').map_or(0, |i| i + 1);
    Place {
        line: source[..start].matches('\n').count() + 1,
        column: source[line_start..start].chars().count() + 1,
        length: source[start..end].chars().count(),
    }
}

/// The most characters of a line that are shown.
const SHOWN: usize = 160;

/// A line, or of a long one what stands around its character `at`; and where that character is in it.
fn around(line: &str, at: usize) -> (String, usize) {
    let length = line.chars().count();
    if length <= SHOWN {
        return (line.into(), at);
    }
    let from = at.saturating_sub(SHOWN / 4).min(length - SHOWN);
    let shown: String = line.chars().skip(from).take(SHOWN).collect();
    let before = if from > 0 { ".. " } else { "" };
    let after = if from + SHOWN < length { " .." } else { "" };
    (format!("{before}{shown}{after}"), at - from + before.len())
}

/// The diagnostics with their source lines, for a terminal; `name` is what the text is called.
pub fn render(name: &str, source: &str, diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let Place {
            line,
            column,
            length,
        } = place(source, diagnostic.span);
        let text = source.lines().nth(line - 1).unwrap_or("");
        let (text, before) = around(text, column - 1);
        let room = text.chars().count().saturating_sub(before);
        let marks = "^".repeat(length.min(room).max(1));
        let gutter = " ".repeat(line.to_string().len());
        let indent: String = text
            .chars()
            .take(before)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let Diagnostic { code, message, .. } = diagnostic;
        let _ = writeln!(out, "error[{code}]: {message}");
        let _ = writeln!(out, "{gutter}--> {name}:{line}:{column}");
        let _ = writeln!(out, "{gutter} |");
        let _ = writeln!(out, "{line} | {text}");
        let _ = writeln!(out, "{gutter} | {indent}{marks}");
        for (title, text) in diagnostic.notes() {
            let _ = writeln!(out, "{gutter} = {title}: {text}");
        }
        out.push('\n');
    }
    out
}
