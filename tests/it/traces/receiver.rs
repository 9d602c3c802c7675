//! An OTLP receiver that does as it is told: over gRPC and over HTTP on the same port, with or without TLS.

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
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
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
    /// Takes it, but for so many spans.
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
    /// 413, or RESOURCE_EXHAUSTED, where there are more spans than this; else takes it.
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
    seen: Vec<Seen>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) names: Vec<String>,
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
    let grpc = TraceServiceServer::new(Grpc(known.clone())).accept_compressed(CompressionEncoding::Gzip);
    Routes::new(grpc)
        .into_axum_router()
        .route("/v1/traces", post(http).with_state(known.clone()))
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

impl Known {
    fn take(&mut self, request: &ExportTraceServiceRequest) {
        for span in spans(request) {
            *self.taken.entry(span.name.clone()).or_default() += 1;
            self.spans.push(span.clone());
        }
    }
}

fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = &Span> {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans)
}

fn names(request: &ExportTraceServiceRequest) -> Vec<String> {
    spans(request).map(|span| span.name.clone()).collect()
}

fn see(known: &Shared, answer: &Answer, headers: HeaderMap, request: &ExportTraceServiceRequest) {
    let mut known = known.lock().unwrap();
    let names = names(request);
    let is_taken = match answer {
        Answer::Accept | Answer::Partial(_) | Answer::BreakOff => true,
        Answer::AtMost(limit) => names.len() <= *limit,
        Answer::Plain => !is_compressed(&headers),
        _ => false,
    };
    if is_taken {
        known.take(request);
    }
    known.seen.push(Seen { at: Instant::now(), names, request: request.clone(), headers });
}

fn is_compressed(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_ENCODING) || headers.contains_key("grpc-encoding")
}

fn taken(answer: &Answer) -> ExportTraceServiceResponse {
    let partial_success = match answer {
        Answer::Partial(rejected_spans) => {
            let error_message = "too old".to_owned();
            Some(ExportTracePartialSuccess { rejected_spans: *rejected_spans, error_message })
        }
        _ => None,
    };
    ExportTraceServiceResponse { partial_success }
}

/// `POST /v1/traces`
async fn http(
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
    let request = ExportTraceServiceRequest::decode(&*plain).unwrap();
    let spans = names(&request).len();
    let shown = headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned();
    let is_compressed = is_compressed(&headers);
    see(&known, &answer, headers, &request);
    match answer {
        Answer::Plain if is_compressed => (StatusCode::BAD_REQUEST, "failed to decode the body").into_response(),
        Answer::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Answer::Busy(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())]).into_response()
        }
        Answer::Unauthorized => (StatusCode::UNAUTHORIZED, format!("unknown key {shown}")).into_response(),
        Answer::Invalid => StatusCode::BAD_REQUEST.into_response(),
        Answer::AtMost(limit) if spans > limit => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        answer => ([(header::CONTENT_TYPE, "application/x-protobuf")], taken(&answer).encode_to_vec()).into_response(),
    }
}

struct Grpc(Shared);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let answer = request.extensions().get::<Answer>().unwrap().clone();
        let headers = request.metadata().clone().into_headers();
        let shown = headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned();
        let request = request.into_inner();
        let spans = names(&request).len();
        let is_compressed = is_compressed(&headers);
        see(&self.0, &answer, headers, &request);
        match answer {
            Answer::Plain if is_compressed => Err(Status::unimplemented("gzip is not supported")),
            Answer::Unavailable => Err(Status::unavailable("going down")),
            Answer::Busy(seconds) => Err(busy(Duration::from_secs(seconds))),
            Answer::Unauthorized => Err(Status::unauthenticated(format!("unknown key {shown}"))),
            Answer::Invalid => Err(Status::invalid_argument("bad span")),
            Answer::AtMost(limit) if spans > limit => Err(Status::resource_exhausted("message too large")),
            answer => Ok(tonic::Response::new(taken(&answer))),
        }
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
