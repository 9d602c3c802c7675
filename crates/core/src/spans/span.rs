//! Turns transitions into spans: one for each attempt whose outcome was first seen, and one root for each delivery that
//! ended.
//!
//! Pure: the same transitions always make the same spans, ids included, so that a span that is sent twice is recognised
//! as one. Payloads, answers and headers never reach this file; of errors it sees the cleaned text. The pipeline calls
//! it before each commit, and the spans are part of that commit.
//!
//! Attributes are those of [`super::subject`]. Where log records are wanted, they are made beside the spans
//! (`log_record`).

use std::collections::HashMap;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status as SpanStatus};
use prost::Message;

use super::ids::{self, SpanId, TraceId};
use super::log_record;
use super::sampling::{Before, Sampler};
use super::subject::{self, CountedAttempt, DeliveryEnd, SpanWebhook, method, nanos, short};
use crate::delivery::{DeliveryResult, Timestamp};
use crate::ledger::labels::AttemptLabels;
use crate::ledger::transition::{Origin, Transition};
use crate::spans::record::SpanRecord;

/// The settings that spans depend on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanPolicy {
    /// Which deliveries are sampled.
    pub sampler: Sampler,
    /// Whether history becomes spans too.
    pub history: bool,
    /// Whether failed attempts and lost deliveries become log records too.
    pub logs: bool,
}

/// The spans for a decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// The spans, in the order in which they are to be sent.
    pub records: Vec<SpanRecord>,
    /// Log records about them, each an encoded `opentelemetry.proto.logs.v1.LogRecord`, in the same order.
    pub logs: Vec<Vec<u8>>,
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
                let counted = CountedAttempt { attempt, at: *at, delivery, labels };
                made.add_attempt(&counted, webhook, policy);
                if policy.logs {
                    made.logs.extend(log_record::of_attempt(&counted, webhook));
                }
            }
            Transition::Ended { delivery, began, at, name, event, result, attempts, error, origin, .. }
                if wanted(*origin) && last_ends.get(&delivery.opening.id) == Some(&place) =>
            {
                let name = short(name, event);
                let (error, result, attempts) = (error.as_deref(), *result, *attempts);
                let end = DeliveryEnd { delivery, began: *began, at: *at, name, result, attempts, error };
                made.add_root(&end, webhook, policy);
                if policy.logs {
                    made.logs.extend(log_record::of_end(&end, webhook));
                }
            }
            _ => {}
        }
    }
    made
}

impl Made {
    fn add_attempt(&mut self, counted: &CountedAttempt<'_>, webhook: SpanWebhook<'_>, policy: &SpanPolicy) {
        let CountedAttempt { attempt, at, delivery, labels } = *counted;
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
            attributes: subject::attempt_attributes(attempt, &labels.event, webhook),
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
        let is_bad = end.result != DeliveryResult::Success;
        let span = Span {
            trace_id: trace_id.to_vec(),
            span_id: ids::root(webhook.target, &opening.id).to_vec(),
            name: format!("deliver {}", end.name),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanos(end.began),
            // A manual retry may be dated before the attempt that it repeats.
            end_time_unix_nano: nanos(end.at.max(end.began)),
            attributes: subject::end_attributes(end, webhook),
            status: is_bad.then(|| SpanStatus { code: StatusCode::Error.into(), message: String::new() }),
            ..Span::default()
        };
        let before = if end.delivery.is_retry { Before::Failure } else { Before::Successes };
        let fate = policy.sampler.root(trace_id, end.result, before);
        self.records.push(SpanRecord { trace_id, span: span.encode_to_vec(), fate });
    }
}

#[cfg(test)]
mod tests;
