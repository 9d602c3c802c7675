//! Makes an OTLP request from a batch of the queue.
//!
//! The spans are encoded already. In Protocol Buffers an embedded message and a field of bytes look alike, so the
//! messages around the spans are declared here with `bytes` in their place: what is sent is an
//! `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`, although no span was decoded for it.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::config::OtlpSignal;
use crate::sinks::otlp::outbox::Outbox;
use crate::sinks::otlp::resource;
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::store::queue::OutboxQueue;
use crate::store::{QueuedSpan, Store};

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportRequest {
    /// One resource: this daemon.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<EncodedResourceSpans>,
}

/// `ResourceSpans`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EncodedResourceSpans {
    /// The resource that the spans describe.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One scope: this crate.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<EncodedScopeSpans>,
}

/// `ScopeSpans`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EncodedScopeSpans {
    /// The instrumentation that made the spans.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<InstrumentationScope>,
    /// Each an encoded `opentelemetry.proto.trace.v1.Span`.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub spans: Vec<Vec<u8>>,
}

/// What every batch says about its spans: the resource and the scope.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceScope {
    resource: Resource,
    scope: InstrumentationScope,
}

impl ResourceScope {
    /// The resource with these attributes and this identity, and the scope.
    pub fn new(attributes: &[(String, String)], instance_id: &str) -> Self {
        Self { resource: resource::resource(attributes, instance_id), scope: resource::scope() }
    }

    /// The request that sends these encoded spans.
    pub fn request_of(&self, spans: Vec<Vec<u8>>) -> ExportRequest {
        let scope_spans = vec![EncodedScopeSpans { scope: Some(self.scope.clone()), spans }];
        let resource = Some(self.resource.clone());
        ExportRequest { resource_spans: vec![EncodedResourceSpans { resource, scope_spans }] }
    }
}

impl Outbox for ResourceScope {
    type Item = QueuedSpan;
    type Request = ExportRequest;
    const SIGNAL: OtlpSignal = OtlpSignal::Traces;

    fn queue(store: &StoreHandle) -> &OutboxQueue {
        store.queue()
    }

    fn oldest(store: &dyn Store, max_items: usize, max_bytes: usize) -> Result<Vec<QueuedSpan>, StoreError> {
        store.oldest_spans(max_items, max_bytes)
    }

    fn acknowledge(store: &mut dyn Store, through: i64, rejected: u64) -> Result<(), StoreError> {
        store.acknowledge_spans(through, rejected)
    }

    fn number_of(item: &QueuedSpan) -> i64 {
        item.seq
    }

    fn request(&self, items: Vec<QueuedSpan>) -> ExportRequest {
        self.request_of(items.into_iter().map(|span| span.span).collect())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::*;
    use crate::build_info;

    #[test]
    fn a_receiver_decodes_the_request_to_the_spans_that_were_queued() {
        let span = |name: &str| Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: name.to_owned(),
            attributes: vec![resource::text("k", "v")],
            ..Span::default()
        };
        let spans = [span("POST a"), span(""), Span::default()];
        let envelope = ResourceScope::new(&[("service.name".to_owned(), "x".to_owned())], "i");
        let request = envelope.request_of(spans.iter().map(Message::encode_to_vec).collect());
        let decoded = ExportTraceServiceRequest::decode(&*request.encode_to_vec()).unwrap();
        let resource_spans = &decoded.resource_spans[..];
        assert_eq!(resource_spans.len(), 1);
        assert_eq!(resource_spans[0].resource.as_ref(), Some(&envelope.resource));
        assert_eq!(resource_spans[0].scope_spans.len(), 1);
        let scope_spans = &resource_spans[0].scope_spans[0];
        assert_eq!(scope_spans.spans, spans);
        let scope = scope_spans.scope.as_ref().unwrap();
        assert_eq!((&*scope.name, &*scope.version), ("talkover-exporter", build_info::VERSION));
        assert_eq!(decoded.encode_to_vec(), request.encode_to_vec());
    }
}
