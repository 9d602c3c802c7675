//! OpenTelemetry's own exporter over a connection of ours: the same certificates, timeouts, proxies and `User-Agent` as
//! for deliveries' spans, and the headers that the configuration has settled.
//!
//! `opentelemetry-otlp` reads variables itself, by rules that differ from those of the configuration. Whatever it would
//! take from them is given here, or overwritten.

use std::time::Duration;

use opentelemetry_otlp::{
    Compression, ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use thiserror::Error;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use super::post::PostClient;
use crate::config::{OtlpProtocol, OtlpReceiver, OtlpSignal};
use crate::sinks::otlp::connection::TransportError;
use crate::sinks::otlp::{grpc, http};

/// The timeout of a request if no variable sets another one: the specification's default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the daemon's own spans cannot be sent.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// A certificate cannot be used, or the settings contradict each other.
    #[error("telemetry: {0}")]
    Transport(#[from] TransportError),
    /// OpenTelemetry's exporter rejects the settings.
    #[error("telemetry: failed to set up the exporter of spans: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// How long a batch may take, with the exporter's own retries.
pub(super) fn timeout(receiver: &OtlpReceiver) -> Duration {
    receiver.timeout.unwrap_or(TIMEOUT)
}

/// A connection that is not opened yet.
pub(super) enum ClosedConnection {
    Grpc(Box<Endpoint>),
    Http(reqwest::Client),
}

impl ClosedConnection {
    /// Sets the connection to `receiver` up.
    ///
    /// # Errors
    /// If a certificate cannot be used, or the settings contradict each other.
    pub(super) fn new(receiver: &OtlpReceiver) -> Result<Self, TransportError> {
        Ok(match receiver.protocol {
            OtlpProtocol::Grpc => {
                Self::Grpc(Box::new(grpc::endpoint(receiver, OtlpSignal::Traces, timeout(receiver))?))
            }
            OtlpProtocol::HttpProtobuf => Self::Http(http::client(receiver, OtlpSignal::Traces, timeout(receiver))?),
        })
    }

    /// The exporter of spans with this `resource` to `receiver`, the one that was set up. It connects with the first
    /// request. Within a runtime.
    ///
    /// # Errors
    /// If OpenTelemetry's exporter rejects the settings.
    pub(super) fn open(self, receiver: &OtlpReceiver, resource: &Resource) -> Result<SpanExporter, ExporterBuildError> {
        let mut exporter = match self {
            Self::Grpc(endpoint) => over_grpc(&endpoint, receiver)?,
            Self::Http(client) => over_http(client, receiver)?,
        };
        exporter.set_resource(resource);
        Ok(exporter)
    }
}

fn over_grpc(endpoint: &Endpoint, receiver: &OtlpReceiver) -> Result<SpanExporter, ExporterBuildError> {
    let headers = MetadataMap::from_headers(receiver.headers.clone());
    let with_our_headers = move |mut request: Request<()>| -> Result<Request<()>, Status> {
        *request.metadata_mut() = headers.clone();
        Ok(request)
    };
    let builder = SpanExporter::builder()
        .with_tonic()
        .with_channel(endpoint.connect_lazy())
        .with_interceptor(with_our_headers)
        .with_timeout(timeout(receiver));
    if is_compressed(receiver) { builder.with_compression(Compression::Gzip) } else { builder }.build()
}

fn over_http(client: reqwest::Client, receiver: &OtlpReceiver) -> Result<SpanExporter, ExporterBuildError> {
    let builder = SpanExporter::builder()
        .with_http()
        .with_http_client(PostClient { client, headers: receiver.headers.clone() })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(receiver.endpoint.as_str())
        .with_timeout(timeout(receiver));
    if is_compressed(receiver) { builder.with_compression(Compression::Gzip) } else { builder }.build()
}

/// Only if a variable asks for it, as the specification's default is: some receivers cannot decompress, and these spans are
/// not sent again.
fn is_compressed(receiver: &OtlpReceiver) -> bool {
    receiver.gzip.unwrap_or(false)
}
