//! What spans and log records tell of a webhook, an attempt and the end of a delivery: their attributes.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions for HTTP client spans (`http.*`, `error.type`,
//! `server.*`; <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span>); others are below
//! `talkover.`.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use crate::delivery::{Attempt, DeliveryResult, HttpStatus, OwnerType, Target, Timestamp};
use crate::discovery::targets::WebhookInfo;
use crate::ledger::labels::{AttemptLabels, MAX_EVENT_BYTES};
use crate::ledger::transition::DeliveryRef;

/// The webhook whose deliveries they are.
#[derive(Clone, Copy, Debug)]
pub struct SpanWebhook<'a> {
    /// The target.
    pub target: &'a Target,
    /// What discovery knows of it.
    pub info: Option<&'a WebhookInfo>,
}

/// An attempt that was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountedAttempt<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) at: Timestamp,
    pub(super) delivery: &'a DeliveryRef,
    pub(super) labels: &'a AttemptLabels,
}

/// The end of a delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryEnd<'a> {
    pub(super) delivery: &'a DeliveryRef,
    pub(super) began: Timestamp,
    pub(super) at: Timestamp,
    pub(super) name: &'a Arc<str>,
    pub(super) result: DeliveryResult,
    pub(super) attempts: u8,
    /// Why it was lost, as the log says.
    pub(super) error: Option<&'a str>,
}

/// Returns the attributes of an attempt.
pub(super) fn attempt_attributes(attempt: &Attempt, event: &Arc<str>, webhook: SpanWebhook<'_>) -> Vec<KeyValue> {
    let mut attributes = webhook_attributes(webhook.target);
    attributes.push(text("http.request.method", method(webhook)));
    if let HttpStatus::Code(code) = attempt.http_status {
        attributes.push(number("http.response.status_code", code.into()));
    }
    if attempt.attempt > 1 {
        attributes.push(number("http.request.resend_count", i64::from(attempt.attempt) - 1));
    }
    if attempt.status.is_failure() {
        attributes.push(text("error.type", &error_type(attempt.http_status)));
    }
    if let Some(endpoint) = webhook.info.and_then(|info| info.endpoint.as_ref()) {
        attributes.push(text("server.address", &endpoint.host));
        attributes.extend(endpoint.port.map(|port| number("server.port", port.into())));
    }
    attributes.extend([
        text("talkover.log.id", &attempt.id.to_string()),
        text("talkover.event", short(&attempt.event, event)),
        text("talkover.delivery.status", attempt.status.as_str()),
        number("talkover.delivery.attempt", attempt.attempt.into()),
    ]);
    attributes
}

fn webhook_attributes(target: &Target) -> Vec<KeyValue> {
    let owner = match target.owner_type {
        OwnerType::Agent => "talkover.agent.id",
        OwnerType::Campaign => "talkover.campaign.id",
    };
    vec![
        text("talkover.environment", &target.environment),
        text("talkover.webhook.id", &target.webhook_id),
        text("talkover.webhook.name", &target.webhook_name),
        text(owner, &target.owner_id),
    ]
}

/// What went wrong, with low cardinality: the status code, or one of two names if there is none.
fn error_type(status: HttpStatus) -> String {
    match status {
        HttpStatus::Code(code) => code.to_string(),
        HttpStatus::None => "connection_error".to_owned(),
        HttpStatus::Invalid => "_OTHER".to_owned(),
    }
}

/// Returns the method of the webhook's requests.
pub(super) fn method(webhook: SpanWebhook<'_>) -> &'static str {
    webhook.info.map(|info| info.method).unwrap_or_default().as_str()
}

/// The event's name, or its label if the name is too long.
pub(super) fn short<'a>(name: &'a Arc<str>, label: &'a Arc<str>) -> &'a Arc<str> {
    if name.len() > MAX_EVENT_BYTES { label } else { name }
}

/// Returns the attributes of the end of a delivery.
pub(super) fn end_attributes(end: &DeliveryEnd<'_>, webhook: SpanWebhook<'_>) -> Vec<KeyValue> {
    let mut attributes = webhook_attributes(webhook.target);
    attributes.extend([
        text("talkover.event", end.name),
        number("talkover.delivery.attempts", end.attempts.into()),
        text("talkover.delivery.result", end.result.as_str()),
    ]);
    attributes
}

/// Returns a time in nanoseconds since the Unix epoch.
pub(super) fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(0).saturating_mul(1000)
}

/// Returns an attribute with a text as its value.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
