//! Reads a scenario from YAML, and reports where each fault is.
//!
//! Used by `simulate`, by the demo and by tests. Reads no environment variables: a scenario is a file.

use std::path::Path;

use config::{ConfigError, Value, ValueKind};

use super::{DEMO_YAML, Scenario, check};
use talkover_settings::yaml::{self, Flaw};

/// Why a scenario cannot be played. The text names the file and the path of the key within it.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read, or is not a tree of keys.
    #[error("{}", flaw.in_file(name))]
    Unusable {
        /// The file.
        name: String,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// A key is unknown, missing, or has a wrong value.
    #[error("{name}: {path}: {reason}")]
    Key {
        /// The file.
        name: String,
        /// The key's path, such as `webhooks[0].rate`.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Scenario {
    /// The scenario in `text`; `name` is the name of the file in errors.
    pub fn from_yaml(text: &str, name: &str) -> Result<Self, ScenarioError> {
        Self::from_document(yaml::parse(text.as_bytes()), name)
    }

    fn from_document(document: Result<yaml::Document, Flaw>, name: &str) -> Result<Self, ScenarioError> {
        let document = document.map_err(|flaw| ScenarioError::Unusable { name: name.to_owned(), flaw })?;
        let value = Value::new(None, ValueKind::Table(document.root));
        let scenario: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let reason = reason(&path, error.into_inner());
            key_error(name, path, reason)
        })?;
        match check::first_fault(&scenario) {
            None => Ok(scenario),
            Some((path, reason)) => Err(key_error(name, path, reason)),
        }
    }

    /// The scenario of the file at `path`.
    pub fn from_file(path: &Path) -> Result<Self, ScenarioError> {
        Self::from_document(yaml::load(path), &path.display().to_string())
    }

    /// The scenario of the demonstration, which is part of the program.
    pub fn demo() -> Result<Self, ScenarioError> {
        Self::from_yaml(DEMO_YAML, "config/scenarios/demo.yml")
    }
}

/// The reason of `error`, which happened at `path`.
fn reason(path: &str, error: ConfigError) -> String {
    match error {
        // Its own text joins the path and the field to one word.
        ConfigError::NotFound(key) => {
            let field = key.strip_prefix(path).unwrap_or(&key).trim_start_matches('.');
            format!("the key `{field}` is missing")
        }
        // Its text may end with the key, which the reason names already.
        other => {
            let text = other.to_string();
            text.split(" for key `").next().unwrap_or(&text).to_owned()
        }
    }
}

fn key_error(name: &str, path: String, reason: String) -> ScenarioError {
    let path = if path == "." { "the file".to_owned() } else { path };
    ScenarioError::Key { name: name.to_owned(), path, reason }
}
