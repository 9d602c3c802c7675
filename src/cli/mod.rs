//! The commands: parses the command line, loads the configuration where a command needs it, and hands over.
//!
//! Results go to stdout, and whoever closes it early is no error. Failures become messages and an exit code in `main`;
//! nothing here ends the process.

mod args;
mod asker;
mod check;
mod dashboards;
mod demo;
mod find_webhooks;
mod healthcheck;
mod history;
mod run;
mod simulate;
mod state;
mod verify;

pub use args::{
    CheckArgs, ConfigArgs, DashboardsArgs, DemoArgs, HealthcheckArgs, HistoryArgs, SimulateArgs, VerifyArgs,
};

use crate::config::{self, Config, ConfigFaults, EnvVars};
use crate::logging::{self, LoggingError};
use crate::progress::beside_bar;
use args::{Command, CommandLine};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use tracing::warn;

/// Why a command ended without success: an exit code, and messages for people.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    messages: Vec<String>,
}

impl Failure {
    /// It failed while running: exit code 1.
    pub fn running(message: impl ToString) -> Self {
        Self { code: 1, messages: vec![message.to_string()] }
    }

    /// It failed while running, for several reasons: exit code 1.
    pub fn running_all(messages: Vec<String>) -> Self {
        Self { code: 1, messages }
    }

    /// The command line or the configuration is wrong: exit code 2.
    pub fn usage(message: impl ToString) -> Self {
        Self { code: 2, messages: vec![message.to_string()] }
    }

    /// The command line or the configuration is wrong in several ways: exit code 2.
    pub fn usage_all(messages: Vec<String>) -> Self {
        Self { code: 2, messages }
    }

    /// The process's exit code: 1 or 2.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// What to tell, one message each, without a prefix.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }
}

impl From<ConfigFaults> for Failure {
    fn from(faults: ConfigFaults) -> Self {
        Self { code: 2, messages: faults.lines() }
    }
}

impl From<LoggingError> for Failure {
    fn from(error: LoggingError) -> Self {
        Self::running(error)
    }
}

/// Does what the command line says; `arguments` begin with the program's name.
///
/// # Errors
/// A failure for `main` to report.
pub fn execute(arguments: impl IntoIterator<Item = OsString>, environment: &EnvVars) -> Result<(), Failure> {
    let command = match CommandLine::try_parse_from(arguments) {
        Ok(line) => command(line)?,
        Err(error) if error.use_stderr() => return Err(usage(&error)),
        // `--help` and `--version` reach us as errors, too.
        Err(answer) => return print(&answer.render().to_string()),
    };
    match command {
        Command::Run(args) => {
            logging::detach()?;
            let config = load(&args.config, environment)?;
            run::run(config, &args, environment)
        }
        Command::Demo(args) => demo::run(&args, environment),
        Command::Simulate(args) => simulate::run(&args),
        Command::Check(args) => check::run(&args, environment),
        Command::Verify(args) => {
            let config = load(&args.config, environment)?;
            verify::run(&config, &args)
        }
        Command::History(args) => {
            let config = load(&args.config, environment)?;
            history::run(config, &args)
        }
        Command::State(args) => {
            let config = load(state::config(&args), environment)?;
            state::run(&config, &args)
        }
        Command::Dashboards(args) => dashboards::run(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
    }
}

/// Loads the configuration and sets up logging as it says. What was ignored is logged only then, at the level in force.
fn load(path: &Path, environment: &EnvVars) -> Result<Config, Failure> {
    let config = config::load(path, environment)?;
    logging::init(&config.log)?;
    warn_of(&config);
    Ok(config)
}

fn warn_of(config: &Config) {
    for warning in &config.warnings {
        warn!("{warning}");
    }
}

/// The command; without one, `--config` means `run`.
fn command(line: CommandLine) -> Result<Command, Failure> {
    match (line.command, line.config) {
        (Some(command), _) => Ok(command),
        (None, Some(config)) => Ok(Command::Run(ConfigArgs { config })),
        (None, None) => {
            let missing = "give a command, or --config FILE to run the daemon";
            Err(usage(&CommandLine::command().error(ErrorKind::MissingSubcommand, missing)))
        }
    }
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    Failure::usage(text.trim_start_matches("error: ").trim_end())
}

/// Does `work` while `text` goes to stdout, whose reader may stall: what serves must not wait for that.
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

/// Writes a result to stdout, and waits for its reader: nothing else is left to do for a command that has one.
fn print(text: &str) -> Result<(), Failure> {
    let write = || {
        let mut stdout = io::stdout().lock();
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
