//! Keeps the exporter of spans running where there is an endpoint, and exchanges it when the section `traces` changes.

use tokio::task::{JoinError, JoinHandle};
use tracing::info;

use super::AppError;
use super::assemble::SharedServices;
use crate::config::TracesConfig;
use crate::shutdown::{self, Trigger};
use crate::sinks::traces::exporter::Exporter;

/// The exporter, where one is running.
#[derive(Default)]
pub(super) struct Export {
    running: Option<(Trigger, JoinHandle<()>)>,
}

/// The exporter for `config`; none where no endpoint is set, and then nothing of it runs. Reads and writes files, and
/// so must not be called by an asynchronous task.
///
/// # Errors
/// Where a certificate or the state file cannot be used.
pub(super) fn prepare(config: &TracesConfig, services: &SharedServices) -> Result<Option<Box<Exporter>>, AppError> {
    if !config.enabled || config.endpoint.is_none() {
        return Ok(None);
    }
    let instance_id = services.store.run_blocking(|store| store.instance_id())?;
    let (store, write_errors) = (services.store.clone(), services.write_errors.clone());
    Ok(Some(Box::new(Exporter::new(config.clone(), &instance_id, store, write_errors)?)))
}

impl Export {
    /// Lets an exporter run. Without one, spans that wait from before stay where they are, until there is an endpoint
    /// again.
    pub(super) fn start(&mut self, exporter: Option<Box<Exporter>>, services: &SharedServices) {
        let Some(exporter) = exporter else {
            let waiting = services.store.queue().status().length;
            if waiting > 0 {
                info!(waiting, "no endpoint for traces is set: the spans that wait in the state file stay there");
            }
            return;
        };
        let (stop, signal) = shutdown::channel();
        self.running = Some((stop, tokio::spawn(exporter.run(signal))));
    }

    /// Ends the exporter. A request under way has a second to end.
    ///
    /// # Errors
    /// Where it had ended early: a defect of ours.
    pub(super) async fn stop(&mut self) -> Result<(), AppError> {
        let Some((stop, task)) = self.running.take() else { return Ok(()) };
        stop.shut_down();
        task.await.map_err(AppError::TaskPanicked)
    }

    /// Returns when the exporter ends early: a defect of ours.
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
