//! Where metrics and log records are sent: the sections, and OpenTelemetry's variables.

use super::*;
use crate::config::{MetricsPushConfig, OtlpProtocol, OtlpReceiver};
use insta::assert_snapshot;

fn push(text: &str, pairs: &[(&str, &str)]) -> Option<MetricsPushConfig> {
    valid(&format!("{SMALLEST}metrics: {{{text}}}"), pairs).metrics_push
}

fn pushed_to(text: &str, pairs: &[(&str, &str)]) -> Option<String> {
    push(text, pairs).map(|push| push.receiver.endpoint.into())
}

const GENERAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318/base/");
const FOR_METRICS: (&str, &str) = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:4318/own");
const FOR_LOGS: (&str, &str) = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:4318/own");
const FOR_TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/own");
const HTTP: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");

#[test]
fn metrics_are_pushed_only_where_something_about_metrics_asks_for_it() {
    let file = "otlp: {endpoint: 'http://file:4318', protocol: http/protobuf}";
    let own = ("TALKOVER_EXPORTER__METRICS__OTLP__ENDPOINT", "http://variable:4318");
    let [otlp, none, other] = ["otlp", "none", "prometheus"].map(|value| ("OTEL_METRICS_EXPORTER", value));
    let disabled = ("OTEL_SDK_DISABLED", "true");
    for (text, pairs, expected) in [
        ("", &[][..], None),
        ("", &[GENERAL], None),
        ("", &[GENERAL, other], None),
        ("", &[GENERAL, otlp], Some("http://general:4318/base/")),
        ("", &[FOR_METRICS], Some("http://metrics:4318/own")),
        ("", &[FOR_TRACES], None),
        ("otlp: {interval: 5s}", &[], None),
        ("otlp: {interval: 5s}", &[GENERAL], Some("http://general:4318/base/")),
        ("otlp: {interval: 5s}", &[GENERAL, HTTP], Some("http://general:4318/base/v1/metrics")),
        (file, &[], Some("http://file:4318/v1/metrics")),
        (file, &[GENERAL], Some("http://general:4318/base/v1/metrics")),
        (file, &[GENERAL, FOR_METRICS], Some("http://metrics:4318/own")),
        (file, &[GENERAL, FOR_METRICS, own], Some("http://variable:4318/v1/metrics")),
        (file, &[none], None),
        (file, &[disabled], None),
        (file, &[disabled, own], Some("http://variable:4318/v1/metrics")),
    ] {
        assert_eq!(pushed_to(text, pairs).as_deref(), expected, "{text} {pairs:?}");
    }
}

#[test]
fn pushes_have_their_own_interval_headers_and_names() {
    let text = "otlp: {endpoint: 'http://file:4317', headers: {a: file}}";
    let default = push(text, &[]).expect("pushes");
    assert_eq!((default.interval.as_secs(), default.receiver.protocol), (60, OtlpProtocol::Grpc));
    let name = |value: &str| ("service.name".to_owned(), value.to_owned());
    assert_eq!(default.resource_attributes, [name("talkover-webhooks")]);
    assert_eq!(default.daemon_attributes, [name("talkover-exporter")]);
    let pairs = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "1500"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=signal"),
        ("TALKOVER_EXPORTER__METRICS__OTLP__HEADERS__X_API_KEY", "own"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_SERVICE_NAME", "mine"),
    ];
    let changed = push(text, &pairs).expect("pushes");
    assert_eq!(changed.interval.as_millis(), 1500);
    assert_eq!(changed.receiver.protocol, OtlpProtocol::Grpc, "that of spans is not that of metrics");
    let header = |name: &str| changed.receiver.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!((header("a"), header("x-api-key")), (Some("signal"), Some("own")));
    assert_eq!((&changed.resource_attributes, &changed.daemon_attributes), (&vec![name("mine")], &vec![name("mine")]));
    let own = ("TALKOVER_EXPORTER__METRICS__OTLP__INTERVAL", "10s");
    assert_eq!(push(text, &[pairs[0], own]).map(|push| push.interval.as_secs()), Some(10));
}

#[test]
fn wrong_values_of_pushes_are_faults_by_their_path() {
    let faults = |text: &str| faults(&format!("metrics: {{otlp: {{{text}}}}}"), &[]);
    assert_snapshot!(faults("endpoint: 'http://x', interval: 0s"), @"c.yml:2: metrics.otlp.interval: must be longer than zero");
    assert_snapshot!(faults("endpoint: 'http://x/v1/metrics', protocol: http/protobuf"), @"c.yml:2: metrics.otlp.endpoint: must not end in /v1/metrics: leave /v1/metrics off, each request adds it");
    assert_snapshot!(faults("endpoint: 'http://x', tls: {cert_file: /nowhere}"), @"
    c.yml:2: metrics.otlp.tls.cert_file: failed to read /nowhere: No such file or directory (os error 2)
    c.yml:2: metrics.otlp.tls.cert_file: needs key_file beside it
    ");
    assert_snapshot!(faults("endpoints: x"), @"c.yml:2: metrics.otlp.endpoints: unknown key; did you mean `endpoint`?");
}

#[test]
fn one_variable_that_cannot_be_used_is_warned_of_once() {
    let text =
        format!("{SMALLEST}metrics: {{otlp: {{endpoint: 'http://x'}}}}\ntraces: {{endpoint: 'http://x', logs: true}}");
    let warnings = valid(&text, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")]).warnings.join("\n");
    assert_snapshot!(warnings, @"environment variable OTEL_EXPORTER_OTLP_TIMEOUT: must be a whole number of milliseconds above zero, not `10s`; ignored");
}

fn logs(text: &str, pairs: &[(&str, &str)]) -> Option<OtlpReceiver> {
    valid(&format!("{SMALLEST}traces: {{{text}}}"), pairs).traces.logs
}

#[test]
fn log_records_go_to_the_receiver_of_spans_unless_a_variable_names_another() {
    let file = "logs: true, protocol: http/protobuf, endpoint: 'http://file:4318'";
    let traces_base = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/x/v1/traces");
    for (text, pairs, expected) in [
        (file, &[][..], Some("http://file:4318/v1/logs")),
        (file, &[GENERAL], Some("http://general:4318/base/v1/logs")),
        (file, &[GENERAL, FOR_LOGS], Some("http://logs:4318/own")),
        (file, &[FOR_TRACES], Some("http://file:4318/v1/logs")),
        ("logs: true", &[FOR_TRACES], Some("http://traces:4318/own")),
        ("logs: true", &[traces_base, HTTP], Some("http://traces:4318/x/v1/logs")),
        ("logs: true", &[], None),
        ("logs: true, enabled: false, endpoint: 'http://file:4317'", &[], None),
        ("endpoint: 'http://file:4317'", &[FOR_LOGS], None),
        (file, &[("OTEL_LOGS_EXPORTER", "none")], None),
    ] {
        assert_eq!(logs(text, pairs).map(|one| String::from(one.endpoint)).as_deref(), expected, "{text} {pairs:?}");
    }
    let without_base = [FOR_TRACES, HTTP];
    let text = faults("traces: {logs: true}", &without_base);
    assert_snapshot!(text, @"c.yml:2: traces.logs: needs a receiver of its own, in OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: that of spans has no base");
}
