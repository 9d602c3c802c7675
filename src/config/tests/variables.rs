//! Environment variables: our own, and OpenTelemetry's.

use super::*;
use crate::config::{OtlpProtocol, TracesConfig};
use insta::assert_snapshot;

#[test]
fn a_variable_sets_any_scalar_and_goes_before_the_file() {
    let text = format!("{SMALLEST}poll: {{min_interval: 20s}}\nlog:\n");
    let config = valid(
        &text,
        &[
            ("TALKOVER_EXPORTER__POLL__MIN_INTERVAL", "10s"),
            ("TALKOVER_EXPORTER__POLL__PER_PAGE", "50"),
            ("TALKOVER_EXPORTER__REQUESTS_PER_MINUTE", "90"),
            ("TALKOVER_EXPORTER__SERVER__ENABLE_LIFECYCLE", "true"),
            ("TALKOVER_EXPORTER__LOG__LEVEL", "debug"),
            ("TALKOVER_EXPORTER__METRICS__HTTP_STATUS", "off"),
            ("TALKOVER_EXPORTER__TRACES__SUCCESS_SAMPLE_RATIO", "0.5"),
            ("TALKOVER_EXPORTER__STATE__PATH", "/var/x.db"),
            // Kubernetes sets these for a service of this name.
            ("TALKOVER_EXPORTER_PORT", "tcp://10.0.0.1:9877"),
            ("TALKOVER_EXPORTER_SERVICE_HOST", "10.0.0.1"),
            ("TALKOVER_EXPORTER_PORT_9877_TCP", "x"),
        ],
    );
    assert_eq!(config.poll.min_interval.as_secs(), 10);
    assert_eq!(config.poll.per_page, 50);
    assert_eq!(config.requests_per_minute, Some(90));
    assert!(config.server.enable_lifecycle);
    assert_eq!(config.log.level, "debug");
    assert!((config.traces.success_sample_ratio - 0.5).abs() < f64::EPSILON);
    assert_eq!(config.state.path, Path::new("/var/x.db"));
}

#[test]
fn what_a_variable_cannot_set_is_refused_by_its_name() {
    let one = |name: &str, value: &str| faults("", &[(name, value)]);
    assert_snapshot!(one("TALKOVER_EXPORTER__ENVIRONMENTS__0__NAME", "x"), @"environment variable TALKOVER_EXPORTER__ENVIRONMENTS__0__NAME: reaches into the list `environments`: lists can only be set in the file");
    assert_snapshot!(one("TALKOVER_EXPORTER__METRICS__DURATION_BUCKETS", "1,2"), @"environment variable TALKOVER_EXPORTER__METRICS__DURATION_BUCKETS: reaches into the list `metrics.duration_buckets`: lists can only be set in the file");
    assert_snapshot!(one("TALKOVER_EXPORTER__POLL__MIN_INTERVALL", "1s"), @"environment variable TALKOVER_EXPORTER__POLL__MIN_INTERVALL: `poll.min_intervall`: unknown key; did you mean `min_interval`?");
    assert_snapshot!(one("TALKOVER_EXPORTER__POL__MIN_INTERVAL", "1s"), @"environment variable TALKOVER_EXPORTER__POL__MIN_INTERVAL: `pol`: unknown key; did you mean `poll`?");
    assert_snapshot!(one("TALKOVER_EXPORTER__POLL", "1s"), @"environment variable TALKOVER_EXPORTER__POLL: `poll` is a section: name a key in it");
    assert_snapshot!(one("TALKOVER_EXPORTER__POLL__PER_PAGE__X", "1"), @"environment variable TALKOVER_EXPORTER__POLL__PER_PAGE__X: `poll.per_page` is a single value: there is nothing below it");
    assert_snapshot!(one("TALKOVER_EXPORTER__TRACES__HEADERS", "a=b"), @"environment variable TALKOVER_EXPORTER__TRACES__HEADERS: `traces.headers` is a map: append two underscores and a header's name");
    assert_snapshot!(one("TALKOVER_EXPORTER__", "1"), @"environment variable TALKOVER_EXPORTER__: names no key");
    assert_snapshot!(one("TALKOVER_EXPORTER__POLL__PER_PAGE", "101"), @"environment variable TALKOVER_EXPORTER__POLL__PER_PAGE: must be a whole number from 1 to 100, not `101`");
    assert_snapshot!(one("TALKOVER_EXPORTER__POLL__MIN_INTERVAL", "10m"), @"environment variable TALKOVER_EXPORTER__POLL__MIN_INTERVAL: 10m is more than max_interval (5m): a busy target would be polled less often than an idle one");
    assert_snapshot!(one("TALKOVER_EXPORTER__LOG__FORMAT", ""), @"environment variable TALKOVER_EXPORTER__LOG__FORMAT: must be one of text, json, not ``");
    assert_snapshot!(one("TALKOVER_EXPORTER__TRACES__HEADERS__X_KEY", "se\ncret"), @"environment variable TALKOVER_EXPORTER__TRACES__HEADERS__X_KEY: the value of `x-key` holds characters that an HTTP header must not carry");
}

#[test]
fn a_variable_does_not_hide_that_the_file_has_no_section_there() {
    assert_snapshot!(faults("poll: 3", &[("TALKOVER_EXPORTER__POLL__PER_PAGE", "50")]), @"c.yml:2: poll: must be a map of keys, not the number 3");
}

fn traces(text: &str, pairs: &[(&str, &str)]) -> TracesConfig {
    valid(&format!("{SMALLEST}traces: {{{text}}}"), pairs).traces
}

fn endpoint(text: &str, pairs: &[(&str, &str)]) -> Option<String> {
    traces(text, pairs).endpoint.map(String::from)
}

const GENERAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318/base/");
const SIGNAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://signal:4318/own/path");
const OWN: (&str, &str) = ("TALKOVER_EXPORTER__TRACES__ENDPOINT", "http://own:4318");

#[test]
fn the_endpoint_comes_from_the_nearest_place() {
    let file = "endpoint: 'http://file:4318', protocol: http/protobuf";
    let is = |pairs: &[_], expected: &str| assert_eq!(endpoint(file, pairs).as_deref(), Some(expected));
    is(&[], "http://file:4318/v1/traces");
    is(&[GENERAL], "http://general:4318/base/v1/traces");
    is(&[GENERAL, SIGNAL], "http://signal:4318/own/path");
    is(&[GENERAL, SIGNAL, OWN], "http://own:4318/v1/traces");
    is(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")], "http://file:4318/v1/traces");
    assert_eq!(endpoint("", &[GENERAL]).as_deref(), Some("http://general:4318/base/"));
    assert_eq!(endpoint("", &[]), None);
}

#[test]
fn opentelemetrys_other_variables_are_obeyed() {
    let traces = traces(
        "headers: {a: file, b: file}",
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=general"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=signal, x-api-key=1%2C2"),
            ("TALKOVER_EXPORTER__TRACES__HEADERS__X_API_KEY", "own"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
        ],
    );
    let mut headers: Vec<_> =
        traces.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
    headers.sort_unstable();
    // A variable for all headers takes the place of the file's, our own adds to what there is.
    assert_eq!(headers, [("a", "signal"), ("x-api-key", "own")]);
    assert_eq!(traces.protocol, OtlpProtocol::HttpProtobuf);
    assert_eq!(traces.gzip, Some(true));
    assert_eq!(traces.timeout.map(|timeout| timeout.as_millis()), Some(2500));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(traces.resource_attributes, [pair("service.name", "mine"), pair("deployment.environment", "test")]);
}

#[test]
fn a_header_of_ours_goes_before_the_files_in_any_case_of_letters() {
    let traces = traces("headers: {X-Api-Key: file}", &[("TALKOVER_EXPORTER__TRACES__HEADERS__X_API_KEY", "own")]);
    assert_eq!(traces.headers.get("x-api-key").and_then(|value| value.to_str().ok()), Some("own"));
    assert_eq!(traces.headers.len(), 1);
}

const UNUSABLE: [(&str, &str); 7] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=1,broken"),
    ("OTEL_SDK_DISABLED", "yes"),
];

#[test]
fn unusable_values_of_opentelemetrys_variables_are_warned_of_and_ignored() {
    let config = valid(SMALLEST, &UNUSABLE);
    assert_snapshot!(config.warnings.join("\n"), @"
    environment variable OTEL_SDK_DISABLED: must be one of true, false, not `yes`; ignored
    environment variable OTEL_RESOURCE_ATTRIBUTES: must be name=value pairs, separated by commas; ignored
    environment variable OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL that begins with http:// or https://; ignored
    environment variable OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: must be one of grpc, http/protobuf, not `http/json`; ignored
    environment variable OTEL_EXPORTER_OTLP_HEADERS: must be name=value pairs, separated by commas; ignored
    environment variable OTEL_EXPORTER_OTLP_COMPRESSION: must be one of gzip, none, not `zstd`; ignored
    environment variable OTEL_EXPORTER_OTLP_TIMEOUT: must be a whole number of milliseconds above zero, not `10s`; ignored
    ");
    assert_eq!(Config { warnings: Vec::new(), ..config }, valid(SMALLEST, &[]), "as if they were unset");
    // The general variable counts where that of traces cannot be used.
    let general = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    let both: Vec<_> = UNUSABLE.into_iter().chain(general).collect();
    assert_eq!(traces("", &both).protocol, OtlpProtocol::HttpProtobuf);
}

#[test]
fn where_no_span_is_made_nothing_is_warned_of() {
    assert_eq!(valid(&format!("{SMALLEST}traces: {{enabled: false}}"), &UNUSABLE).warnings, Vec::<String>::new());
    let empty: Vec<_> = UNUSABLE.iter().map(|(name, _)| (*name, " ")).collect();
    assert_eq!(valid(SMALLEST, &empty).warnings, Vec::<String>::new(), "empty counts as unset");
}

#[test]
fn wrong_values_of_our_own_variables_and_keys_stay_faults() {
    let own = [("TALKOVER_EXPORTER__TRACES__PROTOCOL", "http/json"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    assert_snapshot!(faults("", &own), @"environment variable TALKOVER_EXPORTER__TRACES__PROTOCOL: must be one of grpc, http/protobuf, not `http/json`");
    assert_snapshot!(faults("traces: {protocol: http/protobuf, endpoint: 'http://x/v1/traces/'}", &[]), @"c.yml:2: traces.endpoint: must not end in /v1/traces: leave /v1/traces off, each request adds it");
}

#[test]
fn opentelemetrys_variables_turn_spans_off_and_ours_goes_before_them() {
    let enabled = |pairs: &[(&str, &str)]| traces("", pairs).enabled;
    for (name, value, expected) in [
        ("OTEL_SDK_DISABLED", "TRUE", false),
        ("OTEL_SDK_DISABLED", "false", true),
        ("OTEL_SDK_DISABLED", "1", true),
        ("OTEL_TRACES_EXPORTER", "none", false),
        ("OTEL_TRACES_EXPORTER", "None", false),
        ("OTEL_TRACES_EXPORTER", "otlp", true),
        ("OTEL_TRACES_EXPORTER", "console, otlp", true),
        ("OTEL_TRACES_EXPORTER", "zipkin", true),
    ] {
        assert_eq!(enabled(&[(name, value)]), expected, "{name}={value}");
        assert!(enabled(&[(name, value), ("TALKOVER_EXPORTER__TRACES__ENABLED", "true")]), "{name}={value}");
    }
    let warnings = |value| valid(SMALLEST, &[("OTEL_TRACES_EXPORTER", value)]).warnings.join("");
    assert_snapshot!(warnings("zipkin"), @"environment variable OTEL_TRACES_EXPORTER: must be one of otlp, none, not `zipkin`; ignored");
    assert_eq!(warnings("console,otlp"), "");
}

#[test]
fn the_service_has_a_name_in_any_case() {
    let of = |pairs: &[(&str, &str)]| traces("", pairs).resource_attributes;
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(of(&[]), [pair("service.name", "talkover-webhooks")]);
    let listed = ("OTEL_RESOURCE_ATTRIBUTES", "a=1, service.name=x%20y,,b=2=3");
    assert_eq!(of(&[listed]), [pair("service.name", "x y"), pair("a", "1"), pair("b", "2=3")]);
    assert_eq!(of(&[listed, ("OTEL_SERVICE_NAME", "own")]).first(), Some(&pair("service.name", "own")));
    assert_eq!(of(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1,broken")]), [pair("service.name", "talkover-webhooks")]);
}
