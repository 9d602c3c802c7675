//! What is wrong with a web file, line by line.

use std::fmt::Display;
use std::path::Path;

use talkover_settings::yaml::{self, Outline};

/// What was found wrong so far.
pub(super) struct Problems {
    file: String,
    pub(super) outline: Outline,
    pub(super) reasons: Vec<String>,
}

impl Problems {
    /// Of the file at `path`, of which nothing is known yet.
    pub(super) fn new(path: &Path) -> Self {
        Self { file: path.display().to_string(), outline: Outline::default(), reasons: Vec::new() }
    }

    /// Adds one of `key`.
    pub(super) fn add(&mut self, key: &str, reason: impl Display) {
        let flaw = yaml::Flaw { line: self.outline.line_of(key), reason: format!("{key}: {reason}") };
        self.add_flaw(&flaw);
    }

    /// Adds one of the file as a whole.
    pub(super) fn add_flaw(&mut self, flaw: &yaml::Flaw) {
        self.reasons.push(flaw.in_file(&self.file));
    }
}
