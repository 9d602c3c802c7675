//! Turns transitions into spans: one for each attempt whose outcome was first seen, and one root for each delivery that
//! ended.
//!
//! Pure: the same transitions always make the same spans, ids included, so that a span that is sent twice is recognised
//! as one. Payloads, answers and headers never reach this file; of errors it sees the cleaned text. The pipeline calls
//! it before each commit, and the spans are part of that commit.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions for HTTP client spans (`http.*`, `error.type`,
//! `server.*`; <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span>); others are below
//! `talkover.`.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status as SpanStatus};
use prost::Message;

use super::ids::{self, SpanId, TraceId};
use super::sampling::{Before, Sampler};
use crate::delivery::{Attempt, DeliveryResult, HttpStatus, OwnerType, Target, Timestamp};
use crate::discovery::targets::WebhookInfo;
use crate::ledger::labels::{AttemptLabels, MAX_EVENT_BYTES};
use crate::ledger::transition::{DeliveryRef, Origin, Transition};
use crate::spans::record::SpanRecord;

/// The settings that spans depend on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanPolicy {
    /// Which deliveries are sampled.
    pub sampler: Sampler,
    /// Whether history becomes spans too.
    pub history: bool,
}

/// The webhook whose deliveries they are.
#[derive(Clone, Copy, Debug)]
pub struct SpanWebhook<'a> {
    /// The target.
    pub target: &'a Target,
    /// What discovery knows of it.
    pub info: Option<&'a WebhookInfo>,
}

/// The spans for a decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// The spans, in the order in which they are to be sent.
    pub records: Vec<SpanRecord>,
    /// The attempts among them that are sent.
    pub sampled: Vec<SampledAttempt>,
}

/// An attempt whose span is sent: what an exemplar can point to.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledAttempt {
    /// The labels that it counts with.
    pub labels: AttemptLabels,
    /// How long it took, in nanoseconds.
    pub duration_ns: Option<u64>,
    /// When it was created; never far ahead of the server's clock.
    pub at: Timestamp,
    /// Its delivery.
    pub trace_id: TraceId,
    /// The attempt.
    pub span_id: SpanId,
}

/// The spans for `transitions` of a webhook's deliveries.
pub fn spans(transitions: &[Transition], webhook: SpanWebhook<'_>, policy: &SpanPolicy) -> Made {
    let mut made = Made::default();
    let wanted = |origin: Origin| origin == Origin::Live || policy.history;
    // If a delivery ends more than once in a batch, its last end counts.
    let mut last_ends = HashMap::new();
    for (place, transition) in transitions.iter().enumerate() {
        if let Transition::Ended { delivery, .. } = transition {
            last_ends.insert(&delivery.opening.id, place);
        }
    }
    for (place, transition) in transitions.iter().enumerate() {
        match transition {
            Transition::Counted { attempt, at, delivery, labels, origin, .. } if wanted(*origin) => {
                let counted = Counted { attempt, at: *at, delivery, labels };
                made.add_attempt(&counted, webhook, policy);
            }
            Transition::Ended { delivery, began, at, name, event, result, attempts, origin, .. }
                if wanted(*origin) && last_ends.get(&delivery.opening.id) == Some(&place) =>
            {
                let name = short(name, event);
                let end = DeliveryEnd { delivery, began: *began, at: *at, name, result: *result, attempts: *attempts };
                made.add_root(&end, webhook, policy);
            }
            _ => {}
        }
    }
    made
}

/// An attempt that was counted.
struct Counted<'a> {
    attempt: &'a Attempt,
    at: Timestamp,
    delivery: &'a DeliveryRef,
    labels: &'a AttemptLabels,
}

/// The end of a delivery.
struct DeliveryEnd<'a> {
    delivery: &'a DeliveryRef,
    began: Timestamp,
    at: Timestamp,
    name: &'a Arc<str>,
    result: DeliveryResult,
    attempts: u8,
}

impl Made {
    fn add_attempt(&mut self, counted: &Counted<'_>, webhook: SpanWebhook<'_>, policy: &SpanPolicy) {
        let Counted { attempt, at, delivery, labels } = *counted;
        let trace_id = ids::trace(webhook.target, &delivery.opening.id);
        let span_id = ids::attempt(webhook.target, &attempt.id);
        let before = match delivery.is_retry {
            true => Before::Failure,
            false if attempt.id == delivery.opening.id => Before::Nothing,
            false => Before::Successes,
        };
        let fate = policy.sampler.attempt(trace_id, attempt.status, before);
        let (start, end) = attempt.span();
        let span = Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: ids::root(webhook.target, &delivery.opening.id).to_vec(),
            name: format!("{} {}", method(webhook), short(&attempt.event, &labels.event)),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(end),
            attributes: attempt_attributes(attempt, &labels.event, webhook),
            status: attempt.status.is_failure().then(|| SpanStatus {
                code: StatusCode::Error.into(),
                message: attempt.error.as_deref().unwrap_or_default().to_owned(),
            }),
            ..Span::default()
        };
        self.records.push(SpanRecord { trace_id, span: span.encode_to_vec(), fate });
        if fate.is_sent() {
            let (labels, duration_ns) = (labels.clone(), attempt.duration_ns);
            self.sampled.push(SampledAttempt { labels, duration_ns, at, trace_id, span_id });
        }
    }

    fn add_root(&mut self, end: &DeliveryEnd<'_>, webhook: SpanWebhook<'_>, policy: &SpanPolicy) {
        let opening = &end.delivery.opening;
        let trace_id = ids::trace(webhook.target, &opening.id);
        let mut attributes = webhook_attributes(webhook.target);
        attributes.extend([
            text("talkover.event", end.name),
            number("talkover.delivery.attempts", end.attempts.into()),
            text("talkover.delivery.result", end.result.as_str()),
        ]);
        let is_bad = end.result != DeliveryResult::Success;
        let span = Span {
            trace_id: trace_id.to_vec(),
            span_id: ids::root(webhook.target, &opening.id).to_vec(),
            name: format!("deliver {}", end.name),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanos(end.began),
            // A manual retry may be dated before the attempt that it repeats.
            end_time_unix_nano: nanos(end.at.max(end.began)),
            attributes,
            status: is_bad.then(|| SpanStatus { code: StatusCode::Error.into(), message: String::new() }),
            ..Span::default()
        };
        let before = if end.delivery.is_retry { Before::Failure } else { Before::Successes };
        let fate = policy.sampler.root(trace_id, end.result, before);
        self.records.push(SpanRecord { trace_id, span: span.encode_to_vec(), fate });
    }
}

fn attempt_attributes(attempt: &Attempt, event: &Arc<str>, webhook: SpanWebhook<'_>) -> Vec<KeyValue> {
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

fn method(webhook: SpanWebhook<'_>) -> &'static str {
    webhook.info.map(|info| info.method).unwrap_or_default().as_str()
}

/// The event's name, or its label if the name is too long.
fn short<'a>(name: &'a Arc<str>, label: &'a Arc<str>) -> &'a Arc<str> {
    if name.len() > MAX_EVENT_BYTES { label } else { name }
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(0).saturating_mul(1000)
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests;
