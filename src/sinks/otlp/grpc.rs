//! OTLP over gRPC.
//!
//! The library maps everything that can go wrong to a status, whether the receiver has sent one or the connection broke
//! before it could. For what is sent this is the difference between "never" and "again", so a layer below the library watches
//! for the receiver's own status.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use reqwest::Url;
use reqwest::header::HeaderMap;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{Body as HttpBody, Bytes, CompressionEncoding, Service};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Extensions, Request, Status};
use tonic_prost::ProstCodec;
use tracing::warn;

use super::connection::{CONNECT_TIMEOUT, Certificates, Encoding, TransportError, USER_AGENT, innermost};
use super::verdict::{ExportResponse, Verdict};
use crate::config::{OtlpReceiver, OtlpSignal};

/// The header or trailer with which a receiver ends an answer.
const GRPC_STATUS: &str = "grpc-status";

/// A client for one receiver.
pub(super) struct Grpc {
    signal: OtlpSignal,
    endpoint: Endpoint,
    /// Created with the first request, because it needs the runtime.
    channel: OnceLock<Channel>,
    metadata: MetadataMap,
    timeout: Duration,
}

impl Grpc {
    pub(super) fn new(
        signal: OtlpSignal,
        url: &Url,
        headers: HeaderMap,
        certificates: Certificates,
        timeout: Duration,
    ) -> Result<Self, TransportError> {
        let endpoint = endpoint_of(signal, url, certificates, timeout)?;
        let metadata = MetadataMap::from_headers(headers);
        Ok(Self { signal, endpoint, channel: OnceLock::new(), metadata, timeout })
    }

    pub(super) async fn send<R: Message + Default + 'static>(&self, batch: R, encoding: Encoding) -> Verdict {
        let has_answered = Arc::new(AtomicBool::new(false));
        let channel = self.channel.get_or_init(|| self.endpoint.connect_lazy()).clone();
        let watched = WatchedChannel { channel, has_answered: has_answered.clone() };
        let mut client = tonic::client::Grpc::new(watched);
        if encoding == Encoding::Gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client = client.accept_compressed(CompressionEncoding::Gzip);
        if let Err(error) = client.ready().await {
            return Verdict::Unreachable(innermost(&error, SCHEME));
        }
        let mut request = Request::from_parts(self.metadata.clone(), Extensions::default(), batch);
        request.set_timeout(self.timeout);
        let codec = ProstCodec::<R, ExportResponse>::default();
        match client.unary(request, PathAndQuery::from_static(method(self.signal)), codec).await {
            Ok(response) => Verdict::of_success(response.into_inner()),
            Err(status) if has_answered.load(Ordering::Relaxed) => {
                Verdict::of_status(status.code(), status.message(), status.details())
            }
            Err(status) => Verdict::Unreachable(cause(&status)),
        }
    }
}

/// The method of the signal's service, from `opentelemetry/proto/collector/…/v1/…_service.proto`.
const fn method(signal: OtlpSignal) -> &'static str {
    match signal {
        OtlpSignal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        OtlpSignal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        OtlpSignal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// The settings of a channel to `receiver`, for requests that take at most `timeout`.
///
/// # Errors
/// If a certificate cannot be used, or the settings contradict each other.
pub(crate) fn endpoint(
    receiver: &OtlpReceiver,
    signal: OtlpSignal,
    timeout: Duration,
) -> Result<Endpoint, TransportError> {
    endpoint_of(signal, &receiver.endpoint, Certificates::of(&receiver.tls), timeout)
}

fn endpoint_of(
    signal: OtlpSignal,
    url: &Url,
    certificates: Certificates,
    timeout: Duration,
) -> Result<Endpoint, TransportError> {
    // The specification has no path here: the service has a path of its own.
    let mut base = url.clone();
    base.set_path("");
    let endpoint = Endpoint::from_shared(base.to_string())
        .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
        .map_err(|error| TransportError::Grpc(signal, error))?
        .connect_timeout(CONNECT_TIMEOUT.min(timeout));
    if url.scheme() == "https" { with_tls(signal, endpoint, certificates) } else { Ok(endpoint) }
}

/// The scheme whose mistakes a failed connection reveals: over HTTP/2, only that of TLS.
const SCHEME: &str = "https";

fn cause(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => innermost(source, SCHEME),
        None => status.message().to_owned(),
    }
}

fn with_tls(signal: OtlpSignal, endpoint: Endpoint, certificates: Certificates) -> Result<Endpoint, TransportError> {
    let mut tls = ClientTlsConfig::new().timeout(CONNECT_TIMEOUT);
    let has_ca = certificates.ca.is_some();
    if let Some(pem) = certificates.ca {
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    if let Some((pem, key)) = certificates.client {
        tls = tls.identity(Identity::from_pem(pem, key));
    }
    endpoint.clone().tls_config(tls.clone().with_native_roots()).or_else(|error| {
        // A small container has no authorities of its own.
        let configured = endpoint.tls_config(tls).map_err(|error| TransportError::Grpc(signal, error))?;
        if !has_ca {
            warn!(
                "failed to load the system's certificate authorities, and {signal}.tls names none: {}",
                innermost(&error, SCHEME)
            );
        }
        Ok(configured)
    })
}

/// A channel that records whether the receiver itself has completed its answer.
#[derive(Clone)]
struct WatchedChannel {
    channel: Channel,
    has_answered: Arc<AtomicBool>,
}

type Answering = Pin<Box<dyn Future<Output = Result<HttpResponse<WatchedBody>, tonic::transport::Error>> + Send>>;

impl Service<HttpRequest<Body>> for WatchedChannel {
    type Response = HttpResponse<WatchedBody>;
    type Error = tonic::transport::Error;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let has_answered = self.has_answered.clone();
        let answer = Service::call(&mut self.channel, request);
        Box::pin(async move {
            let response = answer.await?;
            // An error of a proxy has an HTTP status and no gRPC status.
            if response.headers().contains_key(GRPC_STATUS) || !response.status().is_success() {
                has_answered.store(true, Ordering::Relaxed);
            }
            Ok(response.map(|body| WatchedBody { body, has_answered }))
        })
    }
}

/// The body of an answer, which may be followed by a status.
struct WatchedBody {
    body: Body,
    has_answered: Arc<AtomicBool>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && frame.trailers_ref().is_some_and(|trailers| trailers.contains_key(GRPC_STATUS))
        {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        frame
    }
}
