//! Where a recurrence comes from: a built-in name, a file, or the standard input.

use crate::failure::Failure;
use crate::input;
use baton_ir::builtin;
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{Facts, Port, Recurrence};
use baton_ir::text::nearest;
use baton_ir::{text, verify};
use std::path::Path;

/// The text of a recurrence and what it is called in messages.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file or the built-in name.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Source {
    /// The built-in of this name, or else the file at this path; a dash is the standard input.
    pub fn find(place: &str) -> Result<Source, Failure> {
        if place == input::DASH {
            return Source::file(Path::new(place));
        }
        if builtin::text(place).is_some() || Path::new(place).exists() {
            return Source::builtin(place).or_else(|_| Source::file(Path::new(place)));
        }
        Err(Failure::new(format!(
            "`{place}` is no file and no built-in recurrence; the built-in ones are {}{}",
            builtin::NAMES.join(", "),
            (nearest(place, builtin::NAMES.iter().copied()))
                .map_or(String::new(), |near| format!("; did you mean `{near}`?"))
        )))
    }

    /// What a verb was given as FILE|NAME or by `--file`, of which it takes one.
    pub fn given(place: Option<&str>, file: Option<&Path>) -> Result<Source, Failure> {
        match (place, file) {
            (_, Some(file)) => Source::file(file),
            (Some(place), None) => Source::find(place),
            (None, None) => Err(Failure::new(
                "no recurrence given, expected a file or the name of a built-in one",
            )),
        }
    }

    /// The built-in of this name.
    pub fn builtin(name: &str) -> Result<Source, Failure> {
        let text = builtin::text(name).ok_or_else(|| {
            Failure::new(format!(
                "there is no built-in recurrence `{name}`, only {}",
                builtin::NAMES.join(", ")
            ))
        })?;
        Ok(Source {
            name: name.into(),
            text: text.into(),
        })
    }

    /// The text of a file, or of the standard input.
    pub fn file(path: &Path) -> Result<Source, Failure> {
        Ok(Source {
            name: input::name(path),
            text: input::text(path)?,
        })
    }

    /// The recurrence, if the text parses.
    pub fn parse(&self) -> Result<Recurrence, Failure> {
        text::parse(&self.text).map_err(|diagnostics| self.failure(diagnostics))
    }

    /// The recurrence with its facts, if the text parses and verifies.
    pub fn verify(&self) -> Result<(Recurrence, Facts), Failure> {
        let recurrence = self.parse()?;
        let facts = verify::verify(&recurrence).map_err(|diagnostics| self.failure(diagnostics))?;
        Ok((recurrence, facts))
    }

    /// The failure of a device: one that refuses the recurrence points into the text.
    pub fn refused(&self, error: baton_runtime::Error) -> Failure {
        match error {
            baton_runtime::Error::Invalid(diagnostics) => self.failure(diagnostics),
            error => error.into(),
        }
    }

    /// A failure of this text.
    pub fn failure(&self, diagnostics: Vec<Diagnostic>) -> Failure {
        Failure::Text {
            name: self.name.clone(),
            text: self.text.clone(),
            diagnostics,
        }
    }
}

/// A port as the text says it: `b: [N] per group`.
pub fn port(recurrence: &Recurrence, port: &Port) -> String {
    let dims: Vec<&str> = (port.shape.iter())
        .map(|dim| recurrence.dims[dim.index()].as_str())
        .collect();
    let shared = if port.per_group { " per group" } else { "" };
    format!("{}: [{}]{shared}", port.name, dims.join(", "))
}
