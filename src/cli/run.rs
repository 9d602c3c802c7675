//! `run`: the daemon, until SIGTERM or SIGINT.

use std::num::NonZero;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;

use super::{ConfigArgs, Failure};
use crate::app::{App, ConfigSource};
use crate::config::{Config, EnvVars};
use crate::server::listen;
use crate::server::web_config::WebConfig;
use crate::shutdown::{self, Shutdown};

/// What may still be written when everything has been asked to end: a commit waits for the disk.
const LAST_WRITES: Duration = Duration::from_secs(1);

pub(super) fn run(config: Config, args: &ConfigArgs, environment: &EnvVars) -> Result<(), Failure> {
    let web = load_web_config(&config)?;
    let listen = config.server.listen;
    let source = ConfigSource { path: args.config.clone(), environment: environment.clone() };
    let app = App::new(config, Some(source)).map_err(Failure::running)?;
    let listener = listen::bind(listen).map_err(Failure::running)?;
    run_until_stopped(async |shutdown| app.run(listener, web, shutdown).await.map_err(Failure::running))
}

/// The web file, where the configuration names one.
pub(super) fn load_web_config(config: &Config) -> Result<Option<WebConfig>, Failure> {
    let Some(path) = &config.server.web_config_file else { return Ok(None) };
    WebConfig::load(path).map(Some).map_err(Failure::usage_all)
}

/// A runtime with a thread for each processor. That is said here, or tokio would read `TOKIO_WORKER_THREADS`, and panic
/// where somebody has set it to no number.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("failed to start the runtime: {error}")))
}

/// Runs a command to its end on a runtime of its own. It is told of SIGTERM and SIGINT, from before it begins.
pub(super) fn run_until_stopped(command: impl AsyncFnOnce(Shutdown) -> Result<(), Failure>) -> Result<(), Failure> {
    run_until(shutdown::END, command)
}

/// The same, with these signals.
pub(super) fn run_until(
    signals: &[SignalKind],
    command: impl AsyncFnOnce(Shutdown) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let runtime = runtime()?;
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
