//! Keeps running what sends to OTLP receivers, as far as the configuration names any, and replaces it when its settings
//! change.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle};
use tracing::info;

use super::AppError;
use super::assemble::SharedServices;
use crate::config::{Config, MetricsPushConfig, TracesConfig};
use crate::shutdown::{self, Shutdown, Trigger};
use crate::sinks::logs::LogOutbox;
use crate::sinks::metrics::otlp::pusher::MetricsPusher;
use crate::sinks::traces::exporter::Exporter;
use crate::sinks::traces::otlp::ResourceScope;

/// What is running.
#[derive(Default)]
pub(super) struct Exports {
    spans: ExportTask,
    logs: ExportTask,
    metrics: ExportTask,
}

/// What is ready to run.
pub(super) struct ReadyExports {
    traces: ExportChange<TracesExporters>,
    metrics: ExportChange<MetricsPusher>,
}

/// What sends according to the section `traces`.
struct TracesExporters {
    spans: Exporter<ResourceScope>,
    logs: Option<Exporter<LogOutbox>>,
}

/// What a new configuration means for an exporter.
enum ExportChange<T> {
    /// Its settings have not changed.
    Same,
    /// It is replaced, by another one or by none.
    Replace(Option<Box<T>>),
}

/// The task of an exporter, if it is running.
#[derive(Default)]
struct ExportTask {
    running: Option<(Trigger, JoinHandle<()>)>,
    /// Ends its pause.
    nudge: Arc<Notify>,
}

/// Prepares what `config` asks for; what runs with the same settings in `running` stays. Reads and writes files, so an
/// asynchronous task must not call it.
///
/// # Errors
/// If a certificate or the state cannot be used.
pub(super) fn prepare(
    config: &Config,
    running: Option<&Config>,
    services: &SharedServices,
) -> Result<ReadyExports, AppError> {
    let traces = match running {
        Some(running) if running.traces == config.traces => ExportChange::Same,
        _ => ExportChange::Replace(prepare_traces(&config.traces, services)?),
    };
    let metrics = match (running, &config.metrics_push) {
        (Some(running), push) if running.metrics_push == *push => ExportChange::Same,
        (_, push) => ExportChange::Replace(push.as_ref().map(|push| prepare_metrics(push, services)).transpose()?),
    };
    Ok(ReadyExports { traces, metrics })
}

/// `None` if no endpoint is set, and then none of it runs.
fn prepare_traces(config: &TracesConfig, services: &SharedServices) -> Result<Option<Box<TracesExporters>>, AppError> {
    if config.receiver().is_none() {
        return Ok(None);
    }
    let instance_id = services.store.run_blocking(|store| store.instance_id())?;
    let (store, write_errors) = (services.store.clone(), services.write_errors.clone());
    let spans = Exporter::new(config, &instance_id, store.clone(), write_errors.clone())?;
    let outbox = LogOutbox { attributes: config.resource_attributes.clone(), instance_id };
    let logs = config.logs.clone().map(|receiver| Exporter::open(receiver, outbox, store, write_errors));
    Ok(Some(Box::new(TracesExporters { spans, logs: logs.transpose()? })))
}

fn prepare_metrics(push: &MetricsPushConfig, services: &SharedServices) -> Result<Box<MetricsPusher>, AppError> {
    let instance_id = services.store.run_blocking(|store| store.instance_id())?;
    let (scraper, started_at) = (services.scraper.clone(), services.started_at);
    Ok(Box::new(MetricsPusher::new(push, instance_id, scraper, started_at)?))
}

impl Exports {
    /// Puts in force what is ready.
    ///
    /// # Errors
    /// If what is replaced had ended early: a defect of this program.
    pub(super) async fn replace(&mut self, ready: ReadyExports, services: &SharedServices) -> Result<(), AppError> {
        // Whoever reloads may have mended what kept a receiver from answering.
        match ready.traces {
            ExportChange::Replace(exporters) => {
                let (spans, logs) = tokio::join!(self.spans.stop(), self.logs.stop());
                spans.and(logs)?;
                let (spans, logs) = exporters.map_or((None, None), |own| (Some(own.spans), own.logs));
                self.start_spans(spans, services);
                self.start_logs(logs, services);
            }
            // Whoever does not pause has nothing to retry.
            ExportChange::Same => [&self.spans, &self.logs].iter().for_each(|task| task.nudge.notify_waiters()),
        }
        match ready.metrics {
            ExportChange::Replace(pusher) => {
                self.metrics.stop().await?;
                self.start_metrics(pusher, services);
            }
            ExportChange::Same => self.metrics.nudge.notify_one(),
        }
        Ok(())
    }

    /// Without an exporter, queued spans stay in the state until there is an endpoint again.
    fn start_spans(&mut self, exporter: Option<Exporter<ResourceScope>>, services: &SharedServices) {
        let Some(exporter) = exporter else {
            let waiting = services.store.queue().status().length;
            if waiting > 0 {
                info!(waiting, "no traces endpoint configured; spans queued in the state file are kept");
            }
            return;
        };
        let turns = services.watchdog.watch("the exporter of spans", exporter.longest_wait());
        self.spans.start(exporter.nudge(), |signal| exporter.run(signal, turns));
    }

    fn start_logs(&mut self, exporter: Option<Exporter<LogOutbox>>, services: &SharedServices) {
        let Some(exporter) = exporter else { return };
        let turns = services.watchdog.watch("the exporter of log records", exporter.longest_wait());
        self.logs.start(exporter.nudge(), |signal| exporter.run(signal, turns));
    }

    fn start_metrics(&mut self, pusher: Option<Box<MetricsPusher>>, services: &SharedServices) {
        let Some(pusher) = pusher else { return };
        let turns = services.watchdog.watch("the loop that pushes metrics", pusher.longest_wait());
        self.metrics.start(pusher.nudge(), |signal| pusher.run(signal, turns));
    }

    /// Stops everything. A request under way has a second to end.
    ///
    /// # Errors
    /// If anything had ended early: a defect of this program.
    pub(super) async fn stop(&mut self) -> Result<(), AppError> {
        let (spans, logs, metrics) = tokio::join!(self.spans.stop(), self.logs.stop(), self.metrics.stop());
        spans.and(logs).and(metrics)
    }

    /// Returns when anything ends early: a defect of this program.
    pub(super) async fn failure(&mut self) -> JoinError {
        tokio::select! {
            failure = self.spans.failure() => failure,
            failure = self.logs.failure() => failure,
            failure = self.metrics.failure() => failure,
        }
    }
}

impl ExportTask {
    fn start<F: Future<Output = ()> + Send + 'static>(&mut self, nudge: Arc<Notify>, run: impl FnOnce(Shutdown) -> F) {
        let (stop, signal) = shutdown::channel();
        *self = Self { running: Some((stop, tokio::spawn(run(signal)))), nudge };
    }

    async fn stop(&mut self) -> Result<(), AppError> {
        let Some((stop, task)) = self.running.take() else { return Ok(()) };
        stop.shut_down();
        task.await.map_err(AppError::TaskPanicked)
    }

    async fn failure(&mut self) -> JoinError {
        if let Some((_, task)) = &mut self.running
            && let Err(failure) = task.await
        {
            self.running = None;
            return failure;
        }
        std::future::pending().await
    }
}
