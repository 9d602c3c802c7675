//! The section `traces`, together with OpenTelemetry's own variables.
//!
//! `TALKOVER_EXPORTER__…` goes before `OTEL_EXPORTER_OTLP_TRACES_…`, that before `OTEL_EXPORTER_OTLP_…`, that before
//! the file. Rules of the variables: the OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and
//! "Environment Variable Specification". Header values are secrets and never quoted.

use super::EnvVars;
use super::faults::FaultPlace;
use super::fields::Fields;
use super::files::{LoadedFile, certificate_file, loaded_file};
use super::otel;
use super::otlp::{PROTOCOLS, TracesProtocol, add_header};
use super::overrides::place_of;
use super::values::{base_url, count, flag, number, one_of};
use ::config::{Value, ValueKind};
use reqwest::Url;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// Whether, where and how deliveries are sent as spans.
#[derive(Clone, Debug, PartialEq)]
pub struct TracesConfig {
    /// Whether spans are made where there is an endpoint: `traces.enabled`, and no variable of
    /// OpenTelemetry turns them off.
    pub enabled: bool,
    /// Where to send spans, complete: for http/protobuf with the path. Without it no span is made.
    pub endpoint: Option<Url>,
    /// How to send them.
    pub protocol: TracesProtocol,
    /// Headers of every request; their values are marked sensitive.
    pub headers: HeaderMap,
    /// `OTEL_EXPORTER_OTLP_…COMPRESSION`, where it is set: whether requests are compressed with gzip.
    pub gzip: Option<bool>,
    /// `OTEL_EXPORTER_OTLP_…TIMEOUT`, where it is set. Above zero.
    pub timeout: Option<Duration>,
    /// The resource's attributes, `service.name` among them.
    pub resource_attributes: Vec<(String, String)>,
    /// Certificates.
    pub tls: TracesTls,
    /// The share of deliveries that succeeded at once to send, 0 to 1.
    pub success_sample_ratio: f64,
    /// Whether history becomes spans too.
    pub history: bool,
    /// Spans kept on disk at most. At least 1.
    pub max_queued_spans: u32,
}

/// Files for TLS towards the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracesTls {
    /// Further authorities to trust, in PEM form.
    pub ca_file: Option<LoadedFile>,
    /// A client certificate; present together with its key.
    pub cert_file: Option<LoadedFile>,
    /// The client certificate's key.
    pub key_file: Option<LoadedFile>,
}

pub(super) fn read(mut fields: Fields<'_>, environment: &EnvVars) -> Option<TracesConfig> {
    let enabled = fields.scalar("enabled", flag);
    let file_endpoint = fields.optional("endpoint", base_url);
    let file_protocol = fields.scalar("protocol", one_of(PROTOCOLS));
    let (mut headers, own_headers) = read_headers(&mut fields);
    let tls = read_tls(fields.section("tls"));
    let success_sample_ratio = fields.scalar("success_sample_ratio", ratio);
    let history = fields.scalar("history", flag);
    let max_queued_spans = fields.scalar("max_queued_spans", count(1, u32::MAX));

    // Our own variable goes before those of OpenTelemetry.
    let is_forced = fields.is_overridden("enabled");
    let active = enabled == Some(true) && (is_forced || !otel::turns_off(&mut fields, environment));
    // Where no span is made, nobody need hear of variables.
    let none = EnvVars::new();
    let variables = if active { environment } else { &none };
    let resource_attributes = otel::resource(&mut fields, variables);
    let otel = otel::read(&mut fields, variables);
    if let Some(replacing) = otel.headers {
        headers = replacing;
    }
    headers.extend(own_headers);
    let protocol = match otel.protocol {
        Some(protocol) if !fields.is_overridden("protocol") => Some(protocol),
        _ => file_protocol,
    };
    if let (Some(url), Some(TracesProtocol::HttpProtobuf)) = (&file_endpoint, file_protocol)
        && url.path().ends_with("/v1/traces")
    {
        fields.fault("endpoint", "must not end in /v1/traces: leave /v1/traces off, each request adds it");
    }
    let endpoint = match otel.endpoint {
        Some(endpoint) if !fields.is_overridden("endpoint") => Some(endpoint),
        _ => file_endpoint.map(otel::OtlpEndpoint::Base),
    };
    fields.finish();
    let protocol = protocol?;
    Some(TracesConfig {
        enabled: active,
        endpoint: endpoint.map(|endpoint| endpoint.complete(protocol)),
        protocol,
        headers,
        gzip: otel.gzip,
        timeout: otel.timeout,
        resource_attributes,
        tls,
        success_sample_ratio: success_sample_ratio?,
        history: history?,
        max_queued_spans: max_queued_spans?,
    })
}

fn ratio(value: &Value) -> Result<f64, String> {
    let ratio = number(value)?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(format!("must be from 0 to 1, not {ratio}")) }
}

fn read_tls(mut fields: Fields<'_>) -> TracesTls {
    let (has_cert, has_key) = (fields.is_given("cert_file"), fields.is_given("key_file"));
    let tls = TracesTls {
        ca_file: fields.optional("ca_file", certificate_file),
        cert_file: fields.optional("cert_file", loaded_file),
        key_file: fields.optional("key_file", loaded_file),
    };
    if has_cert != has_key {
        let (given, missing) = if has_cert { ("cert_file", "key_file") } else { ("key_file", "cert_file") };
        fields.fault(given, format!("needs {missing} beside it"));
    }
    fields.finish();
    tls
}

/// The headers of the file, and those of our own variables, which go before OpenTelemetry's.
fn read_headers(fields: &mut Fields<'_>) -> (HeaderMap, HeaderMap) {
    let (mut of_file, mut of_variables) = (HeaderMap::new(), HeaderMap::new());
    for (name, value) in fields.entries("headers") {
        let headers = if value.origin().is_some() { &mut of_variables } else { &mut of_file };
        let added = match &value.kind {
            ValueKind::String(text) => add_header(headers, name, text),
            _ => Err("must be text: put it in quotes".to_owned()),
        };
        if let Err(reason) = added {
            let path = fields.path_of(&format!("headers.{name}"));
            let place = value.origin().map_or(FaultPlace::Key(path), place_of);
            fields.fault_at(place, reason);
        }
    }
    (of_file, of_variables)
}
