//! The grammar of the command line, for clap. Each command has its own file.

use crate::build_info::{REVISION, RUSTVERSION, VERSION};
use crate::config::{CommandLineOption, parse_address, parse_duration, parse_metrics_path};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

static VERSION_LINE: LazyLock<String> =
    LazyLock::new(|| format!("{VERSION} (revision {REVISION}, rustc {RUSTVERSION})"));

/// Exports the delivery logs of TalkOver webhooks as Prometheus metrics. Every attempt is counted exactly once.
#[derive(Debug, Parser)]
#[command(name = "talkover-exporter", version = VERSION_LINE.as_str(), propagate_version = true)]
#[command(args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed while running, 2 the command line or the configuration is wrong.")]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// The options of `run`, which is run if no command is given.
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon (the default with `--config FILE`)
    Run(RunArgs),
    /// Run the whole product on simulated deliveries: no token and no network needed
    Demo(DemoArgs),
    /// Serve only the simulated TalkOver API
    Simulate(SimulateArgs),
    /// Validate a configuration file and report every fault; with `--online` also test it against the API
    Check(CheckArgs),
    /// Audit the state file: read part of the log again, compare every entry and all sums
    Verify(VerifyArgs),
    /// Print the settings in force, or all settings with explanations and defaults
    Config(ShowConfigArgs),
    /// Write past deliveries as OpenMetrics text, which promtool turns into Prometheus blocks
    History(HistoryArgs),
    /// Export the whole state to a file, or import it
    State(StateArgs),
    /// Write the bundled Grafana dashboards, Prometheus rules and provisioning files
    Dashboards(DashboardsArgs),
    /// Ask a running daemon whether it is alive: for containers without curl
    Healthcheck(HealthcheckArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, as roff
    Man,
}

/// Which configuration file a command reads.
#[derive(Clone, Debug, Args)]
pub struct ConfigFile {
    /// The configuration file [env: TALKOVER_EXPORTER_CONFIG]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub path: Option<PathBuf>,
}

/// The options of `run`.
#[derive(Debug, Args)]
#[command(after_help = "The --web options are those of other exporters. They override the file and the environment \
variables.\n\n\
If systemd passes a socket (LISTEN_FDS), the daemon serves on that socket and ignores the address.\n\n\
SIGTERM and SIGINT stop the daemon within 5 seconds, and nothing is lost. SIGHUP reloads the configuration, and so \
does a change of the file. A file with faults is refused, and the log says why.")]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub web: WebArgs,
}

/// The options that all exporters built on Prometheus's exporter-toolkit share. Each sets a key of the configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct WebArgs {
    /// The address to listen on, such as :9877 or localhost:9877; sets server.listen
    #[arg(long = "web.listen-address", value_name = "ADDR", value_parser = parse_address)]
    pub listen_address: Option<SocketAddr>,
    /// The file with TLS and basic auth, in exporter-toolkit's format; sets server.web_config_file
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// The path of the metrics instead of /metrics; sets server.metrics_path
    #[arg(long = "web.telemetry-path", value_name = "PATH", value_parser = parse_metrics_path)]
    pub telemetry_path: Option<String>,
}

impl WebArgs {
    /// What these options override.
    pub(super) fn overrides(&self) -> Vec<(CommandLineOption, String)> {
        let listen = self.listen_address.map(|address| address.to_string());
        let file = self.config_file.as_ref().map(|path| path.display().to_string());
        let given = [
            (CommandLineOption::ListenAddress, listen),
            (CommandLineOption::WebConfigFile, file),
            (CommandLineOption::TelemetryPath, self.telemetry_path.clone()),
        ];
        given.into_iter().filter_map(|(option, value)| Some((option, value?))).collect()
    }
}

/// The options of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = "With --online it reads the lists that discovery uses, and the first page of up to 20 logs, within \
the daemon's request budget. It prints the webhooks found, the rate limit, the requests per minute that the settings \
need, how fresh the metrics will be, how many series to expect, and how long the first reading will take.\n\n\
Exit codes: 0 all is well, 1 the API or a webhook named in the file cannot be read, 2 the configuration is wrong."
)]
pub struct CheckArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    /// Also send requests to the API
    #[arg(long)]
    pub online: bool,
    /// Print the result as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The options of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Prints a summary, then what is missing, doubled or different, by webhook and with ids. Entries that \
changed after they were counted, or that the next poll or sweep will read, are counted separately and are no faults; \
--json lists them. It may run beside the daemon: it only reads the state file, and shares the daemon's request budget.\
\n\n\
Exit codes: 0 nothing is wrong, 1 something is wrong or the audit failed, 2 the command line or the configuration is \
wrong."
)]
pub struct VerifyArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    /// How far back to read the log, such as 90m, 24h or 7d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub since: Duration,
    /// Print the result as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The options of `config`.
#[derive(Debug, Args)]
#[command(
    after_help = "With a file (--config or TALKOVER_EXPORTER_CONFIG) it prints the settings in force: the file, \
overrides by environment variables, and defaults for the rest. Without a file it prints all defaults, each with its \
explanation. Both are YAML. Secrets (header values, passwords in URLs, tokens) are not printed."
)]
pub struct ShowConfigArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    /// Print the defaults even if there is a file
    #[arg(long)]
    pub defaults: bool,
}

/// The options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "For example:\n  talkover-exporter completions bash > /etc/bash_completion.d/talkover-exporter")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// A shell that completions can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "they are names")]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The options of `history`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads the logs of all webhooks within the request budget, and keeps what it has read in FILE.resume: \
after an interruption, run the same command again to continue. Then `promtool tsdb create-blocks-from openmetrics FILE \
DIR` makes blocks for Prometheus.\n\n\
If there is a state file, the samples of each webhook end where the daemon's own counters begin, with a reset to 0.\n\
\nExit codes: 0 done, 1 something could not be read or written, or --seed-state found a state file, 2 the command line \
or the configuration is wrong."
)]
pub struct HistoryArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    /// How far back to read the logs, such as 24h or 30d
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration)]
    pub since: Duration,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Before the first start of the daemon: also make a state with these totals, so that its counters continue from
    /// the last sample
    #[arg(long)]
    pub seed_state: bool,
}

/// The options of `state`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct StateArgs {
    #[command(subcommand)]
    pub(super) command: StateCommand,
}

/// What to do with the state.
#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Copy the whole state to a new file; consistent even while the daemon runs
    #[command(
        after_help = "The copy is one file with everything that a daemon needs to continue. An existing file is not \
overwritten."
    )]
    Export(StateCopyArgs),
    /// Make the state from a file that `state export` has written
    #[command(
        after_help = "The file is checked first. An existing state is not overwritten: move it away before. The daemon \
then reads what happened since the copy was made, and counts it as new."
    )]
    Import(StateCopyArgs),
}

/// The state and its copy.
#[derive(Debug, Args)]
pub(super) struct StateCopyArgs {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// The exported file
    #[arg(value_name = "FILE2")]
    pub(super) file: PathBuf,
}

/// The options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The address that the exporter listens on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9877", value_parser = parse_address)]
    pub listen: SocketAddr,
}

/// The options of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The address that the simulated API listens on
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub listen: SocketAddr,
    /// A scenario: the webhooks, deliveries and faults to simulate
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// The random seed: the same seed gives the same deliveries
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// The options of `dashboards`.
#[derive(Debug, Args)]
#[command(
    after_help = "Writes the dashboards (*.json), Prometheus rules below rules/ and Grafana's provisioning files below \
provisioning/, and prints their names. Files of the same name are replaced, others are left alone. The daemon serves \
the dashboards and rules at /dashboards/ and /rules/ too."
)]
pub struct DashboardsArgs {
    /// The directory to write to; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
}

/// The options of `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// The daemon's base URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9877")]
    pub url: String,
    /// Ask whether it is ready to be scraped, not only alive
    #[arg(long)]
    pub ready: bool,
}
