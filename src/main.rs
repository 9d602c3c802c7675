//! The binary: hands the command line to `cli` and turns its result into an exit code.

use std::io::Write;
use std::process::ExitCode;
use talkover_exporter::{cli, config};

fn main() -> ExitCode {
    let Err(failure) = cli::execute(std::env::args_os(), &config::capture_environment()) else {
        return ExitCode::SUCCESS;
    };
    let mut stderr = std::io::stderr().lock();
    for message in failure.messages() {
        // Where stderr is closed there is nobody to tell; the exit code still says it.
        let _ = writeln!(stderr, "talkover-exporter: error: {message}");
    }
    ExitCode::from(failure.code())
}
