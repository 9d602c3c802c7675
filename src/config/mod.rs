//! The configuration: one file, overridden key by key by environment variables, on top of documented defaults.
//!
//! `config/default.yml` is embedded and *is* the defaults. A load either yields a configuration that the rest of the
//! program need not check again, or all of its faults. Only this module and `cli` read the environment; stages are
//! given their section. Called by `cli`, and by the daemon when it reloads.

mod environments;
mod faults;
mod fields;
mod files;
mod log;
mod metrics;
mod otel;
mod otlp;
mod overrides;
mod poll;
mod server;
mod state;
mod state_path;
#[cfg(test)]
mod tests;
mod token;
mod traces;
mod values;

pub use environments::{DiscoveryConfig, EnvironmentConfig, WebhookConfig};
pub use faults::{ConfigFault, ConfigFaults, FaultPlace};
pub use files::LoadedFile;
pub use log::{LogConfig, LogFormat};
pub use metrics::MetricsConfig;
pub use otlp::TracesProtocol;
pub use poll::PollConfig;
pub use server::ServerConfig;
pub use state::StateConfig;
pub use talkover_settings::duration::{format_duration, parse_duration};
pub use token::{TokenError, TokenSource};
pub use traces::{TracesConfig, TracesTls};
pub use values::parse_address;

use fields::Fields;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use talkover_settings::yaml;

/// A map of the tree: keys as they are written, in no order.
type Table = ::config::Map<String, ::config::Value>;

/// Every key with its default and what it means.
pub const DEFAULTS: &str = include_str!("../../config/default.yml");

/// A snapshot of the process's environment, so that tests need none.
pub type EnvVars = BTreeMap<String, String>;

/// The whole configuration, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Our own listener.
    pub server: ServerConfig,
    /// The most requests in any sliding minute over all environments together. At least 1.
    pub requests_per_minute: Option<u32>,
    /// Whom to ask. At least one; names are unique.
    pub environments: Vec<EnvironmentConfig>,
    /// How the logs are read.
    pub poll: PollConfig,
    /// What the delivery metrics look like.
    pub metrics: MetricsConfig,
    /// Whether and where spans are sent.
    pub traces: TracesConfig,
    /// The durable memory.
    pub state: StateConfig,
    /// What is logged.
    pub log: LogConfig,
    /// What was ignored, and why: a line for each, to be logged or printed.
    pub warnings: Vec<String>,
}

/// How much of what a configuration names is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckExtent {
    /// Files that are only read.
    Inputs,
    /// Also whether the state file can be where it is to be.
    State,
}

impl Config {
    /// The files that it names and that may change while the daemon runs; `web_config_file` names further ones.
    pub fn files(&self) -> Vec<PathBuf> {
        let tls = &self.traces.tls;
        let loaded = self.environments.iter().map(|environment| &environment.ca_file);
        let loaded = loaded.chain([&tls.ca_file, &tls.cert_file, &tls.key_file]).flatten().map(|file| &file.path);
        let tokens = self.environments.iter().filter_map(|environment| environment.token.file());
        loaded.chain(tokens).chain(&self.server.web_config_file).cloned().collect()
    }
}

/// Takes a snapshot of the process's environment. What is no Unicode is replaced, and then refused where it is used.
pub fn capture_environment() -> EnvVars {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// Reads the file at `path`, and the token and certificate files that it names.
///
/// # Errors
/// All faults at once.
pub fn load(path: &Path, environment: &EnvVars) -> Result<Config, ConfigFaults> {
    read_file(path, environment, CheckExtent::Inputs)
}

/// As `load`, and looks also at whether the state file can be where it is to be, without creating anything. A start
/// finds that out by itself, and a reload must not depend on it.
///
/// # Errors
/// All faults at once.
pub fn load_and_examine(path: &Path, environment: &EnvVars) -> Result<Config, ConfigFaults> {
    read_file(path, environment, CheckExtent::State)
}

fn read_file(path: &Path, environment: &EnvVars, extent: CheckExtent) -> Result<Config, ConfigFaults> {
    let document = yaml::load(path).map_err(|flaw| failed(path, flaw))?;
    interpret(path, document, environment, extent)
}

/// As `load`, of a file's content; `path` only serves to name it in messages.
///
/// # Errors
/// All faults at once.
pub fn parse(path: &Path, content: &[u8], environment: &EnvVars) -> Result<Config, ConfigFaults> {
    let document = yaml::parse(content).map_err(|flaw| failed(path, flaw))?;
    interpret(path, document, environment, CheckExtent::Inputs)
}

fn interpret(
    path: &Path,
    document: yaml::Document,
    environment: &EnvVars,
    extent: CheckExtent,
) -> Result<Config, ConfigFaults> {
    let defaults = yaml::parse(DEFAULTS.as_bytes())
        .map_err(|flaw| {
            failed(path, yaml::Flaw { line: None, reason: format!("the embedded config/default.yml: {flaw}") })
        })?
        .root;
    let yaml::Document { root: mut given, outline } = document;
    let mut faults = ConfigFaults::new(path, outline);
    overrides::apply(&mut given, &defaults, environment, &mut faults);
    let config = read(Fields::root(&given, &defaults, &mut faults), environment, extent);
    match config {
        Some(config) if faults.is_empty() => Ok(Config { warnings: faults.warnings(), ..config }),
        None if faults.is_empty() => {
            Err(failed(path, yaml::Flaw { line: None, reason: "failed to read the configuration".to_owned() }))
        }
        _ => Err(faults),
    }
}

fn read(mut root: Fields<'_>, environment: &EnvVars, extent: CheckExtent) -> Option<Config> {
    let server = server::read(root.section("server"));
    let requests_per_minute = root.optional("requests_per_minute", values::count(1, u32::MAX));
    let environments = environments::read(&mut root, environment);
    let poll = poll::read(root.section("poll"));
    let metrics = metrics::read(root.section("metrics"));
    let traces = traces::read(root.section("traces"), environment);
    let state = state::read(root.section("state"), extent);
    let log = log::read(root.section("log"));
    root.finish();
    Some(Config {
        server: server?,
        requests_per_minute,
        environments: environments?,
        poll: poll?,
        metrics: metrics?,
        traces: traces?,
        state: state?,
        log: log?,
        warnings: Vec::new(),
    })
}

/// A fault of the file as a whole.
fn failed(path: &Path, flaw: yaml::Flaw) -> ConfigFaults {
    let mut faults = ConfigFaults::new(path, yaml::Outline::default());
    faults.push_at(FaultPlace::File, flaw.line, flaw.reason);
    faults
}
