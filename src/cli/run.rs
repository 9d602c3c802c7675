//! `run`: the daemon, until SIGTERM or SIGINT.

use std::future::Future;
use std::time::Duration;

use tracing::info;

use super::{ConfigArgs, Failure};
use crate::app::{App, ConfigSource};
use crate::build_info::VERSION;
use crate::config::{Config, Environment};
use crate::server::listen;
use crate::server::web_config::WebConfig;
use crate::shutdown;

/// What may still be written when everything has been asked to end: a commit waits for the disk.
const LAST_WRITES: Duration = Duration::from_secs(1);

pub(super) fn run(config: Config, args: &ConfigArgs, environment: &Environment) -> Result<(), Failure> {
    let web = load_web_config(&config)?;
    let webhooks: usize = config.environments.iter().map(|environment| environment.webhooks.len()).sum();
    let listen = config.server.listen;
    let source = ConfigSource { path: args.config.clone(), environment: environment.clone() };
    let app = App::new(config, Some(source)).map_err(Failure::running)?;
    let listener = listen::bind(listen).map_err(Failure::running)?;
    let address = listener.local_addr().map_err(Failure::running)?;
    info!(version = VERSION, config = %args.config.display(), webhooks, listen = %address, "started");
    block_on(async {
        let (trigger, signal) = shutdown::channel();
        let stop = async {
            let result = shutdown::signal().await;
            trigger.shut_down();
            result
        };
        let running = app.run(listener, web, signal);
        tokio::pin!(running, stop);
        tokio::select! {
            ended = &mut running => ended.map_err(Failure::running),
            stopped = &mut stop => {
                stopped.map_err(Failure::running)?;
                running.await.map_err(Failure::running)
            }
        }
    })
}

/// The web file, where the configuration names one.
pub(super) fn load_web_config(config: &Config) -> Result<Option<WebConfig>, Failure> {
    let Some(path) = &config.server.web_config_file else { return Ok(None) };
    WebConfig::load(path).map(Some).map_err(Failure::usage_all)
}

/// Runs a command to its end on a runtime of its own.
pub(super) fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("failed to start the runtime: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WRITES);
    result
}
