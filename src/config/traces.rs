//! The section `traces`, together with OpenTelemetry's own variables: [`super::receiver`] says which go before which.

use super::EnvVars;
use super::fields::Fields;
use super::otel;
use super::otlp::{OtlpProtocol, OtlpReceiver, OtlpSignal, OtlpTls};
use super::receiver::{ReceiverKeys, ResolvedReceiver};
use super::values::{count, flag, number};
use ::config::Value;
use reqwest::Url;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// Whether, where and how deliveries are sent as spans.
#[derive(Clone, Debug, PartialEq)]
pub struct TracesConfig {
    /// Whether spans are made where there is an endpoint: `traces.enabled`, and no variable of
    /// OpenTelemetry turns them off.
    pub enabled: bool,
    /// Where to send spans, complete: for http/protobuf with the path. Without it no span is made.
    pub endpoint: Option<Url>,
    /// How to send them.
    pub protocol: OtlpProtocol,
    /// Headers of every request; their values are marked sensitive.
    pub headers: HeaderMap,
    /// `OTEL_EXPORTER_OTLP_…COMPRESSION`, where it is set: whether requests are compressed with gzip.
    pub gzip: Option<bool>,
    /// `OTEL_EXPORTER_OTLP_…TIMEOUT`, where it is set. Above zero.
    pub timeout: Option<Duration>,
    /// The resource's attributes, `service.name` among them.
    pub resource_attributes: Vec<(String, String)>,
    /// Certificates.
    pub tls: OtlpTls,
    /// The share of deliveries that succeeded at once to send, 0 to 1.
    pub success_sample_ratio: f64,
    /// Whether history becomes spans too.
    pub history: bool,
    /// Spans kept on disk at most, and as many log records. At least 1.
    pub max_queued_spans: u32,
    /// Where log records are sent, and how; `None` if none are made.
    pub logs: Option<OtlpReceiver>,
}

impl TracesConfig {
    /// Where spans are sent, and how; `None` if none are made.
    pub fn receiver(&self) -> Option<OtlpReceiver> {
        let endpoint = self.endpoint.clone().filter(|_| self.enabled)?;
        Some(OtlpReceiver {
            endpoint,
            protocol: self.protocol,
            headers: self.headers.clone(),
            gzip: self.gzip,
            timeout: self.timeout,
            tls: self.tls.clone(),
        })
    }
}

pub(super) fn read(mut fields: Fields<'_>, environment: &EnvVars) -> Option<TracesConfig> {
    let enabled = fields.scalar("enabled", flag);
    let keys = ReceiverKeys::read(&mut fields, OtlpSignal::Traces);
    let success_sample_ratio = fields.scalar("success_sample_ratio", ratio);
    let history = fields.scalar("history", flag);
    let max_queued_spans = fields.scalar("max_queued_spans", count(1, u32::MAX));
    let logs = fields.scalar("logs", flag);

    // Our own variable goes before those of OpenTelemetry.
    let is_forced = fields.is_overridden("enabled");
    let active = enabled == Some(true) && (is_forced || !otel::turns_off(&mut fields, environment, OtlpSignal::Traces));
    // If no span is made, faults in the variables do not matter.
    let none = EnvVars::new();
    let variables = if active { environment } else { &none };
    let resource_attributes = otel::named(&otel::resource(&mut fields, variables), otel::DELIVERIES);
    let settings = otel::read(&mut fields, variables, OtlpSignal::Traces);
    let receiver = keys.resolve(&fields, settings, OtlpSignal::Traces);
    let logs = if active && logs? { log_receiver(&mut fields, variables, &keys, receiver.as_ref()?) } else { None };
    fields.finish();
    let receiver = receiver?;
    Some(TracesConfig {
        enabled: active,
        endpoint: receiver.endpoint,
        protocol: receiver.protocol,
        headers: receiver.headers,
        gzip: receiver.gzip,
        timeout: receiver.timeout,
        resource_attributes,
        tls: receiver.tls,
        success_sample_ratio: success_sample_ratio?,
        history: history?,
        max_queued_spans: max_queued_spans?,
        logs,
    })
}

/// Where log records are sent: like the spans to `traces`, unless variables name another receiver for them.
fn log_receiver(
    fields: &mut Fields<'_>,
    variables: &EnvVars,
    keys: &ReceiverKeys,
    traces: &ResolvedReceiver,
) -> Option<OtlpReceiver> {
    if otel::turns_off(fields, variables, OtlpSignal::Logs) {
        return None;
    }
    let settings = otel::read(fields, variables, OtlpSignal::Logs);
    let resolved = keys.resolve(fields, settings, OtlpSignal::Logs)?;
    let beside = || beside_traces(traces, resolved.protocol);
    let endpoint = resolved.endpoint.clone().or_else(beside);
    if endpoint.is_none() && traces.endpoint.is_some() {
        fields.fault(
            "logs",
            "needs a receiver of its own, in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: that of spans has no base",
        );
    }
    Some(resolved.with_endpoint(endpoint?))
}

/// The endpoint for log records beside that of spans, which a variable has set exactly.
fn beside_traces(traces: &ResolvedReceiver, protocol: OtlpProtocol) -> Option<Url> {
    let mut url = traces.endpoint.clone()?;
    if protocol == OtlpProtocol::HttpProtobuf {
        let base = url.path().strip_suffix(OtlpSignal::Traces.http_path())?.to_owned();
        url.set_path(&format!("{base}{}", OtlpSignal::Logs.http_path()));
    }
    Some(url)
}

fn ratio(value: &Value) -> Result<f64, String> {
    let ratio = number(value)?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(format!("must be from 0 to 1, not {ratio}")) }
}
