//! Every attempt of a real log is one span and every delivery one trace, by the ids and names that the contract has for
//! them: worked out here from what really happened, with no code of the daemon's.

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

/// All orders of some entries.
fn orders<'a>(entries: &[&'a EntryTruth]) -> Vec<Vec<&'a EntryTruth>> {
    let Some((first, rest)) = entries.split_first() else { return vec![Vec::new()] };
    let insert =
        |order: Vec<&'a EntryTruth>| (0..=order.len()).map(move |at| [&order[..at], &[*first], &order[at..]].concat());
    orders(rest).into_iter().flat_map(insert).collect()
}

/// Which entry opened the delivery of each attempt, for every order in which the attempts may have been read: by the
/// contract, one that continues another belongs to that one's delivery, one that turned up after its successor to the
/// successor's.
fn possible_openings<'a>(attempts: &[&'a EntryTruth]) -> Vec<Vec<&'a str>> {
    let in_order = |order: &Vec<&EntryTruth>| order.iter().filter(|entry| !entry.late).is_sorted_by_key(|e| e.attempt);
    let openings = orders(attempts).into_iter().filter(in_order).map(|order| {
        let mut openings: BTreeMap<u8, &str> = BTreeMap::new();
        for entry in order {
            let of = |attempt: u8| openings.get(&attempt).copied();
            let opening = of(entry.attempt - 1).or_else(|| of(entry.attempt + 1)).unwrap_or(&entry.id);
            openings.insert(entry.attempt, opening);
        }
        openings.into_values().collect()
    });
    openings.collect()
}

/// The spans of everything that has happened to the webhooks, by id, and the number of deliveries that a later attempt
/// opened. Only `taken` tells in which order late attempts were read.
fn expected(
    simulator: &Simulator,
    scenario: &Scenario,
    taken: &BTreeMap<String, Told>,
) -> (BTreeMap<String, Told>, usize) {
    let (mut all, mut overtaken) = (BTreeMap::new(), 0);
    for webhook in &simulator.truth().webhooks {
        let own = scenario.webhooks.iter().find(|one| one.id == webhook.webhook_id).unwrap();
        let owner = format!("talkover.{}.id", own.owner.kind.as_str());
        let common = texts([
            ("talkover.environment", "test"),
            ("talkover.webhook.id", &own.id),
            ("talkover.webhook.name", &own.name),
            (&owner, &own.owner.id),
        ]);
        let trace = |opening: &str| id(&["test", &own.id, opening], 16);
        let mut deliveries: BTreeMap<u32, Vec<&EntryTruth>> = BTreeMap::new();
        for entry in &webhook.entries {
            deliveries.entry(entry.delivery).or_default().push(entry);
        }
        for attempts in deliveries.values_mut() {
            attempts.sort_by_key(|entry| entry.attempt);
            let is_taken = |openings: &Vec<&str>| {
                let mut pairs = attempts.iter().zip(openings);
                pairs.all(|(entry, opening)| {
                    taken.get(&attempt_id(&entry.id)).is_some_and(|told| told.0 == trace(opening))
                })
            };
            let possible = possible_openings(attempts);
            let openings = possible.iter().find(|openings| is_taken(openings)).unwrap_or(&possible[0]);
            for (entry, opening) in attempts.iter().zip(openings) {
                let told = attempt_span(entry, &trace(opening), &root_id(opening), &common);
                all.insert(attempt_id(&entry.id), told);
            }
            let (last, opening) = (attempts[attempts.len() - 1], openings[openings.len() - 1]);
            let of_delivery = attempts.iter().zip(openings).filter(|(_, of)| **of == opening).map(|(entry, _)| *entry);
            overtaken += usize::from(of_delivery.clone().next().is_some_and(|first| first.id != opening));
            if ["success", "failed"].contains(&last.status.as_str()) {
                // It begins with the first of those that had turned up when it ended.
                let opened = attempts.iter().position(|entry| entry.id == opening).unwrap();
                let begins: Vec<_> = of_delivery.filter(|entry| entry.attempt <= attempts[opened].attempt).collect();
                let told = |first: &&EntryTruth| root_span(first, last, &trace(opening), &common);
                let root = root_id(opening);
                let as_taken = begins.iter().find(|first| taken.get(&root) == Some(&told(first)));
                all.insert(root, told(as_taken.unwrap_or(&begins[0])));
            }
        }
    }
    (all, overtaken)
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

fn root_span(first: &EntryTruth, last: &EntryTruth, trace: &str, common: &BTreeMap<String, String>) -> Told {
    let mut attributes = common.clone();
    attributes.extend(texts([
        ("talkover.event", &first.event),
        ("talkover.delivery.attempts", &last.attempt.to_string()),
        ("talkover.delivery.result", &last.status),
    ]));
    let (start, end) = (shown(first.created_at) as u64, times(last).1);
    let name = format!("deliver {}", first.event);
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
    // Many are seen after the attempt that follows them.
    scenario.late.probability = 0.3;
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
        // History alone has some 1,000. Of the others one in fifty turns up after the attempt that follows it.
        exporter.wait_for("live attempts", |scrape| counted(scrape) > first + 700.0).await;
        simulator.settle_and_freeze();
        let attempts: f64 = all_true_attempts(&simulator, &scenario.webhooks).values().sum();
        let is_done = |scrape: &Scrape| {
            counted(scrape) == attempts && scrape.get("talkover_exporter_span_queue_length") == Some(0.0)
        };
        exporter.wait_for("all attempts, sent", is_done).await;
        let taken = taken(&receiver);
        let (expected, overtaken) = expected(&simulator, &scenario, &taken);
        assert!(overtaken > 0, "no attempt turned up after the one that follows it");
        assert!(expected.len() as f64 > attempts, "the test would prove little");
        for (id, told) in &expected {
            assert_eq!(taken.get(id), Some(told), "{protocol}: span {id}");
        }
        assert_eq!(taken.len(), expected.len(), "{protocol}");
        assert_eq!(exporter.terminate().await, Some(0));
    }
}
