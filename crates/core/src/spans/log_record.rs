//! Turns failed attempts and lost deliveries into log records, for those who search logs rather than traces.
//!
//! Pure, like the spans: the same transitions always make the same records. Each belongs to a span, that of the attempt
//! or the root of the delivery, and has its trace id, span id and attributes. A failed attempt is a warning; a delivery
//! that is lost is an error, so that the errors are the lost deliveries. The body is the cleaned error text.
//!
//! Fields as in OpenTelemetry's logs data model (<https://opentelemetry.io/docs/specs/otel/logs/data-model/>), the event
//! names by its conventions for events (<https://opentelemetry.io/docs/specs/semconv/general/events/>): below
//! `talkover.`, as no convention has any for webhooks.

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use prost::Message;

use super::ids::{self, SpanId, TraceId};
use super::subject::{self, CountedAttempt, DeliveryEnd, SpanWebhook, nanos};
use crate::delivery::{DeliveryResult, HttpStatus, Timestamp};

/// The event of an attempt that failed, whether another one follows or not.
const ATTEMPT_FAILED: &str = "talkover.attempt.failed";
/// The event of a delivery that was lost.
const DELIVERY_LOST: &str = "talkover.delivery.lost";
/// The span is sent (W3C Trace Context, section 3.2.2.5.1).
const SAMPLED: u32 = 1;

/// The encoded record of an attempt; `None` if it did not fail.
pub(super) fn of_attempt(counted: &CountedAttempt<'_>, webhook: SpanWebhook<'_>) -> Option<Vec<u8>> {
    let CountedAttempt { attempt, delivery, labels, .. } = *counted;
    if !attempt.status.is_failure() {
        return None;
    }
    let body = match attempt.error.as_deref().filter(|error| !error.is_empty()) {
        Some(error) => error.to_owned(),
        None => described(attempt.http_status),
    };
    let trace_id = ids::trace(webhook.target, &delivery.opening.id);
    let span_id = ids::attempt(webhook.target, &attempt.id);
    let record = LogRecord {
        severity_number: SeverityNumber::Warn.into(),
        severity_text: "WARN".to_owned(),
        attributes: subject::attempt_attributes(attempt, &labels.event, webhook),
        event_name: ATTEMPT_FAILED.to_owned(),
        ..base(attempt.span().1, body, trace_id, span_id)
    };
    Some(record.encode_to_vec())
}

/// The encoded record of the end of a delivery; `None` if it succeeded.
pub(super) fn of_end(end: &DeliveryEnd<'_>, webhook: SpanWebhook<'_>) -> Option<Vec<u8>> {
    let body = match (end.result, end.error.filter(|error| !error.is_empty())) {
        (DeliveryResult::Success, _) => return None,
        (DeliveryResult::Failed, Some(error)) => error.to_owned(),
        (DeliveryResult::Failed, None) => format!("lost with attempt {}", end.attempts),
        (DeliveryResult::Abandoned, _) => format!("no outcome of attempt {} was seen in time", end.attempts),
    };
    let opening = &end.delivery.opening.id;
    let (trace_id, span_id) = (ids::trace(webhook.target, opening), ids::root(webhook.target, opening));
    let record = LogRecord {
        severity_number: SeverityNumber::Error.into(),
        severity_text: "ERROR".to_owned(),
        attributes: subject::end_attributes(end, webhook),
        event_name: DELIVERY_LOST.to_owned(),
        // Like the end of the root span.
        ..base(end.at.max(end.began), body, trace_id, span_id)
    };
    Some(record.encode_to_vec())
}

/// When it was observed is left to the receiver: a second reading must make the same record.
fn base(time: Timestamp, body: String, trace_id: TraceId, span_id: SpanId) -> LogRecord {
    LogRecord {
        time_unix_nano: nanos(time),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        flags: SAMPLED,
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        ..LogRecord::default()
    }
}

/// What is known of a failure without an error text.
fn described(status: HttpStatus) -> String {
    match status {
        HttpStatus::Code(code) => format!("HTTP status {code}"),
        HttpStatus::None => "no answer".to_owned(),
        HttpStatus::Invalid => "an answer without a valid HTTP status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::delivery::AttemptStatus::{Failed, Pending, Retrying, Success};
    use crate::delivery::{Attempt, EntryId, OwnerType, Target};
    use crate::ledger::transition::Transition;
    use crate::spans::sampling::Sampler;
    use crate::spans::span::{SpanPolicy, spans};
    use crate::testing::{Book, START, attempt};

    fn target() -> Target {
        Target {
            environment: "production".into(),
            webhook_id: "w-1".into(),
            owner_type: OwnerType::Campaign,
            owner_id: "c-1".into(),
            webhook_name: "orders".into(),
        }
    }

    fn records_of(transitions: &[Transition], policy: &SpanPolicy) -> Vec<LogRecord> {
        let made = spans(transitions, SpanWebhook { target: &target(), info: None }, policy);
        made.logs.iter().map(|record| LogRecord::decode(&**record).unwrap()).collect()
    }

    fn records(book: &mut Book, now: i64, attempts: &[Attempt]) -> Vec<LogRecord> {
        let policy = SpanPolicy { sampler: Sampler::new(0.0), history: false, logs: true };
        records_of(&book.poll(now, attempts).transitions, &policy)
    }

    fn body(record: &LogRecord) -> &str {
        match record.body.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(text) => text,
            other => panic!("{other:?}"),
        }
    }

    fn told(records: &[LogRecord]) -> Vec<(&str, &str, SeverityNumber)> {
        records.iter().map(|record| (record.event_name.as_str(), body(record), record.severity_number())).collect()
    }

    fn failing(id: &str, number: u8, at: i64, status: crate::delivery::AttemptStatus, error: &str) -> Attempt {
        let mut failing = attempt(id, "g", number, at, status);
        failing.http_status = HttpStatus::Code(503);
        failing.error = (!error.is_empty()).then(|| error.into());
        failing
    }

    #[test]
    fn each_failed_attempt_and_each_lost_delivery_is_a_record_of_its_span() {
        let mut book = Book::new();
        let first = records(&mut book, 20, &[failing("log-1", 1, 10, Retrying, "first")]);
        assert_eq!(told(&first), [(ATTEMPT_FAILED, "first", SeverityNumber::Warn)]);
        let second = records(&mut book, 40, &[failing("log-2", 2, 30, Failed, "second")]);
        assert_eq!(
            told(&second),
            [(ATTEMPT_FAILED, "second", SeverityNumber::Warn), (DELIVERY_LOST, "second", SeverityNumber::Error)]
        );
        let (target, opening) = (target(), EntryId::new("log-1"));
        for record in first.iter().chain(&second) {
            assert_eq!(record.trace_id, ids::trace(&target, &opening));
            assert_eq!((record.flags, record.observed_time_unix_nano), (SAMPLED, 0));
        }
        assert_eq!(second[0].span_id, ids::attempt(&target, &EntryId::new("log-2")));
        assert_eq!(second[1].span_id, ids::root(&target, &opening));
        assert_eq!(second[1].time_unix_nano, (START as u64 + 31) * 1_000_000_000);
        let keys = |record: &LogRecord| record.attributes.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
        assert!(keys(&second[0]).contains(&"talkover.log.id".to_owned()));
        assert!(keys(&second[0]).contains(&"http.response.status_code".to_owned()));
        assert!(keys(&second[1]).contains(&"talkover.delivery.result".to_owned()));
    }

    #[test]
    fn an_entry_that_becomes_failed_later_tells_the_loss_alone() {
        let mut book = Book::new();
        assert_eq!(records(&mut book, 20, &[failing("log-1", 1, 10, Retrying, "now")]).len(), 1);
        let lost = records(&mut book, 40, &[failing("log-1", 1, 10, Failed, "in the end")]);
        assert_eq!(told(&lost), [(DELIVERY_LOST, "in the end", SeverityNumber::Error)]);
    }

    #[test]
    fn what_has_no_text_is_described_and_what_succeeds_is_no_record() {
        let mut book = Book::new();
        let lost = records(&mut book, 20, &[failing("log-1", 1, 10, Failed, "")]);
        let bodies: Vec<&str> = lost.iter().map(body).collect();
        assert_eq!(bodies, ["HTTP status 503", "lost with attempt 1"]);
        assert_eq!(records(&mut book, 20, &[attempt("log-2", "h", 1, 11, Success)]), []);
        assert_eq!(records(&mut book, 20, &[attempt("log-3", "i", 1, 12, Pending)]), []);
        let abandoned = records(&mut book, 600, &[attempt("log-3", "i", 1, 12, Pending)]);
        assert_eq!(
            told(&abandoned),
            [(DELIVERY_LOST, "no outcome of attempt 1 was seen in time", SeverityNumber::Error)]
        );
    }

    #[test]
    fn no_record_is_made_unless_asked_for_and_every_one_has_its_span() {
        let decision =
            Book::new().poll(40, &[failing("log-1", 1, 10, Retrying, "a"), failing("log-2", 2, 30, Failed, "b")]);
        let policy = SpanPolicy { sampler: Sampler::new(0.0), history: false, logs: false };
        assert_eq!(records_of(&decision.transitions, &policy), []);
        let policy = SpanPolicy { logs: true, ..policy };
        let webhook = target();
        let made = spans(&decision.transitions, SpanWebhook { target: &webhook, info: None }, &policy);
        let sent: BTreeMap<Vec<u8>, bool> = made
            .records
            .iter()
            .map(|record| {
                let span = opentelemetry_proto::tonic::trace::v1::Span::decode(&*record.span).unwrap();
                (span.span_id, record.fate.is_sent())
            })
            .collect();
        let records = records_of(&decision.transitions, &policy);
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|record| sent.get(&record.span_id) == Some(&true)), "sampling drops none of them");
    }
}
