//! One kind of diagnostic for every level and both front ends.
//!
//! A [`Diagnostic`] is data: what was found, what was expected, where, and what to do. Rendering
//! with source lines is `crate::text::render`, token spans are the macro's business.

use crate::span::Span;
use std::fmt;

/// An error in a program, with the place and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, such as `R012`; listed in docs/language.md.
    pub code: &'static str,
    /// One lower-case sentence.
    pub message: String,
    /// The exact place.
    pub span: Span,
    /// What stood there.
    pub found: Option<String>,
    /// What could have stood there.
    pub expected: Option<String>,
    /// What to write instead.
    pub remedy: Option<String>,
}

impl Diagnostic {
    /// A diagnostic with only code, message and place.
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            span,
            found: None,
            expected: None,
            remedy: None,
        }
    }

    /// Adds what was found.
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Adds what was expected.
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Adds what to do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// What was found, what was expected and what helps, each with its title; absent ones left out.
    pub fn notes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("found", &self.found),
            ("expected", &self.expected),
            ("help", &self.remedy),
        ]
        .into_iter()
        .filter_map(|(title, text)| text.as_deref().map(|text| (title, text)))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)?;
        for (title, text) in self.notes() {
            write!(f, "\n  {title}: {text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
