//! Log records of failed attempts and lost deliveries on their way to an OTLP receiver.
//!
//! `talkover_core::spans` makes them beside the spans; the commit of their attempt puts them into a queue of their own in
//! the state file, and an [`Exporter`](crate::sinks::traces::exporter::Exporter) sends them under the same guarantees. No
//! record is decoded on the way: as with spans, the messages around them are declared with `bytes` in their place, and
//! what is sent is an `opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest`.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::config::OtlpSignal;
use crate::sinks::otlp::outbox::Outbox;
use crate::sinks::otlp::resource;
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::store::queue::OutboxQueue;
use crate::store::{QueuedLog, Store};

/// `ExportLogsServiceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogsRequest {
    /// One resource for each environment.
    #[prost(message, repeated, tag = "1")]
    pub resource_logs: Vec<EncodedResourceLogs>,
}

/// `ResourceLogs`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EncodedResourceLogs {
    /// The environment that the records are about.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One scope: this crate.
    #[prost(message, repeated, tag = "2")]
    pub scope_logs: Vec<EncodedScopeLogs>,
}

/// `ScopeLogs`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EncodedScopeLogs {
    /// The instrumentation that made the records.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<InstrumentationScope>,
    /// Each an encoded `opentelemetry.proto.logs.v1.LogRecord`.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub log_records: Vec<Vec<u8>>,
}

/// The queue of log records.
#[derive(Clone, Debug)]
pub struct LogOutbox {
    /// The attributes of the resources, `service.name` among them.
    pub attributes: Vec<(String, String)>,
    /// The identity of the state.
    pub instance_id: String,
}

impl Outbox for LogOutbox {
    type Item = QueuedLog;
    type Request = LogsRequest;
    const SIGNAL: OtlpSignal = OtlpSignal::Logs;

    fn queue(store: &StoreHandle) -> &OutboxQueue {
        store.log_queue()
    }

    fn oldest(store: &dyn Store, max_items: usize, max_bytes: usize) -> Result<Vec<QueuedLog>, StoreError> {
        store.oldest_logs(max_items, max_bytes)
    }

    fn acknowledge(store: &mut dyn Store, through: i64, rejected: u64) -> Result<(), StoreError> {
        store.acknowledge_logs(through, rejected)
    }

    fn number_of(item: &QueuedLog) -> i64 {
        item.seq
    }

    fn request(&self, items: Vec<QueuedLog>) -> LogsRequest {
        let mut environments: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
        for QueuedLog { environment, record, .. } in items {
            match environments.iter_mut().find(|(known, _)| *known == environment) {
                Some((_, records)) => records.push(record),
                None => environments.push((environment, vec![record])),
            }
        }
        let resource_logs = environments.into_iter().map(|(environment, log_records)| EncodedResourceLogs {
            resource: Some(resource::of_environment(&self.attributes, &self.instance_id, &environment)),
            scope_logs: vec![EncodedScopeLogs { scope: Some(resource::scope()), log_records }],
        });
        LogsRequest { resource_logs: resource_logs.collect() }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use prost::Message;

    use super::*;

    #[test]
    fn a_receiver_decodes_the_request_to_the_records_that_were_queued() {
        let record = |event: &str| LogRecord { event_name: event.to_owned(), flags: 1, ..LogRecord::default() };
        let queued = |seq: i64, environment: &str, event: &str| QueuedLog {
            seq,
            environment: environment.to_owned(),
            record: record(event).encode_to_vec(),
        };
        let outbox =
            LogOutbox { attributes: vec![("service.name".to_owned(), "x".to_owned())], instance_id: "i".to_owned() };
        let request = outbox.request(vec![queued(1, "prod", "a"), queued(2, "staging", "b"), queued(3, "prod", "c")]);
        let decoded = ExportLogsServiceRequest::decode(&*request.encode_to_vec()).unwrap();
        let events: Vec<Vec<LogRecord>> =
            decoded.resource_logs.iter().map(|resource| resource.scope_logs[0].log_records.clone()).collect();
        assert_eq!(events, [vec![record("a"), record("c")], vec![record("b")]]);
        let expected = ["prod", "staging"].map(|name| resource::of_environment(&outbox.attributes, "i", name));
        let resources: Vec<_> =
            decoded.resource_logs.iter().map(|resource| resource.resource.clone().unwrap()).collect();
        assert_eq!(resources, expected);
        assert_eq!(decoded.encode_to_vec(), request.encode_to_vec());
    }
}
