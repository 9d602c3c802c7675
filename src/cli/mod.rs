//! The commands: parses the command line, loads the configuration if a command needs it, and calls the command.
//!
//! Results go to stdout; if its reader closes it early, that is no error. Failures become messages and an exit code in
//! `main`; nothing here ends the process.

mod args;
mod asker;
mod check;
mod completions;
mod dashboards;
mod demo;
mod find_webhooks;
mod healthcheck;
mod history;
mod run;
mod show_config;
mod simulate;
mod state;
mod verify;

pub use args::{
    CheckArgs, CompletionsArgs, ConfigFile, DashboardsArgs, DemoArgs, HealthcheckArgs, HistoryArgs, RunArgs, Shell,
    ShowConfigArgs, SimulateArgs, VerifyArgs, WebArgs,
};

use crate::config::{Config, ConfigFaults, ConfigSource, EnvVars};
use crate::logging::{self, LoggingError};
use crate::progress::beside_bar;
use crate::server::listen;
use args::{Command, CommandLine};
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use tracing::warn;

/// Names the configuration file if the command line does not. It has one underscore because it is not a setting.
const CONFIG_VARIABLE: &str = "TALKOVER_EXPORTER_CONFIG";

/// Why a command ended without success: an exit code, and messages for people.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    messages: Vec<String>,
}

impl Failure {
    /// Returns a failure while running: exit code 1.
    pub fn running(message: impl ToString) -> Self {
        Self { code: 1, messages: vec![message.to_string()] }
    }

    /// Returns a failure while running, with several reasons: exit code 1.
    pub fn running_all(messages: Vec<String>) -> Self {
        Self { code: 1, messages }
    }

    /// Returns a fault of the command line or the configuration: exit code 2.
    pub fn usage(message: impl ToString) -> Self {
        Self { code: 2, messages: vec![message.to_string()] }
    }

    /// Returns several faults of the command line or the configuration: exit code 2.
    pub fn usage_all(messages: Vec<String>) -> Self {
        Self { code: 2, messages }
    }

    /// Returns the exit code: 1 or 2.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Returns the messages, without a prefix.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }
}

impl From<ConfigFaults> for Failure {
    fn from(faults: ConfigFaults) -> Self {
        Self { code: 2, messages: faults.messages() }
    }
}

impl From<LoggingError> for Failure {
    fn from(error: LoggingError) -> Self {
        Self::running(error)
    }
}

/// Runs the command that the command line names; `arguments` begin with the program's name.
///
/// # Errors
/// A failure for `main` to report.
pub fn execute(arguments: impl IntoIterator<Item = OsString>, environment: &EnvVars) -> Result<(), Failure> {
    let command = match CommandLine::try_parse_from(arguments) {
        Ok(line) => command(line, environment)?,
        Err(error) if error.use_stderr() => return Err(usage(error)),
        // Clap reports `--help` and `--version` as errors, too.
        Err(answer) => return print(&answer.render().ansi().to_string()),
    };
    match command {
        Command::Run(args) => {
            // Before other threads are started.
            let passed = listen::passed().map_err(Failure::running)?;
            logging::detach()?;
            let source = ConfigSource { options: args.web.overrides(), ..source(&args.config, environment)? };
            let config = load(&source)?;
            run::run(config, source, passed)
        }
        Command::Demo(args) => demo::run(&args, environment),
        Command::Simulate(args) => simulate::run(&args),
        Command::Check(args) => check::run(&args, environment),
        Command::Verify(args) => {
            let config = load(&source(&args.config, environment)?)?;
            verify::run(&config, &args)
        }
        Command::Config(args) => show_config::run(&args, environment),
        Command::History(args) => {
            let config = load(&source(&args.config, environment)?)?;
            history::run(config, &args)
        }
        Command::State(args) => {
            let config = load(&source(state::config(&args), environment)?)?;
            state::run(&config, &args)
        }
        Command::Dashboards(args) => dashboards::run(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man => completions::man(),
    }
}

/// Loads the configuration, sets up logging as it says, and then logs its warnings.
fn load(source: &ConfigSource) -> Result<Config, Failure> {
    let config = source.load()?;
    logging::init(&config.log)?;
    warn_of(&config);
    Ok(config)
}

fn warn_of(config: &Config) {
    for warning in &config.warnings {
        warn!("{warning}");
    }
}

/// Returns the command; without one, `run` if there is a configuration file.
fn command(line: CommandLine, environment: &EnvVars) -> Result<Command, Failure> {
    match line.command {
        Some(command) => Ok(command),
        None if file(&line.run.config, environment).is_some() => Ok(Command::Run(line.run)),
        None => {
            let missing = format!("no command: to run the daemon, give --config FILE or set {CONFIG_VARIABLE}");
            Err(usage(CommandLine::command().error(ErrorKind::MissingSubcommand, missing)))
        }
    }
}

/// Returns the configuration file that the command line or the variable names.
fn file(given: &ConfigFile, environment: &EnvVars) -> Option<PathBuf> {
    let variable = || environment.get(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    given.path.clone().or_else(variable)
}

/// Returns the source of the configuration. A file is required: the daemon cannot guess what to read.
fn source(given: &ConfigFile, environment: &EnvVars) -> Result<ConfigSource, Failure> {
    let Some(path) = file(given, environment) else {
        let missing = format!("no configuration file: give --config FILE or set {CONFIG_VARIABLE}");
        return Err(usage(CommandLine::command().error(ErrorKind::MissingRequiredArgument, missing)));
    };
    Ok(ConfigSource::new(&path, environment))
}

fn usage(mut error: clap::Error) -> Failure {
    if let Some(path) = stray_file(&error) {
        let tip = StyledStr::from(format!("to name the configuration file, use '--config {path}'"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    let text = error.render().to_string();
    Failure::usage(text.trim_start_matches("error: ").trim_end())
}

/// Returns the unexpected argument if it looks like a configuration file.
fn stray_file(error: &clap::Error) -> Option<String> {
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return None,
    };
    let Some(ContextValue::String(given)) = error.get(kind) else { return None };
    let is_file = [".yml", ".yaml"].iter().any(|ending| given.ends_with(ending)) || given.contains('/');
    (is_file && !given.starts_with('-')).then(|| given.clone())
}

/// Runs `work` while `text` is written to stdout. The reader of stdout may stall, and serving must not wait for it.
async fn print_beside(text: String, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let printing = tokio::task::spawn_blocking(move || print(&text));
    tokio::pin!(work);
    tokio::select! {
        ended = &mut work => ended,
        printed = printing => {
            printed.map_err(Failure::running)??;
            work.await
        }
    }
}

/// Writes a result to stdout, and waits for its reader: the command has nothing else to do.
fn print(text: &str) -> Result<(), Failure> {
    let write = || {
        // Colours only on terminals, and not with NO_COLOR.
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    };
    match beside_bar(write) {
        // `… | head -1` has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Failure::running(format!("failed to write to stdout: {error}"))),
    }
}

#[cfg(test)]
mod tests;
