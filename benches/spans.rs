//! Spans on their way: from the commit that queues them to the one that removes them when a receiver in another process
//! has them.
//!
//! `cargo bench --bench spans` prints, over both protocols, processor time a span and bytes on disk for each span that
//! waits. Processor time, because the wall clock of a shared machine says little.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has to fail"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus::IntCounter;
use prost::Message;
use talkover_core::delivery::{OwnerType, Target, Timestamp};
use talkover_core::ledger::state::Changes;
use talkover_core::server_time::LocalTime;
use talkover_core::spans::record::{Fate, SpanRecord};
use talkover_exporter::config::{self, EnvVars, TracesConfig};
use talkover_exporter::shutdown;
use talkover_exporter::sinks::traces::exporter::Exporter;
use talkover_exporter::store::SpanBatch;
use talkover_exporter::store::Store as _;
use talkover_exporter::store::handle::StoreHandle;
use talkover_exporter::store::sqlite::SqliteStore;
use talkover_exporter::watchdog::Watchdog;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

const SPANS: u32 = 50_000;
/// Spans that come with one commit: a page of the log, and the roots of its deliveries.
const EACH: u32 = 200;
/// The argument with which this program is a receiver.
const RECEIVE: &str = "--receive";

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if std::env::args().any(|argument| argument == RECEIVE) {
        return runtime.block_on(receive());
    }
    println!("{SPANS} spans of {} bytes, {EACH} with each commit", span(0).len());
    for protocol in ["grpc", "http/protobuf"] {
        let (_receiver, url) = start_receiver();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let (empty, before) = (queue(&path, 0), cpu());
        let full = queue(&path, SPANS);
        let committed = cpu() - before;
        let before = (Instant::now(), cpu());
        runtime.block_on(send(&path, traces(protocol, &url)));
        let sent = cpu() - before.1;
        let micros = |seconds: f64| seconds * 1e6 / f64::from(SPANS);
        println!(
            "{protocol}: {:.1} µs of processor time a span, {:.1} to commit and {:.1} to send and remove ({:.0} spans a second on the \
             wall); {:.0} bytes on disk for each that waits",
            micros(committed + sent),
            micros(committed),
            micros(sent),
            f64::from(SPANS) / before.0.elapsed().as_secs_f64(),
            (full - empty) as f64 / f64::from(SPANS),
        );
    }
}

/// Queues spans, and gives the size of the closed file.
fn queue(path: &Path, count: u32) -> u64 {
    let target = Target {
        environment: "bench".into(),
        webhook_id: "w".into(),
        owner_type: OwnerType::Agent,
        owner_id: "a".into(),
        webhook_name: "Orders".into(),
    };
    let mut store = SqliteStore::open(path, LocalTime::new(Timestamp::from_seconds(1))).unwrap();
    for first in (0..count).step_by(EACH as usize) {
        let record = |number: u32| SpanRecord { trace_id: [1; 16], span: span(number), fate: Fate::Queue };
        let records = (first..first + EACH).map(record).collect();
        let batch = SpanBatch { records, ..SpanBatch::default() };
        _ = store.commit(&target, Changes::default(), &batch).unwrap();
    }
    drop(store);
    std::fs::metadata(path).unwrap().len()
}

/// A span with the attributes of an attempt that failed.
fn span(number: u32) -> Vec<u8> {
    let attribute = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let text = |key: &str, value: &str| attribute(key, Value::StringValue(value.to_owned()));
    let id = format!("9fcafbf2-7593-44d6-8cd7-{number:012}");
    let span = Span {
        trace_id: id.as_bytes()[20..].to_vec(),
        span_id: id.as_bytes()[28..].to_vec(),
        parent_span_id: vec![7; 8],
        name: "POST event_phone_call_ended".to_owned(),
        start_time_unix_nano: 1_700_000_000_000_000_000 + u64::from(number),
        end_time_unix_nano: 1_700_000_000_142_000_000 + u64::from(number),
        attributes: vec![
            text("talkover.environment", "production"),
            text("talkover.webhook.id", "9fcafbf2-7593-44d6-8cd7-1b221beba62a"),
            text("talkover.webhook.name", "Orders"),
            text("talkover.agent.id", "9fbef0b7-8d4e-4a08-9207-66c22155721d"),
            text("http.request.method", "POST"),
            attribute("http.response.status_code", Value::IntValue(503)),
            text("error.type", "503"),
            text("server.address", "hooks.example.com"),
            attribute("server.port", Value::IntValue(443)),
            text("talkover.log.id", &id),
            text("talkover.event", "event_phone_call_ended"),
            text("talkover.delivery.status", "retrying"),
            attribute("talkover.delivery.attempt", Value::IntValue(1)),
        ],
        ..Span::default()
    };
    span.encode_to_vec()
}

fn traces(protocol: &str, url: &str) -> TracesConfig {
    let text = format!(
        "environments: [{{name: bench, base_url: http://127.0.0.1:1, webhooks: [{{agent_id: a, webhook_id: w}}]}}]\n\
         traces: {{endpoint: '{url}', protocol: {protocol}}}\n"
    );
    let environment: EnvVars = [("TALKOVER_TOKEN".to_owned(), "talq_x".to_owned())].into();
    config::parse(Path::new("bench.yml"), text.as_bytes(), &environment).unwrap().traces
}

/// Sends everything that waits.
async fn send(path: &Path, config: TracesConfig) {
    let store = StoreHandle::new(SqliteStore::open(path, LocalTime::new(Timestamp::from_seconds(1))).unwrap());
    let exporter =
        Exporter::new(&config, "bench", store.clone(), IntCounter::new("errors", "errors").unwrap()).unwrap();
    let (trigger, shutdown) = shutdown::channel();
    let turns = Watchdog::default().watch("the exporter", exporter.longest_wait());
    let running = tokio::spawn(exporter.run(shutdown, turns));
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while store.queue().status().length > 0 {
        ticks.tick().await;
    }
    assert_eq!(store.queue().status().exported, u64::from(SPANS));
    trigger.shut_down();
    running.await.unwrap();
}

/// Processor time of this process, in seconds.
fn cpu() -> f64 {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

/// A receiver as a child process, which ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn start_receiver() -> (Running, String) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).arg(RECEIVE).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    (Running(child), url.trim().to_owned())
}

/// Takes everything, over both protocols.
async fn receive() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let grpc = TraceServiceServer::new(Grpc).accept_compressed(CompressionEncoding::Gzip);
    let router = Routes::new(grpc).into_axum_router().route("/v1/traces", post(async |_body: Bytes| ()));
    axum::serve(listener, router).await.unwrap();
}

struct Grpc;

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        _request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}
