//! Makes an OTLP request from a batch of the queue.
//!
//! The spans are encoded already. In Protocol Buffers an embedded message and a field of bytes look alike, so the
//! messages around the spans are declared here with `bytes` in their place: what is sent is an
//! `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`, although no span was decoded for it.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::build_info;

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
    /// The resource with these attributes, and the scope. `service.version` and `service.instance.id` are added if the
    /// attributes lack them.
    pub fn new(attributes: &[(String, String)], instance_id: &str) -> Self {
        let mut attributes = attributes.to_vec();
        for (key, value) in [("service.version", build_info::VERSION), ("service.instance.id", instance_id)] {
            if attributes.iter().all(|(known, _)| known != key) {
                attributes.push((key.to_owned(), value.to_owned()));
            }
        }
        let attributes = attributes.into_iter().map(|(key, value)| text(key, value)).collect();
        Self {
            resource: Resource { attributes, ..Resource::default() },
            scope: InstrumentationScope {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: build_info::VERSION.to_owned(),
                ..InstrumentationScope::default()
            },
        }
    }

    /// The request that sends these encoded spans.
    pub fn request(&self, spans: Vec<Vec<u8>>) -> ExportRequest {
        let scope_spans = vec![EncodedScopeSpans { scope: Some(self.scope.clone()), spans }];
        let resource = Some(self.resource.clone());
        ExportRequest { resource_spans: vec![EncodedResourceSpans { resource, scope_spans }] }
    }
}

fn text(key: String, value: String) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value)) };
    KeyValue { key, value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::*;

    fn attributes(envelope: &ResourceScope) -> Vec<(String, String)> {
        let value = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.clone()) {
            Some(Value::StringValue(text)) => text,
            other => panic!("{other:?} is no text"),
        };
        envelope.resource.attributes.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
    }

    #[test]
    fn a_receiver_decodes_the_request_to_the_spans_that_were_queued() {
        let span = |name: &str| Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: name.to_owned(),
            attributes: vec![text("k".to_owned(), "v".to_owned())],
            ..Span::default()
        };
        let spans = [span("POST a"), span(""), Span::default()];
        let envelope = ResourceScope::new(&[("service.name".to_owned(), "x".to_owned())], "i");
        let request = envelope.request(spans.iter().map(Message::encode_to_vec).collect());
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

    #[test]
    fn the_resource_names_the_service_its_version_and_the_instance_unless_told_otherwise() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let given = [pair("service.name", "n"), pair("region", "eu")];
        let expected = [&given[..], &[pair("service.version", build_info::VERSION), pair("service.instance.id", "i")]];
        assert_eq!(attributes(&ResourceScope::new(&given, "i")), expected.concat());
        let given = [pair("service.name", "n"), pair("service.instance.id", "own"), pair("service.version", "7")];
        assert_eq!(attributes(&ResourceScope::new(&given, "i")), given);
    }
}
