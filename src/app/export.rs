//! Keeps the exporter of spans running if there is an endpoint, and replaces it when the section `traces` changes.

use tokio::task::{JoinError, JoinHandle};
use tracing::info;

use super::AppError;
use super::assemble::SharedServices;
use crate::config::TracesConfig;
use crate::shutdown::{self, Trigger};
use crate::sinks::traces::exporter::Exporter;

/// The exporter, if one is running.
#[derive(Default)]
pub(super) struct Export {
    running: Option<(Trigger, JoinHandle<()>)>,
}

/// Prepares the exporter for `config`; `None` if no endpoint is set, and then none of it runs. Reads and writes files,
/// so an asynchronous task must not call it.
///
/// # Errors
/// If a certificate or the state file cannot be used.
pub(super) fn prepare(config: &TracesConfig, services: &SharedServices) -> Result<Option<Box<Exporter>>, AppError> {
    if config.receiver().is_none() {
        return Ok(None);
    }
    let instance_id = services.store.run_blocking(|store| store.instance_id())?;
    let (store, write_errors) = (services.store.clone(), services.write_errors.clone());
    Ok(Some(Box::new(Exporter::new(config, &instance_id, store, write_errors)?)))
}

impl Export {
    /// Starts an exporter. Without one, queued spans stay in the state until there is an endpoint again.
    pub(super) fn start(&mut self, exporter: Option<Box<Exporter>>, services: &SharedServices) {
        let Some(exporter) = exporter else {
            let waiting = services.store.queue().status().length;
            if waiting > 0 {
                info!(waiting, "no traces endpoint configured; spans queued in the state file are kept");
            }
            return;
        };
        let (stop, signal) = shutdown::channel();
        let turns = services.watchdog.watch("the exporter of spans", exporter.longest_wait());
        self.running = Some((stop, tokio::spawn(exporter.run(signal, turns))));
    }

    /// Stops the exporter. A request under way has a second to end.
    ///
    /// # Errors
    /// If it had ended early: a defect of this program.
    pub(super) async fn stop(&mut self) -> Result<(), AppError> {
        let Some((stop, task)) = self.running.take() else { return Ok(()) };
        stop.shut_down();
        task.await.map_err(AppError::TaskPanicked)
    }

    /// Returns when the exporter ends early: a defect of this program.
    pub(super) async fn failure(&mut self) -> JoinError {
        if let Some((_, task)) = &mut self.running
            && let Err(failure) = task.await
        {
            self.running = None;
            return failure;
        }
        std::future::pending().await
    }
}
