//! The command line's grammar, for clap. What the commands do stands in their own files.

use crate::build_info::{REVISION, RUSTVERSION, VERSION};
use crate::config::{CommandLineOption, parse_address, parse_duration, parse_metrics_path};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

static VERSION_LINE: LazyLock<String> =
    LazyLock::new(|| format!("{VERSION} (revision {REVISION}, rustc {RUSTVERSION})"));

/// Exports the delivery logs of TalkOver webhooks as Prometheus metrics: every attempt counted exactly once.
#[derive(Debug, Parser)]
#[command(name = "talkover-exporter", version = VERSION_LINE.as_str(), propagate_version = true)]
#[command(args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed while running, 2 the command line or the configuration is wrong.")]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// Without a command: what `run` takes.
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon; so does `--config FILE` without a command
    Run(RunArgs),
    /// Show the whole product with simulated deliveries: no token and no network needed
    Demo(DemoArgs),
    /// Serve only the simulated TalkOver API
    Simulate(SimulateArgs),
    /// Validate a configuration file, naming every fault; with `--online` also ask the API what the settings come to
    Check(CheckArgs),
    /// Audit the state file: read a stretch of the log again, compare it entry by entry and in sums
    Verify(VerifyArgs),
    /// Print every setting with its explanation and default, or the settings that are in force
    Config(ShowConfigArgs),
    /// Write the retained past as OpenMetrics text, for promtool to make blocks of
    History(HistoryArgs),
    /// Copy the whole state to a file, or from one
    State(StateArgs),
    /// Write the bundled Grafana dashboards, Prometheus rules and provisioning files
    Dashboards(DashboardsArgs),
    /// Ask a daemon whether it is alive: for containers without curl
    Healthcheck(HealthcheckArgs),
    /// Print the completions of a shell
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

/// What `run` needs.
#[derive(Debug, Args)]
#[command(
    after_help = "The --web options are those of other exporters. They override the file and the environment variables.\n\n\
Where systemd passes a socket (LISTEN_FDS), the daemon serves on that one, and no address is taken.\n\n\
SIGTERM and SIGINT stop it within 5 seconds, and nothing is lost. SIGHUP reads the configuration again, as does a change of the \
file; one with faults is refused, and the log says why."
)]
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
    /// Where to listen, such as :9877 or localhost:9877; sets server.listen
    #[arg(long = "web.listen-address", value_name = "ADDR", value_parser = parse_address)]
    pub listen_address: Option<SocketAddr>,
    /// TLS and basic auth, in exporter-toolkit's format; sets server.web_config_file
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Where the metrics are served, if not at /metrics; sets server.metrics_path
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
    after_help = "With --online it reads the lists that discovery searches and the first page of up to 20 logs, within the \
budget that the daemon draws from, and prints webhooks found, rate limit, requests a minute needed, freshness, number of series, \
and how long the first reading will take.\n\n\
Exit codes: 0 all is well, 1 the API could not be asked, 2 the configuration is wrong."
)]
pub struct CheckArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    /// Ask the API, too
    #[arg(long)]
    pub online: bool,
    /// Print the result as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The options of `verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Prints a summary, then what is missing, doubled or different, by webhook and with ids. What changed after \
it was counted, and what the next poll or sweep reads, is counted apart and is no fault; --json lists it. It may run beside the \
daemon: it only reads the state file, and its requests come out of the same budget.\n\nExit codes: 0 nothing is wrong, 1 something \
is, or the audit failed, 2 the command line or the configuration is wrong."
)]
pub struct VerifyArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    /// How far back the log is read, such as 90m, 24h or 7d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub since: Duration,
    /// Print the result as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The options of `config`.
#[derive(Debug, Args)]
#[command(
    after_help = "With a file, whether by --config or by TALKOVER_EXPORTER_CONFIG, it prints the settings in force: the file, \
what environment variables override, and the defaults of the rest. Without one it prints the defaults, each with its \
explanation. Either is YAML. Secrets are not printed: values of headers, passwords in URLs, tokens."
)]
pub struct ShowConfigArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    /// Print the defaults, whatever file there is
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

/// A shell with completions.
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
    after_help = "Reads the logs of all webhooks within the request budget, and keeps what it has read in FILE.resume: run the \
same command again to go on after an interruption. Then `promtool tsdb create-blocks-from openmetrics FILE DIR` makes blocks \
for Prometheus.\n\nWhere a state file exists, the samples of a webhook end where the daemon's own counters begin, with a reset \
to 0.\n\nExit codes: 0 done, 1 something could not be read or written, or --seed-state found a state file, 2 the command line or \
the configuration is wrong."
)]
pub struct HistoryArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the help of the group")]
    pub config: ConfigFile,
    /// How far back the logs are read, such as 24h or 30d
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration)]
    pub since: Duration,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Before the first start: let the state begin with these totals, so that the counters go on from the last sample
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

/// What is done with the state.
#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Copy the whole state to a new file, consistent while the daemon runs
    #[command(
        after_help = "The copy is one file, and holds everything that a daemon needs to go on. A file that exists is not \
overwritten."
    )]
    Export(StateCopyArgs),
    /// Let the state begin with a file that `state export` has written
    #[command(
        after_help = "The file is checked first. A state that exists is not overwritten: move it away. What happened since \
the copy was made is read again, and counts as new."
    )]
    Import(StateCopyArgs),
}

/// From where, and to where.
#[derive(Debug, Args)]
pub(super) struct StateCopyArgs {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// The copy
    #[arg(value_name = "FILE2")]
    pub(super) file: PathBuf,
}

/// The options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where to serve the exporter
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9877", value_parser = parse_address)]
    pub listen: SocketAddr,
}

/// The options of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Where to serve the simulated API
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub listen: SocketAddr,
    /// What happens in the simulated world
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// The seed of its random numbers: the same seed, the same deliveries
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// The options of `dashboards`.
#[derive(Debug, Args)]
#[command(
    after_help = "Writes the dashboards (*.json), and below rules/ and provisioning/ what Prometheus and Grafana load beside \
them, and prints their names. Files of the same name are replaced, others are left alone. A daemon serves the same files at \
/dashboards/ and /rules/."
)]
pub struct DashboardsArgs {
    /// The directory to write to; it is made where there is none
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
