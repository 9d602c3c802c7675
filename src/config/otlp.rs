//! Where and how one signal of OpenTelemetry is sent: what all sections about that, and OpenTelemetry's own variables,
//! have in common.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::files::LoadedFile;

/// A kind of telemetry, which has a service of its own in OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpSignal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Log records.
    Logs,
}

impl OtlpSignal {
    /// Returns what is sent, as messages name it.
    pub const fn items(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "data points",
            Self::Logs => "log records",
        }
    }

    /// Returns the section of the configuration that says where it is sent.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Traces | Self::Logs => "traces",
            Self::Metrics => "metrics.otlp",
        }
    }

    /// Returns the path that is appended to the base of a receiver for OTLP/HTTP.
    pub const fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// Returns how the variables of its exporter begin.
    pub(super) const fn variable_prefix(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_EXPORTER_OTLP_TRACES_",
            Self::Metrics => "OTEL_EXPORTER_OTLP_METRICS_",
            Self::Logs => "OTEL_EXPORTER_OTLP_LOGS_",
        }
    }

    /// Returns the variable that chooses its exporter.
    pub(super) const fn exporter_variable(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
            Self::Logs => "OTEL_LOGS_EXPORTER",
        }
    }
}

/// The section of the configuration.
impl Display for OtlpSignal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.section())
    }
}

/// Where one signal is sent, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpReceiver {
    /// The URL, complete: for http/protobuf with the path.
    pub endpoint: Url,
    /// How to send.
    pub protocol: OtlpProtocol,
    /// Headers of every request; their values are marked sensitive.
    pub headers: HeaderMap,
    /// `OTEL_EXPORTER_OTLP_…COMPRESSION`, where it is set: whether requests are compressed with gzip.
    pub gzip: Option<bool>,
    /// `OTEL_EXPORTER_OTLP_…TIMEOUT`, where it is set. Above zero.
    pub timeout: Option<Duration>,
    /// Certificates.
    pub tls: OtlpTls,
}

/// Files for TLS towards a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpTls {
    /// Further authorities to trust, in PEM form.
    pub ca_file: Option<LoadedFile>,
    /// A client certificate; present together with its key.
    pub cert_file: Option<LoadedFile>,
    /// The client certificate's key.
    pub key_file: Option<LoadedFile>,
}

/// The transport of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    HttpProtobuf,
}

impl OtlpProtocol {
    /// Returns the protocol as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
}

/// The protocols, as they are written.
pub(super) const PROTOCOLS: &[(&str, OtlpProtocol)] =
    &[("grpc", OtlpProtocol::Grpc), ("http/protobuf", OtlpProtocol::HttpProtobuf)];

/// Adds a header, its value marked sensitive.
pub(super) fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of an HTTP header"))?;
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("the value of `{name}` holds characters that an HTTP header must not carry"))?;
    value.set_sensitive(true);
    match headers.insert(&name, value) {
        None => Ok(()),
        Some(_) => Err(format!("`{name}` stands there twice: the case of letters does not matter")),
    }
}
