//! The section `telemetry`: what it takes from `traces` and from OpenTelemetry's variables.

use super::*;
use crate::config::{OtlpProtocol, OtlpReceiver, TelemetryConfig};
use insta::assert_snapshot;

const DELIVERIES: &str = "traces: {endpoint: 'http://t:4317/', headers: {a: deliveries}}\n";

fn telemetry(text: &str, pairs: &[(&str, &str)]) -> TelemetryConfig {
    valid(&format!("{SMALLEST}{text}"), pairs).telemetry
}

/// Where spans are sent: the URL, the protocol, and the header `a`.
fn told(receiver: Option<OtlpReceiver>) -> (String, OtlpProtocol, String) {
    let receiver = receiver.expect("a receiver");
    let header = receiver.headers.get("a").map_or("", |value| value.to_str().unwrap()).to_owned();
    (receiver.endpoint.to_string(), receiver.protocol, header)
}

#[test]
fn it_is_off_unless_the_file_turns_it_on() {
    assert_eq!(telemetry(DELIVERIES, &[]).traces, None);
    assert_eq!(telemetry(&format!("{DELIVERIES}telemetry: {{endpoint: 'http://o:4317'}}\n"), &[]).traces, None);
    let on = format!("{DELIVERIES}telemetry: {{traces: true}}\n");
    for (variable, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(telemetry(&on, &[(variable, value)]).traces, None, "{variable}");
    }
    let forced = [("OTEL_SDK_DISABLED", "true"), ("TALKOVER_EXPORTER__TELEMETRY__TRACES", "true")];
    assert!(telemetry(DELIVERIES, &forced).traces.is_some());
}

#[test]
fn what_it_does_not_say_is_as_in_traces() {
    use OtlpProtocol::{Grpc, HttpProtobuf};
    let of = |keys: &str, pairs: &[(&str, &str)]| {
        told(telemetry(&format!("{DELIVERIES}telemetry: {{traces: true, {keys}}}\n"), pairs).traces)
    };
    let expected = |url: &str, protocol, header: &str| (url.to_owned(), protocol, header.to_owned());
    assert_eq!(of("", &[]), expected("http://t:4317/", Grpc, "deliveries"));
    assert_eq!(of("endpoint: 'http://o:9/'", &[]), expected("http://o:9/", Grpc, "deliveries"));
    assert_eq!(of("protocol: http/protobuf", &[]), expected("http://t:4317/v1/traces", HttpProtobuf, "deliveries"));
    assert_eq!(of("headers: {a: own}", &[]), expected("http://t:4317/", Grpc, "own"));
    // Variables go before the file, of both sections, and our own go before them.
    let general = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e:1"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=variable")];
    assert_eq!(of("", &general), expected("http://e:1/", Grpc, "variable"));
    assert_eq!(of("endpoint: 'http://o:9/', headers: {a: own}", &general), expected("http://e:1/", Grpc, "variable"));
    let own = [general[0], general[1], ("TALKOVER_EXPORTER__TELEMETRY__ENDPOINT", "http://v:2")];
    assert_eq!(of("", &own), expected("http://v:2/", Grpc, "variable"));
    let own = [general[0], ("TALKOVER_EXPORTER__TELEMETRY__HEADERS__A", "own")];
    assert_eq!(of("", &own), expected("http://e:1/", Grpc, "own"));
    let own = [general[0], ("TALKOVER_EXPORTER__TRACES__ENDPOINT", "http://v:3")];
    assert_eq!(of("", &own), expected("http://v:3/", Grpc, "deliveries"), "as in traces");
    // They count where deliveries are not sent, too.
    let off = "traces: {enabled: false}\ntelemetry: {traces: true}\n";
    assert_eq!(told(telemetry(off, &general).traces), expected("http://e:1/", Grpc, "variable"));
}

#[test]
fn its_service_is_always_this_program() {
    let variables = [("OTEL_SERVICE_NAME", "shop"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,region=eu")];
    let config = telemetry(&format!("{DELIVERIES}telemetry: {{traces: true}}\n"), &variables);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(config.resource_attributes, [pair("service.name", "talkover-exporter"), pair("region", "eu")]);
}

#[test]
fn what_cannot_be_is_refused() {
    assert_snapshot!(faults("telemetry: {traces: true}", &[]), @"c.yml:2: telemetry.traces: needs telemetry.endpoint or traces.endpoint: there is nobody to send spans to");
    assert_snapshot!(faults("telemetry: {trace: true}", &[]), @"c.yml:2: telemetry.trace: unknown key; did you mean `traces`?");
    assert_snapshot!(faults("telemetry: {traces: true, endpoint: 'http://o/v1/traces', protocol: http/protobuf}", &[]), @"c.yml:2: telemetry.endpoint: must not end in /v1/traces: leave /v1/traces off, each request adds it");
    assert_snapshot!(faults("telemetry: {tls: {cert_file: /nonexistent/c}}", &[]), @r"
    c.yml:2: telemetry.tls.cert_file: failed to read /nonexistent/c: No such file or directory (os error 2)
    c.yml:2: telemetry.tls.cert_file: needs key_file beside it
    ");
}
