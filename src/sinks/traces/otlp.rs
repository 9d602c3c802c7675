//! Makes an OTLP request from a batch of the queue: one resource for each environment.
//!
//! The spans are encoded already. In Protocol Buffers an embedded message and a field of bytes look alike, so the
//! messages around the spans are declared here with `bytes` in their place: what is sent is an
//! `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`, although no span was decoded for it.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::config::OtlpSignal;
use crate::sinks::otlp::outbox::Outbox;
use crate::sinks::otlp::resource;
use crate::store::error::StoreError;
use crate::store::handle::StoreHandle;
use crate::store::queue::OutboxQueue;
use crate::store::{QueuedSpan, Store};

/// The attribute of our spans that names the environment.
const ENVIRONMENT: &str = "talkover.environment";
/// Numbers of fields, from `opentelemetry/proto/trace/v1/trace.proto` and `common/v1/common.proto`.
const SPAN_ATTRIBUTES: u32 = 9;
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING_VALUE: u32 = 1;

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportRequest {
    /// One resource for each environment whose deliveries they are.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<EncodedResourceSpans>,
}

/// `ResourceSpans`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EncodedResourceSpans {
    /// What the spans tell of.
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
    attributes: Vec<(String, String)>,
    instance_id: String,
    scope: InstrumentationScope,
}

impl ResourceScope {
    /// The resource with these attributes and this identity, and the scope; [`ResourceScope::request_of`] adds the
    /// environment.
    pub fn new(attributes: &[(String, String)], instance_id: &str) -> Self {
        Self { attributes: attributes.to_vec(), instance_id: instance_id.to_owned(), scope: resource::scope() }
    }

    /// The request that sends these encoded spans.
    pub fn request_of(&self, spans: Vec<Vec<u8>>) -> ExportRequest {
        let mut by_environment: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
        for span in spans {
            let environment = environment_of(&span).unwrap_or_default();
            match by_environment.iter_mut().find(|(known, _)| known == environment) {
                Some((_, others)) => others.push(span),
                None => by_environment.push((environment.to_owned(), vec![span])),
            }
        }
        let resource_spans = by_environment.into_iter().map(|(environment, spans)| EncodedResourceSpans {
            resource: Some(self.resource_of(&environment)),
            scope_spans: vec![EncodedScopeSpans { scope: Some(self.scope.clone()), spans }],
        });
        ExportRequest { resource_spans: resource_spans.collect() }
    }

    fn resource_of(&self, environment: &str) -> Resource {
        if environment.is_empty() {
            return resource::resource(&self.attributes, &self.instance_id);
        }
        resource::of_environment(&self.attributes, &self.instance_id, environment)
    }
}

/// The environment of an encoded span: the value of its attribute `talkover.environment`, which is its first one, so
/// that little is read. `None` if there is none.
fn environment_of(span: &[u8]) -> Option<&str> {
    let attributes = BytesFields(span).filter(|(number, _)| *number == SPAN_ATTRIBUTES).map(|(_, pair)| pair);
    let mut values = attributes.filter(|pair| field(pair, KEY) == Some(ENVIRONMENT.as_bytes()));
    let text = field(field(values.next()?, VALUE)?, STRING_VALUE)?;
    std::str::from_utf8(text).ok()
}

fn field(message: &[u8], wanted: u32) -> Option<&[u8]> {
    BytesFields(message).find(|(number, _)| *number == wanted).map(|(_, bytes)| bytes)
}

/// The fields of an encoded message that hold bytes, with their numbers; ends early where it is none.
struct BytesFields<'a>(&'a [u8]);

impl<'a> Iterator for BytesFields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, wire_type) = decode_key(&mut self.0).ok()?;
            if wire_type != WireType::LengthDelimited {
                skip_field(wire_type, number, &mut self.0, DecodeContext::default()).ok()?;
                continue;
            }
            let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
            let (bytes, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            return Some((number, bytes));
        }
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
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
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
        assert_eq!(resource_spans[0].resource.as_ref(), Some(&envelope.resource_of("")));
        assert_eq!(resource_spans[0].scope_spans.len(), 1);
        let scope_spans = &resource_spans[0].scope_spans[0];
        assert_eq!(scope_spans.spans, spans);
        let scope = scope_spans.scope.as_ref().unwrap();
        assert_eq!((&*scope.name, &*scope.version), ("talkover-exporter", build_info::VERSION));
        assert_eq!(decoded.encode_to_vec(), request.encode_to_vec());
    }

    #[test]
    fn each_environment_has_a_resource_of_its_own() {
        let span = |id: u8, environment: &str| {
            let pairs = [("talkover.environment", environment), ("talkover.webhook.id", "staging")];
            let attributes = pairs.map(|(key, value)| resource::text(key, value)).to_vec();
            Span { span_id: vec![id; 8], start_time_unix_nano: 7, name: "n".to_owned(), attributes, ..Span::default() }
                .encode_to_vec()
        };
        let spans = vec![span(1, "production"), span(2, "staging"), span(3, "production")];
        let ids_by_environment = |own: &[(String, String)]| {
            let request = ResourceScope::new(own, "i").request_of(spans.clone());
            let decoded = ExportTraceServiceRequest::decode(&*request.encode_to_vec()).unwrap();
            let resources = decoded.resource_spans.into_iter().map(|one| {
                let resource = one.resource.unwrap();
                let names = resource.attributes.iter().filter(|pair| pair.key == "deployment.environment.name");
                let names: Vec<_> = names.map(|pair| pair.value.clone().unwrap().value.unwrap()).collect();
                let ids = one.scope_spans[0].spans.iter().map(|span| span.span_id[0]).collect::<Vec<_>>();
                (names, ids)
            });
            resources.collect::<Vec<_>>()
        };
        let named = |name: &str| vec![Value::StringValue(name.to_owned())];
        assert_eq!(ids_by_environment(&[]), [(named("production"), vec![1, 3]), (named("staging"), vec![2])]);
        let own = [("deployment.environment.name".to_owned(), "eu".to_owned())];
        assert_eq!(ids_by_environment(&own), [(named("eu"), vec![1, 3]), (named("eu"), vec![2])]);
    }

    #[test]
    fn what_is_no_span_has_no_environment() {
        let span = Span { name: "n".to_owned(), attributes: vec![resource::text("k", "v")], ..Span::default() };
        let encoded = span.encode_to_vec();
        assert_eq!(environment_of(&encoded), None);
        for length in 0..encoded.len() {
            assert_eq!(environment_of(&encoded[..length]), None);
        }
        assert_eq!(environment_of(&[0xff; 12]), None);
    }
}
