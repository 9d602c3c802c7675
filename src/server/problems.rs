//! The problems of a web file, one per line.

use std::fmt::Display;
use std::path::Path;

use talkover_settings::yaml::{self, Outline};

/// The problems found so far.
pub(super) struct Problems {
    file: String,
    pub(super) outline: Outline,
    pub(super) reasons: Vec<String>,
}

impl Problems {
    /// Starts without problems, for the file at `path`.
    pub(super) fn new(path: &Path) -> Self {
        Self { file: path.display().to_string(), outline: Outline::default(), reasons: Vec::new() }
    }

    /// Adds a problem of `key`.
    pub(super) fn add(&mut self, key: &str, reason: impl Display) {
        let flaw = yaml::Flaw { line: self.outline.line_of(key), reason: format!("{key}: {reason}") };
        self.add_flaw(&flaw);
    }

    /// Adds a problem of the file as a whole.
    pub(super) fn add_flaw(&mut self, flaw: &yaml::Flaw) {
        self.reasons.push(flaw.in_file(&self.file));
    }
}
