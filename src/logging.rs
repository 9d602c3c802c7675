//! Log lines on stderr, as the section `log` wants them.
//!
//! `RUST_LOG` is not read: the configuration is the one place that says what is logged, so that `check` can tell whether
//! it is right. Called once by each command that logs.

use crate::config::{LogConfig, LogFormat};
use std::ffi::OsString;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// It logs every certificate that it refuses, at every request. That a poll failed, and why, is told once, by us. What the
/// configuration says of it comes later, and counts.
const QUIET: &str = "rustls_platform_verifier=off";

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up logging: {0}")]
pub struct LoggingError(String);

/// Sends the log of the whole process to stderr.
///
/// # Errors
/// Where the level is no filter, or logging is set up already.
pub fn init(config: &LogConfig) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.level));
    let filter = filter.map_err(|error| LoggingError(error.to_string()))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_coloured(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR")))
        // Where stderr is closed, complaining about that on stderr would panic.
        .log_internal_errors(false);
    let started = match config.format {
        LogFormat::Text => lines.finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| LoggingError(error.to_string()))
}

/// Whether to colour lines: on a terminal, unless `NO_COLOR` (<https://no-color.org>) says anything but nothing.
fn is_coloured(is_terminal: bool, no_color: Option<OsString>) -> bool {
    is_terminal && no_color.is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_that_want_colours_get_them() {
        assert!(is_coloured(true, None));
        assert!(is_coloured(true, Some(OsString::new())));
        assert!(!is_coloured(true, Some(OsString::from("1"))));
        assert!(!is_coloured(false, None));
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        let config = LogConfig { level: "hyper=loud".to_owned(), format: LogFormat::Text };
        let error = init(&config).expect_err("refused").to_string();
        assert!(error.starts_with("failed to set up logging: error parsing level filter"), "{error}");
    }
}
