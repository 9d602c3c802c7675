//! The configuration: one file, overridden key by key by environment variables, on top of documented defaults.
//!
//! `config/default.yml` is embedded and *is* the defaults. A load either yields a configuration that the rest of the
//! program need not check again, or all of its faults. Only this module and `cli` read the environment; stages are
//! given their section. Called by `cli`, and by the daemon when it reloads.

mod environments;
mod excerpt;
mod faults;
mod fields;
mod files;
mod log;
mod metrics;
mod metrics_push;
mod otel;
mod otlp;
mod overrides;
mod poll;
mod receiver;
mod redact;
mod server;
mod show;
mod state;
mod state_path;
mod telemetry;
#[cfg(test)]
mod tests;
mod token;
mod traces;
mod unknown_key;
mod values;

pub use environments::{DiscoveryConfig, EnvironmentConfig, WebhookConfig};
pub use faults::{ConfigFault, ConfigFaults, FaultPlace};
pub use files::LoadedFile;
pub use log::{LogConfig, LogFormat};
pub use metrics::MetricsConfig;
pub use metrics_push::MetricsPushConfig;
pub use otlp::{OtlpProtocol, OtlpReceiver, OtlpSignal, OtlpTls};
pub use overrides::CommandLineOption;
pub use poll::PollConfig;
pub use server::ServerConfig;
pub use state::StateConfig;
pub use talkover_settings::duration::{format_duration, parse_duration};
pub use telemetry::TelemetryConfig;
pub use token::{TokenError, TokenSource};
pub use traces::TracesConfig;
pub use values::{parse_address, parse_metrics_path};

use excerpt::SourceText;
use fields::Fields;
use std::collections::{BTreeMap, BTreeSet};
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
    /// The APIs to read. At least one; names are unique.
    pub environments: Vec<EnvironmentConfig>,
    /// How the logs are read.
    pub poll: PollConfig,
    /// What the delivery metrics look like.
    pub metrics: MetricsConfig,
    /// Where metrics are pushed, and how; `None` if they are only scraped.
    pub metrics_push: Option<MetricsPushConfig>,
    /// Whether and where spans are sent.
    pub traces: TracesConfig,
    /// Whether and where the daemon tells of its own work.
    pub telemetry: TelemetryConfig,
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
        let own_spans = self.telemetry.traces.as_ref().map(|receiver| &receiver.tls);
        let of_push = self.metrics_push.iter().map(|push| &push.receiver.tls);
        let tls = std::iter::once(&self.traces.tls).chain(own_spans).chain(of_push);
        let tls = tls.flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]);
        let loaded = self.environments.iter().map(|environment| &environment.ca_file);
        let loaded = loaded.chain(tls).flatten().map(|file| &file.path);
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

/// Where a configuration comes from: a file, and what overrides it.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// The file.
    pub path: PathBuf,
    /// The process's environment: variables override the file, and may hold tokens.
    pub environment: EnvVars,
    /// Options of the command line, which override both.
    pub options: Vec<(CommandLineOption, String)>,
}

impl ConfigSource {
    /// The file at `path`, overridden by `environment` alone.
    pub fn new(path: &Path, environment: &EnvVars) -> Self {
        Self { path: path.to_owned(), environment: environment.clone(), options: Vec::new() }
    }

    /// Reads the file, and the token and certificate files that it names.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(&self) -> Result<Config, ConfigFaults> {
        self.read(CheckExtent::Inputs)
    }

    /// As `load`, and looks also at whether the state file can be where it is to be, without creating anything. A start
    /// finds that out by itself, and a reload must not depend on it.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load_and_examine(&self) -> Result<Config, ConfigFaults> {
        self.read(CheckExtent::State)
    }

    /// What is in force, as YAML that [`ConfigSource::load`] accepts, without secrets.
    ///
    /// # Errors
    /// All faults at once.
    pub fn show(&self) -> Result<String, ConfigFaults> {
        let content = yaml::read(&self.path).map_err(|flaw| failed(&self.path, &[], flaw))?;
        interpret(self, &content, CheckExtent::Inputs).map(|settings| show::text(self, &settings))
    }

    fn read(&self, extent: CheckExtent) -> Result<Config, ConfigFaults> {
        let content = yaml::read(&self.path).map_err(|flaw| failed(&self.path, &[], flaw))?;
        interpret(self, &content, extent).map(|settings| settings.config)
    }
}

/// As [`ConfigSource::load`], of a file's content; `path` only serves to name it in messages.
///
/// # Errors
/// All faults at once.
pub fn parse(path: &Path, content: &[u8], environment: &EnvVars) -> Result<Config, ConfigFaults> {
    interpret(&ConfigSource::new(path, environment), content, CheckExtent::Inputs).map(|settings| settings.config)
}

/// A configuration and what it was made of.
struct LoadedSettings {
    config: Config,
    /// What the file, the variables and the options say.
    given: Table,
    defaults: yaml::Document,
    /// Optional sections that are not given, by their paths.
    absent: BTreeSet<String>,
}

fn interpret(source: &ConfigSource, content: &[u8], extent: CheckExtent) -> Result<LoadedSettings, ConfigFaults> {
    let ConfigSource { path, environment, options } = source;
    let yaml::Document { root: mut given, outline } =
        yaml::parse(content).map_err(|flaw| failed(path, content, flaw))?;
    let defaults = yaml::parse(DEFAULTS.as_bytes()).map_err(|flaw| {
        failed(path, &[], yaml::Flaw { line: None, reason: format!("the embedded config/default.yml: {flaw}") })
    })?;
    let mut faults = ConfigFaults::new(path, SourceText::new(content), outline);
    overrides::apply_variables(&mut given, &defaults.root, environment, &mut faults);
    overrides::apply_options(&mut given, options);
    let config = read(Fields::root(&given, &defaults.root, &mut faults), environment, extent);
    match config {
        Some(config) if faults.is_empty() => {
            let config = Config { warnings: faults.warnings(), ..config };
            Ok(LoadedSettings { config, given, defaults, absent: faults.absent().clone() })
        }
        None if faults.is_empty() => {
            Err(failed(path, &[], yaml::Flaw { line: None, reason: "failed to read the configuration".to_owned() }))
        }
        _ => Err(faults),
    }
}

fn read(mut root: Fields<'_>, environment: &EnvVars, extent: CheckExtent) -> Option<Config> {
    let server = server::read(root.section("server"));
    let requests_per_minute = root.optional("requests_per_minute", values::count(1, u32::MAX));
    let environments = environments::read(&mut root, environment);
    let poll = poll::read(root.section("poll"));
    let metrics = metrics::read(root.section("metrics"), environment);
    let traces = traces::read(root.section("traces"), environment);
    let telemetry = telemetry::read(root.section("telemetry"), environment, traces.as_ref());
    let state = state::read(root.section("state"), extent);
    let log = log::read(root.section("log"));
    root.finish();
    let (metrics, metrics_push) = metrics?;
    Some(Config {
        server: server?,
        requests_per_minute,
        environments: environments?,
        poll: poll?,
        metrics,
        metrics_push,
        traces: traces?,
        telemetry: telemetry?,
        state: state?,
        log: log?,
        warnings: Vec::new(),
    })
}

/// A fault of the file as a whole, which has this content.
fn failed(path: &Path, content: &[u8], flaw: yaml::Flaw) -> ConfigFaults {
    let mut faults = ConfigFaults::new(path, SourceText::new(content), yaml::Outline::default());
    faults.push_flaw(flaw.line, flaw.reason);
    faults
}
