//! What spans look like, for every kind of attempt and end, from decisions of the real ledger.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::*;
use crate::delivery::AttemptStatus::{Failed, Pending, Retrying, Success, Unknown};
use crate::delivery::{Attempt, EntryId, HttpStatus, OwnerType, Target};
use crate::discovery::targets::WebhookInfo;
use crate::discovery::{Endpoint, Method};
use crate::ledger::decide::{Batch, Coverage};
use crate::spans::record::Fate;
use crate::testing::{Book, START, attempt, entry};

const ALL: SpanPolicy = SpanPolicy { sampler: Sampler::ALL, history: false, logs: false };

fn target() -> Target {
    Target {
        environment: "production".into(),
        webhook_id: "w-1".into(),
        owner_type: OwnerType::Campaign,
        owner_id: "c-1".into(),
        webhook_name: "orders".into(),
    }
}

fn info() -> WebhookInfo {
    WebhookInfo {
        owner_name: "spring".into(),
        endpoint: Some(Endpoint { host: "hooks.example.com".into(), port: Some(8443) }),
        is_enabled: true,
        max_retries: None,
        timeout_seconds: None,
        method: Method::Put,
    }
}

fn decode(record: &SpanRecord) -> Span {
    Span::decode(&*record.span).unwrap()
}

/// The spans of a reading.
fn made(book: &mut Book, now: i64, attempts: &[Attempt]) -> Vec<Span> {
    let target = target();
    let decision = book.poll(now, attempts);
    let made = spans(&decision.transitions, SpanWebhook { target: &target, info: None }, &ALL);
    made.records.iter().map(decode).collect()
}

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let shown = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => format!("{number}i"),
        other => panic!("{other:?}"),
    };
    let all: BTreeMap<&str, String> = span.attributes.iter().map(|one| (one.key.as_str(), shown(one))).collect();
    assert_eq!(all.len(), span.attributes.len(), "a key stands there twice");
    all
}

/// Start and end in seconds of the tests' time.
fn times(span: &Span) -> (f64, f64) {
    let seconds = |nanos: u64| (nanos as i64 - START * 1_000_000_000) as f64 / 1e9;
    (seconds(span.start_time_unix_nano), seconds(span.end_time_unix_nano))
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

#[test]
fn an_attempt_that_failed_shows_all_that_is_known() {
    let mut failed = attempt("log-2", "g", 3, 10, Retrying);
    failed.http_status = HttpStatus::Code(503);
    failed.error = Some("Service Unavailable".into());
    failed.duration_ns = Some(1_500_000_000);
    failed.delivered_at = Some(Timestamp::from_seconds(START + 14));
    let (target, info) = (target(), info());
    let decision = Book::new().poll(20, &[failed]);
    let made = spans(&decision.transitions, SpanWebhook { target: &target, info: Some(&info) }, &ALL);
    let [record] = &made.records[..] else { panic!("{made:?}") };
    let span = decode(record);

    let id = EntryId::new("log-2");
    assert_eq!(span.trace_id, ids::trace(&target, &id), "it opens its delivery, as nothing before it is known");
    assert_eq!(record.trace_id, *span.trace_id);
    assert_eq!(span.span_id, ids::attempt(&target, &id));
    assert_eq!(span.parent_span_id, ids::root(&target, &id));
    assert_eq!((span.name.as_str(), span.kind()), ("PUT e", SpanKind::Client));
    assert_eq!(times(&span), (12.5, 14.0));
    let status = span.status.clone().unwrap();
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "Service Unavailable"));
    let expected = [
        ("error.type", "503"),
        ("http.request.method", "PUT"),
        ("http.request.resend_count", "2i"),
        ("http.response.status_code", "503i"),
        ("server.address", "hooks.example.com"),
        ("server.port", "8443i"),
        ("talkover.campaign.id", "c-1"),
        ("talkover.delivery.attempt", "3i"),
        ("talkover.delivery.status", "retrying"),
        ("talkover.environment", "production"),
        ("talkover.event", "e"),
        ("talkover.log.id", "log-2"),
        ("talkover.webhook.id", "w-1"),
        ("talkover.webhook.name", "orders"),
    ];
    assert_eq!(attributes(&span), expected.map(|(key, value)| (key, value.to_owned())).into());
    assert_eq!(made.sampled.len(), 1);
    assert_eq!((made.sampled[0].trace_id, made.sampled[0].span_id), (record.trace_id, ids::attempt(&target, &id)));
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut owner = target();
    owner.owner_type = OwnerType::Agent;
    let mut first = entry("a", 10, Success);
    (first.http_status, first.duration_ns) = (HttpStatus::None, None);
    let decision = Book::new().poll(20, &[first]);
    let made = spans(&decision.transitions, SpanWebhook { target: &owner, info: None }, &ALL);
    let span = decode(&made.records[0]);
    assert_eq!((span.name.as_str(), times(&span)), ("POST e", (10.0, 10.0)));
    assert_eq!(span.status, None);
    let attributes = attributes(&span);
    for absent in
        ["http.response.status_code", "http.request.resend_count", "error.type", "server.address", "server.port"]
    {
        assert!(!attributes.contains_key(absent), "{absent}");
    }
    assert_eq!(attributes["talkover.agent.id"], "c-1");
}

#[test]
fn an_attempt_begins_so_long_before_its_delivery_as_it_took_but_not_before_its_entry() {
    for (delivered, duration_ns, expected) in [
        (None, Some(2_000_000_000), (10.0, 12.0)),
        (Some(15), Some(2_000_000_000), (13.0, 15.0)),
        (Some(11), Some(2_000_000_000), (10.0, 12.0)),
        (Some(15), None, (15.0, 15.0)),
        (Some(3), Some(1_000_000), (10.0, 10.001)),
    ] {
        let mut one = entry("a", 10, Success);
        one.duration_ns = duration_ns;
        one.delivered_at = delivered.map(|second| Timestamp::from_seconds(START + second));
        let made = made(&mut Book::new(), 20, &[one]);
        assert_eq!(made.iter().map(times).collect::<Vec<_>>(), [expected, (10.0, expected.1)], "{delivered:?}");
    }
}

#[test]
fn the_type_of_an_error_is_the_code_or_tells_why_there_is_none() {
    for (status, http_status, expected) in [
        (Failed, HttpStatus::Code(500), Some("500")),
        (Retrying, HttpStatus::None, Some("connection_error")),
        (Failed, HttpStatus::Invalid, Some("_OTHER")),
        (Success, HttpStatus::Code(500), None),
        (Unknown, HttpStatus::None, None),
    ] {
        let made = made(&mut Book::new(), 20, &[Attempt { http_status, ..entry("a", 10, status) }]);
        assert_eq!(attributes(&made[0]).get("error.type").map(String::as_str), expected, "{status:?}");
        assert_eq!(is_error(&made[0]), expected.is_some(), "{status:?}");
    }
}

#[test]
fn a_delivery_is_one_trace_and_its_root_spans_all_of_its_attempts() {
    let mut book = Book::new();
    let first = made(&mut book, 20, &[attempt("a1", "g", 1, 10, Retrying)]);
    assert_eq!(names(&first), ["POST e"], "it has not ended");
    assert_eq!(made(&mut book, 25, &[attempt("a2", "g", 2, 22, Pending)]), [], "no outcome, no span");
    let second = made(&mut book, 30, &[attempt("a2", "g", 2, 22, Success)]);
    assert_eq!(names(&second), ["POST e", "deliver e"]);
    let [attempt, root] = &second[..] else { panic!() };
    for span in [&first[0], attempt] {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&root.trace_id, &root.span_id));
    }
    assert_eq!((root.kind(), &*root.parent_span_id, times(root)), (SpanKind::Internal, &[][..], (10.0, 23.0)));
    let shown = attributes(root);
    assert_eq!((&*shown["talkover.delivery.attempts"], &*shown["talkover.delivery.result"]), ("2i", "success"));
    assert!(!is_error(root));
}

#[test]
fn a_late_attempt_belongs_to_the_trace_that_its_successor_opened() {
    let mut book = Book::new();
    let second = made(&mut book, 40, &[attempt("a2", "g", 2, 30, Retrying)]);
    let first = made(&mut book, 50, &[attempt("a1", "g", 1, 10, Retrying)]);
    let third = made(&mut book, 70, &[attempt("a3", "g", 3, 60, Success)]);
    assert_eq!(
        [names(&second), names(&first), names(&third)],
        [&["POST e"][..], &["POST e"], &["POST e", "deliver e"]]
    );
    let root = &third[1];
    let opening = EntryId::new("a2");
    assert_eq!(
        (&*root.trace_id, &*root.span_id),
        (&ids::trace(&target(), &opening)[..], &ids::root(&target(), &opening)[..])
    );
    for span in [&second[0], &first[0], &third[0]] {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&root.trace_id, &root.span_id));
    }
    assert_eq!(times(root), (10.0, 61.0), "the first attempt is the late one");
    // Where it continues a delivery, it belongs to that one.
    let mut book = Book::new();
    let one = made(&mut book, 20, &[attempt("b1", "h", 1, 10, Retrying)]);
    let three = made(&mut book, 40, &[attempt("b3", "h", 3, 30, Success)]);
    let two = made(&mut book, 50, &[attempt("b2", "h", 2, 20, Failed)]);
    assert_eq!((names(&two), &two[0].trace_id), (vec!["POST e"], &one[0].trace_id));
    assert_ne!(two[0].trace_id, three[0].trace_id);
}

#[test]
fn a_delivery_that_fails_or_is_given_up_is_an_error() {
    let mut book = Book::new();
    let failed = made(&mut book, 20, &[entry("a", 10, Failed)]);
    assert_eq!(attributes(&failed[1])["talkover.delivery.result"], "failed");
    assert!(is_error(&failed[1]));

    book.poll(20, &[entry("p", 12, Pending), entry("r", 13, Retrying)]);
    let given_up = made(&mut book, 600, &[entry("p", 12, Pending), entry("r", 13, Retrying)]);
    let told: Vec<_> =
        given_up.iter().map(|root| (attributes(root)["talkover.delivery.result"].clone(), times(root))).collect();
    // A pending one has no end but that of its entry.
    assert_eq!(told, [("abandoned".to_owned(), (12.0, 12.0)), ("abandoned".to_owned(), (13.0, 14.0))]);
    assert!(given_up.iter().all(is_error));
}

#[test]
fn the_end_of_what_is_gone_from_the_log_is_told_from_memory() {
    let mut book = Book::new();
    book.poll(20, &[entry("r", 13, Retrying)]);
    let batch = Batch { missing: vec![EntryId::new("r")], ..Book::batch(Coverage::Pages, 600, &[]) };
    let decision = book.apply(&batch);
    let target = target();
    let made = spans(&decision.transitions, SpanWebhook { target: &target, info: None }, &ALL);
    let root = decode(&made.records[0]);
    assert_eq!((root.name.as_str(), times(&root)), ("deliver e", (13.0, 14.0)));
}

#[test]
fn of_several_ends_in_a_batch_the_last_is_told() {
    let attempts =
        [attempt("a1", "g", 1, 10, Failed), attempt("a2", "g", 2, 11, Failed), attempt("a3", "g", 3, 12, Success)];
    let made = made(&mut Book::new(), 20, &attempts);
    assert_eq!(names(&made), ["POST e", "POST e", "POST e", "deliver e"]);
    assert_eq!(attributes(&made[3])["talkover.delivery.attempts"], "3i");
}

#[test]
fn a_retry_by_hand_ends_its_delivery_again_under_the_same_id() {
    let mut book = Book::new();
    let first = made(&mut book, 20, &[entry("a1", 10, Failed)]);
    let again = made(&mut book, 60, &[Attempt { attempt: 2, ..entry("a1", 50, Success) }.with_id("a2")]);
    assert_eq!((&first[1].span_id, &first[1].trace_id), (&again[1].span_id, &again[1].trace_id));
    assert_eq!(times(&again[1]), (10.0, 51.0));
}

#[test]
fn history_gives_spans_where_it_is_wanted_and_live_ends_of_its_deliveries_always() {
    let target = target();
    let webhook = SpanWebhook { target: &target, info: None };
    let count =
        |decision: &[Transition], history| spans(decision, webhook, &SpanPolicy { history, ..ALL }).records.len();
    let mut book = Book { ledger: Default::default(), ..Book::new() };
    book.read(Coverage::FirstResponse, 100, &[]);
    let past = [entry("a", 50, Success), attempt("b1", "b", 1, 60, Retrying), attempt("c1", "c", 1, 70, Pending)];
    let first = book.read(Coverage::FirstContact, 110, &past).transitions;
    assert_eq!([false, true].map(|history| count(&first, history)), [0, 3]);

    let live = book.poll(150, &[attempt("b2", "b", 2, 120, Success), attempt("c1", "c", 1, 70, Failed)]).transitions;
    assert_eq!([false, true].map(|history| count(&live, history)), [4, 4]);
    let made = spans(&live, webhook, &ALL);
    assert_eq!(
        made.records[1].trace_id,
        ids::trace(&target, &EntryId::new("c1")),
        "it was pending when it was history"
    );
    assert!(made.records.iter().any(|record| record.trace_id == ids::trace(&target, &EntryId::new("b1"))));
}

#[test]
fn what_sampling_leaves_out_is_parked_until_something_fails() {
    let target = target();
    let none = SpanPolicy { sampler: Sampler::new(0.0), history: false, logs: false };
    let mut book = Book::new();
    let mut fates = |now, attempts: &[Attempt]| {
        let decision = book.poll(now, attempts);
        let made = spans(&decision.transitions, SpanWebhook { target: &target, info: None }, &none);
        (made.records.iter().map(|record| record.fate).collect::<Vec<_>>(), made.sampled.len())
    };
    use Fate::{Park, Queue, QueueWithParked};
    assert_eq!(fates(20, &[attempt("a1", "g", 1, 10, Success)]), (vec![Park, Park], 0));
    assert_eq!(fates(30, &[attempt("a2", "g", 2, 25, Success)]), (vec![Park, Park], 0), "it went well again");
    assert_eq!(fates(40, &[attempt("a3", "g", 3, 35, Retrying)]), (vec![QueueWithParked], 1));
    assert_eq!(fates(50, &[attempt("a4", "g", 4, 45, Success)]), (vec![Queue, Queue], 1));
    assert_eq!(fates(60, &[attempt("b1", "h", 1, 55, Failed)]), (vec![Queue, QueueWithParked], 1));
    assert_eq!(fates(70, &[attempt("c2", "i", 2, 65, Success)]), (vec![Queue, Queue], 1), "it did not succeed at once");
    assert_eq!(fates(80, &[attempt("c1", "i", 1, 60, Success)]), (vec![Queue], 1), "its delivery has been sent");
}

#[test]
fn long_names_of_events_and_strange_times_do_no_harm() {
    let mut book = Book::new();
    let long = made(&mut book, 20, &[Attempt { event: "x".repeat(129).into(), ..entry("a", 10, Success) }]);
    assert_eq!(names(&long), ["POST overflow", "deliver overflow"]);
    assert_eq!(attributes(&long[0])["talkover.event"], "overflow");
    let longest = "x".repeat(128);
    let kept = made(&mut book, 30, &[Attempt { event: longest.as_str().into(), ..entry("b", 25, Success) }]);
    assert_eq!(attributes(&kept[1])["talkover.event"], longest);
    let far = Timestamp::from_micros(i64::MAX);
    let ahead = made(&mut book, 40, &[Attempt { created_at: far, ..entry("c", 0, Success) }]);
    assert_eq!(ahead[0].end_time_unix_nano, u64::MAX);
}

impl Attempt {
    fn with_id(self, id: &str) -> Self {
        Self { id: EntryId::new(id), ..self }
    }
}
