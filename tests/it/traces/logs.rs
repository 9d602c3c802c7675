//! Log records: each failed attempt and each lost delivery of a real log is one, with the ids of its span, over kills.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use talkover_simulator::{Clock, Scenario};

use super::receiver::{Answer, Receiver};
use super::rig::PROTOCOLS;
use crate::harness::{Exporter, Scrape, Workspace, all_true_attempts, quiet_scenario, simulator, wait_for};

const LENGTH: &str = "talkover_exporter_log_record_queue_length";
const RECORDS: &str = "talkover_exporter_log_records_total";

/// What a record says: its event, severity, trace, span, time and attributes.
type Told = (String, i32, Vec<u8>, Vec<u8>, u64, Vec<KeyValue>);

/// All log records that were taken, with the name of the environment that their resource has.
fn records(receiver: &Receiver) -> Vec<(String, LogRecord)> {
    let mut records = Vec::new();
    for resource_logs in receiver.logs().into_iter().flat_map(|request| request.resource_logs) {
        let attributes = resource_logs.resource.unwrap().attributes;
        let named = attributes.iter().find(|attribute| attribute.key == "deployment.environment.name").unwrap();
        let Some(Value::StringValue(environment)) = named.value.clone().unwrap().value else { panic!("{named:?}") };
        let own = resource_logs.scope_logs.into_iter().flat_map(|scope| scope.log_records);
        records.extend(own.map(|record| (environment.clone(), record)));
    }
    records
}

fn body(record: &LogRecord) -> String {
    match record.body.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}

fn told(record: &LogRecord) -> Told {
    let LogRecord { event_name, severity_number, trace_id, span_id, time_unix_nano, attributes, .. } = record.clone();
    (event_name, severity_number, trace_id, span_id, time_unix_nano, attributes)
}

/// What the record that belongs to a span has to say; `None` if the span is no failure.
fn expected(span: &Span) -> Option<Told> {
    span.status.as_ref().filter(|status| status.code == 2)?;
    let (event, severity) = match span.kind() {
        SpanKind::Client => ("talkover.attempt.failed", 13),
        _ => ("talkover.delivery.lost", 17),
    };
    let Span { trace_id, span_id, end_time_unix_nano, attributes, .. } = span.clone();
    Some((event.to_owned(), severity, trace_id, span_id, end_time_unix_nano, attributes))
}

fn counted(scrape: &Scrape) -> f64 {
    scrape.attempts().values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_a_record_with_the_ids_of_its_span_over_kills_too() {
    let mut scenario = Scenario::from_yaml(include_str!("../busy.yml"), "busy.yml").unwrap();
    // So that many deliveries are lost.
    scenario.webhooks.iter_mut().for_each(|webhook| webhook.failures.probability = 0.5);
    for protocol in PROTOCOLS {
        let simulator = simulator(scenario.clone(), Clock::Real).await;
        let receiver = Receiver::start([]).await;
        let workspace = Workspace::new();
        let settings = format!(
            "poll: {{min_interval: 50ms, max_interval: 100ms, lookback: 20s, sweep_interval: 2s}}\n\
             traces: {{endpoint: '{}', protocol: {protocol}, history: true, logs: true}}\n",
            receiver.url()
        );
        let config = workspace.configure(&simulator.base_url(), &scenario.webhooks, &settings);
        for answer in [Answer::BreakOff, Answer::Unavailable, Answer::Accept] {
            // With the first, records that have arrived are sent again after the kill.
            receiver.always(answer);
            let exporter = Exporter::start(&config).await;
            let seen = receiver.seen().len();
            let is_told = || receiver.seen().len() > seen + 3 && !receiver.logs().is_empty();
            wait_for("some requests, with log records", || async { is_told().then_some(()) }).await;
            exporter.kill().await;
        }
        let exporter = Exporter::start(&config).await;
        exporter.wait_for("attempts", |scrape| counted(scrape) > 500.0).await;
        simulator.settle_and_freeze();
        let attempts: f64 = all_true_attempts(&simulator, &scenario.webhooks).values().sum();
        let is_done = |scrape: &Scrape| {
            let queues = ["talkover_exporter_span_queue_length", LENGTH].map(|name| scrape.get(name));
            counted(scrape) == attempts && queues == [Some(0.0); 2]
        };
        exporter.wait_for("all attempts, sent", is_done).await;

        let records = records(&receiver);
        let by_text = |told: Told| format!("{told:?}");
        let wanted: BTreeSet<String> = receiver.spans().iter().filter_map(expected).map(by_text).collect();
        let taken: BTreeSet<String> = records.iter().map(|(_, record)| by_text(told(record))).collect();
        assert_eq!(taken, wanted, "{protocol}");
        let is_lost = |record: &&String| record.contains("talkover.delivery.lost");
        let lost = wanted.iter().filter(is_lost).count();
        assert!(wanted.len() > 50 && lost > 5, "{} records, {lost} of lost deliveries", wanted.len());
        assert!(records.len() > taken.len(), "no kill has met a record on its way");
        assert!(records.iter().all(|(environment, _)| environment == "test"));

        let errors: BTreeMap<Vec<u8>, String> = receiver
            .spans()
            .iter()
            .filter_map(|span| Some((span.span_id.clone(), span.status.clone()?.message)))
            .filter(|(_, message)| !message.is_empty())
            .collect();
        for (_, record) in &records {
            assert!(!body(record).is_empty());
            if let Some(error) = errors.get(&record.span_id) {
                assert_eq!(body(record), *error);
            }
        }
        assert_eq!(exporter.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn log_records_go_where_variables_say_and_wait_there_without_the_spans() {
    let (simulator, scenario) = (simulator(quiet_scenario(), Clock::Real).await, quiet_scenario());
    let [spans, logs] = [Receiver::start([]).await, Receiver::start([]).await];
    logs.always(Answer::Unavailable);
    let workspace = Workspace::new();
    let settings = format!(
        "poll: {{min_interval: 50ms, max_interval: 100ms}}\ntraces: {{endpoint: '{}', logs: true}}\n",
        spans.url()
    );
    let config = workspace.configure(&simulator.base_url(), &scenario.webhooks, &settings);
    let variables = [("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", logs.url())];
    let exporter = Exporter::start_with(&config, &variables).await;
    exporter.wait_for("the first contact", |scrape| scrape.sum("talkover_up", &[]) == 2.0).await;
    let now = simulator.truth().now;
    let raw = format!(
        r#"{{"id":"log-1","webhook_id":"w-1","event":"e","attempt":1,"status":"failed","http_status":503,"error":"gone","created_at":"{}"}}"#,
        now.to_rfc3339()
    );
    simulator.with_world(|world| world.insert_raw("w-1", now, &raw)).unwrap();
    let is_sent = |scrape: &Scrape| scrape.sum("talkover_exporter_spans_total", &["exported"]) == 2.0;
    let scrape = exporter.wait_for("the spans", is_sent).await;
    assert_eq!(scrape.get(LENGTH), Some(2.0));
    logs.always(Answer::Accept);
    let scrape = exporter.wait_for("the records", |scrape| scrape.get(LENGTH) == Some(0.0)).await;
    assert_eq!(scrape.sum(RECORDS, &["exported"]), 2.0);
    let told: Vec<(String, String)> =
        records(&logs).iter().map(|(_, record)| (record.event_name.clone(), body(record))).collect();
    let pair = |event: &str| (event.to_owned(), "gone".to_owned());
    assert_eq!(told, [pair("talkover.attempt.failed"), pair("talkover.delivery.lost")]);
    assert!(spans.logs().is_empty());
    assert_eq!(exporter.terminate().await, Some(0));
}
