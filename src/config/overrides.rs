//! What sets a key beside the file: environment variables, such as `TALKOVER_EXPORTER__POLL__MIN_INTERVAL=10s`, and
//! before them the options of the command line.
//!
//! The embedded defaults serve as the list of keys. Values enter the tree as text with the name of the variable or the
//! option as their origin, so that a fault of the value names it. Lists are never reached into.

use super::EnvVars;
use super::Table;
use super::faults::{ConfigFaults, FaultPlace};
use super::unknown_key::unknown_key;
use ::config::{Value, ValueKind};

/// Two underscores at its end: Kubernetes sets `TALKOVER_EXPORTER_PORT` for a service of our name, and that is not
/// ours.
const PREFIX: &str = "TALKOVER_EXPORTER__";
const SEPARATOR: &str = "__";

/// The maps with free keys: their paths, below which a variable names an entry.
const FREE_MAPS: [&[&str]; 3] = [&["traces", "headers"], &["metrics", "otlp", "headers"], &["telemetry", "headers"]];

/// An option of the command line that sets a key, as exporters built on Prometheus's exporter-toolkit have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLineOption {
    /// `--web.listen-address`
    ListenAddress,
    /// `--web.config.file`
    WebConfigFile,
    /// `--web.telemetry-path`
    TelemetryPath,
}

impl CommandLineOption {
    /// As it is given.
    fn name(self) -> &'static str {
        match self {
            Self::ListenAddress => "--web.listen-address",
            Self::WebConfigFile => "--web.config.file",
            Self::TelemetryPath => "--web.telemetry-path",
        }
    }

    /// The key of the section `server` that it sets.
    fn key(self) -> &'static str {
        match self {
            Self::ListenAddress => "listen",
            Self::WebConfigFile => "web_config_file",
            Self::TelemetryPath => "metrics_path",
        }
    }
}

/// Where the value with this origin comes from: the name of an option, or that of a variable.
pub(super) fn place_of(origin: &str) -> FaultPlace {
    let name = origin.to_owned();
    if origin.starts_with("--") { FaultPlace::Option(name) } else { FaultPlace::Variable(name) }
}

/// Sets in `given` what the options say, whatever else sets it.
pub(super) fn apply_options(given: &mut Table, options: &[(CommandLineOption, String)]) {
    for (option, value) in options {
        let origin = option.name().to_owned();
        set(given, &["server".to_owned(), option.key().to_owned()], Value::new(Some(&origin), value.as_str()));
    }
}

/// Sets in `given` what the variables say.
pub(super) fn apply_variables(given: &mut Table, defaults: &Table, environment: &EnvVars, faults: &mut ConfigFaults) {
    for (variable, value) in environment {
        let Some(rest) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        let segments: Vec<String> = rest.split(SEPARATOR).map(str::to_lowercase).collect();
        match resolve(&segments, defaults) {
            Ok(path) => set(given, &path, Value::new(Some(variable), value.as_str())),
            Err(reason) => faults.push(FaultPlace::Variable(variable.clone()), reason),
        }
    }
}

/// The path of the scalar that the segments name.
fn resolve(segments: &[String], defaults: &Table) -> Result<Vec<String>, String> {
    for map in FREE_MAPS {
        if segments.len() >= map.len() && segments.iter().zip(map).all(|(segment, part)| segment == part) {
            return free_entry(map, &segments[map.len()..]);
        }
    }
    if segments.iter().all(String::is_empty) {
        return Err("names no key".to_owned());
    }
    let mut table = defaults;
    for (index, segment) in segments.iter().enumerate() {
        let path = segments.iter().take(index + 1).map(String::as_str).collect::<Vec<_>>().join(".");
        let last = index + 1 == segments.len();
        let Some(value) = table.get(segment) else {
            return Err(format!("`{path}`: {}", unknown_key(segment, table.keys().map(String::as_str))));
        };
        match &value.kind {
            ValueKind::Array(_) => {
                return Err(format!("reaches into the list `{path}`: lists can only be set in the file"));
            }
            ValueKind::Table(_) if last => {
                return Err(format!("`{path}` is a section: name a key in it"));
            }
            ValueKind::Table(section) => table = section,
            _ if last => return Ok(segments.to_vec()),
            _ => {
                return Err(format!("`{path}` is a single value: there is nothing below it"));
            }
        }
    }
    Err("names no key".to_owned())
}

/// A header's name: variables cannot hold hyphens, so underscores stand for them.
fn free_entry(map: &[&str], segments: &[String]) -> Result<Vec<String>, String> {
    let name = segments.join(SEPARATOR).replace('_', "-");
    if name.is_empty() {
        return Err(format!("`{}` is a map: append two underscores and a header's name", map.join(".")));
    }
    Ok(map.iter().map(|part| (*part).to_owned()).chain([name]).collect())
}

/// Puts the value at the path. Where the file has something else than a section on the way, that is a fault of the
/// file, which its reader reports.
pub(super) fn set(table: &mut Table, path: &[String], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.insert(key.clone(), value);
        return;
    }
    let section = table.entry(key.clone()).or_insert_with(|| Value::new(None, ValueKind::Nil));
    if section.kind == ValueKind::Nil {
        section.kind = ValueKind::Table(Table::new());
    }
    if let ValueKind::Table(section) = &mut section.kind {
        set(section, rest, value);
    }
}
