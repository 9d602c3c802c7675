//! The section `metrics.otlp`: whether, where and how metrics are pushed, together with OpenTelemetry's own variables.
//!
//! Metrics are pushed only if this section or a variable about metrics asks for it: `OTEL_EXPORTER_OTLP_ENDPOINT` alone,
//! which is often set for spans, would send to a second place what Prometheus scrapes already.

use super::EnvVars;
use super::fields::Fields;
use super::otel;
use super::otlp::{OtlpReceiver, OtlpSignal};
use super::receiver::ReceiverKeys;
use super::values::positive_duration;
use std::time::Duration;

/// Where, how and how often metrics are pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsPushConfig {
    /// The receiver.
    pub receiver: OtlpReceiver,
    /// The time between two pushes. Above zero.
    pub interval: Duration,
    /// The attributes of the resources of environments, `service.name` among them.
    pub resource_attributes: Vec<(String, String)>,
    /// The attributes of the daemon's own resource, `service.name` among them.
    pub daemon_attributes: Vec<(String, String)>,
}

/// The outer `None` stands for a fault, the inner one for metrics that are not pushed.
pub(super) fn read(mut fields: Fields<'_>, environment: &EnvVars) -> Option<Option<MetricsPushConfig>> {
    let is_wanted = fields.is_section_given() || otel::asks_for(environment, OtlpSignal::Metrics);
    let keys = ReceiverKeys::read(&mut fields, OtlpSignal::Metrics);
    let interval = fields.scalar("interval", positive_duration);
    let is_forced = fields.is_overridden("endpoint");
    let is_on = is_wanted && (is_forced || !otel::turns_off(&mut fields, environment, OtlpSignal::Metrics));
    let push = if is_on { resolve(&mut fields, environment, &keys, interval) } else { Some(None) };
    fields.finish();
    interval?;
    push
}

fn resolve(
    fields: &mut Fields<'_>,
    environment: &EnvVars,
    keys: &ReceiverKeys,
    interval: Option<Duration>,
) -> Option<Option<MetricsPushConfig>> {
    let attributes = otel::resource(fields, environment);
    let settings = otel::read(fields, environment, OtlpSignal::Metrics);
    let resolved = keys.resolve(fields, settings, OtlpSignal::Metrics)?;
    let of_otel = otel::metric_interval(fields, environment).filter(|_| !fields.is_overridden("interval"));
    let interval = of_otel.or(interval)?;
    let Some(endpoint) = resolved.endpoint.clone() else { return Some(None) };
    Some(Some(MetricsPushConfig {
        receiver: resolved.with_endpoint(endpoint),
        interval,
        resource_attributes: otel::named(&attributes, otel::DELIVERIES),
        daemon_attributes: otel::named(&attributes, otel::DAEMON),
    }))
}
