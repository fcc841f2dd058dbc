//! Settings of a port in one line: `conv=4,act=silu,norm=l2`.
//!
//! The line is what the command line takes and what a configuration stores. It is laid over what
//! stands already, key by key; `plain` takes everything away before it goes on. A line that is
//! written begins with `plain`, so that it says all there is, whatever a later program's defaults are.

use crate::Error;
use std::fmt;
use std::str::FromStr;

/// Settings of one role.
pub(super) trait Settings: Sized + Default {
    /// What the role is called.
    const ROLE: &'static str;
    /// The keys that it knows.
    const KEYS: &'static str;

    /// Takes one setting; `None` is a key that it does not know.
    fn set(&mut self, key: &str, value: &Text<'_>) -> Option<Result<(), Error>>;

    /// What stands with `line` laid over it; `port` is whose it is.
    fn with(mut self, port: &str, line: &str) -> Result<Self, Error> {
        let entries = line.split(',').map(str::trim).filter(|e| !e.is_empty());
        for entry in entries {
            let (key, text) = match entry.split_once('=') {
                Some((key, text)) => (key.trim(), Some(text.trim())),
                None => (entry, None),
            };
            if (key, text) == ("plain", None) {
                self = Self::default();
                continue;
            }
            let value = Text { port, key, text };
            self.set(key, &value).unwrap_or_else(|| {
                let (role, keys) = (Self::ROLE, Self::KEYS);
                Err(Error::Config(format!(
                    "`{key}` given for the {role} `{port}`, expected of plain, {keys}"
                )))
            })?;
        }
        Ok(self)
    }
}

/// The value of a setting, and whose it is.
pub(super) struct Text<'a> {
    port: &'a str,
    key: &'a str,
    text: Option<&'a str>,
}

impl Text<'_> {
    fn wrong(&self, expected: impl fmt::Display) -> Error {
        let Text { port, key, text } = self;
        let given = text.map_or("nothing".into(), |text| format!("`{text}`"));
        Error::Config(format!(
            "{given} given as {key} of `{port}`, expected {expected}"
        ))
    }

    /// `none` takes the setting away.
    pub fn or_none<T>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.text {
            Some("none") => Ok(None),
            _ => read(self).map(Some),
        }
    }

    fn parse<T: FromStr>(&self, expected: &str, fits: impl Fn(&T) -> bool) -> Result<T, Error> {
        let parsed = self.text.and_then(|text| text.parse().ok());
        parsed.filter(fits).ok_or_else(|| self.wrong(expected))
    }

    pub fn size(&self) -> Result<usize, Error> {
        self.parse("a whole number from 1 on, or none", |size| {
            (1..1 << 24).contains(size)
        })
    }

    pub fn number(&self) -> Result<f64, Error> {
        self.parse("a number", |x: &f64| x.is_finite())
    }

    pub fn positive(&self) -> Result<f64, Error> {
        self.parse("a number from 0 on", |x: &f64| x.is_finite() && *x >= 0.0)
    }

    /// `FROM..TO`.
    pub fn range(&self) -> Result<[f64; 2], Error> {
        let ends = self.text.and_then(|text| text.split_once(".."));
        let ends = ends.map(|(from, to)| [from.trim().parse(), to.trim().parse()]);
        match ends {
            Some([Ok(from), Ok(to)]) if f64::is_finite(from) && f64::is_finite(to) => {
                Ok([from, to])
            }
            _ => Err(self.wrong("a range as -1..1")),
        }
    }

    /// A number or a range.
    pub fn ramp(&self) -> Result<[f64; 2], Error> {
        match self.text {
            None => Ok([0.0; 2]),
            Some(text) if text.contains("..") => self.range(),
            Some(_) => Ok([self.number()?; 2]),
        }
    }

    pub fn name(&self) -> Result<String, Error> {
        self.parse("a name", |name: &String| {
            let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !name.is_empty() && name.chars().all(letter)
        })
    }

    pub fn one_of<T: Copy>(&self, all: &[(&str, T)]) -> Result<T, Error> {
        let found = all.iter().find(|(name, _)| Some(*name) == self.text);
        found.map(|(_, it)| *it).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            self.wrong(format!("{} or none", names.join(", ")))
        })
    }

    pub fn flag(&self) -> Result<bool, Error> {
        match self.text {
            None => Ok(true),
            Some(_) => Err(self.wrong("the word alone")),
        }
    }
}

/// Puts what was read into its place.
pub(super) fn put<T>(place: &mut T, read: Result<T, Error>) -> Option<Result<(), Error>> {
    Some(read.map(|value| *place = value))
}

/// Writes `plain` and what there is.
pub(super) fn line(f: &mut fmt::Formatter<'_>, entries: &[(&str, Option<String>)]) -> fmt::Result {
    f.write_str("plain")?;
    for (key, value) in entries {
        match value.as_deref() {
            Some("") => write!(f, ",{key}")?,
            Some(value) => write!(f, ",{key}={value}")?,
            None => {}
        }
    }
    Ok(())
}
