//! `run`: the daemon, until SIGTERM or SIGINT.

use std::net::TcpListener;
use std::num::NonZero;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::time::Instant;
use tracing::info;

use super::Failure;
use crate::app::App;
use crate::config::{Config, ConfigSource};
use crate::logging;
use crate::server::listen;
use crate::server::web_config::WebConfig;
use crate::shutdown::{self, Shutdown};

/// How long a command may take to stop. All of them stop within 5 s unless something hangs.
const LAST_RESORT: Duration = Duration::from_secs(8);
/// How long blocking writes, such as a commit, may still take after everything else has ended.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Runs the daemon on the socket `passed` by systemd, or else on the address in the configuration.
pub(super) fn run(config: Config, source: ConfigSource, passed: Option<TcpListener>) -> Result<(), Failure> {
    let web = load_web_config(&config)?;
    let listen = config.server.listen;
    let app = App::new(config, Some(source)).map_err(Failure::running)?;
    let listener = match passed {
        Some(listener) => {
            info!("serving on the socket passed by systemd; server.listen has no effect");
            listener
        }
        None => listen::bind(listen).map_err(Failure::running)?,
    };
    run_until_stopped(async |shutdown| app.run(listener, web, shutdown).await.map_err(Failure::running))
}

/// Loads the web file, if the configuration names one.
pub(super) fn load_web_config(config: &Config) -> Result<Option<WebConfig>, Failure> {
    let Some(path) = &config.server.web_config_file else { return Ok(None) };
    WebConfig::load(path).map(Some).map_err(Failure::usage_all)
}

/// Makes a runtime with one thread per processor. The number is set here because tokio would otherwise read
/// `TOKIO_WORKER_THREADS`, and panic if that is not a number.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("failed to start the runtime: {error}")))
}

/// Ends the process [`LAST_RESORT`] after the first of `signals` if it is still running: it may be waiting for a reader
/// of its stdout that has stopped reading, or for a disk that hangs. Must be called within a runtime.
fn end_by_force(signals: &[SignalKind]) -> Result<(), Failure> {
    let stopped = shutdown::signal(signals).map_err(Failure::running)?;
    tokio::spawn(async move {
        stopped.await;
        tokio::time::sleep_until(Instant::now() + LAST_RESORT).await;
        logging::end(&["talkover-exporter: error: did not stop in time, forced to exit".to_owned()]);
    });
    Ok(())
}

/// Runs a command to its end on its own runtime. SIGTERM and SIGINT, from before its start on, shut it down.
pub(super) fn run_until_stopped(command: impl AsyncFnOnce(Shutdown) -> Result<(), Failure>) -> Result<(), Failure> {
    run_until(shutdown::END, command)
}

/// Like [`run_until_stopped`], with these signals.
pub(super) fn run_until(
    signals: &[SignalKind],
    command: impl AsyncFnOnce(Shutdown) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async { end_by_force(signals) })?;
    let result = runtime.block_on(async {
        let stopped = shutdown::signal(signals).map_err(Failure::running)?;
        let (trigger, shutdown) = shutdown::channel();
        let running = command(shutdown);
        tokio::pin!(running, stopped);
        tokio::select! {
            ended = &mut running => ended,
            () = stopped => {
                trigger.shut_down();
                running.await
            }
        }
    });
    runtime.shutdown_timeout(LAST_WRITES);
    result
}
