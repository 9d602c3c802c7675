//! The keys of a section that names an OTLP receiver, and how OpenTelemetry's own variables change them.
//!
//! In order of precedence: `TALKOVER_EXPORTER__…`, `OTEL_EXPORTER_OTLP_SIGNAL_…`, `OTEL_EXPORTER_OTLP_…`, the file.
//! Rules of the variables: the OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "Environment Variable
//! Specification". Header values are secrets and never quoted.

use super::faults::FaultPlace;
use super::fields::Fields;
use super::files::{certificate_file, loaded_file};
use super::otel::{OtlpEndpoint, Settings};
use super::otlp::{OtlpProtocol, OtlpReceiver, OtlpSignal, OtlpTls, PROTOCOLS, add_header};
use super::overrides::place_of;
use super::values::{base_url, one_of};
use ::config::ValueKind;
use reqwest::Url;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// What the file and our own variables say.
#[derive(Clone, Debug)]
pub(super) struct ReceiverKeys {
    endpoint: Option<Url>,
    protocol: Option<OtlpProtocol>,
    /// The headers of the file.
    headers: HeaderMap,
    /// The headers of our own variables, which go before OpenTelemetry's.
    own_headers: HeaderMap,
    tls: OtlpTls,
}

/// What is in force for one signal.
#[derive(Clone, Debug)]
pub(super) struct ResolvedReceiver {
    /// Complete: for http/protobuf with the path.
    pub(super) endpoint: Option<Url>,
    pub(super) protocol: OtlpProtocol,
    pub(super) headers: HeaderMap,
    pub(super) gzip: Option<bool>,
    pub(super) timeout: Option<Duration>,
    pub(super) tls: OtlpTls,
}

impl ResolvedReceiver {
    /// The receiver with this endpoint, which must be complete.
    pub(super) fn with_endpoint(self, endpoint: Url) -> OtlpReceiver {
        let Self { endpoint: _, protocol, headers, gzip, timeout, tls } = self;
        OtlpReceiver { endpoint, protocol, headers, gzip, timeout, tls }
    }
}

impl ReceiverKeys {
    /// Reads `endpoint`, `protocol`, `headers` and `tls`.
    pub(super) fn read(fields: &mut Fields<'_>, signal: OtlpSignal) -> Self {
        let endpoint = fields.optional("endpoint", base_url);
        let protocol = fields.scalar("protocol", one_of(PROTOCOLS));
        let (headers, own_headers) = read_headers(fields);
        let tls = read_tls(fields.section("tls"));
        let path = signal.http_path();
        if let (Some(url), Some(OtlpProtocol::HttpProtobuf)) = (&endpoint, protocol)
            && url.path().ends_with(path)
        {
            fields.fault("endpoint", format!("must not end in {path}: leave {path} off, each request adds it"));
        }
        Self { endpoint, protocol, headers, own_headers, tls }
    }

    /// Returns the receiver for `signal`, with OpenTelemetry's variables applied; `None` if the protocol is a fault.
    pub(super) fn resolve(&self, fields: &Fields<'_>, otel: Settings, signal: OtlpSignal) -> Option<ResolvedReceiver> {
        let protocol = otel.protocol.filter(|_| !fields.is_overridden("protocol")).or(self.protocol)?;
        let of_otel = otel.endpoint.filter(|_| !fields.is_overridden("endpoint"));
        let endpoint = of_otel.or_else(|| self.endpoint.clone().map(OtlpEndpoint::Base));
        let mut headers = otel.headers.unwrap_or_else(|| self.headers.clone());
        headers.extend(self.own_headers.clone());
        Some(ResolvedReceiver {
            endpoint: endpoint.map(|endpoint| endpoint.complete(protocol, signal)),
            protocol,
            headers,
            gzip: otel.gzip,
            timeout: otel.timeout,
            tls: self.tls.clone(),
        })
    }
}

/// Reads the section `tls`.
pub(super) fn read_tls(mut fields: Fields<'_>) -> OtlpTls {
    let (has_cert, has_key) = (fields.is_given("cert_file"), fields.is_given("key_file"));
    let tls = OtlpTls {
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

/// The headers of the file, and those of our own variables.
pub(super) fn read_headers(fields: &mut Fields<'_>) -> (HeaderMap, HeaderMap) {
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
