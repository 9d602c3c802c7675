//! An exporter with a state file of its own, and the spans that are put into that.

use std::collections::BTreeSet;
use std::path::Path;

use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus::IntCounter;
use prost::Message;
use talkover_core::delivery::{OwnerType, Target, Timestamp};
use talkover_core::ledger::state::Changes;
use talkover_core::server_time::LocalTime;
use talkover_core::spans::record::{Fate, SpanRecord};
use talkover_exporter::config::{self, EnvVars, TracesConfig};
use talkover_exporter::shutdown::{self, Trigger};
use talkover_exporter::sinks::traces::exporter::Exporter;
use talkover_exporter::store::SpanBatch;
use talkover_exporter::store::handle::StoreHandle;
use talkover_exporter::store::queue::QueueStatus;
use talkover_exporter::store::sqlite::SqliteStore;
use talkover_exporter::watchdog::Watchdog;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::receiver::Receiver;
use crate::harness::wait_for;

/// The protocols, as the configuration names them.
pub(crate) const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

/// The section `traces`: `more` as YAML in braces, the time for a request in a variable, as it is no setting of the
/// file.
pub(crate) fn traces(protocol: &str, endpoint: &str, more: &str, timeout_ms: u32) -> TracesConfig {
    let text = format!(
        "environments: [{{name: test, base_url: http://127.0.0.1:1, webhooks: [{{agent_id: a, webhook_id: w}}]}}]\n\
         traces: {{endpoint: '{endpoint}', protocol: {protocol}, {more}}}\n"
    );
    let variables = [("TALKOVER_TOKEN", "talq_x".to_owned()), ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout_ms.to_string())];
    let environment: EnvVars = variables.map(|(name, value)| (name.to_owned(), value)).into();
    config::parse(Path::new("c.yml"), text.as_bytes(), &environment).unwrap().traces
}

/// An encoded span of this name, about as large as a real one.
pub(crate) fn span(name: &str) -> Vec<u8> {
    let span = Span { name: name.to_owned(), trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() };
    Span { trace_state: "x".repeat(400), ..span }.encode_to_vec()
}

pub(crate) fn target() -> Target {
    Target {
        environment: "test".into(),
        webhook_id: "w".into(),
        owner_type: OwnerType::Agent,
        owner_id: "a".into(),
        webhook_name: "w".into(),
    }
}

/// Spans with these names, to be queued.
pub(crate) fn batch(names: impl IntoIterator<Item = String>) -> SpanBatch {
    let record = |name: String| SpanRecord { trace_id: [1; 16], span: span(&name), fate: Fate::Queue };
    SpanBatch {
        records: names.into_iter().map(record).collect(),
        queued_at: LocalTime::new(Timestamp::from_seconds(1_700_000_000)),
        ..SpanBatch::default()
    }
}

/// Names of `count` spans.
pub(crate) fn names(first: usize, count: usize) -> impl Iterator<Item = String> + Clone {
    (first..first + count).map(|number| format!("span-{number:05}"))
}

/// A state file, and an exporter when it is started; that stops when this is dropped.
pub(crate) struct Rig {
    pub(crate) store: StoreHandle,
    _directory: TempDir,
    running: Option<(Trigger, JoinHandle<()>)>,
}

impl Rig {
    /// A state file with spans of these names in its outbox.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store =
            SqliteStore::open(&directory.path().join("state.db"), LocalTime::new(Timestamp::from_seconds(1))).unwrap();
        let rig = Self { store: StoreHandle::new(store), _directory: directory, running: None };
        rig.queue(names);
        rig
    }

    pub(crate) fn queue(&self, names: impl IntoIterator<Item = String>) {
        let batch = batch(names);
        _ = self.store.run_blocking(|store| store.commit(&target(), Changes::default(), &batch)).unwrap();
    }

    pub(crate) fn start(&mut self, config: TracesConfig) {
        let write_errors = IntCounter::new("errors", "errors").unwrap();
        let exporter = Exporter::new(&config, "instance", self.store.clone(), write_errors).unwrap();
        let turns = Watchdog::default().watch("the exporter", exporter.longest_wait());
        let (trigger, shutdown) = shutdown::channel();
        self.running = Some((trigger, tokio::spawn(exporter.run(shutdown, turns))));
    }

    pub(crate) async fn stop(&mut self) {
        let (trigger, task) = self.running.take().unwrap();
        trigger.shut_down();
        task.await.unwrap();
    }

    pub(crate) fn status(&self) -> QueueStatus {
        self.store.queue().status()
    }

    pub(crate) async fn empty(&self) -> QueueStatus {
        wait_for("an empty outbox", || async {
            let status = self.status();
            (status.length == 0).then_some(status)
        })
        .await
    }
}

/// Asserts that the receiver has all of these spans at least once, and no other.
pub(crate) fn assert_all(receiver: &Receiver, names: impl Iterator<Item = String>) {
    let taken: BTreeSet<String> = receiver.taken().into_keys().collect();
    let wanted: BTreeSet<String> = names.collect();
    assert_eq!(taken.len(), wanted.len());
    assert_eq!(taken, wanted);
}
