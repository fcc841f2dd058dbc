//! Why a verb did not do what was asked.

use baton_ir::diag::Diagnostic;
use std::process::ExitCode;

/// The one error of the command line.
#[derive(Debug)]
pub enum Failure {
    /// A recurrence that does not parse or verify.
    Text {
        /// The file or the built-in name.
        name: String,
        /// The text.
        text: String,
        /// Everything that is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
    /// A signal asked for an end, and there was one in good order: nothing is left to say.
    Stopped(i32),
    /// Anything else, in one sentence that names what was given and what was expected.
    Message(String),
}

impl Failure {
    /// A failure with a message.
    pub fn new(message: impl Into<String>) -> Self {
        Failure::Message(message.into())
    }

    /// Whether it is an end in good order, which was asked for.
    pub fn is_stop(&self) -> bool {
        matches!(self, Failure::Stopped(_))
    }

    /// Ends the program's work: the exit code, or after a signal the end that it makes by itself, so
    /// that a shell knows and ends its loop too.
    pub fn code(&self) -> ExitCode {
        match self {
            Failure::Text { .. } => ExitCode::from(1),
            Failure::Message(_) => ExitCode::from(2),
            Failure::Stopped(signal) => {
                let _ = signal_hook::low_level::emulate_default_handler(*signal);
                ExitCode::from(128 + *signal as u8)
            }
        }
    }
}

impl From<baton_runtime::Error> for Failure {
    fn from(error: baton_runtime::Error) -> Self {
        Failure::Message(error.to_string())
    }
}

impl From<baton_train::Error> for Failure {
    fn from(error: baton_train::Error) -> Self {
        match error {
            baton_train::Error::Text {
                name,
                text,
                diagnostics,
            } => Failure::Text {
                name,
                text,
                diagnostics,
            },
            error => Failure::Message(error.to_string()),
        }
    }
}

impl From<baton_data::Error> for Failure {
    fn from(error: baton_data::Error) -> Self {
        baton_train::Error::from(error).into()
    }
}

impl From<baton_config::Error> for Failure {
    fn from(error: baton_config::Error) -> Self {
        baton_train::Error::from(error).into()
    }
}

impl From<baton_tune::Error> for Failure {
    fn from(error: baton_tune::Error) -> Self {
        Failure::Message(error.to_string())
    }
}
