//! Starts, replaces and ends the sending of the daemon's own spans. Called by the daemon, and by `verify`.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use tokio::task::{JoinError, JoinHandle};
use tracing::info;

use super::connection::{ClosedConnection, TelemetryError, timeout};
use super::exporter::OwnSpansExporter;
use super::queue;
use super::switch::{Switch, turn};
use crate::config::{OtlpReceiver, TelemetryConfig};
use crate::shutdown::{self, Trigger};
use crate::sinks::otlp::resource::identified;
use crate::watchdog::Watchdog;

/// The exporter of the daemon's own spans, if they are made.
#[derive(Default)]
pub struct OwnTraces {
    running: Option<(Trigger, JoinHandle<()>)>,
}

/// What is ready to send: whatever can fail has been done.
pub struct PreparedTraces {
    connection: ClosedConnection,
    receiver: OtlpReceiver,
    resource: Resource,
}

impl PreparedTraces {
    /// Prepares the exporter for `config`; `None` if no spans are made. Spans carry `instance_id`, if there is one: the
    /// identity of the state.
    ///
    /// # Errors
    /// If a certificate cannot be used, or the settings contradict each other.
    pub fn new(config: &TelemetryConfig, instance_id: Option<&str>) -> Result<Option<Self>, TelemetryError> {
        let Some(receiver) = &config.traces else { return Ok(None) };
        let resource = resource(&config.resource_attributes, instance_id);
        Ok(Some(Self { connection: ClosedConnection::new(receiver)?, receiver: receiver.clone(), resource }))
    }
}

impl OwnTraces {
    /// Makes and sends spans from now on, or, without anything prepared, makes none. Within a runtime.
    ///
    /// # Errors
    /// If OpenTelemetry's exporter rejects the settings.
    pub fn start(&mut self, prepared: Option<PreparedTraces>, watchdog: &Watchdog) -> Result<(), TelemetryError> {
        let Some(PreparedTraces { connection, receiver, resource }) = prepared else { return Ok(()) };
        let (exporter, endpoint) = (connection.open(&receiver, &resource)?, receiver.endpoint.to_string());
        info!(endpoint, "sending spans of the daemon's own work");
        let exporter = OwnSpansExporter::new(queue::open(), exporter, endpoint, timeout(&receiver));
        turn(Switch::On);
        let (stop, signal) = shutdown::channel();
        let turns = watchdog.watch("the exporter of its own spans", exporter.longest_wait());
        self.running = Some((stop, tokio::spawn(exporter.run(signal, turns))));
        Ok(())
    }

    /// Makes no more spans, and returns when those that have ended are sent, or their time is over: 2 s at most.
    ///
    /// # Errors
    /// If the exporter had ended early: a defect of this program.
    pub async fn stop(&mut self) -> Result<(), JoinError> {
        let Some((stop, task)) = self.running.take() else { return Ok(()) };
        turn(Switch::Off);
        stop.shut_down();
        let ended = task.await;
        queue::close();
        info!("stopped sending spans of the daemon's own work");
        ended
    }

    /// Returns when the exporter ends early: a defect of this program.
    pub async fn failure(&mut self) -> JoinError {
        if let Some((_, task)) = &mut self.running
            && let Err(failure) = task.await
        {
            self.running = None;
            return failure;
        }
        std::future::pending().await
    }
}

/// The resource of the daemon's own spans: `attributes`, and what they lack.
fn resource(attributes: &[(String, String)], instance_id: Option<&str>) -> Resource {
    let all = identified(attributes, instance_id).into_iter().map(|(key, value)| KeyValue::new(key, value));
    Resource::builder_empty().with_attributes(all).build()
}
