//! An OTLP receiver of every signal that does as it is told: over gRPC and over HTTP on the same port, with or without TLS.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, middleware};
use axum_server::tls_rustls::RustlsConfig;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::task::JoinHandle;
use tonic::codec::CompressionEncoding;
use tonic::codegen::tokio_stream;
use tonic::service::Routes;
use tonic::{Code, Status};

/// What the receiver does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Takes it.
    Accept,
    /// Takes it, but for so many items.
    Partial(i64),
    /// 503, or UNAVAILABLE.
    Unavailable,
    /// 429 with `Retry-After`, or RESOURCE_EXHAUSTED with RetryInfo: in so many seconds.
    Busy(u64),
    /// 401, or UNAUTHENTICATED, which repeats the header `authorization`.
    Unauthorized,
    /// 400, or INVALID_ARGUMENT.
    Invalid,
    /// Takes it where it is not compressed; else 400 or UNIMPLEMENTED, as servers say that do not know of compression.
    Plain,
    /// 413, or RESOURCE_EXHAUSTED, where there are more items than this; else takes it.
    AtMost(usize),
    /// Takes it, and breaks off in the midst of the answer.
    BreakOff,
    /// Never answers.
    Hang,
}

/// What the receiver knows.
#[derive(Default)]
struct Known {
    script: VecDeque<Answer>,
    /// What it does when the script has come to its end; accepts where there is nothing.
    afterwards: Option<Answer>,
    /// How often each span has been taken, by its name.
    taken: BTreeMap<String, u32>,
    /// All spans that have been taken.
    spans: Vec<Span>,
    /// All requests with metrics that have been taken.
    metrics: Vec<ExportMetricsServiceRequest>,
    /// All requests with log records that have been taken.
    logs: Vec<ExportLogsServiceRequest>,
    seen: Vec<Seen>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) names: Vec<String>,
    /// Empty if it is one of another signal.
    pub(crate) request: ExportTraceServiceRequest,
    pub(crate) headers: HeaderMap,
}

/// A running receiver; it stops when this is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    known: Arc<Mutex<Known>>,
    task: JoinHandle<()>,
}

type Shared = Arc<Mutex<Known>>;

impl Receiver {
    /// One that does what `script` says, and then takes everything.
    pub(crate) async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn start_at(address: SocketAddr, script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let known = Arc::new(Mutex::new(Known { script: script.into_iter().collect(), ..Known::default() }));
        let router = router(known.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, scheme: "http", known, task }
    }

    pub(crate) fn start_tls(config: RustlsConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let known = Shared::default();
        let service = router(known.clone()).into_make_service();
        let server = axum_server::from_tcp_rustls(listener, config).unwrap();
        let task = tokio::spawn(async move { server.serve(service).await.unwrap() });
        Self { address, scheme: "https", known, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What it does from now on.
    pub(crate) fn always(&self, answer: Answer) {
        self.known.lock().unwrap().afterwards = Some(answer);
    }

    /// How often each span was taken.
    pub(crate) fn taken(&self) -> BTreeMap<String, u32> {
        self.known.lock().unwrap().taken.clone()
    }

    /// All spans that were taken, as often as they were.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.known.lock().unwrap().spans.clone()
    }

    /// All requests with metrics that were taken.
    pub(crate) fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.known.lock().unwrap().metrics.clone()
    }

    /// All requests with log records that were taken.
    pub(crate) fn logs(&self) -> Vec<ExportLogsServiceRequest> {
        self.known.lock().unwrap().logs.clone()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.known.lock().unwrap().seen.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(known: Shared) -> Router {
    let traces = TraceServiceServer::new(Grpc(known.clone())).accept_compressed(CompressionEncoding::Gzip);
    let metrics = MetricsServiceServer::new(Grpc(known.clone())).accept_compressed(CompressionEncoding::Gzip);
    let logs = LogsServiceServer::new(Grpc(known.clone())).accept_compressed(CompressionEncoding::Gzip);
    Routes::new(traces)
        .add_service(metrics)
        .add_service(logs)
        .into_axum_router()
        .route("/v1/traces", post(http::<ExportTraceServiceRequest>).with_state(known.clone()))
        .route("/v1/metrics", post(http::<ExportMetricsServiceRequest>).with_state(known.clone()))
        .route("/v1/logs", post(http::<ExportLogsServiceRequest>).with_state(known.clone()))
        .layer(middleware::from_fn_with_state(known, script))
}

/// Chooses the answer, and gives those that no service can give.
async fn script(State(known): State<Shared>, mut request: Request, next: Next) -> Response {
    let answer = {
        let mut known = known.lock().unwrap();
        let afterwards = known.afterwards.clone().unwrap_or(Answer::Accept);
        known.script.pop_front().unwrap_or(afterwards)
    };
    request.extensions_mut().insert(answer.clone());
    match answer {
        Answer::Hang => std::future::pending().await,
        Answer::BreakOff => {
            let headers = request.headers().clone();
            let response = next.run(request).await;
            assert_eq!(response.status(), StatusCode::OK);
            let broken = tokio_stream::iter([Ok(Bytes::from_static(&[0])), Err(std::io::Error::other("broken off"))]);
            let kind = [(header::CONTENT_TYPE, headers.get(header::CONTENT_TYPE).unwrap().clone())];
            (kind, Body::from_stream(broken)).into_response()
        }
        _ => next.run(request).await,
    }
}

/// A request of a signal.
trait Telemetry: Message + Default + Clone + 'static {
    /// What its items are called: spans by their names, data points by those of their metrics, log records by their
    /// events.
    fn names(&self) -> Vec<String>;

    fn keep(&self, known: &mut Known);
}

impl Telemetry for ExportTraceServiceRequest {
    fn names(&self) -> Vec<String> {
        spans(self).map(|span| span.name.clone()).collect()
    }

    fn keep(&self, known: &mut Known) {
        for span in spans(self) {
            *known.taken.entry(span.name.clone()).or_default() += 1;
            known.spans.push(span.clone());
        }
    }
}

impl Telemetry for ExportMetricsServiceRequest {
    fn names(&self) -> Vec<String> {
        let scopes = self.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let points = |metric: &Metric| match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => gauge.data_points.len(),
            Data::Sum(sum) => sum.data_points.len(),
            Data::Histogram(histogram) => histogram.data_points.len(),
            other => panic!("{other:?}"),
        };
        let metrics = scopes.flat_map(|scope| &scope.metrics);
        metrics.flat_map(|metric| std::iter::repeat_n(metric.name.clone(), points(metric))).collect()
    }

    fn keep(&self, known: &mut Known) {
        known.metrics.push(self.clone());
    }
}

impl Telemetry for ExportLogsServiceRequest {
    fn names(&self) -> Vec<String> {
        let scopes = self.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        scopes.flat_map(|scope| &scope.log_records).map(|record| record.event_name.clone()).collect()
    }

    fn keep(&self, known: &mut Known) {
        known.logs.push(self.clone());
    }
}

fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = &Span> {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}

/// Records a request; returns how many items are in it.
fn see<R: Telemetry>(known: &Shared, answer: &Answer, headers: HeaderMap, request: &R) -> usize {
    let mut known = known.lock().unwrap();
    let names = request.names();
    let items = names.len();
    let is_taken = match answer {
        Answer::Accept | Answer::Partial(_) | Answer::BreakOff => true,
        Answer::AtMost(limit) => items <= *limit,
        Answer::Plain => !is_compressed(&headers),
        _ => false,
    };
    if is_taken {
        request.keep(&mut known);
    }
    let spans = (request as &dyn Any).downcast_ref::<ExportTraceServiceRequest>();
    let request = spans.cloned().unwrap_or_default();
    known.seen.push(Seen { at: Instant::now(), names, request, headers });
    items
}

fn is_compressed(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_ENCODING) || headers.contains_key("grpc-encoding")
}

/// The answer of each signal: they have the same fields.
fn taken<A: Message + Default>(answer: &Answer) -> A {
    let partial_success = match answer {
        Answer::Partial(rejected_spans) => {
            let error_message = "too old".to_owned();
            Some(ExportTracePartialSuccess { rejected_spans: *rejected_spans, error_message })
        }
        _ => None,
    };
    A::decode(&*ExportTraceServiceResponse { partial_success }.encode_to_vec()).unwrap()
}

/// `POST /v1/traces`, and so on.
async fn http<R: Telemetry>(
    State(known): State<Shared>,
    Extension(answer): Extension<Answer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut plain = Vec::new();
    match headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.to_str().unwrap()) {
        Some("gzip") => drop(GzDecoder::new(&*body).read_to_end(&mut plain).unwrap()),
        None => plain = body.to_vec(),
        other => panic!("{other:?}"),
    }
    let request = R::decode(&*plain).unwrap();
    let shown = headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned();
    let is_compressed = is_compressed(&headers);
    let items = see(&known, &answer, headers, &request);
    match answer {
        Answer::Plain if is_compressed => (StatusCode::BAD_REQUEST, "failed to decode the body").into_response(),
        Answer::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Answer::Busy(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())]).into_response()
        }
        Answer::Unauthorized => (StatusCode::UNAUTHORIZED, format!("unknown key {shown}")).into_response(),
        Answer::Invalid => StatusCode::BAD_REQUEST.into_response(),
        Answer::AtMost(limit) if items > limit => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        answer => {
            let body = taken::<ExportTraceServiceResponse>(&answer).encode_to_vec();
            ([(header::CONTENT_TYPE, "application/x-protobuf")], body).into_response()
        }
    }
}

struct Grpc(Shared);

impl Grpc {
    fn answer<R: Telemetry, A: Message + Default>(
        &self,
        request: tonic::Request<R>,
    ) -> Result<tonic::Response<A>, Status> {
        let answer = request.extensions().get::<Answer>().unwrap().clone();
        let headers = request.metadata().clone().into_headers();
        let shown = headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned();
        let is_compressed = is_compressed(&headers);
        let items = see(&self.0, &answer, headers, &request.into_inner());
        match answer {
            Answer::Plain if is_compressed => Err(Status::unimplemented("gzip is not supported")),
            Answer::Unavailable => Err(Status::unavailable("going down")),
            Answer::Busy(seconds) => Err(busy(Duration::from_secs(seconds))),
            Answer::Unauthorized => Err(Status::unauthenticated(format!("unknown key {shown}"))),
            Answer::Invalid => Err(Status::invalid_argument("bad item")),
            Answer::AtMost(limit) if items > limit => Err(Status::resource_exhausted("message too large")),
            answer => Ok(tonic::Response::new(taken(&answer))),
        }
    }
}

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.answer(request)
    }
}

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.answer(request)
    }
}

#[tonic::async_trait]
impl LogsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.answer(request)
    }
}

/// RESOURCE_EXHAUSTED with a `google.rpc.RetryInfo`, written out by hand: field 1 of a status is its code, 3 its
/// details; fields 1 and 2 of a detail are its type and its bytes; field 1 of RetryInfo is the delay, of which field 1
/// are the seconds.
fn busy(delay: Duration) -> Status {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let seconds = [1 << 3, u8::try_from(delay.as_secs()).unwrap()];
    let info = field(1, &seconds);
    let any = [field(1, b"type.googleapis.com/google.rpc.RetryInfo"), field(2, &info)].concat();
    let details = [&[1 << 3, 8][..], &field(3, &any)].concat();
    Status::with_details(Code::ResourceExhausted, "busy", details.into())
}
