//! Log lines on stderr, as the section `log` configures them.
//!
//! *Invariant:* logging never blocks. If the reader of stderr stalls, lines are dropped and counted, and nothing else
//! happens. `RUST_LOG` is ignored: the configuration alone says what is logged, so `check` can validate it. Called once
//! by each command that logs, and by `main` at the end.

pub(crate) mod about;
mod filter;
mod json;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use self::filter::LineFilter;
use self::json::JsonLines;
use self::queue::{CAPACITY_BYTES, LineQueue};
use crate::config::{LogConfig, LogFormat};
use crate::progress::BesideBar;
use crate::telemetry;

/// The platform's certificate verifier logs every certificate that it rejects, at every request; we log once that a
/// poll failed, and why. That lines were dropped is shown at every level. The configured directives come later and
/// override these.
const DIRECTIVES: &str = "rustls_platform_verifier=off,talkover_exporter::logging=warn";
/// How long the process waits at its end for a reader of stderr. Stopping takes up to 4 s before that, of 5 s.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The queue to stderr, once a command uses it. There is one stderr, as there is one subscriber.
static STDERR: OnceLock<LineQueue> = OnceLock::new();

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up logging: {0}")]
pub struct LoggingError(String);

/// From now on, nothing that goes to stderr through this module waits for its reader.
///
/// # Errors
/// If the operating system refuses another thread.
pub fn detach() -> Result<(), LoggingError> {
    stderr().map(|_| ())
}

fn stderr() -> Result<&'static LineQueue, LoggingError> {
    if let Some(queue) = STDERR.get() {
        return Ok(queue);
    }
    let report = |lines| warn!(lines, "log lines dropped: stderr was not read in time");
    let queue = LineQueue::start(BesideBar(io::stderr()), CAPACITY_BYTES, report);
    let queue = queue.map_err(|error| LoggingError(format!("failed to start a thread: {error}")))?;
    Ok(STDERR.get_or_init(|| queue))
}

/// How many log lines of this process were dropped because stderr was not read in time, or could not be written to.
pub fn lines_dropped() -> u64 {
    STDERR.get().map_or(0, LineQueue::dropped)
}

/// Ends the log: writes these last lines after those in the queue, and returns when all is written or its time is up.
/// Without [`detach`] or [`init`] before, it writes them directly.
pub fn finish(lines: &[String]) {
    let Some(queue) = STDERR.get() else {
        let mut stderr = io::stderr().lock();
        // If stderr is closed, nobody can be told; the exit code still says it.
        lines.iter().for_each(|line| drop(writeln!(stderr, "{line}")));
        return;
    };
    lines.iter().for_each(|line| queue.push(format!("{line}\n").as_bytes()));
    // Lines that were not read by now are lost.
    let _is_complete = queue.drain(LAST_LINES);
}

/// Sends the log of the whole process to stderr. The daemon's own traces are made beside it, once they are turned on.
///
/// # Errors
/// If the level is not a valid filter, or logging is set up already.
pub fn init(config: &LogConfig) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(format!("{DIRECTIVES},{}", config.level));
    let filter = filter.map_err(|error| LoggingError(error.to_string()))?;
    let queue = stderr()?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || LineWriter(queue))
        .with_ansi(is_coloured(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR")))
        // If stderr is closed, complaining about that on stderr would panic.
        .log_internal_errors(false);
    let lines = match config.format {
        // A person reads what happened; which part of the program says it is in the other format alone.
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.event_format(JsonLines).boxed(),
    };
    let lines = lines.with_filter(LineFilter(filter));
    let started = tracing_subscriber::registry().with(lines).with(telemetry::layer::layer()).try_init();
    started.map_err(|error| LoggingError(error.to_string()))
}

/// From now on a panic ends the process, whatever task or thread it comes from: the message goes to stderr, and the
/// exit code is 1. What is left after a defect is not to be built on, and the state file is made for being left at any
/// moment. The standard hook would end one task alone, and write to stderr with a lock in its hands.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(end_with_panic));
}

/// Ends the process with exit code 1, from any thread, after these lines.
#[expect(clippy::disallowed_methods, reason = "no result reaches `main` from a task that nobody waits for")]
pub fn end(lines: &[String]) -> ! {
    finish(lines);
    std::process::exit(1);
}

/// Queues the subscriber's lines, one for each call.
struct LineWriter(&'static LineQueue);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn end_with_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let text = panic.to_string().replace('\n', " ");
    let place = thread.name().unwrap_or("without a name");
    let mut lines = vec![format!("talkover-exporter: error: a defect in the thread {place}: {text}")];
    // Not by the log: it may have panicked itself.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        lines.extend(backtrace.to_string().lines().map(ToOwned::to_owned));
    }
    end(&lines);
}

/// Whether to colour lines: on a terminal, unless `NO_COLOR` (<https://no-color.org>) is set and not empty.
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
