//! The binary: hands the command line to `cli` and turns its result into an exit code.

use std::process::ExitCode;
use talkover_exporter::{cli, config, logging};

fn main() -> ExitCode {
    logging::end_on_panic();
    let outcome = cli::execute(std::env::args_os(), &config::capture_environment());
    let messages = outcome.as_ref().err().map_or(&[][..], cli::Failure::messages);
    let lines: Vec<String> = messages.iter().map(|message| format!("talkover-exporter: error: {message}")).collect();
    logging::finish(&lines);
    outcome.map_or_else(|failure| ExitCode::from(failure.code()), |()| ExitCode::SUCCESS)
}
