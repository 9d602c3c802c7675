//! Parses the text of a file to a tree of values, for every YAML file that people write: the configuration, the web
//! file, scenarios.
//!
//! No file may cost more memory or stack than its size justifies, so the parser's events are weighed (`scan`) before
//! the tree is built: aliases stand for copies, and a few hundred bytes of them can stand for more than any machine
//! holds. Knows nothing about keys or their meaning.

mod outline;
mod scan;
#[cfg(test)]
mod tests;

use crate::one_line::on_one_line;
use std::fmt;
use std::path::Path;

use ::config::{FileFormat, Format, Map, Value};

pub use outline::Outline;

use crate::bounded;

/// Four times the size of ten thousand webhooks in a file.
pub const MAX_BYTES: usize = 4 << 20;

/// A document whose root is a map.
#[derive(Debug)]
pub struct Document {
    /// The root's keys, as they are written, in no order.
    pub root: Map<String, Value>,
    /// Where its keys are.
    pub outline: Outline,
}

/// Why a text is not such a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The line, from 1, if it concerns a line.
    pub line: Option<usize>,
    /// What is wrong, without the file and the line.
    pub reason: String,
}

impl Flaw {
    fn at(line: usize, reason: impl Into<String>) -> Self {
        Self { line: Some(line), reason: reason.into() }
    }

    fn whole(reason: impl Into<String>) -> Self {
        Self { line: None, reason: reason.into() }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "line {line}: {}", self.reason),
            None => formatter.write_str(&self.reason),
        }
    }
}

/// Reads and parses the file at `path`.
///
/// # Errors
/// A flaw of the text, or why the file cannot be read.
pub fn load(path: &Path) -> Result<Document, Flaw> {
    parse(&read(path)?)
}

/// Reads the file at `path`.
///
/// # Errors
/// Why it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Flaw> {
    bounded::read(path, MAX_BYTES).map_err(|error| Flaw::whole(format!("failed to read: {error}")))
}

/// Parses a text. An empty text is an empty map.
///
/// # Errors
/// The first flaw in it.
pub fn parse(bytes: &[u8]) -> Result<Document, Flaw> {
    if bytes.len() > MAX_BYTES {
        return Err(Flaw::whole(format!("larger than {} MiB", MAX_BYTES >> 20)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let outline = scan::scan(text)?;
    match FileFormat::Yaml.parse(None, text) {
        Ok(root) => Ok(Document { root, outline }),
        // `scan` has rejected whatever the parser rejects, as far as is known.
        Err(error) => Err(Flaw::whole(format!("not valid YAML: {error}"))),
    }
}

impl Flaw {
    /// The flaw with the name of the file, on one line: `FILE:LINE: reason`.
    pub fn in_file(&self, file: &str) -> String {
        on_one_line(&match self.line {
            Some(line) => format!("{file}:{line}: {}", self.reason),
            None => format!("{file}: {}", self.reason),
        })
    }
}

fn not_utf8(bytes: &[u8], offset: usize) -> Flaw {
    let line = bytes.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
    Flaw::at(line, "is not valid UTF-8")
}
