//! Every attempt of a real log is one span and every delivery one trace, by the ids and names that the contract has for them: worked
//! out here from what really happened, with no code of the daemon's.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use sha2::{Digest, Sha256};
use talkover_simulator::{Clock, EntryTruth, Moment, Scenario, Simulator};

use super::receiver::Receiver;
use super::rig::PROTOCOLS;
use crate::harness::{Exporter, Scrape, Workspace, all_true_attempts, simulator};

/// What can be told of a span: its ids, name, kind, times, whether it is an error, and its attributes.
type Told = (String, String, String, SpanKind, u64, u64, bool, BTreeMap<String, String>);

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first bytes of the SHA-256 of `parts`, as hex.
fn id(parts: &[&str], bytes: usize) -> String {
    hex(&Sha256::digest(parts.join("\0"))[..bytes])
}

/// The id of the span of an attempt.
pub(crate) fn attempt_id(entry: &str) -> String {
    id(&["attempt", "test", entry], 8)
}

/// The id of the root span of the delivery that `opening` opened.
pub(crate) fn root_id(opening: &str) -> String {
    id(&["delivery", "test", opening], 8)
}

/// The log shows whole seconds.
fn shown(moment: Moment) -> i64 {
    moment.as_seconds() * 1_000_000_000
}

fn times(entry: &EntryTruth) -> (u64, u64) {
    let duration = entry.duration_ms.unwrap_or(0) as i64 * 1_000_000;
    let created = shown(entry.created_at);
    let start = entry.delivered_at.map_or(created, |at| created.max(shown(at) - duration));
    (start as u64, (start + duration) as u64)
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The spans of everything that has happened to the webhooks, by id.
fn expected(simulator: &Simulator, scenario: &Scenario) -> BTreeMap<String, Told> {
    let mut all = BTreeMap::new();
    for webhook in &simulator.truth().webhooks {
        let own = scenario.webhooks.iter().find(|one| one.id == webhook.webhook_id).unwrap();
        let owner = format!("talkover.{}.id", own.owner.kind.as_str());
        let common = texts([
            ("talkover.environment", "test"),
            ("talkover.webhook.id", &own.id),
            ("talkover.webhook.name", &own.name),
            (&owner, &own.owner.id),
        ]);
        let mut deliveries: BTreeMap<u32, Vec<&EntryTruth>> = BTreeMap::new();
        for entry in &webhook.entries {
            deliveries.entry(entry.delivery).or_default().push(entry);
        }
        for attempts in deliveries.values() {
            let opening = attempts[0];
            assert_eq!(opening.attempt, 1);
            let trace = id(&["test", &own.id, &opening.id], 16);
            for entry in attempts {
                let told = attempt_span(entry, &trace, &root_id(&opening.id), &common);
                all.insert(attempt_id(&entry.id), told);
            }
            let last = attempts[attempts.len() - 1];
            if ["success", "failed"].contains(&last.status.as_str()) {
                all.insert(root_id(&opening.id), root_span(opening, last, &trace, &common));
            }
        }
    }
    all
}

fn attempt_span(entry: &EntryTruth, trace: &str, root: &str, common: &BTreeMap<String, String>) -> Told {
    let is_failure = ["failed", "retrying"].contains(&entry.status.as_str());
    let mut attributes = common.clone();
    attributes.extend(texts([
        ("http.request.method", "POST"),
        ("talkover.log.id", &entry.id),
        ("talkover.event", &entry.event),
        ("talkover.delivery.status", &entry.status),
        ("talkover.delivery.attempt", &entry.attempt.to_string()),
    ]));
    let mut add = |key: &str, value: String| attributes.insert(key.to_owned(), value);
    if entry.http_status != "none" {
        add("http.response.status_code", entry.http_status.clone());
    }
    if entry.attempt > 1 {
        add("http.request.resend_count", (entry.attempt - 1).to_string());
    }
    if is_failure {
        let kind = if entry.http_status == "none" { "connection_error" } else { &entry.http_status };
        add("error.type", kind.to_owned());
    }
    let (start, end) = times(entry);
    let name = format!("POST {}", entry.event);
    (trace.to_owned(), root.to_owned(), name, SpanKind::Client, start, end, is_failure, attributes)
}

fn root_span(opening: &EntryTruth, last: &EntryTruth, trace: &str, common: &BTreeMap<String, String>) -> Told {
    let mut attributes = common.clone();
    attributes.extend(texts([
        ("talkover.event", &opening.event),
        ("talkover.delivery.attempts", &last.attempt.to_string()),
        ("talkover.delivery.result", &last.status),
    ]));
    let (start, end) = (shown(opening.created_at) as u64, times(last).1);
    let name = format!("deliver {}", opening.event);
    (trace.to_owned(), String::new(), name, SpanKind::Internal, start, end, last.status == "failed", attributes)
}

fn told(span: &Span) -> Told {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let attributes = span
        .attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref().unwrap().value.as_ref().unwrap())));
    let is_error = span.status.as_ref().is_some_and(|status| status.code == 2);
    (
        hex(&span.trace_id),
        hex(&span.parent_span_id),
        span.name.clone(),
        span.kind(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        is_error,
        attributes.collect(),
    )
}

/// The last of each span that was taken, by id.
fn taken(receiver: &Receiver) -> BTreeMap<String, Told> {
    receiver.spans().iter().map(|span| (hex(&span.span_id), told(span))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_is_a_span_and_every_delivery_a_trace() {
    let mut scenario = Scenario::from_yaml(include_str!("../busy.yml"), "busy.yml").unwrap();
    // An attempt that is seen before the one that it follows opens a delivery of its own.
    scenario.late = Default::default();
    for protocol in PROTOCOLS {
        let simulator = simulator(scenario.clone(), Clock::Real).await;
        let receiver = Receiver::start([]).await;
        let workspace = Workspace::new();
        let settings = format!(
            "poll: {{min_interval: 50ms, max_interval: 100ms, lookback: 20s, sweep_interval: 2s}}\n\
             traces: {{endpoint: '{}', protocol: {protocol}, history: true}}\n",
            receiver.url()
        );
        let config = workspace.configure(&simulator.base_url(), &scenario.webhooks, &settings);
        let exporter = Exporter::start(&config).await;
        let counted = |scrape: &Scrape| scrape.attempts().values().sum::<f64>();
        let first = counted(&exporter.wait_for("history", |scrape| counted(scrape) > 300.0).await);
        exporter.wait_for("live attempts", |scrape| counted(scrape) > first + 50.0).await;
        simulator.freeze(true);
        let attempts: f64 = all_true_attempts(&simulator, &scenario.webhooks).values().sum();
        let is_done = |scrape: &Scrape| {
            counted(scrape) == attempts && scrape.get("talkover_exporter_span_queue_length") == Some(0.0)
        };
        exporter.wait_for("all attempts, sent", is_done).await;
        let (expected, taken) = (expected(&simulator, &scenario), taken(&receiver));
        assert!(expected.len() as f64 > attempts, "the test would prove little");
        for (id, told) in &expected {
            assert_eq!(taken.get(id), Some(told), "{protocol}: span {id}");
        }
        assert_eq!(taken.len(), expected.len(), "{protocol}");
        assert_eq!(exporter.terminate().await, Some(0));
    }
}
